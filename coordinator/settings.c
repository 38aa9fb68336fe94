#include "coordinator/settings.h"

#include "base/slice.h"
#include "coordinator/keys.h"
#include "coordinator/outbox_place.h"
#include "coordinator/resolver.h"

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
     "Connections to each of the two APIs at a time; further ones wait to be accepted.", NULL},
    {"http_body_max", CONF_SIZE, AT(http_body_max), "4mb", 64 * KB, 64 * MB, NULL,
     "Largest body of an HTTP request.", NULL},
    {"frame_max", CONF_SIZE, AT(frame_max), "2mb", 64 * KB, 64 * MB, NULL,
     "Largest frame of the TCP API.", NULL},
    {"http_timeout", CONF_DURATION, AT(http_timeout_ms), "10s", 100, HOUR, NULL,
     "How long a client may take to send an HTTP request or to take the answer.", NULL},
    {"tcp_requests_max", CONF_INT, AT(tcp_requests_max), "4096", 1, 1000000, NULL,
     "Requests of one TCP connection that are being served; beyond, reading pauses.", NULL},

    {"redis", CONF_STRING, AT(redis), "127.0.0.1:6379", 0, 0, NULL,
     "Redis that holds the state: host:port or unix:/path.", "Redis"},
    {"redis_user", CONF_STRING, AT(redis_user), "", 0, 0, NULL, "User name for AUTH.", NULL},
    {"redis_password", CONF_SECRET, AT(redis_password), "", 0, 0, NULL, "Password for AUTH.", NULL},
    {"redis_db", CONF_INT, AT(redis_db), "0", 0, 1000, NULL, "Number of the Redis database.", NULL},
    {"redis_wait", CONF_DURATION, AT(redis_wait_ms), "30s", 0, HOUR, NULL,
     "How long to wait at the start for Redis to appear.", NULL},
    {"durability", CONF_CHOICE, AT(durability), "everysec", 0, 0, "memory|everysec|always",
     "What Redis must promise: nothing, all but the last second, or every acknowledged "
     "transaction. sagad refuses a Redis that is set up weaker.",
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
    {"request_timeout", CONF_DURATION, AT(request_timeout_ms), "3s", 10, HOUR, NULL,
     "How long one call of a participant may take.", NULL},
    {"lease", CONF_DURATION, AT(lease_ms), "3s", 200, 10 * MINUTE, NULL,
     "A coordinator that is silent for so long is taken for dead, and others take over.", NULL},
    {"live_max", CONF_INT, AT(live_max), "100000", 1, 10000000, NULL,
     "Transactions in memory; beyond, submits are refused with 429 and recovery waits.", NULL},

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
     "or redis://user:password@host:port/{ord:0}:outbox on another Redis.",
     "Outbox"},

    {"workers", CONF_INT, AT(workers), "1", 1, 64, NULL, "Processes that share the two ports.",
     "Process"},
    {"drain_timeout", CONF_DURATION, AT(drain_timeout_ms), "10s", 0, HOUR, NULL,
     "How long SIGTERM waits for calls and requests in flight.", NULL},
    {"log_level", CONF_CHOICE, AT(log_level), "info", 0, 0, "debug|info|warn|error",
     "The least important lines that are logged.", NULL},
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

/* "host:port", and whether the port is 0. */
static enum err listen_check(const char *name, const char *address, bool *any_port,
                             struct reason *reason)
{
    const char *colon = strrchr(address, ':');
    int64_t port;
    *any_port = false;
    if (strncmp(address, "unix:/", 6) == 0) {
        return ERR_OK;
    }
    if (!colon || colon == address || !slice_to_int64(slice_str(colon + 1), &port) || port < 0 ||
        port > 65535) {
        return reason_set(reason, ERR_INVALID, "%s = '%.100s': must be host:port or unix:/path",
                          name, address);
    }
    *any_port = port == 0;
    return ERR_OK;
}

static enum err listen_addresses_check(const struct settings *settings, struct reason *reason)
{
    bool any_http, any_tcp;
    enum err err = listen_check("listen_http", settings->listen_http, &any_http, reason);
    if (!err) {
        err = listen_check("listen_tcp", settings->listen_tcp, &any_tcp, reason);
    }
    if (!err && settings->workers > 1 && (any_http || any_tcp)) {
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

static enum err times_check(const struct settings *settings, struct reason *reason)
{
    if (settings->retry_interval_max_ms < settings->retry_interval_ms) {
        return reason_set(reason, ERR_INVALID,
                          "retry_interval_max = %" PRId64 "ms: must not be below retry_interval = "
                          "%" PRId64 "ms",
                          settings->retry_interval_max_ms, settings->retry_interval_ms);
    }
    return ERR_OK;
}

static enum err outbox_check(const struct conf_map *map, struct reason *reason)
{
    enum err err = ERR_OK;
    if (map->count > OUTBOX_PLACES_MAX) {
        return reason_set(reason, ERR_INVALID, "outbox: there are %zu, allowed are %d", map->count,
                          OUTBOX_PLACES_MAX);
    }
    for (size_t i = 0; i < map->count && !err; i++) {
        struct outbox_place place;
        err = outbox_place_parse(map->entries[i].key, map->entries[i].value, &place, reason);
        if (!err) {
            outbox_place_fini(&place);
        }
    }
    return err;
}

enum err settings_check(const struct settings *settings, struct reason *reason)
{
    enum err err = listen_addresses_check(settings, reason);
    if (!err) {
        err = times_check(settings, reason);
    }
    if (!err) {
        err = dns_check(settings, reason);
    }
    for (size_t i = 0; i < settings->resolver.count && !err; i++) {
        const struct conf_map_entry *entry = &settings->resolver.entries[i];
        err = resolver_check_entry(entry->key, entry->value, reason);
    }
    return err ? err : outbox_check(&settings->outbox, reason);
}

enum conf_verdict settings_load(struct settings *settings, int argc, char **argv)
{
    return conf_load(&settings_program, settings, argc, argv);
}

void settings_fini(struct settings *settings)
{
    conf_fini(&settings_program, settings);
}
