#include "coordinator/daemon_impl.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "coordinator/sd_notify.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    START_RETRY_MS = 200,
    START_LOG_MS = 2000,
    DRAIN_LOOK_MS = 10,
    SAME_SIGNAL_MS = 100, /* timeout(1) signals the process, and its group with it again */
};

void daemon_end(struct daemon *daemon, int exit_code)
{
    daemon->exit_code = exit_code;
    loop_stop(daemon->loop);
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
        daemon_serve(daemon);
    } else if (err == ERR_CONFLICT) {
        log_error("main", "msg=\"%s\"", text);
        daemon_end(daemon, EXIT_STORE);
    } else {
        start_again(daemon, text);
    }
}

static void watch_start(struct daemon *daemon, const struct redis_verdict *known)
{
    struct redis_watch_conf conf = {
        .address = daemon->settings->redis,
        .promise = daemon->promise,
        .timeout_ms = daemon->settings->store_timeout_ms,
    };
    if (!daemon->watch) { /* the agreement on the partitions may have to be asked for again */
        daemon->watch = redis_watch_open(daemon->loop, daemon->redis, &conf, known);
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
        watch_start(daemon, verdict);
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
    daemon->promise.wait_replicas = (int)daemon->settings->wait_replicas;
    if (durability_parse(slice_str(daemon->settings->durability), &daemon->promise.durability)) {
        daemon_end(daemon, EXIT_SETTINGS); /* conf.h has checked the choice */
        return;
    }
    int64_t deadline = loop_now_ms(daemon->loop) + daemon->settings->store_timeout_ms;
    if (deadline > daemon->start_deadline_ms && daemon->settings->redis_wait_ms > 0) {
        deadline = daemon->start_deadline_ms;
    }
    redis_check(daemon->redis, deadline, daemon->promise, on_redis_checked, daemon);
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
    } else if (now >= daemon->drain_deadline_ms && !daemon->abandoned) {
        log_warn("main",
                 "msg=\"drain_timeout is over; others take over what is in work\" live=%" PRId64,
                 engine_live_count(daemon->engine));
        daemon->abandoned = true;
        engine_abandon(daemon->engine);
        daemon->drain_deadline_ms = now + daemon->settings->store_timeout_ms;
        loop_timer_set(&daemon->drain_timer, now + DRAIN_LOOK_MS);
    } else if (now >= daemon->drain_deadline_ms) {
        log_warn("main", "msg=\"ends; what is left is taken over after its lease\" live=%" PRId64,
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

static void drain_begin(struct daemon *daemon)
{
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

static void on_stop_signal(void *arg)
{
    struct daemon *daemon = arg;
    if (!daemon->stopping) {
        drain_begin(daemon);
        daemon->drain_begun_ms = clock_mono_ms();
    } else if (clock_mono_ms() - daemon->drain_begun_ms >= SAME_SIGNAL_MS) {
        log_warn("main", "msg=\"second signal, ends at once\"");
        daemon_end(daemon, EXIT_AT_ONCE);
    }
}

/* ---- new settings ---- */

static void on_reload_signal(void *arg)
{
    struct daemon *daemon = arg;
    const struct settings *settings = daemon->settings;
    if (daemon->env->reload(daemon->env->arg) != ERR_OK || !daemon->recovery) {
        return; /* as it was; or it has not started yet, and will with the new ones */
    }
    struct engine_conf conf = daemon_engine_conf(settings);
    store_redis_tune(daemon->store, settings->retention_ms);
    engine_tune(daemon->engine, &conf);
    caller_net_tune(daemon->caller, (int)settings->calls_waiting_max, (int)settings->calls_max);
    api_http_set_token(daemon->http, settings->token);
    api_tcp_set_token(daemon->tcp, settings->token);
}

/* Those that were blocked until now: one that comes early is not lost, and ends nobody. */
static void signal_take(struct daemon *daemon, int signo, void (*fire)(void *arg))
{
    sigset_t set;
    loop_on_signal(daemon->loop, signo, fire, daemon);
    sigemptyset(&set);
    sigaddset(&set, signo);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static void signals_take(struct daemon *daemon)
{
    signal_take(daemon, SIGHUP, on_reload_signal);
    if (daemon->env->stop_signal) {
        signal_take(daemon, daemon->env->stop_signal, on_stop_signal);
    } else {
        signal_take(daemon, SIGTERM, on_stop_signal);
        signal_take(daemon, SIGINT, on_stop_signal);
    }
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
    loop_undefer(daemon->loop, &daemon->engine_task);
    if (daemon->engine) {
        engine_on_wake(daemon->engine, NULL, NULL);
    }
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
    redis_watch_stop(daemon->watch);
    redis_close(daemon->redis);
    loop_settle(daemon->loop);
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
    alerts_free(daemon->alerts);
    topics_free(daemon->topics);
    redis_watch_free(daemon->watch);
    store_redis_free(daemon->store);
    loop_settle(daemon->loop);
    loop_free(daemon->loop);
}

static void timers_init(struct daemon *daemon)
{
    loop_timer_init(&daemon->engine_timer, daemon->loop, daemon_engine_due, daemon);
    loop_timer_init(&daemon->start_timer, daemon->loop, on_start_due, daemon);
    loop_timer_init(&daemon->gauges_timer, daemon->loop, daemon_gauges_due, daemon);
    loop_timer_init(&daemon->watchdog_timer, daemon->loop, daemon_watchdog_due, daemon);
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
    daemon->clients_memory.max = (size_t)env->settings->clients_memory_max;
    timers_init(daemon);
    signals_take(daemon);
    daemon_open_store(daemon);
    daemon->start_deadline_ms = loop_now_ms(daemon->loop) + env->settings->redis_wait_ms;
    on_start_due(daemon);
    loop_run(daemon->loop);
    daemon_close(daemon);
    int exit_code = daemon->exit_code;
    free(daemon);
    return exit_code;
}
