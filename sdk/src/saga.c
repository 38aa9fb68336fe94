/* Opening and closing. */
#include "saga.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/rng.h"
#include "saga_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TIMEOUT_MS = 3000,
    WAIT_TIMEOUT_MS = 500,
    WAIT_REPLICAS_MAX = 16,
    CONNECTIONS_MAX = 1000,
    REDIS_QUEUE_MAX = 100000,
    WITHDRAW_MS = 1000, /* waiting for it at the end */
};
static const int64_t barrier_ttl_default_ms = INT64_C(7) * 24 * 3600 * 1000;
static const int64_t timeout_max_ms = INT64_C(7) * 24 * 3600 * 1000;

struct saga_bytes saga_text(const char *text)
{
    return (struct saga_bytes){text, text ? strlen(text) : 0};
}

void saga_gid(char out[23])
{
    rng_gid(out);
}

int64_t deadline_in_ms(const struct saga *saga, int64_t ms)
{
    int64_t now_ms = loop_now_ms(saga->loop);
    return ms < INT64_MAX - now_ms ? now_ms + ms : INT64_MAX;
}

struct slice *scratch_slices(struct saga *saga, size_t count)
{
    if (count > saga->slice_cap) {
        saga->slices = mem_resize(saga->slices, count * sizeof(*saga->slices));
        saga->slice_cap = count;
    }
    return saga->slices;
}

/* ---- open ---- */

static int64_t or_default(int64_t value, int64_t default_value)
{
    return value ? value : default_value;
}

static enum err replicas_check(const struct saga_conf *conf, struct reason *reason)
{
    int64_t wait_ms = or_default(conf->wait_timeout_ms, WAIT_TIMEOUT_MS);
    int64_t timeout_ms = or_default(conf->timeout_ms, TIMEOUT_MS);
    if (conf->wait_replicas < 0 || conf->wait_replicas > WAIT_REPLICAS_MAX) {
        return reason_set(reason, ERR_INVALID, "wait_replicas = %d: must be 0 to %d",
                          conf->wait_replicas, WAIT_REPLICAS_MAX);
    }
    /* A script stands behind the WAIT of those before it, then waits for its own. */
    if (conf->wait_replicas > 0 && (wait_ms < 0 || wait_ms > timeout_ms / 3)) {
        return reason_set(reason, ERR_INVALID,
                          "wait_timeout_ms = %" PRId64 ": must be a third of timeout_ms = %" PRId64
                          " at most",
                          wait_ms, timeout_ms);
    }
    return ERR_OK;
}

static enum err conf_check(const struct saga_conf *conf, struct reason *reason)
{
    if (!conf->program || conf->program[0] == '\0') {
        return reason_set(reason, ERR_INVALID, "program is missing: give the program's name");
    }
    if (conf->barrier_ttl_ms < 0 || conf->timeout_ms < 0 || conf->connections_max < 0 ||
        conf->redis_db < 0) {
        return reason_set(reason, ERR_INVALID,
                          "barrier_ttl_ms, timeout_ms, connections_max and redis_db must not be "
                          "negative (0 takes the default)");
    }
    if (conf->timeout_ms > timeout_max_ms) {
        return reason_set(reason, ERR_INVALID, "timeout_ms must be %" PRId64 " (7 days) at most",
                          timeout_max_ms);
    }
    struct reason why;
    if (conf->redis && redis_address_check(conf->redis, conf->redis_db, &why)) {
        return reason_set(reason, ERR_INVALID, "redis: %s", why.text);
    }
    enum err err = replicas_check(conf, reason);
    return err ? err : advert_check(conf, reason);
}

static struct saga *saga_new(const struct saga_conf *conf)
{
    struct saga *saga = mem_new(struct saga);
    saga->loop = conf->loop ? conf->loop : loop_new();
    saga->owns_loop = !conf->loop;
    saga->program = mem_strdup(conf->program);
    saga->token = conf->token && conf->token[0] ? mem_strdup(conf->token) : NULL;
    saga->timeout_ms = or_default(conf->timeout_ms, TIMEOUT_MS);
    int64_t ttl = or_default(conf->barrier_ttl_ms, barrier_ttl_default_ms);
    snprintf(saga->ttl_text, sizeof(saga->ttl_text), "%" PRId64, ttl);
    return saga;
}

static enum err server_open(struct saga *saga, const struct saga_conf *conf, struct reason *reason)
{
    struct rpc_server_conf server = {
        .address = conf->listen,
        .program = saga->program,
        .token = saga->token,
        .connections_max = conf->connections_max ? conf->connections_max : CONNECTIONS_MAX,
        .limits = rpc_limits_default,
    };
    saga->server = rpc_server_open(saga->loop, &server, participant_serve, saga, reason);
    return saga->server ? ERR_OK : ERR_SYSTEM;
}

