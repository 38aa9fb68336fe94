#include "coordinator/daemon_impl.h"

#include "base/log.h"
#include "base/rng.h"
#include "coordinator/sd_notify.h"

#include <stdio.h>
#include <unistd.h>

enum {
    LAZY_MS = 20,
    GAUGES_MS = 1000,
    REGISTRY_POLL_MS = 500,
    ALERT_RETRY_MS = 1000,
    ALERT_TIMEOUT_MS = 5000,
};

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

void daemon_engine_due(void *arg)
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
        loop_defer(daemon->loop, &daemon->engine_task, daemon_engine_due, daemon);
    } else {
        engine_timer_update(daemon, next_ms);
    }
}

/* ---- observers ---- */

static void on_txn_submitted(void *arg, const struct txn *txn)
{
    struct daemon *daemon = arg;
    metrics_submitted(daemon->env->metrics, txn->type);
}

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

static void on_troubled(void *arg, const struct engine_trouble *trouble)
{
    struct daemon *daemon = arg;
    alerts_troubled(daemon->alerts, trouble);
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
    metrics_set(metrics, GAUGE_CONNECTIONS,
                api_http_connections(daemon->http) + api_tcp_connections(daemon->tcp));
    metrics_set(metrics, GAUGE_CONNECTIONS_REFUSED,
                (int64_t)(api_http_refused(daemon->http) + api_tcp_refused(daemon->tcp)));
}

void daemon_gauges_due(void *arg)
{
    struct daemon *daemon = arg;
    gauges_refresh(daemon);
    loop_timer_set(&daemon->gauges_timer, loop_now_ms(daemon->loop) + GAUGES_MS);
}

void daemon_watchdog_due(void *arg)
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
        .wait_replicas = (int)settings->wait_replicas,
        .wait_ms = settings->wait_timeout_ms,
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

void daemon_open_store(struct daemon *daemon)
{
    redis_start(daemon);
    store_start(daemon);
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

static void alerts_start(struct daemon *daemon)
{
    struct alerts_conf conf = {
        .webhook = daemon->settings->alert_webhook,
        .retry_limit = daemon->settings->alert_retry_limit,
        .retry_delay_ms = ALERT_RETRY_MS,
        .timeout_ms = ALERT_TIMEOUT_MS,
    };
    daemon->alerts = alerts_new(daemon->loop, &conf, daemon->env->metrics);
}

struct engine_conf daemon_engine_conf(const struct settings *settings)
{
    return (struct engine_conf){
        .timeout_to_fail_ms = settings->timeout_to_fail_ms,
        .retry_interval_ms = settings->retry_interval_ms,
        .retry_interval_max_ms = settings->retry_interval_max_ms,
        .park_after = settings->park_after,
        .request_timeout_ms = settings->request_timeout_ms,
        .lease_ms = settings->lease_ms,
        .lazy_ms = LAZY_MS,
        .live_max = settings->live_max,
        .live_bytes_max = settings->live_memory_max,
    };
}

static void engine_start(struct daemon *daemon)
{
    struct engine_conf conf = daemon_engine_conf(daemon->settings);
    struct engine_env env = {
        .store = store_redis_port(daemon->store),
        .caller = caller_net_port(daemon->caller),
        .now_ms = engine_now,
        .now_arg = daemon->loop,
        .seed = seed_make(),
        .observer = {.submitted = on_txn_submitted,
                     .finished = on_txn_finished,
                     .called = on_branch_called,
                     .released = on_txn_released,
                     .troubled = on_troubled,
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

static void sink_adopt(void *arg, struct txn *txn, int64_t sent_ms)
{
    engine_adopt(((struct daemon *)arg)->engine, txn, sent_ms);
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
        .wait_replicas = (int)settings->wait_replicas,
        .wait_ms = settings->wait_timeout_ms,
        .connect_timeout_ms = settings->connect_timeout_ms,
        .timeout_ms = settings->store_timeout_ms,
        .silence_ms = settings->lease_ms + settings->store_timeout_ms,
        .alerts = daemon->alerts,
        .gauges = daemon->env->index == 0,
    };
    if (settings->outbox.count > 0) {
        struct outbox_env env = {.engine = daemon->engine,
                                 .topics = daemon->topics,
                                 .archive = store_redis_archive(daemon->store),
                                 .metrics = daemon->env->metrics};
        daemon->outbox = outbox_open(daemon->loop, &conf, &env);
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
        .connections_max = (int)daemon->env->connections_max,
        .client_max = (int)settings->connections_per_client,
        .quota = &daemon->clients_memory,
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
        .connections_max = (int)daemon->env->connections_max,
        .client_max = (int)settings->connections_per_client,
        .quota = &daemon->clients_memory,
        .in_flight_max = (int)settings->tcp_requests_max,
        .frame_max = (size_t)settings->frame_max,
        .reuse_port = settings->workers > 1,
    };
    struct api_tcp_env env = {
        .loop = daemon->loop,
        .engine = daemon->engine,
        .archive = store_redis_archive(daemon->store),
        .topics = daemon->topics,
    };
    daemon->tcp = api_tcp_open(&conf, &env, reason);
    return daemon->tcp != NULL;
}

void daemon_serve(struct daemon *daemon)
{
    struct reason reason;
    settings_warn(daemon->settings);
    caller_start(daemon);
    registry_start(daemon);
    alerts_start(daemon);
    engine_start(daemon);
    daemon->topics = topics_open(daemon->loop, daemon->redis, daemon->settings->store_timeout_ms);
    if (!http_start(daemon, &reason) || !tcp_start(daemon, &reason)) {
        log_error("main", "msg=\"cannot listen\" error=\"%s\"", reason.text);
        daemon_end(daemon, EXIT_BIND);
        return;
    }
    recovery_start(daemon);
    outbox_start(daemon);
    daemon_gauges_due(daemon);
    if (sd_notify_watchdog_ms() > 0) {
        daemon_watchdog_due(daemon);
    }
    log_info("main",
             "msg=ready version=%s pid=%d worker=%d http=%s http_port=%d tcp=%s tcp_port=%d",
             conf_version(), (int)getpid(), daemon->env->index, daemon->settings->listen_http,
             api_http_port(daemon->http), daemon->settings->listen_tcp, api_tcp_port(daemon->tcp));
    daemon->env->ready(daemon->env->arg);
}
