#include "services/score/score.h"

#include "service_scripts.h"

static const struct conf_option options[] = {
    SERVICE_OPTIONS("127.0.0.1:8003", "127.0.0.1:9003"),
    SETTINGS_OPTION(struct score_settings, "grant_max", CONF_INT, grant_max, "1000000", 1,
                    2147483647, NULL, "Most points of one grant; more is refused."),
    {.name = NULL},
};

static const struct conf_program conf = {
    .name = "scored",
    .prefix = "SCORED",
    .summary = "The score service of the mall: users' points and their ledger.",
    .options = options,
    .judge = service_settings_check,
};

static void opened(void *arg)
{
    score_rpc_register(arg);
}

int main(int argc, char **argv)
{
    struct score_service score = {0};
    const struct service_script scripts[] = {
        {&score.save, &script_score_save, true},
        {&score.save_revert, &script_score_save_revert, true},
        {&score.deduct_try, &script_score_deduct_try, true},
        {&score.deduct_confirm, &script_score_deduct_confirm, true},
        {&score.deduct_cancel, &script_score_deduct_cancel, true},
    };
    struct service_program program = {
        .conf = &conf,
        .settings = &score.settings.common,
        .service = &score.service,
        .scripts = scripts,
        .script_count = sizeof(scripts) / sizeof(scripts[0]),
        .meta_key = "{scr:meta}",
        .routes = score_routes,
        .opened = opened,
        .arg = &score,
    };
    return service_main(&program, argc, argv);
}
