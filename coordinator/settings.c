#include "coordinator/settings.h"

#include "base/log.h"
#include "base/slice.h"
#include "coordinator/api_tcp.h"
#include "coordinator/keys.h"
#include "coordinator/outbox_place.h"
#include "coordinator/resolver.h"
#include "net/http.h"
#include "net/socket.h"
#include "redis/redis.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AT(member) offsetof(struct settings, member)

#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)
#define KB     INT64_C(1024)
#define MB     (INT64_C(1024) * 1024)

static const struct conf_option options[] = {
    {"listen_http", CONF_STRING, AT(listen_http), "127.0.0.1:36789", 0, 0, NULL,
     "Address of the HTTP API, host:port.", "Clients"},
    {"listen_tcp", CONF_STRING, AT(listen_tcp), "127.0.0.1:36791", 0, 0, NULL,
     "Address of the TCP API, host:port.", NULL},
    {"token", CONF_SECRET, AT(token), "", 0, 0, NULL,
     "When set, clients of both APIs must bring it: Authorization: Bearer TOKEN, or in the hello.",
     NULL},
    {"connections_max", CONF_INT, AT(connections_max), "10000", 1, 1000000, NULL,
     "Connections to each of the two APIs at a time; further ones are refused with 503 or BUSY.",
     NULL},
    {"connections_per_client", CONF_INT, AT(connections_per_client), "2000", 0, 1000000, NULL,
     "Of these, connections from one IPv4 address or IPv6 /64; further ones are refused with 429 "
     "or BUSY. 0: no such limit.",
     NULL},
    {"http_body_max", CONF_SIZE, AT(http_body_max), "4mb", 64 * KB, 64 * MB, NULL,
     "Largest body of an HTTP request.", NULL},
    {"frame_max", CONF_SIZE, AT(frame_max), "2mb", API_TCP_FRAME_LEAST, 64 * MB, NULL,
     "Largest frame of the TCP API; the least one has room for every answer.", NULL},
    {"http_timeout", CONF_DURATION, AT(http_timeout_ms), "10s", 100, HOUR, NULL,
     "How long a client may take to send an HTTP request or to take the answer.", NULL},
    {"tcp_requests_max", CONF_INT, AT(tcp_requests_max), "4096", 1, 1000000, NULL,
     "Requests of one TCP connection that are being served; beyond, reading pauses.", NULL},
    {"clients_memory_max", CONF_SIZE, AT(clients_memory_max), "512mb", MB, 1024 * 1024 * MB, NULL,
     "Memory of requests and of answers that clients do not take, beyond 64 KB for each "
     "connection; what has no room is refused with 503 or BUSY, or its connection is closed.",
     NULL},

    {"redis", CONF_STRING, AT(redis), "127.0.0.1:6379", 0, 0, NULL,
     "Redis that holds the state: host:port, unix:/path, sentinel://host:port,.../master or "
     "cluster://host:port,...",
     "Redis"},
    {"redis_user", CONF_STRING, AT(redis_user), "", 0, 0, NULL, "User name for AUTH.", NULL},
    {"redis_password", CONF_SECRET, AT(redis_password), "", 0, 0, NULL, "Password for AUTH.", NULL},
    {"redis_db", CONF_INT, AT(redis_db), "0", 0, 1000, NULL, "Number of the Redis database.", NULL},
    {"redis_wait", CONF_DURATION, AT(redis_wait_ms), "30s", 0, HOUR, NULL,
     "How long to wait at the start for Redis to appear.", NULL},
    {"durability", CONF_CHOICE, AT(durability), "everysec", 0, 0, "memory|everysec|always",
     "What Redis must promise: nothing, all but the last second, or every acknowledged "
     "transaction. sagad refuses a Redis that is set up weaker.",
     NULL},
    {"wait_replicas", CONF_INT, AT(wait_replicas), "0", 0, 16, NULL,
     "Replicas of Redis that must have a transaction, and each of its transitions, before it "
     "counts "
     "as stored. The same for all coordinators.",
     NULL},
    {"wait_timeout", CONF_DURATION, AT(wait_timeout_ms), "500ms", 1, 10 * MINUTE, NULL,
     "How long replicas may take, a third of store_timeout at most; then a submit is answered 503, "
     "and a transition is stored again.",
     NULL},
    {"partitions", CONF_INT, AT(partitions), "16", 1, KEYS_PARTITIONS_MAX, NULL,
     "Number of key groups; fixed in Redis at the first start.", NULL},
    {"retention", CONF_DURATION, AT(retention_ms), "1d", SECOND, 3650 * DAY, NULL,
     "How long finished transactions are kept.", NULL},
    {"store_timeout", CONF_DURATION, AT(store_timeout_ms), "2s", 10, 10 * MINUTE, NULL,
     "How long one command of Redis may take; then its effect is unknown.", NULL},
    {"store_queue_max", CONF_INT, AT(store_queue_max), "100000", 100, 10000000, NULL,
     "Commands that wait for Redis or are in flight; beyond, requests are refused.", NULL},

    {"timeout_to_fail", CONF_DURATION, AT(timeout_to_fail_ms), "35s", 10, 366 * DAY, NULL,
     "How long a prepared tcc, xa or msg waits for its client: then it is cancelled (tcc, xa) or "
     "its client is asked (msg).",
     "Transactions"},
    {"retry_interval", CONF_DURATION, AT(retry_interval_ms), "10s", 10, HOUR, NULL,
     "First pause before a failed call is tried again; it doubles with each further failure.",
     NULL},
    {"retry_interval_max", CONF_DURATION, AT(retry_interval_max_ms), "5m", 10, DAY, NULL,
     "Longest pause between two tries.", NULL},
    {"park_after", CONF_INT, AT(park_after), "1000", 0, 1000000000, NULL,
     "Failed attempts in a row of one op, after which its transaction is parked: nobody calls any "
     "more until an operator says so. 0: tried for ever.",
     NULL},
    {"request_timeout", CONF_DURATION, AT(request_timeout_ms), "3s", 10, HOUR, NULL,
     "How long one call of a participant may take.", NULL},
    {"lease", CONF_DURATION, AT(lease_ms), "3s", 200, 10 * MINUTE, NULL,
     "A coordinator that is silent for so long is taken for dead, and others take over.", NULL},
    {"live_max", CONF_INT, AT(live_max), "100000", 1, 10000000, NULL,
     "Transactions in memory; beyond, submits are refused with 429 and recovery waits.", NULL},
    {"live_memory_max", CONF_SIZE, AT(live_memory_max), "1gb", MB, 1024 * 1024 * MB, NULL,
     "Memory that these take with their payloads; beyond, the same.", NULL},

    {"alert_webhook", CONF_STRING, AT(alert_webhook), "", 0, 0, NULL,
     "Url, http://, to which alerts are posted as JSON; empty: they only stand in the log.",
     "Alerts"},
    {"alert_retry_limit", CONF_INT, AT(alert_retry_limit), "3", 0, 1000000000, NULL,
     "Failed attempts in a row of one op, from which on each is an alert. 0: only what is parked.",
     NULL},

    {"resolver", CONF_MAP, AT(resolver), NULL, 0, 0, NULL,
     "Addresses of a participant that urls call by name, its instances with commas between: "
     "resolver.order = 10.0.0.7:9002, 10.0.0.8:9002.",
     "Participants"},
    {"dns_ttl", CONF_DURATION, AT(dns_ttl_ms), "10s", 0, DAY, NULL,
     "Host names are asked of DNS again when their addresses are older, and calls go to all of "
     "these. 0: a name is resolved when connecting, and that is all.",
     NULL},
    {"dns_server", CONF_STRING, AT(dns_server), "", 0, 0, NULL,
     "Name server, IP or IP:port; empty: those of /etc/resolv.conf.", NULL},
    {"participant_token", CONF_SECRET, AT(participant_token), "", 0, 0, NULL,
     "Token shown to participants that are called over TCP.", NULL},
    {"connect_timeout", CONF_DURATION, AT(connect_timeout_ms), "1s", 10, 10 * MINUTE, NULL,
     "How long connecting to a participant or to Redis may take.", NULL},
    {"tcp_connections", CONF_INT, AT(tcp_connections), "1", 1, 64, NULL,
     "Connections to one participant over TCP.", NULL},
    {"tcp_calls_max", CONF_INT, AT(tcp_calls_max), "1024", 1, 1000000, NULL,
     "Calls in flight to one participant over TCP.", NULL},
    {"http_calls_max", CONF_INT, AT(http_calls_max), "128", 1, 10000, NULL,
     "Calls in flight, and so connections, to one participant over HTTP.", NULL},
    {"calls_waiting_max", CONF_INT, AT(calls_waiting_max), "10000", 0, 10000000, NULL,
     "Calls that wait for one participant; beyond, a call fails and is tried again later.", NULL},
    {"calls_max", CONF_INT, AT(calls_max), "20000", 1, 1000000, NULL,
     "Calls in flight to all participants together.", NULL},
    {"participants_max", CONF_INT, AT(participants_max), "4096", 1, 1000000, NULL,
     "Different addresses that are called at a time.", NULL},
    {"participant_idle", CONF_DURATION, AT(participant_idle_ms), "1m", SECOND, DAY, NULL,
     "Connections to participants that were unused for so long are closed.", NULL},
    {"answer_max", CONF_SIZE, AT(answer_max), "1mb", KB, 64 * MB, NULL,
     "Largest answer of a participant; a larger one is an error.", NULL},

    {"outbox", CONF_MAP, AT(outbox), NULL, 0, 0, NULL,
     "Streams in which scripts of participants leave messages: outbox.order = {ord:0..15}:outbox, "
     "or redis://user:password@host:port/{ord:0}:outbox on another Redis; sentinel:// and "
     "cluster:// too.",
     "Outbox"},

    {"workers", CONF_INT, AT(workers), "1", 1, 64, NULL, "Processes that share the two ports.",
     "Process"},
    {"drain_timeout", CONF_DURATION, AT(drain_timeout_ms), "10s", 0, HOUR, NULL,
     "How long SIGTERM waits for calls and requests in flight.", NULL},
    {"log_level", CONF_CHOICE, AT(log_level), "info", 0, 0, "debug|info|warn|error",
     "The least important lines that are logged.", NULL},
    {"log_file", CONF_STRING, AT(log_file), "", 0, 0, NULL,
     "File to which the log goes, opened anew on SIGHUP; empty: standard error.", NULL},
    {.name = NULL},
};

