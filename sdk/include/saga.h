/*
 * libsaga: take part in, and start, distributed transactions that sagad coordinates.
 *
 * One `struct saga` is a process's place in the system: an event loop, a connection to its Redis
 * (participants), a server for branch calls (participants) and a connection to the coordinator
 * (initiators); each part only when the configuration names its address. Single-threaded: call
 * everything from the thread that runs the loop. Callbacks come exactly once, never from inside the
 * call that asked for them. Text and byte arguments are copied; what a callback is given is valid
 * during the callback. Out of memory ends the process.
 *
 * A participant in short:
 *
 *     static void decr_stock(void *arg, struct saga_call *call)
 *     {
 *         struct saga_bytes keys[] = {saga_text("{prd:1}:h")}, args[] = {saga_call_payload(call)};
 *         saga_call_eval(call, &(struct saga_eval){.script = arg, .tag = "{prd:1}",
 *                        .keys = keys, .key_count = 1, .args = args, .arg_count = 1});
 *     }
 *     …
 *     struct saga *saga = saga_open(&conf, error, sizeof(error));
 *     struct saga_script *script = saga_script_new("decr_stock", lua_text, strlen(lua_text));
 *     saga_on_branch(saga, "product.Product/DecrStock", decr_stock, script);
 *     saga_run(saga);
 *
 * The script's part is told in lua/barrier/gate.lua: it is put in front of every script and makes
 * repeats, empty compensations and late actions harmless.
 */
#ifndef SAGA_H
#define SAGA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "saga_advert.h"

