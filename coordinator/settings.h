/*
 * The settings of sagad: one table gives defaults, parser, checks and help (base/conf.h).
 * docs/man/sagad.conf.5 and conf/sagad.conf describe each; a lint test compares them.
 */
#ifndef COORDINATOR_SETTINGS_H
#define COORDINATOR_SETTINGS_H

#include "base/conf.h"

struct settings {
    /* where it listens */
    char *listen_http, *listen_tcp;
    char *token;
    int64_t connections_max, connections_per_client, http_body_max, frame_max, http_timeout_ms,
        tcp_requests_max, clients_memory_max;
    /* where the state is */
    char *redis, *redis_user, *redis_password;
    int64_t redis_db, redis_wait_ms, store_timeout_ms, store_queue_max;
    char *durability;
    int64_t wait_replicas, wait_timeout_ms;
    int64_t partitions, retention_ms;
    /* transactions */
    int64_t timeout_to_fail_ms, retry_interval_ms, retry_interval_max_ms, request_timeout_ms,
        park_after, lease_ms, live_max, live_memory_max;
    /* people who are told */
    char *alert_webhook;
    int64_t alert_retry_limit;
    /* calls of participants */
    struct conf_map resolver;
    int64_t dns_ttl_ms;
    char *dns_server;
    char *participant_token;
    int64_t connect_timeout_ms, tcp_connections, tcp_calls_max, http_calls_max, calls_waiting_max,
        calls_max, participants_max, participant_idle_ms, answer_max;
    /* messages that participants leave in their own Redis */
    struct conf_map outbox;
    /* the process */
    int64_t workers, drain_timeout_ms;
    char *log_level, *log_file;
};

extern const struct conf_program settings_program;

/* conf_load and settings_check together. */
enum conf_verdict settings_load(struct settings *settings, int argc, char **argv) MUST_CHECK;
/* What no single option shows: options that contradict each other, malformed addresses. */
enum err settings_check(const struct settings *settings, struct reason *reason) MUST_CHECK;
void settings_fini(struct settings *settings);
void settings_warn(const struct settings *settings); /* logs what is allowed, but risky */

/* Reads all sources again and takes over what can change while the program runs; logs what cannot.
 * On error everything stays as it is. */
enum err settings_reload(struct settings *settings, int argc, char **argv,
                         struct reason *reason) MUST_CHECK;

#endif
