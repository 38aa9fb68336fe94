/* A participant on a real Redis and a client that calls it over a real socket, on one loop. */
#ifndef SDK_FIXTURE_H
#define SDK_FIXTURE_H

#include "harness/test_redis.h"
#include "harness/wait_for.h"
#include "saga.h"
#include "wire/rpc.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { DEADLINE_MS = 10000, TEXT_SIZE = 1024 };

struct world {
    struct test_redis *redis;
    struct loop *loop;
    struct saga *saga;
    struct rpc_client *client;
    struct saga_script *stock; /* take or give back; see fixture.c */
    int handled;               /* branch calls that reached the handler */
    bool drop;                 /* the handler's next answer is lost */
};

/* What came back for one call. */
struct reply {
    bool done;
    enum err err;
    enum wire_kind kind;
    enum wire_result result;
    char payload[TEXT_SIZE];
    char message[TEXT_SIZE];
};

extern const char stock_body[];

int world_setup(void **state); /* Redis */
int world_teardown(void **state);
/* Opens the participant with its stock at `stock`; empties Redis first. */
void world_open(struct world *world, int stock);
void world_open_conf(struct world *world, int stock, const struct saga_conf *conf);
void world_close(struct world *world);

/* A coordinator that the test plays; writes its address. */
struct rpc_server *coordinator_open(struct loop *loop,
                                    void (*handle)(void *arg, struct rpc_request *request),
                                    void *arg, char address[64]);

static inline struct saga_step step_of(const char *action, const char *undo, const char *payload)
{
    return (struct saga_step){.action = action, .compensate = undo, .payload = saga_text(payload)};
}
static inline struct saga_branch branch_of(const char *try_url, const char *confirm,
                                           const char *cancel, const char *payload)
{
    return (struct saga_branch){
        .try_url = try_url, .confirm = confirm, .cancel = cancel, .payload = saga_text(payload)};
}

struct wire_call branch_call(const char *gid, const char *branch, const char *op);
void start(struct rpc_client *client, const struct wire_call *call, struct reply *reply);
struct reply send_call(struct world *world, const struct wire_call *call);
/* {"shop.Stock/Take"} of branch 01 with the given op. */
struct reply take(struct world *world, const char *gid, const char *op);

#define assert_reply(got, wanted_result, wanted_payload)                                           \
    do {                                                                                           \
        struct reply r_ = (got);                                                                   \
        assert_string_equal(r_.message, "");                                                       \
        assert_int_equal(r_.result, (wanted_result));                                              \
        assert_string_equal(r_.payload, (wanted_payload));                                         \
    } while (0)
#define assert_refused(got, wanted_result, part)                                                   \
    do {                                                                                           \
        struct reply r_ = (got);                                                                   \
        assert_int_equal(r_.result, (wanted_result));                                              \
        if (!strstr(r_.message, (part))) {                                                         \
            fail_msg("message is '%s', wanted '%s' in it", r_.message, (part));                    \
        }                                                                                          \
    } while (0)

int stock_of(struct world *world);
/* The barrier rows of branch 01 as "op=reason …", sorted by op; "" for none. */
const char *rows_of(struct world *world, const char *gid);

#endif
