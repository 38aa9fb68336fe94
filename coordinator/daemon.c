#include "coordinator/daemon.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"
#include "coordinator/api_http.h"
#include "coordinator/api_tcp.h"
#include "coordinator/caller_net.h"
#include "coordinator/engine.h"
#include "coordinator/outbox.h"
#include "coordinator/recovery.h"
#include "coordinator/redis_check.h"
#include "coordinator/registry.h"
#include "coordinator/sd_notify.h"
#include "coordinator/store_redis.h"
#include "net/loop.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    LAZY_MS = 20,
    START_RETRY_MS = 200,
    START_LOG_MS = 2000,
    GAUGES_MS = 1000,
    DRAIN_LOOK_MS = 10,
    OWNER_SIZE = 96,
    REGISTRY_POLL_MS = 500,
};

struct daemon {
    const struct daemon_env *env;
    const struct settings *settings;
    struct loop *loop;
    struct redis *redis;
    struct store_redis *store;
    struct caller_net *caller;
    struct registry *registry;
    struct engine *engine;
    struct recovery *recovery;
    struct topics *topics;
    struct outbox *outbox; /* NULL: nothing to consume */
    struct api_http *http;
    struct api_tcp *tcp;
    char program[64];
    char owner[OWNER_SIZE]; /* unique to this start of this process: see store.h */
    enum durability durability;

    struct loop_task engine_task;
    struct loop_timer engine_timer, start_timer, gauges_timer, watchdog_timer, drain_timer;
    int64_t start_deadline_ms, start_logged_ms, drain_deadline_ms;
    bool engine_drained, stopping;
    int exit_code;
};

static void daemon_end(struct daemon *daemon, int exit_code)
{
    daemon->exit_code = exit_code;
    loop_stop(daemon->loop);
}

/* ---- the engine's time ---- */

static int64_t engine_now(void *arg)
{
    return loop_now_ms(arg);
}

static void engine_timer_update(struct daemon *daemon, int64_t next_ms)
{
    if (next_ms == INT64_MAX) {
        loop_timer_clear(&daemon->engine_timer);
    } else {
        loop_timer_set(&daemon->engine_timer, next_ms);
    }
}

static void on_engine_due(void *arg)
{
    struct daemon *daemon = arg;
    engine_timer_update(daemon, engine_tick(daemon->engine));
}

/* What is due now is done at the end of this turn, so that all its commands leave in one write. */
static void on_engine_wake(void *arg)
{
    struct daemon *daemon = arg;
    int64_t next_ms = engine_next_ms(daemon->engine);
    if (next_ms <= loop_now_ms(daemon->loop)) {
        loop_defer(daemon->loop, &daemon->engine_task, on_engine_due, daemon);
    } else {
        engine_timer_update(daemon, next_ms);
    }
}

/* ---- observers ---- */

static void on_txn_finished(void *arg, const struct txn *txn, int64_t duration_ms)
{
    struct daemon *daemon = arg;
    metrics_finished(daemon->env->metrics, txn->type, txn->status, duration_ms);
}

static void on_branch_called(void *arg, const struct txn *txn, const char *op,
                             enum call_verdict verdict, int64_t duration_us)
{
    struct daemon *daemon = arg;
    (void)txn;
    metrics_called(daemon->env->metrics, op, verdict, duration_us);
}

static void on_txn_released(void *arg, const struct txn *txn, int64_t due_in_ms)
{
    struct daemon *daemon = arg;
    if (daemon->recovery) {
        recovery_expect(daemon->recovery, txn->gid, due_in_ms);
    }
}

static void on_redis_result(void *arg, const struct redis_result *result)
{
    struct daemon *daemon = arg;
    metrics_redis(daemon->env->metrics, result->err == ERR_OK, result->elapsed_us);
}

static void gauges_refresh(void *arg)
{
    struct daemon *daemon = arg;
    struct metrics *metrics = daemon->env->metrics;
    struct caller_net_stats calls = caller_net_stats(daemon->caller);
    metrics_set(metrics, GAUGE_LIVE, engine_live_count(daemon->engine));
    metrics_set(metrics, GAUGE_CALLS_INFLIGHT, calls.in_flight);
    metrics_set(metrics, GAUGE_CALLS_WAITING, calls.waiting);
    metrics_set(metrics, GAUGE_PARTICIPANTS, calls.participants);
    struct directory_stats known = directory_stats(caller_net_directory(daemon->caller));
    metrics_set(metrics, GAUGE_SERVICES, known.services);
    metrics_set(metrics, GAUGE_INSTANCES, known.instances);
    metrics_set(metrics, GAUGE_INSTANCES_RESTING, calls.instances_resting);
    metrics_set(metrics, GAUGE_CALLS_MOVED, calls.moved);
    metrics_set(metrics, GAUGE_REDIS_UP, redis_is_connected(daemon->redis));
}

