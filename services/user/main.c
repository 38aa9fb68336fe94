#include "services/user/user.h"

#include "service_scripts.h"

#define USER_OPTION(option_name, option_type, member, value, lowest, highest, text)                \
    SETTINGS_OPTION(struct user_settings, option_name, option_type, member, value, lowest,         \
                    highest, NULL, text)

static const struct conf_option options[] = {
    SERVICE_OPTIONS("127.0.0.1:8000", "127.0.0.1:9000"),
    USER_OPTION("user_branch", CONF_STRING, user_branch, "tcp://user", 0, 0,
                "How sagad reaches this service's branches; the name is in sagad's resolver."),
    USER_OPTION("score_branch", CONF_STRING, score_branch, "tcp://score", 0, 0,
                "How sagad reaches the score service's branches."),
    USER_OPTION("welcome_score", CONF_INT, welcome_score, "10", 1, 1000000,
                "Points that a new user gets."),
    USER_OPTION("wait", CONF_DURATION, wait_ms, "30s", 100, 600000,
                "How long register waits for the end of its saga before it answers 202."),
    USER_OPTION("key_ttl", CONF_DURATION, key_ttl_ms, "1d", 1000, 31536000000,
                "How long an idempotency key is remembered."),
    {.name = NULL},
};

static enum err judge(const void *settings, struct reason *reason)
{
    const struct user_settings *user = settings;
    enum err err = service_settings_check(settings, reason);
    err = err ? err : service_target_check("user_branch", user->user_branch, reason);
    return err ? err : service_target_check("score_branch", user->score_branch, reason);
}

static const struct conf_program conf = {
    .name = "userd",
    .prefix = "USERD",
    .summary = "The user service of the mall: registration as a saga over user and score, login.",
    .options = options,
    .judge = judge,
};

static void opened(void *arg)
{
    struct user_service *user = arg;
    user->passwords = passwords_new(saga_loop(user->service.saga));
    user_rpc_register(user);
}

static void closing(void *arg)
{
    struct user_service *user = arg;
    passwords_free(user->passwords);
}

int main(int argc, char **argv)
{
    struct user_service user = {0};
    const struct service_script scripts[] = {
        {&user.save, &script_user_save, true},
        {&user.save_revert, &script_user_save_revert, true},
        {&user.new_id, &script_id_block, false},
        {&user.reserve, &script_id_reserve, false},
    };
    struct service_program program = {
        .conf = &conf,
        .settings = &user.settings.common,
        .service = &user.service,
        .scripts = scripts,
        .script_count = sizeof(scripts) / sizeof(scripts[0]),
        .meta_key = "{usr:meta}",
        .routes = user_routes,
        .opened = opened,
        .closing = closing,
        .arg = &user,
    };
    return service_main(&program, argc, argv);
}
