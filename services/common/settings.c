#include "services/common/settings.h"

#include "net/socket.h"
#include "redis/redis.h"

#include <string.h>

enum { SECRET_MIN = 32 };

static const char *const dev_secret = "development only: everybody knows this secret";

const char *service_settings_secret(const struct service_settings *settings)
{
    bool dev = strcmp(settings->mode, "dev") == 0;
    return dev && !settings->jwt_secret[0] ? dev_secret : settings->jwt_secret;
}

static enum err redis_check(const struct service_settings *settings, struct reason *reason)
{
    struct reason why;
    if (redis_address_check(settings->redis, settings->redis_db, &why)) {
        return reason_set(reason, ERR_INVALID, "redis: %s", why.text);
    }
    if (settings->registry[0] == '\0' && settings->registry_db != 0) {
        return reason_set(reason, ERR_INVALID,
                          "registry_db = %lld: is the database of registry, which is empty",
                          (long long)settings->registry_db);
    }
    if (settings->registry[0] &&
        redis_address_check(settings->registry, settings->registry_db, &why)) {
        return reason_set(reason, ERR_INVALID, "registry: %s", why.text);
    }
    return ERR_OK;
}

static enum err advertise_check(const struct service_settings *settings,
                                const struct address *listen, struct reason *reason)
{
    struct address advertised;
    if (settings->advertise[0] == '\0') {
        return ERR_OK;
    }
    enum err err =
        address_check("advertise", settings->advertise, ADDRESS_NAMED, &advertised, reason);
    if (!err && !advertised.is_unix && advertised.port == 0 && listen->is_unix) {
        return reason_set(reason, ERR_INVALID,
                          "advertise = '%.80s': listen_rpc has no port that it could stand for",
                          settings->advertise);
    }
    return err;
}

static enum err addresses_check(const struct service_settings *settings, struct reason *reason)
{
    struct address http, rpc;
    enum err err =
        address_check("listen_http", settings->listen_http, ADDRESS_LISTEN, &http, reason);
    if (!err) {
        err = address_check("listen_rpc", settings->listen_rpc, ADDRESS_LISTEN, &rpc, reason);
    }
    if (!err && settings->coordinator[0]) {
        err = service_peer_check("coordinator", settings->coordinator, reason);
    }
    return err ? err : advertise_check(settings, &rpc, reason);
}

enum err service_peer_check(const char *name, const char *address, struct reason *reason)
{
    struct address ignored;
    return address_check(name, address, ADDRESS_CALL, &ignored, reason);
}

/* What stands behind tcp:// and goes to sagad as it is. */
static bool target_is_valid(const char *target)
{
    static const char name[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    struct address ignored;
    if (target[0] && strspn(target, name) == strlen(target)) {
        return true;
    }
    return !strpbrk(target, "/?#@") &&
           address_check("", target, ADDRESS_CALL, &ignored, NULL) == ERR_OK;
}

enum err service_target_check(const char *name, const char *url, struct reason *reason)
{
    static const char scheme[] = "tcp://";
    size_t len = sizeof(scheme) - 1;
    if (strncmp(url, scheme, len) == 0 && target_is_valid(url + len)) {
        return ERR_OK;
    }
    return reason_set(reason, ERR_INVALID,
                      "%s = '%.80s': must be tcp://NAME or tcp://host:port, without a path", name,
                      url);
}

enum err service_settings_check(const void *settings, struct reason *reason)
{
    const struct service_settings *common = settings;
    if ((common->shards & (common->shards - 1)) != 0) {
        return reason_set(reason, ERR_INVALID, "shards: %lld is not a power of two",
                          (long long)common->shards);
    }
    if (strlen(service_settings_secret(common)) < SECRET_MIN) {
        return reason_set(reason, ERR_INVALID,
                          "jwt_secret: %d characters or more are wanted; set it in the "
                          "configuration or environment (only mode = dev may leave it empty)",
                          SECRET_MIN);
    }
    if (common->wait_replicas > 0 && common->wait_timeout_ms > common->timeout_ms / 3) {
        return reason_set(reason, ERR_INVALID,
                          "wait_timeout = %lldms: must be a third of timeout = %lldms at most",
                          (long long)common->wait_timeout_ms, (long long)common->timeout_ms);
    }
    enum err err = addresses_check(common, reason);
    return err ? err : redis_check(common, reason);
}