static void on_gauges_due(void *arg)
{
    struct daemon *daemon = arg;
    gauges_refresh(daemon);
    loop_timer_set(&daemon->gauges_timer, loop_now_ms(daemon->loop) + GAUGES_MS);
}

static void on_watchdog_due(void *arg)
{
    struct daemon *daemon = arg;
    sd_notify_send("WATCHDOG=1");
    loop_timer_set(&daemon->watchdog_timer, loop_now_ms(daemon->loop) + sd_notify_watchdog_ms());
}

/* ---- wiring ---- */

static void redis_start(struct daemon *daemon)
{
    const struct settings *settings = daemon->settings;
    struct redis_conf conf = {
        .address = settings->redis,
        .user = settings->redis_user,
        .password = settings->redis_password,
        .db = (int)settings->redis_db,
        .connect_timeout_ms = settings->connect_timeout_ms,
        .queue_max = (size_t)settings->store_queue_max,
    };
    daemon->redis = redis_open(daemon->loop, &conf);
    redis_observe(daemon->redis, on_redis_result, daemon);
}

static void store_start(struct daemon *daemon)
{
    char host[48] = "";
    char word[GID_TEXT_SIZE];
    gethostname(host, sizeof(host) - 1);
    snprintf(daemon->owner, sizeof(daemon->owner), "%s/%d/%.8s", host, (int)getpid(),
             rng_gid(word));
    struct store_redis_conf conf = {
        .owner = daemon->owner,
        .partitions = (int)daemon->settings->partitions,
        .retention_ms = daemon->settings->retention_ms,
        .timeout_ms = daemon->settings->store_timeout_ms,
    };
    daemon->store = store_redis_new(daemon->loop, daemon->redis, &conf);
}

static uint64_t seed_make(void)
{
    uint64_t seed;
    rng_secret(&seed, sizeof(seed));
    return seed;
}

static void caller_start(struct daemon *daemon)
{
    const struct settings *settings = daemon->settings;
    struct caller_net_conf conf = {
        .resolver = &settings->resolver,
        .program = daemon->program,
        .token = settings->participant_token,
        .tcp_connections = (int)settings->tcp_connections,
        .tcp_in_flight_max = (int)settings->tcp_calls_max,
        .http_in_flight_max = (int)settings->http_calls_max,
        .waiting_max = (int)settings->calls_waiting_max,
        .in_flight_max = (int)settings->calls_max,
        .participants_max = (int)settings->participants_max,
        .connect_timeout_ms = settings->connect_timeout_ms,
        .idle_ms = settings->participant_idle_ms,
        .dns_ttl_ms = settings->dns_ttl_ms,
        .answer_max = (size_t)settings->answer_max,
        .seed = seed_make(),
    };
    daemon->caller = caller_net_new(daemon->loop, &conf);
}

static void on_registry_changed(void *arg)
{
    directory_renew(arg);
}

static void registry_start(struct daemon *daemon)
{
    struct directory *directory = caller_net_directory(daemon->caller);
    struct registry_conf conf = {
        .poll_ms = REGISTRY_POLL_MS,
        .timeout_ms = daemon->settings->store_timeout_ms,
        .changed = on_registry_changed,
        .arg = directory,
    };
    daemon->registry = registry_new(daemon->loop, daemon->redis, &conf);
    directory_set_registry(directory, daemon->registry);
}

static void engine_start(struct daemon *daemon)
{
    const struct settings *settings = daemon->settings;
    struct engine_conf conf = {
        .timeout_to_fail_ms = settings->timeout_to_fail_ms,
        .retry_interval_ms = settings->retry_interval_ms,
        .retry_interval_max_ms = settings->retry_interval_max_ms,
        .request_timeout_ms = settings->request_timeout_ms,
        .lease_ms = settings->lease_ms,
        .lazy_ms = LAZY_MS,
        .live_max = settings->live_max,
    };
    struct engine_env env = {
        .store = store_redis_port(daemon->store),
        .caller = caller_net_port(daemon->caller),
        .now_ms = engine_now,
        .now_arg = daemon->loop,
        .seed = seed_make(),
        .observer = {.finished = on_txn_finished,
                     .called = on_branch_called,
                     .released = on_txn_released,
                     .arg = daemon},
    };
    daemon->engine = engine_new(&conf, &env);
    engine_on_wake(daemon->engine, on_engine_wake, daemon);
}

