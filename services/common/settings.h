/* The options that every service of the mall has. A service's own settings struct begins with
 * `struct service_settings`, and its option table with SERVICE_OPTIONS. */
#ifndef SERVICES_COMMON_SETTINGS_H
#define SERVICES_COMMON_SETTINGS_H

#include "base/conf.h"

struct service_settings {
    char *listen_http;
    char *listen_rpc;
    char *redis;
    char *redis_user;
    char *redis_password;
    int64_t redis_db;
    int64_t wait_replicas, wait_timeout_ms;
    char *coordinator;
    char *advertise;
    char *registry, *registry_user, *registry_password;
    int64_t registry_db, registry_lease_ms;
    char *token;
    char *mode; /* "dev" or "production" */
    char *jwt_secret;
    int64_t barrier_ttl_ms;
    int64_t shards;
    int64_t timeout_ms;
    int64_t body_max;
    char *fault;
    int64_t fault_delay_ms;
    char *fault_method;
    char *log_level;
};

/* What no line of a table can check, such as addresses: conf_program.judge of every service, whose
 * settings begin with struct service_settings. */
enum err service_settings_check(const void *settings, struct reason *reason) MUST_CHECK;
/* For what a service has besides: the RPC address of another one, and where sagad finds branches.
 */
enum err service_peer_check(const char *name, const char *address,
                            struct reason *reason) MUST_CHECK;
enum err service_target_check(const char *name, const char *url, struct reason *reason) MUST_CHECK;
/* What signs the users' tokens: in mode dev there is one without being set. */
const char *service_settings_secret(const struct service_settings *settings);

/* One line of an option table; `owner` is the settings struct. */
#define SETTINGS_OPTION(owner, option_name, option_type, member, value, lowest, highest, allowed,  \
                        text)                                                                      \
    {                                                                                              \
        .name = (option_name), .type = (option_type), .offset = offsetof(owner, member),           \
        .default_value = (value), .min = (lowest), .max = (highest), .choices = (allowed),         \
        .help = (text)                                                                             \
    }
#define SERVICE_OPTION(option_name, option_type, member, value, lowest, highest, allowed, text)    \
    SETTINGS_OPTION(struct service_settings, option_name, option_type, member, value, lowest,      \
                    highest, allowed, text)