static enum err judge(const void *settings, struct reason *reason)
{
    return settings_check(settings, reason);
}

const struct conf_program settings_program = {
    .name = "sagad",
    .prefix = "SAGAD",
    .summary = "coordinator for distributed transactions on Redis",
    .options = options,
    .judge = judge,
};

static enum err listen_addresses_check(const struct settings *settings, struct reason *reason)
{
    struct address http, tcp;
    enum err err =
        address_check("listen_http", settings->listen_http, ADDRESS_LISTEN, &http, reason);
    if (!err) {
        err = address_check("listen_tcp", settings->listen_tcp, ADDRESS_LISTEN, &tcp, reason);
    }
    if (!err && settings->workers > 1 &&
        ((!http.is_unix && http.port == 0) || (!tcp.is_unix && tcp.port == 0))) {
        return reason_set(reason, ERR_INVALID,
                          "workers = %" PRId64 ": workers share a port, so it cannot be 0",
                          settings->workers);
    }
    return err;
}

static enum err dns_check(const struct settings *settings, struct reason *reason)
{
    struct slice server = slice_str(settings->dns_server);
    struct slice host, port;
    if (server.len == 0 || resolver_is_number(server) ||
        (resolver_split(server, &host, &port) && resolver_is_number(host))) {
        return ERR_OK;
    }
    return reason_set(reason, ERR_INVALID,
                      "dns_server = '%.80s': must be an IP or IP:port, [v6]:port for IPv6",
                      settings->dns_server);
}

