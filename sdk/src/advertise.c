/*
 * An instance tells the coordinators where it is: a lease in their Redis, renewed at a third of its
 * time. While that Redis is away, renewing is tried each second; the instance serves on.
 */
#include "base/log.h"
#include "base/mem.h"
#include "net/socket.h"
#include "participant_scripts.h"
#include "saga_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LEASE_MS = 10 * 1000,
    LEASE_LEAST_MS = 500,
    RETRY_MS = 1000,
    SERVICE_MAX = 128,
    INSTANCES_MAX = 4096, /* registered ones of all services; coordinators read no more */
    QUEUE_MAX = 16,
};
static const char services_key[] = "saga:services";

struct advert {
    struct saga *saga;
    struct redis *redis;
    bool owns_redis;
    bool withdrawn;
    bool failing; /* has been logged */
    int64_t lease_ms;
    char *member; /* "order tcp://10.0.0.7:9002" */
    char lease_text[24], most_text[24];
    struct loop_timer timer;
    saga_withdrawn_cb cb;
    void *arg;
};

/* ---- settings ---- */

static enum err service_check(const char *service, struct reason *reason)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t len = strlen(service);
    if (len == 0 || len > SERVICE_MAX || strspn(service, allowed) != len) {
        return reason_set(
            reason, ERR_INVALID,
            "advert: service '%.80s' must be 1 to %d letters, digits, '.', '_' or '-'", service,
            SERVICE_MAX);
    }
    return ERR_OK;
}

enum err advert_check(const struct saga_conf *conf, struct reason *reason)
{
    struct address address;
    const struct saga_advert *advert = conf->advert;
    if (!advert) {
        return ERR_OK;
    }
    if (!conf->listen) {
        return reason_set(reason, ERR_INVALID,
                          "advertise: there is nothing to advertise without "
                          "listen");
    }
    if (!advert->redis && !conf->redis) {
        return reason_set(reason, ERR_INVALID, "advert: needs redis, that of the coordinators");
    }
    if (advert->lease_ms != 0 && advert->lease_ms < LEASE_LEAST_MS) {
        return reason_set(reason, ERR_INVALID, "advert: lease_ms must be 0 (%d) or %d and more",
                          LEASE_MS, LEASE_LEAST_MS);
    }
    struct reason why;
    if (advert->redis && redis_address_check(advert->redis, advert->redis_db, &why)) {
        return reason_set(reason, ERR_INVALID, "advert: redis: %s", why.text);
    }
    enum err err = service_check(advert->service ? advert->service : "", reason);
    err = err ? err : address_parse(advert->address ? advert->address : "", &address, reason);
    bool anywhere = !err && (!address.host[0] || strcmp(address.host, "0.0.0.0") == 0 ||
                             strcmp(address.host, "::") == 0);
    if (anywhere || (!err && strpbrk(address.host, " \t"))) {
        return reason_set(
            reason, ERR_INVALID,
            "advert: address '%.80s' must name the host at which coordinators reach it",
            advert->address);
    }
    return err;
}

/* Port 0 stands for the one that it listens on. */
static char *member_make(const struct saga *saga, const struct saga_advert *conf)
{
    struct buf member = {0};
    struct address address;
    struct reason reason;
    buf_printf(&member, "%s tcp://", conf->service);
    if (address_parse(conf->address, &address, &reason) == ERR_OK && !address.is_unix &&
        address.port == 0) {
        bool v6 = strchr(address.host, ':') != NULL;
        buf_printf(&member, v6 ? "[%s]:%d" : "%s:%d", address.host, rpc_server_port(saga->server));
    } else {
        buf_add_str(&member, conf->address);
    }
    char *text = mem_strdup(member.data);
    buf_fini(&member);
    return text;
}

/* ---- the lease ---- */

static void again_in(struct advert *advert, int64_t ms)
{
    if (!advert->withdrawn && !advert->saga->closing) {
        loop_timer_set(&advert->timer, loop_now_ms(advert->saga->loop) + ms);
    }
}

static void eval(struct advert *advert, const struct redis_script *script, size_t arg_count,
                 redis_cb cb)
{
    struct saga *saga = advert->saga;
    struct slice key = slice_str(services_key);
    struct slice args[] = {slice_str(advert->member), slice_str(advert->lease_text),
                           slice_str(advert->most_text)};
    struct redis_eval run = {.script = script, .keys = &key, .args = args, .arg_count = arg_count};
    saga->pending++;
    redis_eval(advert->redis, loop_now_ms(saga->loop) + saga->timeout_ms, &run, cb, advert);
}

