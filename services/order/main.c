#include "services/order/order.h"

#include "service_scripts.h"

#define ORDER_OPTION(option_name, option_type, member, value, lowest, highest, text)               \
    SETTINGS_OPTION(struct order_settings, option_name, option_type, member, value, lowest,        \
                    highest, NULL, text)

static const struct conf_option options[] = {
    SERVICE_OPTIONS("127.0.0.1:8002", "127.0.0.1:9002"),
    ORDER_OPTION("user_rpc", CONF_STRING, user_rpc, "127.0.0.1:9000", 0, 0,
                 "RPC address of the user service."),
    ORDER_OPTION("product_rpc", CONF_STRING, product_rpc, "127.0.0.1:9001", 0, 0,
                 "RPC address of the product service."),
    ORDER_OPTION("order_branch", CONF_STRING, order_branch, "tcp://order", 0, 0,
                 "How sagad reaches this service's branches; the name is in sagad's resolver."),
    ORDER_OPTION("product_branch", CONF_STRING, product_branch, "tcp://product", 0, 0,
                 "How sagad reaches the product service's branches."),
    ORDER_OPTION("score_branch", CONF_STRING, score_branch, "tcp://score", 0, 0,
                 "How sagad reaches the score service's branches: orders paid with points, and "
                 "paid_score."),
    ORDER_OPTION("wait", CONF_DURATION, wait_ms, "30s", 100, 600000,
                 "How long create waits for the end of its transaction before it answers 202."),
    ORDER_OPTION("key_ttl", CONF_DURATION, key_ttl_ms, "1d", 1000, 31536000000,
                 "How long an idempotency key is remembered."),
    ORDER_OPTION(
        "paid_score", CONF_INT, paid_score, "0", 0, 2147483647,
        "Points that the user gets for a paid order, by a message in {ord:N}:outbox, which "
        "sagad must consume; 0: none."),
    {.name = NULL},
};

static enum err judge(const void *settings, struct reason *reason)
{
    const struct order_settings *order = settings;
    enum err err = service_settings_check(settings, reason);
    err = err ? err : service_peer_check("user_rpc", order->user_rpc, reason);
    err = err ? err : service_peer_check("product_rpc", order->product_rpc, reason);
    err = err ? err : service_target_check("order_branch", order->order_branch, reason);
    err = err ? err : service_target_check("product_branch", order->product_branch, reason);
    return err ? err : service_target_check("score_branch", order->score_branch, reason);
}

static const struct conf_program conf = {
    .name = "orderd",
    .prefix = "ORDERD",
    .summary = "The order service of the mall: orders are sagas, or TCCs when paid with points.",
    .options = options,
    .judge = judge,
};

static void opened(void *arg)
{
    order_rpc_register(arg);
}

int main(int argc, char **argv)
{
    struct order_service order = {0};
    const struct service_script scripts[] = {
        {&order.create, &script_order_create, true},
        {&order.create_confirm, &script_order_create_confirm, true},
        {&order.create_revert, &script_order_create_revert, true},
        {&order.new_id, &script_id_block, false},
        {&order.reserve, &script_id_reserve, false},
        {&order.paid, &script_order_paid, SERVICE_OUTBOX},
        {&order.update, &script_order_update, false},
        {&order.remove, &script_order_remove, false},
    };
    struct service_program program = {
        .conf = &conf,
        .settings = &order.settings.common,
        .service = &order.service,
        .scripts = scripts,
        .script_count = sizeof(scripts) / sizeof(scripts[0]),
        .meta_key = "{ord:meta}",
        .routes = order_routes,
        .opened = opened,
        .arg = &order,
    };
    return service_main(&program, argc, argv);
}