/* A script stands behind the WAIT of those before it, then waits for its own. */
static enum err wait_timeout_check(const struct settings *settings, struct reason *reason)
{
    if (settings->store_timeout_ms < 3 * settings->wait_timeout_ms) {
        return reason_set(reason, ERR_INVALID,
                          "wait_timeout = %" PRId64 "ms: must be a third of store_timeout = "
                          "%" PRId64 "ms at most",
                          settings->wait_timeout_ms, settings->store_timeout_ms);
    }
    return ERR_OK;
}

static enum err times_check(const struct settings *settings, struct reason *reason)
{
    if (settings->retry_interval_max_ms < settings->retry_interval_ms) {
        return reason_set(reason, ERR_INVALID,
                          "retry_interval_max = %" PRId64 "ms: must not be below retry_interval = "
                          "%" PRId64 "ms",
                          settings->retry_interval_max_ms, settings->retry_interval_ms);
    }
    /* Who still holds what another one ended would take it for lost, and store it again. */
    if (settings->retention_ms < settings->lease_ms) {
        return reason_set(reason, ERR_INVALID,
                          "retention = %" PRId64 "ms: must not be below lease = %" PRId64 "ms",
                          settings->retention_ms, settings->lease_ms);
    }
    return settings->wait_replicas > 0 ? wait_timeout_check(settings, reason) : ERR_OK;
}