static bool sink_has_room(void *arg)
{
    return engine_has_room(((struct daemon *)arg)->engine);
}

static bool sink_is_live(void *arg, struct slice gid)
{
    return engine_is_live(((struct daemon *)arg)->engine, gid);
}

static void sink_adopt(void *arg, struct txn *txn)
{
    engine_adopt(((struct daemon *)arg)->engine, txn);
}

static void recovery_start(struct daemon *daemon)
{
    struct recovery_conf conf = recovery_conf_default;
    struct recovery_sink sink = {sink_has_room, sink_is_live, sink_adopt, daemon};
    conf.lease_ms = daemon->settings->lease_ms;
    daemon->recovery =
        recovery_new(daemon->loop, store_redis_port(daemon->store), daemon->store, &conf, &sink);
}

static void outbox_start(struct daemon *daemon)
{
    const struct settings *settings = daemon->settings;
    struct outbox_conf conf = {
        .places = &settings->outbox,
        .consumer = daemon->owner,
        .redis = settings->redis,
        .redis_user = settings->redis_user,
        .redis_password = settings->redis_password,
        .redis_db = (int)settings->redis_db,
        .connect_timeout_ms = settings->connect_timeout_ms,
        .timeout_ms = settings->store_timeout_ms,
        .silence_ms = settings->lease_ms + settings->store_timeout_ms,
        .live_max = settings->live_max,
        .gauges = daemon->env->index == 0,
    };
    if (settings->outbox.count > 0) {
        daemon->outbox = outbox_open(daemon->loop, &conf, daemon->engine, daemon->env->metrics);
    }
}

static bool http_start(struct daemon *daemon, struct reason *reason)
{
    const struct settings *settings = daemon->settings;
    struct api_http_conf conf = {
        .address = settings->listen_http,
        .token = settings->token,
        .version = conf_version(),
        .body_max = (size_t)settings->http_body_max,
        .timeout_ms = settings->http_timeout_ms,
        .connections_max = (int)settings->connections_max,
        .reuse_port = settings->workers > 1,
    };
    struct api_env env = {
        .loop = daemon->loop,
        .engine = daemon->engine,
        .archive = store_redis_archive(daemon->store),
        .metrics = daemon->env->metrics,
        .topics = daemon->topics,
        .caller = daemon->caller,
        .refresh = gauges_refresh,
        .refresh_arg = daemon,
    };
    daemon->http = api_http_open(&conf, &env, reason);
    return daemon->http != NULL;
}

static bool tcp_start(struct daemon *daemon, struct reason *reason)
{
    const struct settings *settings = daemon->settings;
    struct api_tcp_conf conf = {
        .address = settings->listen_tcp,
        .program = daemon->program,
        .token = settings->token,
        .connections_max = (int)settings->connections_max,
        .in_flight_max = (int)settings->tcp_requests_max,
        .frame_max = (size_t)settings->frame_max,
        .reuse_port = settings->workers > 1,
    };
    struct api_tcp_env env = {
        .loop = daemon->loop,
        .engine = daemon->engine,
        .archive = store_redis_archive(daemon->store),
        .metrics = daemon->env->metrics,
        .topics = daemon->topics,
    };
    daemon->tcp = api_tcp_open(&conf, &env, reason);
    return daemon->tcp != NULL;
}

/* Behind a new connection may be another server, or one with other settings. To end would help
 * nobody: what is in work would stand still as well. An answer that does not come is no news; the
 * next connection is looked at again. */
static void on_redis_looked_at_again(void *arg, const struct redis_verdict *verdict)
{
    struct daemon *daemon = arg;
    if (verdict->err != ERR_OK && verdict->err != ERR_CONFLICT) {
        return;
    }
    redis_verdict_log(verdict);
    if (verdict->err == ERR_CONFLICT) {
        log_error("main", "msg=\"Redis does not keep durability = %s any more, goes on\" redis=%s",
                  daemon->settings->durability, daemon->settings->redis);
    }
}

static void on_redis_reconnected(void *arg)
{
    struct daemon *daemon = arg;
    int64_t deadline_ms = loop_now_ms(daemon->loop) + daemon->settings->store_timeout_ms;
    redis_check(daemon->redis, deadline_ms, daemon->durability, on_redis_looked_at_again, daemon);
}

/* Whoever can submit makes sagad call urls: see SECURITY CONSIDERATIONS of sagad(8). */
static void warn_of_open_door(const struct settings *settings, const char *address)
{
    static const char *const own[] = {"127.", "localhost:", "[::1]:", "unix:"};
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
        if (strncmp(address, own[i], strlen(own[i])) == 0) {
            return;
        }
    }
    if (settings->token[0] == '\0') {
        log_warn("main", "msg=\"other machines may submit, since no token is set\" listen=%s",
                 address);
    }
}

