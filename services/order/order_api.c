/* The HTTP API of the order service, except create (order_create.c). The user is always the one of
 * the token: nobody sees or changes the orders of others. */
#include "services/order/order.h"

static void put_record(struct json_writer *w, const order_DetailResponse *record)
{
    json_open_object(w, NULL);
    json_put_int(w, "id", record->id);
    json_put_int(w, "uid", record->uid);
    json_put_int(w, "pid", record->pid);
    json_put_int(w, "num", record->num);
    json_put_int(w, "amount", record->amount);
    json_put_int(w, "status", record->status);
    json_put_int(w, "ver", record->ver);
    json_put_int(w, "create_time_ms", record->create_time_ms);
    json_close_object(w);
}

static void on_detail_loaded(void *arg, const struct data_answer *answer,
                             const order_DetailResponse *record)
{
    if (answer->kind != DATA_OK) {
        data_fail_web(arg, answer);
        return;
    }
    struct web_answer body;
    put_record(web_answer_begin(&body), record);
    web_answer_send(&body, arg, 200);
}

static void handle_detail(void *arg, struct web_request *request)
{
    struct reason reason;
    int64_t id;
    if (web_need_id(request, "id", &id, &reason) != ERR_OK) {
        web_refuse(request, &reason);
        return;
    }
    order_load(arg, id, request->uid, on_detail_loaded, request);
}

static void on_listed(void *arg, const struct data_answer *answer, const order_ListResponse *list)
{
    if (answer->kind != DATA_OK) {
        data_fail_web(arg, answer);
        return;
    }
    struct web_answer body;
    struct json_writer *w = web_answer_begin(&body);
    json_open_array(w, NULL);
    for (size_t i = 0; i < list->data_count; i++) {
        put_record(w, &list->data[i]);
    }
    json_close_array(w);
    web_answer_send(&body, arg, 200);
}

static void handle_list(void *arg, struct web_request *request)
{
    struct reason reason;
    order_ListRequest list = {.uid = request->uid, .limit = ORDER_LIST_MAX};
    int64_t uid = request->uid;
    if (json_read_int(request->body, "uid", 1, WEB_ID_MAX, &uid, &reason) != ERR_OK ||
        json_read_int(request->body, "before", 0, WEB_ID_MAX, &list.before, &reason) != ERR_OK ||
        json_read_int(request->body, "limit", 1, ORDER_LIST_MAX, &list.limit, &reason) != ERR_OK) {
        web_refuse(request, &reason);
    } else if (uid != request->uid) {
        web_fail(request, 403, "forbidden", "field 'uid': the token belongs to another user");
    } else {
        order_list(arg, &list, on_listed, request);
    }
}

static enum err check_fixed(const struct web_request *request, struct reason *reason)
{
    static const char *const fixed[] = {"uid", "pid", "status"};
    if (json_get(request->body, "num")) {
        return reason_set(reason, ERR_INVALID,
                          "field 'num' of an order cannot change, its pieces have left the stock: "
                          "create a new order and remove this one");
    }
    for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++) {
        if (json_get(request->body, fixed[i])) {
            return reason_set(reason, ERR_INVALID,
                              "field '%s' of an order cannot change; only amount can", fixed[i]);
        }
    }
    return ERR_OK;
}

static enum err read_update(const struct web_request *request, order_UpdateRequest *update,
                            struct reason *reason)
{
    update->has_amount = json_get(request->body, "amount") != NULL;
    update->has_ver = json_get(request->body, "ver") != NULL;
    enum err err = check_fixed(request, reason);
    if (err == ERR_OK) {
        err = web_need_id(request, "id", &update->id, reason);
    }
    if (err == ERR_OK) {
        err = json_read_int(request->body, "amount", 0, ORDER_AMOUNT_MAX, &update->amount, reason);
    }
    if (err == ERR_OK) {
        err = json_read_int(request->body, "ver", 1, WEB_ID_MAX, &update->ver, reason);
    }
    return err;
}

static void handle_update(void *arg, struct web_request *request)
{
    struct reason reason;
    order_UpdateRequest update = order_UpdateRequest_init_zero;
    if (read_update(request, &update, &reason) != ERR_OK) {
        web_refuse(request, &reason);
        return;
    }
    order_update(arg, request->uid, &update, data_changed_web, request);
}

static void handle_remove(void *arg, struct web_request *request)
{
    struct reason reason;
    int64_t id;
    if (web_need_id(request, "id", &id, &reason) != ERR_OK) {
        web_refuse(request, &reason);
        return;
    }
    order_remove(arg, request->uid, id, data_changed_web, request);
}

const struct web_route order_routes[] = {
    {"/api/order/create", false, order_create_handle}, {"/api/order/detail", false, handle_detail},
    {"/api/order/list", false, handle_list},           {"/api/order/update", false, handle_update},
    {"/api/order/remove", false, handle_remove},       {NULL, false, NULL},
};