static enum err webhook_check(const char *webhook, struct reason *reason)
{
    struct http_url url;
    struct reason why;
    if (webhook[0] == '\0' || http_url_parse(webhook, &url, &why) == ERR_OK) {
        return ERR_OK;
    }
    return reason_set(reason, ERR_INVALID, "alert_webhook = '%.80s': %s", webhook, why.text);
}

static enum err outbox_check(const struct settings *settings, struct reason *reason)
{
    const struct conf_map *map = &settings->outbox;
    enum err err = ERR_OK;
    if (map->count > OUTBOX_PLACES_MAX) {
        return reason_set(reason, ERR_INVALID, "outbox: there are %zu, allowed are %d", map->count,
                          OUTBOX_PLACES_MAX);
    }
    for (size_t i = 0; i < map->count && !err; i++) {
        struct outbox_place place;
        err = outbox_place_parse(map->entries[i].key, map->entries[i].value, &place, reason);
        if (!err) {
            err = place.wait_replicas > 0 ? wait_timeout_check(settings, reason) : ERR_OK;
            outbox_place_fini(&place);
        }
    }
    return err;
}

static enum err redis_settings_check(const struct settings *settings, struct reason *reason)
{
    struct reason why;
    return redis_address_check(settings->redis, settings->redis_db, &why)
               ? reason_set(reason, ERR_INVALID, "redis = %s", why.text)
               : ERR_OK;
}

enum err settings_check(const struct settings *settings, struct reason *reason)
{
    enum err err = listen_addresses_check(settings, reason);
    if (!err) {
        err = redis_settings_check(settings, reason);
    }
    if (!err) {
        err = times_check(settings, reason);
    }
    if (!err) {
        err = dns_check(settings, reason);
    }
    if (!err) {
        err = webhook_check(settings->alert_webhook, reason);
    }
    for (size_t i = 0; i < settings->resolver.count && !err; i++) {
        const struct conf_map_entry *entry = &settings->resolver.entries[i];
        err = resolver_check_entry(entry->key, entry->value, reason);
    }
    return err ? err : outbox_check(settings, reason);
}

enum conf_verdict settings_load(struct settings *settings, int argc, char **argv)
{
    return conf_load(&settings_program, settings, argc, argv);
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

void settings_warn(const struct settings *settings)
{
    warn_of_open_door(settings, settings->listen_http);
    warn_of_open_door(settings, settings->listen_tcp);
}

/* What the running modules are told: on_reload_signal of daemon.c does. */
static const char *const reloadable[] = {
    "token",           "retention",          "timeout_to_fail",
    "retry_interval",  "retry_interval_max", "park_after",
    "request_timeout", "live_max",           "resolver",
    "calls_max",       "calls_waiting_max",  "drain_timeout",
    "log_level",       "log_file",           NULL,
};

static void tell_difference(void *arg, const char *name, bool taken)
{
    (void)arg;
    if (taken) {
        log_info("main", "msg=\"setting changed\" option=%s", name);
    } else {
        log_warn("main", "msg=\"this setting changes with a restart only\" option=%s", name);
    }
}

/* What the judge of the fresh settings does not see: the lease stays the one that it was. */
static enum err reload_check(const struct settings *settings, const struct settings *fresh,
                             struct reason *reason)
{
    if (fresh->retention_ms < settings->lease_ms) {
        return reason_set(reason, ERR_INVALID,
                          "retention = %" PRId64 "ms: must not be below lease = %" PRId64
                          "ms, which changes with a restart only",
                          fresh->retention_ms, settings->lease_ms);
    }
    return ERR_OK;
}

enum err settings_reload(struct settings *settings, int argc, char **argv, struct reason *reason)
{
    struct settings fresh = {0};
    enum err err = conf_load_again(&settings_program, &fresh, argc, argv, reason);
    if (err == ERR_OK) {
        err = reload_check(settings, &fresh, reason);
    }
    if (err == ERR_OK) {
        conf_take_over(&settings_program, settings, &fresh, reloadable, tell_difference, NULL);
    }
    settings_fini(&fresh);
    return err;
}

void settings_fini(struct settings *settings)
{
    conf_fini(&settings_program, settings);
}
