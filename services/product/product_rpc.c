#include "services/product/product.h"

/* ---- branches ---- */

static void branch_done(void *arg, struct saga_call *call, const struct saga_outcome *outcome)
{
    struct product_branch *branch = arg;
    struct service *service = &branch->product->service;
    if (outcome->verdict == SAGA_OK && outcome->text.len > 0) {
        service_alert(service, call, branch->alert);
    }
    service_settle(service, call, branch->method, outcome, saga_text(""));
}

static void on_branch(void *arg, struct saga_call *call)
{
    struct product_branch *branch = arg;
    product_DecrStockRequest request = product_DecrStockRequest_init_zero;
    if (!data_decode(call, product_DecrStockRequest_fields, &request)) {
        return;
    }
    char tag[PRODUCT_KEY_SIZE], key[PRODUCT_KEY_SIZE], num[DATA_NUMBER_SIZE];
    product_tag(request.id, tag);
    struct saga_bytes keys[] = {service_bytes(product_key(request.id, key))};
    struct saga_bytes args[] = {service_bytes(data_number(request.num, num))};
    saga_call_eval(call, &(struct saga_eval){.script = branch->script,
                                             .tag = tag,
                                             .keys = keys,
                                             .key_count = 1,
                                             .args = args,
                                             .arg_count = 1,
                                             .done = branch_done,
                                             .arg = branch});
}

static void branches_register(struct product_service *product)
{
    static const char undo[] = "compensation found no product";
    static const char confirm[] = "confirmation found no product";
    const struct product_branch branches[PRODUCT_BRANCHES] = {
        {product, "product.Product/DecrStock", product->decr_stock, ""},
        {product, "product.Product/DecrStockRevert", product->decr_stock_revert, undo},
        {product, "product.Product/TryDecrStock", product->decr_stock_try, ""},
        {product, "product.Product/ConfirmDecrStock", product->decr_stock_confirm, confirm},
        {product, "product.Product/CancelDecrStock", product->decr_stock_cancel, undo},
    };
    for (int i = 0; i < PRODUCT_BRANCHES; i++) {
        product->branches[i] = branches[i];
        saga_on_branch(product->service.saga, branches[i].method, on_branch, &product->branches[i]);
    }
}

/* ---- plain requests ---- */

static void on_loaded(void *arg, const struct data_answer *answer,
                      const product_DetailResponse *record)
{
    data_reply_call(arg, answer, product_DetailResponse_fields, record);
}

static void on_detail(void *arg, struct saga_call *call)
{
    product_DetailRequest request = product_DetailRequest_init_zero;
    if (data_decode(call, product_DetailRequest_fields, &request)) {
        product_load(arg, request.id, on_loaded, call);
    }
}

static void on_created(void *arg, const struct data_answer *answer, int64_t id)
{
    product_CreateResponse response = {.id = id};
    data_reply_call(arg, answer, product_CreateResponse_fields, &response);
}

static void on_create(void *arg, struct saga_call *call)
{
    struct reason reason;
    product_CreateRequest request = product_CreateRequest_init_zero;
    if (!data_decode(call, product_CreateRequest_fields, &request)) {
        return;
    }
    if (product_create_check(&request, &reason) != ERR_OK) {
        data_refuse_call(call, &reason);
        return;
    }
    product_create(arg, &request, on_created, call);
}

static void on_update(void *arg, struct saga_call *call)
{
    struct reason reason;
    product_UpdateRequest request = product_UpdateRequest_init_zero;
    if (!data_decode(call, product_UpdateRequest_fields, &request)) {
        return;
    }
    if (product_update_check(&request, &reason) != ERR_OK) {
        data_refuse_call(call, &reason);
        return;
    }
    product_update(arg, &request, data_changed_call, call);
}

static void on_remove(void *arg, struct saga_call *call)
{
    product_RemoveRequest request = product_RemoveRequest_init_zero;
    if (data_decode(call, product_RemoveRequest_fields, &request)) {
        product_remove(arg, request.id, data_changed_call, call);
    }
}

static void on_set_stock(void *arg, struct saga_call *call)
{
    product_SetStockRequest request = product_SetStockRequest_init_zero;
    if (!data_decode(call, product_SetStockRequest_fields, &request)) {
        return;
    }
    if (request.stock < 0 || request.stock > PRODUCT_NUMBER_MAX) {
        struct reason reason;
        (void)reason_set(&reason, ERR_INVALID, "field 'stock': allowed are 0 to %lld",
                         PRODUCT_NUMBER_MAX);
        data_refuse_call(call, &reason);
        return;
    }
    product_set_stock(arg, request.id, request.stock, data_changed_call, call);
}

void product_rpc_register(struct product_service *product)
{
    struct saga *saga = product->service.saga;
    branches_register(product);
    saga_on_request(saga, "product.Product/Create", on_create, product);
    saga_on_request(saga, "product.Product/Detail", on_detail, product);
    saga_on_request(saga, "product.Product/Update", on_update, product);
    saga_on_request(saga, "product.Product/Remove", on_remove, product);
    saga_on_request(saga, "product.Product/SetStock", on_set_stock, product);
}
