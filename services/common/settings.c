#include "services/common/settings.h"

#include <string.h>

enum { SECRET_MIN = 32 };

static const char *const dev_secret = "development only: everybody knows this secret";

const char *service_settings_secret(const struct service_settings *settings)
{
    bool dev = strcmp(settings->mode, "dev") == 0;
    return dev && !settings->jwt_secret[0] ? dev_secret : settings->jwt_secret;
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
    return ERR_OK;
}