static void serve(struct daemon *daemon)
{
    struct reason reason;
    warn_of_open_door(daemon->settings, daemon->settings->listen_http);
    warn_of_open_door(daemon->settings, daemon->settings->listen_tcp);
    caller_start(daemon);
    registry_start(daemon);
    engine_start(daemon);
    daemon->topics = topics_open(daemon->loop, daemon->redis, daemon->settings->store_timeout_ms);
    if (!http_start(daemon, &reason) || !tcp_start(daemon, &reason)) {
        log_error("main", "msg=\"cannot listen\" error=\"%s\"", reason.text);
        daemon_end(daemon, EXIT_BIND);
        return;
    }
    recovery_start(daemon);
    outbox_start(daemon);
    redis_on_connect(daemon->redis, on_redis_reconnected, daemon);
    on_gauges_due(daemon);
    if (sd_notify_watchdog_ms() > 0) {
        on_watchdog_due(daemon);
    }
    log_info("main",
             "msg=ready version=%s pid=%d worker=%d http=%s http_port=%d tcp=%s tcp_port=%d",
             conf_version(), (int)getpid(), daemon->env->index, daemon->settings->listen_http,
             api_http_port(daemon->http), daemon->settings->listen_tcp, api_tcp_port(daemon->tcp));
    daemon->env->ready(daemon->env->arg);
}

/* ---- the start: wait for Redis, look at it, agree on the partitions ---- */

static void start_again(struct daemon *daemon, const char *why)
{
    int64_t now = loop_now_ms(daemon->loop);
    if (now >= daemon->start_deadline_ms) {
        log_error("main", "msg=\"Redis cannot be used\" redis=%s error=\"%s\"",
                  daemon->settings->redis, why);
        daemon_end(daemon, EXIT_STORE);
        return;
    }
    if (daemon->start_logged_ms == 0 || now - daemon->start_logged_ms >= START_LOG_MS) {
        log_info("main", "msg=\"waiting for Redis\" redis=%s error=\"%s\"", daemon->settings->redis,
                 why);
        daemon->start_logged_ms = now;
    }
    loop_timer_set(&daemon->start_timer, now + START_RETRY_MS);
}

static void on_store_started(void *arg, enum err err, const char *text)
{
    struct daemon *daemon = arg;
    if (daemon->stopping) {
        return;
    }
    if (err == ERR_OK) {
        serve(daemon);
    } else if (err == ERR_CONFLICT) {
        log_error("main", "msg=\"%s\"", text);
        daemon_end(daemon, EXIT_STORE);
    } else {
        start_again(daemon, text);
    }
}

static void on_redis_checked(void *arg, const struct redis_verdict *verdict)
{
    struct daemon *daemon = arg;
    if (daemon->stopping) {
        return;
    }
    if (verdict->err == ERR_OK) {
        redis_verdict_log(verdict);
        store_redis_start(daemon->store, on_store_started, daemon);
    } else if (verdict->err == ERR_CONFLICT || verdict->err == ERR_DENIED) {
        redis_verdict_log(verdict);
        daemon_end(daemon, EXIT_STORE);
    } else {
        start_again(daemon, verdict->refusal.len > 0 ? verdict->refusal.data : "no answer");
    }
}

static void on_start_due(void *arg)
{
    struct daemon *daemon = arg;
    if (durability_parse(slice_str(daemon->settings->durability), &daemon->durability)) {
        daemon_end(daemon, EXIT_SETTINGS); /* conf.h has checked the choice */
        return;
    }
    int64_t deadline = loop_now_ms(daemon->loop) + daemon->settings->store_timeout_ms;
    if (deadline > daemon->start_deadline_ms && daemon->settings->redis_wait_ms > 0) {
        deadline = daemon->start_deadline_ms;
    }
    redis_check(daemon->redis, deadline, daemon->durability, on_redis_checked, daemon);
}

/* ---- the end ---- */

static bool daemon_is_drained(const struct daemon *daemon)
{
    return daemon->engine_drained && (!daemon->outbox || outbox_in_flight(daemon->outbox) == 0) &&
           api_http_in_flight(daemon->http) == 0 && api_tcp_in_flight(daemon->tcp) == 0;
}

