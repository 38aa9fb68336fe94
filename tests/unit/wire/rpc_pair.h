/* A client and a server on one loop. */
#ifndef TESTS_RPC_PAIR_H
#define TESTS_RPC_PAIR_H

#include "rpc_fixture.h"

struct pair {
    struct loop *loop;
    struct rpc_server *server;
    struct rpc_client *client;
    struct shelf *shelf; /* argument of the handler */
    char address[32];
};

/* For cmocka; *state is the pair. Requests on the shelf are answered at the end. */
int pair_setup(void **state);
int pair_teardown(void **state);
void pair_open(struct pair *f, const struct rpc_server_conf *conf, /* NULL: standard */
               void (*handle)(void *arg, struct rpc_request *request));
int64_t pair_in_ms(const struct pair *f, int64_t ms); /* absolute, for deadlines */
/* A Call with this payload; checks that nothing is called back at once. */
void pair_call(struct pair *f, struct slice payload, struct outcome *outcome);
/* Calls, waits, and gets the same back. */
void pair_assert_echo(struct pair *f, struct slice payload);

#endif
