/*
 * What every service's main does: settings, the saga (participant and initiator), the HTTP API,
 * signals, clean end. Exit codes: 0 clean, 2 usage, 3 configuration, 4 cannot bind.
 */
#ifndef SERVICES_COMMON_SERVICE_H
#define SERVICES_COMMON_SERVICE_H

#include "redis/script.h"
#include "saga.h"
#include "services/common/counters.h"
#include "services/common/settings.h"
#include "services/common/web.h"

struct service {
    const char *name; /* "orderd" */
    struct loop *loop;
    struct saga *saga;
    struct web *web;
    struct counters *counters;
    const struct service_settings *settings;
    const char *jwt_secret;
    struct loop_timer drain_timer;
    int64_t drain_end_ms;         /* then it ends, whatever is in flight */
    bool withdrawn;               /* off the list of registered instances */
    struct service_delay *delays; /* answers that the injected fault holds back */
    const struct service_program *program;
    bool serving;
    int exit_code;
};

/* A script of the service, and what libsaga puts in front of it: true, the barrier gate; false,
 * nothing; SERVICE_OUTBOX, the outbox alone; both together are possible. */
enum { SERVICE_GATE = 1, SERVICE_OUTBOX = 2 };
struct service_script {
    struct saga_script **slot;
    const struct redis_script *source;
    int parts;
};

struct service_program {
    const struct conf_program *conf;
    struct service_settings *settings; /* first member of the service's own settings struct */
    struct service *service;
    const struct service_script *scripts;
    size_t script_count;
    const char *meta_key; /* where Redis keeps the number of shards; NULL: ids have none */
    const struct web_route *routes;
    void (*opened)(void *arg);  /* when it may serve: registers the RPC handlers */
    void (*closing)(void *arg); /* before requests that are left are cancelled; may be NULL */
    void *arg;                  /* of these two and of the routes' handlers */
};

/* The main of a service: reads the settings, opens everything, waits for Redis to say that its data
 * fit, serves until SIGTERM or SIGINT, lets requests end (10 s at most; a second signal: at once)
 * and closes everything. Returns the exit code. */
int service_main(const struct service_program *program, int argc, char **argv) MUST_CHECK;

/* ---- the look at Redis (start.c) ---- */

struct service_start;
typedef void (*service_start_cb)(struct service *service, bool good);
/* Asks, again until Redis answers, whether the ids of the data in it are spread over as many shards
 * as are set. The callback comes once: true, or false after a line on standard error that says what
 * to do. Without a meta_key it comes at once. */
struct service_start *service_start_new(struct service *service, const char *meta_key,
                                        service_start_cb cb);
void service_start_stop(struct service_start *start); /* no callback any more */
void service_start_free(struct service_start *start); /* after the saga is closed */

/* ---- branches (branch.c) ---- */

/* saga_call_settle for a branch of this service, counted, after the configured fault, if one is set
 * and this is an action that has just committed. `method` must outlive the service. */
void service_settle(struct service *service, struct saga_call *call, const char *method,
                    const struct saga_outcome *outcome, struct saga_bytes payload);
/* Whether FAILURE may be the answer: what is undone or confirmed must end well one day. */
bool service_may_refuse(const struct saga_call *call);
/* A compensation found what it did not expect: counted, and an error line with alert=1. */
void service_alert(struct service *service, const struct saga_call *call, const char *what);
/* Forgets answers that are held back; their calls are dropped with the saga. */
void service_delays_close(struct service *service);

/* Submits a saga, or a TCC whose tries sagad calls too; each branch's message is the payload of all
 * its calls. */
struct service_branch {
    const char *target;        /* how sagad reaches the service: "tcp://order" */
    const char *action, *undo; /* "package.Service/Method"; of a TCC: try and cancel */
    const void *fields, *message;
    const char *confirm; /* of a TCC only */
};
struct service_submission {
    const char *gid;
    bool tcc;
    const struct service_branch *branches; /* at most SERVICE_BRANCHES_MAX */
    size_t branch_count;
    bool wait; /* for the end, wait_ms at most */
    int64_t wait_ms;
};
enum { SERVICE_BRANCHES_MAX = 4 };
void service_submit(const struct service *service, const struct service_submission *submission,
                    saga_answer_cb cb, void *arg);

/* ---- answers about transactions ---- */

/* HTTP status for the status of a transaction: 200 succeed, 409 failed, 202 still running. */
int service_http_status(const char *status);
/* The reason that a participant gave ("code: text") inside the coordinator's rollback_reason;
 * another reason as it is. */
struct slice service_unwrap_reason(struct slice rollback_reason);
/* Writes "code" and "message" of a transaction that failed: from the reason that a participant gave
 * ("code: text") inside the coordinator's rollback_reason. */
void service_put_failure(struct json_writer *w, struct slice rollback_reason, const char *fallback);

/* A slice as saga_bytes and back: the same thing on both sides of the SDK's border. */
static inline struct saga_bytes service_bytes(struct slice s)
{
    return (struct saga_bytes){s.ptr, s.len};
}
static inline struct slice service_slice(struct saga_bytes b)
{
    return slice_make(b.ptr, b.len);
}

#endif
