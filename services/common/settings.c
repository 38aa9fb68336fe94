#include "services/common/settings.h"

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
    if (settings->registry[0] && redis_address_check(settings->registry, 0, &why)) {
        return reason_set(reason, ERR_INVALID, "registry: %s", why.text);
    }
    return ERR_OK;
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
    return redis_check(common, reason);
}
