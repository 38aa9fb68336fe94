/* The HTTP API of the product service. */
#include "services/product/product.h"

static void on_created(void *arg, const struct data_answer *answer, int64_t id)
{
    if (answer->kind != DATA_OK) {
        data_fail_web(arg, answer);
        return;
    }
    struct web_answer body;
    struct json_writer *w = web_answer_begin(&body);
    json_open_object(w, NULL);
    json_put_int(w, "id", id);
    json_close_object(w);
    web_answer_send(&body, arg, 200);
}

/* A text that may be left out. */
static enum err read_text(const struct web_request *request, const char *name, char *out,
                          size_t size, struct reason *reason)
{
    return json_get(request->body, name)
               ? web_need_copy(request, name, 0, PRODUCT_TEXT_MAX, out, size, reason)
               : ERR_OK;
}

static void handle_create(void *arg, struct web_request *request)
{
    struct reason reason;
    product_CreateRequest create = product_CreateRequest_init_zero;
    enum err err = read_text(request, "name", create.name, sizeof(create.name), &reason);
    if (err == ERR_OK) {
        err = read_text(request, "desc", create.desc, sizeof(create.desc), &reason);
    }
    if (err == ERR_OK) {
        err = web_need_int(request, "stock", 0, PRODUCT_NUMBER_MAX, &create.stock, &reason);
    }
    if (err == ERR_OK) {
        err = web_need_int(request, "amount", 0, PRODUCT_NUMBER_MAX, &create.amount, &reason);
    }
    if (err == ERR_OK) {
        err = json_read_int(request->body, "status", PRODUCT_ON_SALE, PRODUCT_OFF_SHELF,
                            &create.status, &reason);
    }
    if (err == ERR_OK) {
        err = product_create_check(&create, &reason);
    }
    if (err != ERR_OK) {
        web_refuse(request, &reason);
        return;
    }
    product_create(arg, &create, on_created, request);
}

static void on_loaded(void *arg, const struct data_answer *answer,
                      const product_DetailResponse *record)
{
    if (answer->kind != DATA_OK) {
        data_fail_web(arg, answer);
        return;
    }
    struct web_answer body;
    struct json_writer *w = web_answer_begin(&body);
    json_open_object(w, NULL);
    json_put_int(w, "id", record->id);
    json_put_text(w, "name", record->name);
    json_put_text(w, "desc", record->desc);
    json_put_int(w, "stock", record->stock);
    json_put_int(w, "frozen", record->frozen);
    json_put_int(w, "amount", record->amount);
    json_put_int(w, "status", record->status);
    json_put_int(w, "ver", record->ver);
    json_close_object(w);
    web_answer_send(&body, arg, 200);
}

static bool read_id(struct web_request *request, int64_t *id)
{
    struct reason reason;
    if (web_need_id(request, "id", id, &reason) == ERR_OK) {
        return true;
    }
    web_refuse(request, &reason);
    return false;
}

static void handle_detail(void *arg, struct web_request *request)
{
    int64_t id;
    if (read_id(request, &id)) {
        product_load(arg, id, on_loaded, request);
    }
}

static void handle_remove(void *arg, struct web_request *request)
{
    int64_t id;
    if (read_id(request, &id)) {
        product_remove(arg, id, data_changed_web, request);
    }
}

static void handle_set_stock(void *arg, struct web_request *request)
{
    struct reason reason;
    int64_t id;
    int64_t stock;
    if (!read_id(request, &id)) {
        return;
    }
    if (web_need_int(request, "stock", 0, PRODUCT_NUMBER_MAX, &stock, &reason) != ERR_OK) {
        web_refuse(request, &reason);
        return;
    }
    product_set_stock(arg, id, stock, data_changed_web, request);
}

static enum err read_update(struct web_request *request, product_UpdateRequest *update,
                            struct reason *reason)
{
    update->has_name = json_get(request->body, "name") != NULL;
    update->has_desc = json_get(request->body, "desc") != NULL;
    update->has_stock = json_get(request->body, "stock") != NULL;
    update->has_amount = json_get(request->body, "amount") != NULL;
    update->has_status = json_get(request->body, "status") != NULL;
    update->has_ver = json_get(request->body, "ver") != NULL;
    enum err err = read_text(request, "name", update->name, sizeof(update->name), reason);
    if (err == ERR_OK) {
        err = read_text(request, "desc", update->desc, sizeof(update->desc), reason);
    }
    if (err == ERR_OK) {
        err =
            json_read_int(request->body, "amount", 0, PRODUCT_NUMBER_MAX, &update->amount, reason);
    }
    if (err == ERR_OK) {
        err = json_read_int(request->body, "status", PRODUCT_ON_SALE, PRODUCT_OFF_SHELF,
                            &update->status, reason);
    }
    if (err == ERR_OK) {
        err = json_read_int(request->body, "ver", 1, WEB_ID_MAX, &update->ver, reason);
    }
    return err == ERR_OK ? product_update_check(update, reason) : err;
}

static void handle_update(void *arg, struct web_request *request)
{
    struct reason reason;
    product_UpdateRequest update = product_UpdateRequest_init_zero;
    if (!read_id(request, &update.id)) {
        return;
    }
    if (read_update(request, &update, &reason) != ERR_OK) {
        web_refuse(request, &reason);
        return;
    }
    product_update(arg, &update, data_changed_web, request);
}

const struct web_route product_routes[] = {
    {"/api/product/create", false, handle_create},
    {"/api/product/detail", false, handle_detail},
    {"/api/product/update", false, handle_update},
    {"/api/product/remove", false, handle_remove},
    {"/api/product/setstock", false, handle_set_stock},
    {NULL, false, NULL},
};