static void store_open(struct saga *saga, const struct saga_conf *conf)
{
    struct redis_conf redis = {
        .address = conf->redis,
        .user = conf->redis_user,
        .password = conf->redis_password,
        .db = conf->redis_db,
        .connect_timeout_ms = saga->timeout_ms,
        .queue_max = REDIS_QUEUE_MAX,
        .wait_replicas = conf->wait_replicas,
        .wait_ms = or_default(conf->wait_timeout_ms, WAIT_TIMEOUT_MS),
    };
    saga->redis = redis_open(saga->loop, &redis);
}

struct rpc_client *client_new(const struct saga *saga, const char *address)
{
    struct rpc_client_conf client = {
        .address = address,
        .program = saga->program,
        .token = saga->token,
        .connect_timeout_ms = saga->timeout_ms,
        .limits = rpc_limits_default,
    };
    return rpc_client_new(saga->loop, &client);
}

struct saga *saga_open(const struct saga_conf *conf, char *error, size_t error_size)
{
    struct reason reason = {.text = ""};
    struct saga *saga = NULL;
    enum err err = conf_check(conf, &reason);
    if (err == ERR_OK) {
        saga = saga_new(conf);
        err = conf->listen ? server_open(saga, conf, &reason) : ERR_OK;
    }
    if (err != ERR_OK) {
        snprintf(error, error_size, "%s", reason.text);
        if (saga) {
            saga_close(saga);
        }
        return NULL;
    }
    if (conf->redis) {
        store_open(saga, conf);
    }
    if (conf->advert) {
        advert_open(saga, conf->advert);
    }
    if (conf->coordinator) {
        saga->coordinator = client_new(saga, conf->coordinator);
    }
    return saga;
}

int saga_port(const struct saga *saga)
{
    return saga->server ? rpc_server_port(saga->server) : 0;
}

struct loop *saga_loop(struct saga *saga)
{
    return saga->loop;
}

void saga_run(struct saga *saga)
{
    saga->running = true;
    loop_run(saga->loop);
    saga->running = false;
}

void saga_stop(struct saga *saga)
{
    loop_stop(saga->loop);
}

static void on_stop_signal(void *arg)
{
    loop_stop(arg);
}

void saga_stop_on(struct saga *saga, int signo)
{
    loop_on_signal(saga->loop, signo, on_stop_signal, saga->loop); /* outlives the saga */
}

/* ---- close ---- */

/* The last step: every callback that was owed has been made. Those may have started more, whose
 * refusals come first. */
static void finish(void *arg)
{
    struct saga *saga = arg;
    if (saga->pending > 0) {
        loop_defer_last(saga->loop, &saga->finish, finish, saga);
        return;
    }
    participant_fini(saga);
    two_phases_free(saga);
    workflows_free(saga);
    advert_free(saga);
    buf_fini(&saga->key);
    free(saga->slices);
    free(saga->program);
    free(saga->token);
    if (saga->closed) {
        *saga->closed = true;
    }
    free(saga);
}

static void close_parts(struct saga *saga)
{
    saga->closing = true;
    if (saga->server) {
        rpc_server_drain(saga->server);
    }
    advert_close(saga);
    if (saga->redis) {
        redis_close(saga->redis);
        saga->redis = NULL;
    }
    if (saga->coordinator) {
        rpc_client_free(saga->coordinator);
        saga->coordinator = NULL;
    }
    peers_close(saga);
    watches_close(saga);
}

static void on_withdrawn(void *arg)
{
    *(bool *)arg = true;
}

/* So that the last calls need not fail to find out that it is gone. */
static void withdraw_now(struct saga *saga)
{
    bool done = false;
    int64_t end_ms = loop_now_ms(saga->loop) + WITHDRAW_MS;
    saga_withdraw(saga, on_withdrawn, &done);
    while (!done && loop_now_ms(saga->loop) < end_ms) {
        loop_turn(saga->loop, 10);
    }
    if (!done) {
        advert_forget(saga);
    }
}

void saga_close(struct saga *saga)
{
    check(!saga->closing && !(saga->running && saga->owns_loop));
    if (saga->owns_loop && advert_is_on(saga)) {
        withdraw_now(saga);
    }
    struct loop *own = saga->owns_loop ? saga->loop : NULL;
    bool closed = false;
    close_parts(saga);
    loop_defer_last(saga->loop, &saga->finish, finish, saga);
    if (own) {
        saga->closed = &closed;
        while (!closed) {
            loop_turn(own, 0);
        }
        loop_free(own);
    }
}