static void on_registered(void *arg, const struct redis_result *result)
{
    struct advert *advert = arg;
    advert->saga->pending--;
    bool ok = result->err == ERR_OK && redis_value_count(result->value) > 0 &&
              slice_eq_str(redis_value_str(redis_value_at(result->value, 0)), "OK");
    if (!ok && result->err != ERR_CANCELLED && !advert->failing) {
        log_warn("advertise", "msg=\"not registered, goes on trying\" instance=\"%s\" why=\"%s\"",
                 advert->member,
                 result->err ? result->message : "too many instances are registered");
    } else if (ok && advert->failing) {
        log_info("advertise", "msg=\"registered again\" instance=\"%s\"", advert->member);
    }
    advert->failing = !ok;
    int64_t third_ms = advert->lease_ms / 3;
    again_in(advert, ok || third_ms < RETRY_MS ? third_ms : RETRY_MS);
}

static void advert_renew(void *arg)
{
    eval(arg, &script_service_register, 3, on_registered);
}

/* ---- life ---- */

static struct redis *registry_open(struct saga *saga, const struct saga_advert *conf)
{
    struct redis_conf redis = {
        .address = conf->redis,
        .user = conf->redis_user,
        .password = conf->redis_password,
        .db = conf->redis_db,
        .connect_timeout_ms = saga->timeout_ms,
        .queue_max = QUEUE_MAX,
    };
    return redis_open(saga->loop, &redis);
}

void advert_open(struct saga *saga, const struct saga_advert *conf)
{
    struct advert *advert = mem_new(struct advert);
    advert->saga = saga;
    advert->owns_redis = conf->redis != NULL;
    advert->redis = conf->redis ? registry_open(saga, conf) : saga->redis;
    advert->lease_ms = conf->lease_ms ? conf->lease_ms : LEASE_MS;
    advert->member = member_make(saga, conf);
    snprintf(advert->lease_text, sizeof(advert->lease_text), "%" PRId64, advert->lease_ms);
    snprintf(advert->most_text, sizeof(advert->most_text), "%d", INSTANCES_MAX);
    loop_timer_init(&advert->timer, saga->loop, advert_renew, advert);
    saga->advert = advert;
    advert_renew(advert);
}

static void withdrawn(struct advert *advert)
{
    saga_withdrawn_cb cb = advert->cb;
    advert->cb = NULL;
    if (cb) {
        cb(advert->arg);
    }
}

static void on_removed(void *arg, const struct redis_result *result)
{
    struct advert *advert = arg;
    if (result->err && result->err != ERR_CANCELLED) {
        log_warn("advertise",
                 "msg=\"not taken off the list, its lease will end\" instance=\"%s\" "
                 "why=\"%s\"",
                 advert->member, result->message);
    }
    withdrawn(advert);
    advert->saga->pending--;
}

static void on_nothing(void *arg)
{
    struct saga *saga = arg;
    saga_withdrawn_cb cb = saga->nothing_cb;
    saga->nothing_cb = NULL;
    if (cb) {
        cb(saga->nothing_arg);
    }
    saga->pending--;
}

void saga_withdraw(struct saga *saga, saga_withdrawn_cb cb, void *arg)
{
    struct advert *advert = saga->advert;
    if (!advert || advert->withdrawn || saga->closing) {
        saga->nothing_cb = cb;
        saga->nothing_arg = arg;
        saga->pending += loop_is_deferred(&saga->nothing) ? 0 : 1;
        loop_defer(saga->loop, &saga->nothing, on_nothing, saga);
        return;
    }
    advert->withdrawn = true;
    advert->cb = cb;
    advert->arg = arg;
    loop_timer_clear(&advert->timer);
    eval(advert, &script_service_remove, 1, on_removed);
}

bool advert_is_on(const struct saga *saga)
{
    return saga->advert && !saga->advert->withdrawn;
}

void advert_forget(struct saga *saga)
{
    saga->advert->cb = NULL;
}

/* Before the saga's own Redis is closed. */
void advert_close(struct saga *saga)
{
    struct advert *advert = saga->advert;
    if (advert) {
        loop_timer_clear(&advert->timer);
        if (advert->owns_redis) {
            redis_close(advert->redis);
        }
        advert->redis = NULL;
    }
}

void advert_free(struct saga *saga)
{
    if (saga->advert) {
        free(saga->advert->member);
        free(saga->advert);
    }
}