/* `http` and `rpc`: where the service listens by default. */
#define SERVICE_OPTIONS(http, rpc)                                                                 \
    SERVICE_OPTION("listen_http", CONF_STRING, listen_http, http, 0, 0, NULL,                      \
                   "Where the HTTP API listens, host:port."),                                      \
        SERVICE_OPTION("listen_rpc", CONF_STRING, listen_rpc, rpc, 0, 0, NULL,                     \
                       "Where branch calls and requests of other services arrive, host:port."),    \
        SERVICE_OPTION("redis", CONF_STRING, redis, "127.0.0.1:6379", 0, 0, NULL,                  \
                       "Redis that holds this service's data: host:port, unix:/path, "             \
                       "sentinel://host:port,.../master or cluster://host:port,..."),              \
        SERVICE_OPTION("redis_user", CONF_STRING, redis_user, "", 0, 0, NULL,                      \
                       "Redis ACL user; empty: the default user."),                                \
        SERVICE_OPTION("redis_password", CONF_SECRET, redis_password, "", 0, 0, NULL,              \
                       "Password of the Redis user; empty: none."),                                \
        SERVICE_OPTION("redis_db", CONF_INT, redis_db, "0", 0, 1000, NULL,                         \
                       "Redis database number."),                                                  \
        SERVICE_OPTION("wait_replicas", CONF_INT, wait_replicas, "0", 0, 16, NULL,                 \
                       "Replicas of this Redis that must have a change before it is answered."),   \
        SERVICE_OPTION("wait_timeout", CONF_DURATION, wait_timeout_ms, "500ms", 1, 600000, NULL,   \
                       "How long replicas may take, a third of timeout at most; then the outcome " \
                       "is unknown, and the call is repeated."),                                   \
        SERVICE_OPTION("coordinator", CONF_STRING, coordinator, "127.0.0.1:36791", 0, 0, NULL,     \
                       "TCP address of sagad, to which transactions are submitted."),              \
        SERVICE_OPTION("advertise", CONF_STRING, advertise, "", 0, 0, NULL,                        \
                       "host:port at which sagad reaches listen_rpc (port 0: the port of it): "    \
                       "registers there under the program's name without its d; empty: not."),     \
        SERVICE_OPTION("registry", CONF_STRING, registry, "", 0, 0, NULL,                          \
                       "Redis of sagad, as there, where instances are registered; empty: that of " \
                       "redis, with its user and database."),                                      \
        SERVICE_OPTION("registry_user", CONF_STRING, registry_user, "", 0, 0, NULL,                \
                       "Redis ACL user there; empty: the default user."),                          \
        SERVICE_OPTION("registry_password", CONF_SECRET, registry_password, "", 0, 0, NULL,        \
                       "Password of that user; empty: none."),                                     \
        SERVICE_OPTION("registry_db", CONF_INT, registry_db, "0", 0, 1000, NULL,                   \
                       "Redis database number there, sagad's redis_db."),                          \
        SERVICE_OPTION("registry_lease", CONF_DURATION, registry_lease_ms, "10s", 500, 3600000,    \
                       NULL, "After so long without renewal a registered instance is forgotten."), \
        SERVICE_OPTION("token", CONF_SECRET, token, "", 0, 0, NULL,                                \
                       "Shared secret of the wire protocol: asked of callers and shown to sagad "  \
                       "and other services; empty: none."),                                        \
        SERVICE_OPTION("mode", CONF_CHOICE, mode, "production", 0, 0, "dev|production",            \
                       "In production a strong jwt_secret is required; dev has a known one."),     \
        SERVICE_OPTION("jwt_secret", CONF_SECRET, jwt_secret, "", 0, 0, NULL,                      \
                       "Secret that signs the users' tokens (HS256), the same for all services, "  \
                       "32 characters or more."),                                                  \
        SERVICE_OPTION("barrier_ttl", CONF_DURATION, barrier_ttl_ms, "7d", 1000, 31536000000,      \
                       NULL, "How long a barrier record lives after its last change."),            \
        SERVICE_OPTION("shards", CONF_INT, shards, "1", 1, 1024, NULL,                             \
                       "Hash tags over which the records are spread, a power of two; fixed in "    \
                       "Redis at the first start."),                                               \
        SERVICE_OPTION("timeout", CONF_DURATION, timeout_ms, "3s", 10, 600000, NULL,               \
                       "Deadline of one Redis command or request to another service."),            \
        SERVICE_OPTION("body_max", CONF_SIZE, body_max, "64kb", 1024, 16777216, NULL,              \
                       "Largest body of an HTTP request."),                                        \
        SERVICE_OPTION("fault", CONF_CHOICE, fault, "off", 0, 0, "off|failure|drop|delay|exit",    \
                       "Injected fault, after the barrier of an action has committed: answer "     \
                       "FAILURE, drop the connection, delay the answer, end the process."),        \
        SERVICE_OPTION("fault_method", CONF_STRING, fault_method, "", 0, 0, NULL,                  \
                       "Which method the fault hits, package.Service/Method; empty: every "        \
                       "action."),                                                                 \
        SERVICE_OPTION("fault_delay", CONF_DURATION, fault_delay_ms, "5s", 0, 3600000, NULL,       \
                       "How long fault = delay holds the answer back."),                           \
        SERVICE_OPTION("log_level", CONF_CHOICE, log_level, "info", 0, 0, "debug|info|warn|error", \
                       "Least severity of log lines.")

#endif
