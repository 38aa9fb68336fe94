#include "services/common/settings.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SECRET_MIN = 32 };

static const char *const dev_secret = "development only: everybody knows this secret";

const char *service_settings_secret(const struct service_settings *settings)
{
    bool dev = strcmp(settings->mode, "dev") == 0;
    return dev && !settings->jwt_secret[0] ? dev_secret : settings->jwt_secret;
}

static bool settings_are_safe(const char *name, const struct service_settings *settings)
{
    if ((settings->shards & (settings->shards - 1)) != 0) {
        fprintf(stderr, "%s: shards: %lld is not a power of two\n", name,
                (long long)settings->shards);
        return false;
    }
    if (strlen(service_settings_secret(settings)) < SECRET_MIN) {
        fprintf(stderr,
                "%s: jwt_secret: %d characters or more are wanted; set it in the configuration or "
                "environment (only mode = dev may leave it empty)\n",
                name, SECRET_MIN);
        return false;
    }
    return true;
}

static bool is_check_option(const char *arg)
{
    return strcmp(arg, "--check-config") == 0 || strcmp(arg, "--check_config") == 0;
}

/* --check-config is taken out of the command line: conf_load would end with "valid" before
 * settings_are_safe had its say. */
enum conf_verdict service_settings_load(const struct conf_program *program,
                                        struct service_settings *settings, int argc, char **argv)
{
    char **kept = mem_zalloc(((size_t)argc + 1) * sizeof(*kept));
    bool check_only = false;
    int count = 0;
    for (int i = 0; i < argc; i++) {
        if (i > 0 && is_check_option(argv[i])) {
            check_only = true;
        } else {
            kept[count++] = argv[i];
        }
    }
    enum conf_verdict verdict = conf_load(program, settings, count, kept);
    free(kept);
    if (verdict != CONF_RUN) {
        return verdict;
    }
    if (!settings_are_safe(program->name, settings)) {
        return CONF_BAD;
    }
    if (check_only) {
        printf("%s: configuration is valid\n", program->name);
    }
    return check_only ? CONF_EXIT_OK : CONF_RUN;
}
