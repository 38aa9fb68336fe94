/* What the files of libsaga share; not installed. */
#ifndef SAGA_INTERNAL_H
#define SAGA_INTERNAL_H

#include "base/arena.h"
#include "base/buf.h"
#include "net/loop.h"
#include "redis/redis.h"
#include "saga.h"
#include "wire/rpc.h"

#include <uthash.h>

struct handler {
    saga_handler fn; /* NULL: none */
    void *arg;
};

/* What is served under one name. */
struct method {
    char *name;
    struct handler branch;
    struct handler request;
    UT_hash_handle hh;
};

struct saga_script {
    struct redis_script script; /* `keys` is set for each run */
    char sha1[41];
    bool gated;
};

/* One run of a script under the barrier of `branch`; part of whoever waits for it. */
struct gate_run {
    struct saga *saga;
    const struct wire_call *branch;
    int barrier; /* 1, 2, … of the scripts of one op */
    void (*ended)(void *owner, const struct saga_outcome *outcome);
    void *owner;
    struct redis_script script;
    const char *refused; /* why no command was sent */
    struct loop_task task;
};

struct saga_call {
    struct saga *saga;
    struct rpc_request *request;
    const struct wire_call *call;  /* belongs to the request */
    struct saga_call *prev, *next; /* in saga->calls or saga->free_calls */
    int64_t deadline_ms;           /* the caller waits no longer */
    int barriers;                  /* scripts run under the barrier so far; numbers them */
    bool evaluating;               /* `run` is in flight */
    struct gate_run run;
    saga_eval_done done;
    void *done_arg;
};

/* A client of another participant. */
struct peer {
    char *address;
    struct rpc_client *client;
    int64_t used_ms;
    UT_hash_handle hh;
};

struct advert;

struct saga {
    struct loop *loop;
    bool owns_loop;
    bool running;
    bool closing;
    bool *closed; /* set at the very end, for saga_close */
    char *program;
    char *token;
    int64_t timeout_ms;
    char ttl_text[24]; /* barrier_ttl_ms as the scripts want it */
    struct redis *redis;
    struct rpc_server *server;
    struct advert *advert;    /* NULL: does not register itself */
    struct loop_task nothing; /* nothing to withdraw: the callback is still to come */
    saga_withdrawn_cb nothing_cb;
    void *nothing_arg;
    struct rpc_client *coordinator;
    struct peer *peers;
    struct two_phase *two_phases;    /* begun and not ended */
    struct saga_workflow *workflows; /* likewise */
    struct saga_watch *watches;
    struct method *methods;
    struct saga_call *calls; /* not answered yet */
    struct saga_call *free_calls;
    size_t pending; /* operations whose callback is still to come */
    struct loop_task finish;
    /* Scratch of one operation; nothing in it outlives the function that fills it. */
    struct buf key;
    struct slice *slices;
    size_t slice_cap;
};

static inline struct saga_bytes bytes_of(struct slice s)
{
    return (struct saga_bytes){s.ptr, s.len};
}

static inline struct slice slice_of(struct saga_bytes b)
{
    return (struct slice){b.ptr, b.len};
}

/* Absolute, in `ms` from now; a time beyond what can be counted never comes. */
int64_t deadline_in_ms(const struct saga *saga, int64_t ms);

/* `count` slices of scratch memory. */
struct slice *scratch_slices(struct saga *saga, size_t count);

/* The rpc server's handler. */
void participant_serve(void *arg, struct rpc_request *request);
/* Answers with a message that need not be NUL-terminated nor UTF-8. */
void call_answer(struct saga_call *call, enum saga_result result, struct slice payload,
                 struct slice message);
/* This instance is closing: the coordinator tries another one, or later. */
void call_pass_on(struct saga_call *call);
/* Runs the script; ended, exactly once, comes later. `wrong`: why it must not, or NULL. */
void gate_start(struct gate_run *run, const struct saga_eval *eval, const char *wrong,
                int64_t deadline_ms);
/* Asks for the change of the message that `branch` names. */
void gate_check_start(struct gate_run *run, const char *tag, const char *wrong,
                      int64_t deadline_ms);
void gate_log(const struct wire_call *branch, const char *what, struct slice why);
void participant_fini(struct saga *saga); /* drops the calls, frees everything of this part */

/* A request to the coordinator. `wanted`: the kind of its answer; `wait_ms`: how much longer than a
 * plain one it may take; `wrong`: why it cannot even be sent, or NULL. */
void coordinator_ask(struct saga *saga, const struct wire_message *request, enum wire_kind wanted,
                     int64_t wait_ms, const char *wrong, saga_answer_cb cb, void *arg);
/* How much longer than a plain request a submission may take until its end. */
int64_t submission_wait_ms(const struct saga_submission *submission);
/* Why it cannot be sent, whatever its type; or NULL. */
const char *submission_wrong(const struct saga_submission *submission);
/* Its headers are copies. */
struct wire_options submission_options(const struct saga_submission *submission,
                                       struct arena *arena);
/* Copies. */
struct wire_header *headers_encode(const struct saga_header *headers, size_t count,
                                   struct arena *arena);

/* A branch url that this program calls by itself: "tcp://HOST:PORT/package.Service/Method". */
struct participant_url {
    char address[300];
    char *method; /* NULL when it is no such url */
};
/* NULL, or what is wrong with it; to be given to participant_url_fini in either case. */
const char *participant_url_init(struct participant_url *out, const char *url);
void participant_url_fini(struct participant_url *url);
/* A call to a participant at `address`; its timeout_ms is set here. `wrong` as above. */
void participant_call(struct saga *saga, const char *address, struct wire_call *call,
                      int64_t timeout_ms, const char *wrong, saga_response_cb cb, void *arg);

void two_phases_free(struct saga *saga);
void workflows_free(struct saga *saga);
void watches_close(struct saga *saga); /* the saga is closing: all will be cancelled */

enum err advert_check(const struct saga_conf *conf, struct reason *reason) MUST_CHECK;
void advert_open(struct saga *saga, const struct saga_advert *conf);
bool advert_is_on(const struct saga *saga); /* and was not withdrawn */
void advert_forget(struct saga *saga);      /* the callback of a withdrawal that is late */
void advert_close(struct saga *saga);       /* no command leaves after this */
void advert_free(struct saga *saga);        /* when nothing of it is pending */

struct rpc_client *client_new(const struct saga *saga, const char *address);
void peers_close(struct saga *saga);

/* The end of a request as the SDK's caller sees it: NONE when `reply` is a reply, not an error
 * frame; else the reason is set. `why` is what the rpc client said. */
enum saga_error error_of_reply(enum err err, const struct wire_message *reply, const char *why,
                               struct reason *out);

#endif