static void on_drain_look(void *arg)
{
    struct daemon *daemon = arg;
    int64_t now = loop_now_ms(daemon->loop);
    if (daemon_is_drained(daemon)) {
        log_info("main", "msg=\"drained, ends\" pid=%d", (int)getpid());
        daemon_end(daemon, EXIT_CLEAN);
    } else if (now >= daemon->drain_deadline_ms) {
        log_warn("main",
                 "msg=\"drain_timeout is over; others take over what is in work\" live=%" PRId64,
                 engine_live_count(daemon->engine));
        daemon_end(daemon, EXIT_CLEAN);
    } else {
        loop_timer_set(&daemon->drain_timer, now + DRAIN_LOOK_MS);
    }
}

static void on_engine_drained(void *arg)
{
    ((struct daemon *)arg)->engine_drained = true;
}

static void on_stop_signal(void *arg)
{
    struct daemon *daemon = arg;
    if (daemon->stopping) {
        log_warn("main", "msg=\"second signal, ends at once\"");
        daemon_end(daemon, EXIT_AT_ONCE);
        return;
    }
    daemon->stopping = true;
    if (daemon->env->stopping) {
        daemon->env->stopping(daemon->env->arg);
    }
    if (!daemon->recovery) { /* still waiting for Redis */
        daemon_end(daemon, EXIT_CLEAN);
        return;
    }
    log_info("main", "msg=draining live=%" PRId64, engine_live_count(daemon->engine));
    api_http_drain(daemon->http);
    api_tcp_drain(daemon->tcp);
    recovery_stop(daemon->recovery);
    if (daemon->outbox) {
        outbox_stop(daemon->outbox);
    }
    engine_drain(daemon->engine, on_engine_drained, daemon);
    daemon->drain_deadline_ms = loop_now_ms(daemon->loop) + daemon->settings->drain_timeout_ms;
    on_drain_look(daemon);
}

static void timers_clear(struct daemon *daemon)
{
    loop_timer_clear(&daemon->engine_timer);
    loop_timer_clear(&daemon->start_timer);
    loop_timer_clear(&daemon->gauges_timer);
    loop_timer_clear(&daemon->watchdog_timer);
    loop_timer_clear(&daemon->drain_timer);
}

/* Callers and store end first, since nothing of theirs may reach an engine that is gone; answers
 * that are still owed are given while the APIs live. */
static void daemon_close(struct daemon *daemon)
{
    timers_clear(daemon);
    if (daemon->recovery) {
        recovery_stop(daemon->recovery);
    }
    if (daemon->outbox) {
        outbox_stop(daemon->outbox);
    }
    if (daemon->caller) {
        caller_net_free(daemon->caller);
        registry_free(daemon->registry);
    }
    redis_close(daemon->redis);
    loop_turn(daemon->loop, 0);
    loop_undefer(daemon->loop, &daemon->engine_task);
    if (daemon->engine) {
        engine_free(daemon->engine);
    }
    if (daemon->outbox) {
        outbox_free(daemon->outbox);
    }
    if (daemon->http) {
        api_http_free(daemon->http);
    }
    if (daemon->tcp) {
        api_tcp_free(daemon->tcp);
    }
    if (daemon->recovery) {
        recovery_free(daemon->recovery);
    }
    topics_free(daemon->topics);
    store_redis_free(daemon->store);
    loop_turn(daemon->loop, 0);
    loop_free(daemon->loop);
}

static void timers_init(struct daemon *daemon)
{
    loop_timer_init(&daemon->engine_timer, daemon->loop, on_engine_due, daemon);
    loop_timer_init(&daemon->start_timer, daemon->loop, on_start_due, daemon);
    loop_timer_init(&daemon->gauges_timer, daemon->loop, on_gauges_due, daemon);
    loop_timer_init(&daemon->watchdog_timer, daemon->loop, on_watchdog_due, daemon);
    loop_timer_init(&daemon->drain_timer, daemon->loop, on_drain_look, daemon);
}

int daemon_run(const struct daemon_env *env)
{
    struct daemon *daemon = mem_new(struct daemon);
    daemon->env = env;
    daemon->settings = env->settings;
    snprintf(daemon->program, sizeof(daemon->program), "sagad/%s", conf_version());
    daemon->loop = loop_new();
    loop_set_dns(daemon->loop, env->settings->dns_server);
    timers_init(daemon);
    loop_on_signal(daemon->loop, SIGTERM, on_stop_signal, daemon);
    loop_on_signal(daemon->loop, SIGINT, on_stop_signal, daemon);
    redis_start(daemon);
    store_start(daemon);
    daemon->start_deadline_ms = loop_now_ms(daemon->loop) + env->settings->redis_wait_ms;
    on_start_due(daemon);
    loop_run(daemon->loop);
    daemon_close(daemon);
    int exit_code = daemon->exit_code;
    free(daemon);
    return exit_code;
}