#ifdef __cplusplus
extern "C" {
#endif

struct saga;
struct saga_call;   /* a branch call or plain request that wants its answer */
struct saga_script; /* a Lua script with the barrier gate in front */
struct loop;        /* the event loop, for programs that add their own events */
struct redis_value; /* a reply of Redis */

struct saga_bytes {
    const char *ptr;
    size_t len;
};
struct saga_bytes saga_text(const char *text); /* of a C string */

/* ---- opening ---- */

struct saga_conf {
    const char *program; /* name for hello and logs; required */
    /* Participant: where branch calls are served, "host:port" (port 0: any free one); NULL: not. */
    const char *listen;
    const char *token; /* peers must present it, and it is presented to peers; NULL: none */
    /* Participant: its Redis, "host:port", "unix:/path", "sentinel://host:port,…/master" or
     * "cluster://host:port,…"; NULL: no scripts. */
    const char *redis;
    const char *redis_user;
    const char *redis_password;
    int redis_db;
    /* So many replicas of this Redis must have what a script did or found, before it counts as
     * done: then a failover to one of them loses no answered call. They have wait_timeout_ms (0:
     * 500 ms; a third of timeout_ms at most); when that is over the outcome is unknown, and the
     * call is answered ERROR, to be repeated. 0: none is waited for. saga_redis_command never
     * waits. The Redis user needs a few commands more for it: docs/sdk.md. */
    int wait_replicas;
    int64_t wait_timeout_ms;
    /* How long a barrier record lives after its last change, ms; 0: 7 days. It must exceed the
     * longest life of a transaction: a compensation without record from beyond is refused. */
    int64_t barrier_ttl_ms;
    /* Initiator: the coordinator's TCP address; NULL: none. */
    const char *coordinator;
    int64_t timeout_ms;  /* of one Redis command or request to the coordinator; 0: 3 s; 7 days at
                            most */
    int connections_max; /* 0: 1000 */
    const struct saga_advert *advert; /* participant: registers itself; NULL: not */
    struct loop *loop;                /* an existing loop to live on; NULL: own one */
};

/* NULL on error, with a text that says what to do about it. */
struct saga *saga_open(const struct saga_conf *conf, char *error, size_t error_size);
int saga_port(const struct saga *saga); /* where it listens */
struct loop *saga_loop(struct saga *saga);
void saga_run(struct saga *saga);  /* until saga_stop */
void saga_stop(struct saga *saga); /* may be called in any callback */
void saga_stop_on(struct saga *saga,
                  int signo); /* saga_stop when the signal arrives, SIGTERM say */
/* Pending requests complete as cancelled; unanswered calls are dropped. With its own loop all of
 * that is over when this returns, and it must not be called within saga_run (saga_stop first); on
 * a loop of the caller it is over at the end of the loop's turn. */
void saga_close(struct saga *saga);

/* ---- participant ---- */

typedef void (*saga_handler)(void *arg, struct saga_call *call);

/* Serves branch calls of `method`, "package.Service/Method". Calls without gid, branch id, op or
 * trans type are refused before the handler sees them. Register all methods at once, when they can
 * be served: until the first one callers are told that the program is starting, and go to another
 * instance. */
void saga_on_branch(struct saga *saga, const char *method, saga_handler handler, void *arg);
/* Serves plain requests, outside any transaction (reads, for example). */
void saga_on_request(struct saga *saga, const char *method, saga_handler handler, void *arg);

struct saga_bytes saga_call_payload(const struct saga_call *call);
struct saga_bytes saga_call_gid(const struct saga_call *call);
struct saga_bytes saga_call_branch_id(const struct saga_call *call);
struct saga_bytes saga_call_op(const struct saga_call *call);
struct saga_bytes saga_call_trans_type(const struct saga_call *call);
struct saga_bytes saga_call_traceparent(const struct saga_call *call);
struct saga_bytes saga_call_header(const struct saga_call *call, const char *name); /* or empty */
bool saga_call_is_undo(const struct saga_call *call); /* compensate, cancel, rollback */

enum saga_result {
    SAGA_SUCCESS,
    SAGA_FAILURE,
    SAGA_ONGOING,
    SAGA_ERROR,
    SAGA_RESULT_CONFLICT, /* cannot be done any more, however often it is tried: the coordinator
                             parks the transaction, and a person decides */
};

/* Answers and ends the call. `message` says why, for a person; may be NULL. */
void saga_call_reply(struct saga_call *call, enum saga_result result, struct saga_bytes payload,
                     const char *message);
/* Ends the call without an answer by closing its connection: what a crash looks like. For tests. */
void saga_call_drop(struct saga_call *call);

/* Gate + body, and the SHA-1 of both. Free after the saga is closed. */
struct saga_script *saga_script_new(const char *name, const char *body, size_t len);
/* The body may leave messages in the same script, by outbox(stream, …): docs/outbox.md. */
struct saga_script *saga_script_new_outbox(const char *name, const char *body, size_t len);
void saga_script_free(struct saga_script *script);
/* As Redis sees it; for tests. */
const char *saga_script_text(const struct saga_script *script);
const char *saga_script_sha1(const struct saga_script *script);

/* How a gated script ended; the names are the first element of its reply. */
enum saga_verdict {
    SAGA_OK,       /* done now */
    SAGA_DUP,      /* was done before: the stored reply comes again */
    SAGA_NULL,     /* undo of what never happened: recorded, nothing to undo */
    SAGA_FAIL,     /* refused by the business rules, nothing written */
    SAGA_VOID,     /* action or try that comes after its undo, also again: nothing written */
    SAGA_CONFLICT, /* confirm after cancel or cancel after confirm */
    SAGA_LATE,     /* undo or check-back without record, so late that it may have expired: nothing
                      written */
    SAGA_BROKEN,   /* Redis away, or the script itself failed; `text` says it */
};

struct saga_outcome {
    enum saga_verdict verdict;
    struct saga_bytes text; /* reply of the script, or the reason */
};
/* Must end with saga_call_reply, saga_call_drop or saga_call_settle. */
typedef void (*saga_eval_done)(void *arg, struct saga_call *call,
                               const struct saga_outcome *outcome);

struct saga_eval {
    const struct saga_script *script;
    const char *tag; /* "{prd:1}": hash tag of the business keys; the barrier record goes there */
    const struct saga_bytes *keys; /* KEYS[2…] */
    size_t key_count;
    const struct saga_bytes *args; /* given to the body as args[1…] */
    size_t arg_count;
    saga_eval_done done; /* NULL: saga_call_settle with the script's text as payload */
    void *arg;
};
/* Runs the script under the barrier of this call's branch. A handler may run several, one after the
 * other; an action and its compensation must then run them in the same order, because the n-th
 * script of the one undoes the n-th of the other. */
void saga_call_eval(struct saga_call *call, const struct saga_eval *eval);
/* The answer that follows from an outcome: OK, DUP, NULL → SUCCESS with `payload`; FAIL, VOID →
 * FAILURE with the reason (an undo never answers FAILURE but ERROR); CONFLICT, LATE → CONFLICT,
 * with an alert in the log; BROKEN → ERROR. The outcome may be one of your own, of a store that is
 * not this Redis. */
void saga_call_settle(struct saga_call *call, const struct saga_outcome *outcome,
                      struct saga_bytes payload);

/* A script or command outside any transaction, on the same connection. For a plain script the text
 * is the body alone, without gate. */
struct saga_redis_answer {
    bool ok;
    bool temporary; /* not ok: Redis is away or refuses for now */
    const char *error;
    const struct redis_value *value; /* ok only */
};
typedef void (*saga_redis_done)(void *arg, const struct saga_redis_answer *answer);
struct saga_script *saga_script_new_plain(const char *name, const char *body, size_t len);
struct saga_script *saga_script_new_plain_outbox(const char *name, const char *body, size_t len);
void saga_redis_eval(struct saga *saga, const struct saga_script *script,
                     const struct saga_bytes *keys, size_t key_count, const struct saga_bytes *args,
                     size_t arg_count, saga_redis_done done, void *arg);
void saga_redis_command(struct saga *saga, const struct saga_bytes *argv, size_t argc,
                        saga_redis_done done, void *arg);

/* What Redis answered; valid during the callback. NULL counts as nil. */
enum saga_value_type { SAGA_VALUE_NIL, SAGA_VALUE_TEXT, SAGA_VALUE_INTEGER, SAGA_VALUE_ARRAY };
enum saga_value_type saga_value_type(const struct redis_value *value);
int64_t saga_value_int(const struct redis_value *value); /* of an integer or decimal text; else 0 */
struct saga_bytes saga_value_bytes(const struct redis_value *value); /* of a text; else empty */
size_t saga_value_count(const struct redis_value *value);            /* of an array; else 0 */
const struct redis_value *saga_value_at(const struct redis_value *array, size_t index);
/* In a flat array of name, value, name, value…: the value of `name`, or NULL. */
const struct redis_value *saga_value_field(const struct redis_value *array, const char *name);

#ifdef __cplusplus
}
#endif

#include "saga_initiator.h"
#include "saga_msg.h"

#endif
