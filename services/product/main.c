#include "services/product/product.h"

#include "service_scripts.h"

static const struct conf_option options[] = {
    SERVICE_OPTIONS("127.0.0.1:8001", "127.0.0.1:9001"),
    {.name = NULL},
};

static const struct conf_program conf = {
    .name = "productd",
    .prefix = "PRODUCTD",
    .summary = "The product service of the mall: products and their stock.",
    .options = options,
    .judge = service_settings_check,
};

static void opened(void *arg)
{
    product_rpc_register(arg);
}

int main(int argc, char **argv)
{
    struct product_service product = {0};
    const struct service_script scripts[] = {
        {&product.decr_stock, &script_product_decr_stock, true},
        {&product.decr_stock_revert, &script_product_decr_stock_revert, true},
        {&product.decr_stock_try, &script_product_decr_stock_try, true},
        {&product.decr_stock_confirm, &script_product_decr_stock_confirm, true},
        {&product.decr_stock_cancel, &script_product_decr_stock_cancel, true},
        {&product.new_id, &script_product_new_id, false},
        {&product.create, &script_product_create, false},
        {&product.update, &script_product_update, false},
        {&product.set_stock, &script_product_set_stock, false},
        {&product.remove, &script_product_remove, false},
    };
    struct service_program program = {
        .conf = &conf,
        .settings = &product.settings.common,
        .service = &product.service,
        .scripts = scripts,
        .script_count = sizeof(scripts) / sizeof(scripts[0]),
        .routes = product_routes,
        .opened = opened,
        .arg = &product,
    };
    return service_main(&program, argc, argv);
}
