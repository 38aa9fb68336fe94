/*
 * What the files of the daemon share. daemon_parts.c: which parts there are, and how they are put
 * together; daemon.c: when they begin, are told of new settings, and end.
 */
#ifndef COORDINATOR_DAEMON_IMPL_H
#define COORDINATOR_DAEMON_IMPL_H

#include "coordinator/alerts.h"
#include "coordinator/api_http.h"
#include "coordinator/api_tcp.h"
#include "coordinator/caller_net.h"
#include "coordinator/daemon.h"
#include "coordinator/engine.h"
#include "coordinator/outbox.h"
#include "coordinator/recovery.h"
#include "coordinator/redis_watch.h"
#include "coordinator/registry.h"
#include "coordinator/store_redis.h"
#include "net/loop.h"

enum { OWNER_SIZE = 96 };

struct daemon {
    const struct daemon_env *env;
    const struct settings *settings;
    struct loop *loop;
    struct redis *redis;
    struct store_redis *store;
    struct caller_net *caller;
    struct registry *registry;
    struct alerts *alerts;
    struct engine *engine;
    struct recovery *recovery;
    struct topics *topics;
    struct outbox *outbox; /* NULL: nothing to consume */
    struct api_http *http;
    struct api_tcp *tcp;
    struct quota clients_memory; /* of both */
    char program[64];
    char owner[OWNER_SIZE]; /* unique to this start of this process: see store.h */
    struct redis_promise promise;
    struct redis_watch *watch;

    struct loop_task engine_task;
    struct loop_timer engine_timer, start_timer, gauges_timer, watchdog_timer, drain_timer;
    int64_t start_deadline_ms, start_logged_ms, drain_begun_ms, drain_deadline_ms;
    bool engine_drained, abandoned, stopping;
    int exit_code;
};

/* Ends the run with this exit code. */
void daemon_end(struct daemon *daemon, int exit_code);

/* Redis and the store over it, before it is known whether they are fit. */
void daemon_open_store(struct daemon *daemon);
/* All other parts: from now on it serves. Or cannot listen, and ends. */
void daemon_serve(struct daemon *daemon);
struct engine_conf daemon_engine_conf(const struct settings *settings);
/* The timers of the same names. */
void daemon_engine_due(void *arg);
void daemon_gauges_due(void *arg);
void daemon_watchdog_due(void *arg);

#endif
