/*
 * POST /api/order/create: the user must exist, the product must be on sale, the amount must be
 * price times number; then an id is allocated and the saga is submitted:
 *
 *     01  order.Order/Create       undone by  order.Order/CreateRevert
 *     02  product.Product/DecrStock           product.Product/DecrStockRevert
 *
 *     request → user? → product? → id → submit → answer
 *
 * With an Idempotency-Key the id and the gid are those of the first request with that key, so that
 * a repeated POST is the same transaction.
 */
#include "services/order/order.h"

#include "base/mem.h"
#include "mall/product.pb.h"
#include "mall/user.pb.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GID_SIZE = 384 };

struct creation {
    struct order_service *order;
    struct web_request *request;
    int64_t pid, num;
    int64_t amount; /* −1: not given by the client */
    int64_t id;
    bool wait;
    char gid[GID_SIZE];
};

static void fail(struct creation *creation, int status, const char *code, const char *message)
{
    web_fail(creation->request, status, code, "%s", message);
    free(creation);
}

static void fail_data(struct creation *creation, const struct data_answer *answer)
{
    data_fail_web(creation->request, answer);
    free(creation);
}

/* ---- the last step: submit and answer ---- */

static void answer(struct creation *creation, const struct saga_answer *saga)
{
    struct web_answer body;
    struct json_writer *w = web_answer_begin(&body);
    int status = service_http_status(saga->status);
    json_open_object(w, NULL);
    if (status == 409) {
        service_put_failure(w, service_slice(saga->rollback_reason), "order_failed");
    }
    json_put_text(w, "gid", creation->gid);
    json_put_int(w, "id", creation->id);
    json_put_text(w, "status", saga->status);
    json_close_object(w);
    web_answer_send(&body, creation->request, status);
    free(creation);
}

static void on_submitted(void *arg, const struct saga_answer *saga)
{
    struct creation *creation = arg;
    switch (saga->error) {
    case SAGA_E_NONE: answer(creation, saga); break;
    case SAGA_E_INVALID: fail(creation, 500, "internal", saga->message); break;
    case SAGA_E_BUSY:
    case SAGA_E_UNAVAILABLE:
    case SAGA_E_CANCELLED:
        web_fail(creation->request, 503, "unavailable",
                 "the coordinator is away; with an Idempotency-Key it is safe to ask again: %s",
                 saga->message);
        free(creation);
        break;
    }
}

static void submit(struct creation *creation)
{
    const struct order_settings *settings = &creation->order->settings;
    order_CreateRequest create = {.uid = creation->request->uid,
                                  .pid = creation->pid,
                                  .amount = creation->amount,
                                  .id = creation->id,
                                  .num = creation->num};
    product_DecrStockRequest decr = {.id = creation->pid, .num = creation->num};
    const struct service_branch branches[] = {
        {settings->order_branch, "order.Order/Create", "order.Order/CreateRevert",
         order_CreateRequest_fields, &create},
        {settings->product_branch, "product.Product/DecrStock", "product.Product/DecrStockRevert",
         product_DecrStockRequest_fields, &decr},
    };
    service_submit(&creation->order->service,
                   &(struct service_submission){.gid = creation->gid,
                                                .branches = branches,
                                                .branch_count = 2,
                                                .wait = creation->wait,
                                                .wait_ms = settings->wait_ms},
                   on_submitted, creation);
}

/* ---- the id ---- */

/* The id is part of a key's gid: when the key is forgotten and comes again, it is another order and
 * must not be taken for the transaction of the first. */
static void on_id(void *arg, const struct data_answer *data, int64_t id)
{
    struct creation *creation = arg;
    const char *key = web_header(creation->request, "Idempotency-Key");
    if (data->kind != DATA_OK) {
        fail_data(creation, data);
        return;
    }
    creation->id = id;
    if (key) {
        snprintf(creation->gid, sizeof(creation->gid), "order:%" PRId64 ":%" PRId64 ":%s",
                 creation->request->uid, id, key);
    } else {
        saga_gid(creation->gid);
    }
    submit(creation);
}

static void allocate_id(struct creation *creation)
{
    int64_t uid = creation->request->uid;
    const char *key = web_header(creation->request, "Idempotency-Key");
    if (!key) {
        order_new_id(creation->order, uid, 1, on_id, creation);
        return;
    }
    char asked[96];
    snprintf(asked, sizeof(asked), "%" PRId64 "|%" PRId64, creation->pid, creation->num);
    order_reserve(creation->order, uid, slice_str(key), slice_str(asked), on_id, creation);
}

/* ---- what is asked before ---- */

static void on_cost(void *arg, const struct data_answer *answer, int64_t amount)
{
    struct creation *creation = arg;
    if (answer->kind != DATA_OK) {
        fail_data(creation, answer);
        return;
    }
    creation->amount = amount;
    allocate_id(creation);
}

static void on_user(void *arg, const struct data_answer *answer)
{
    struct creation *creation = arg;
    if (answer->kind != DATA_OK) {
        fail_data(creation, answer);
        return;
    }
    order_cost(creation->order, creation->pid, creation->num, creation->amount, on_cost, creation);
}

/* ---- the request ---- */

static enum err read_request(struct creation *creation, struct reason *reason)
{
    const struct web_request *request = creation->request;
    int64_t uid = request->uid;
    enum err err = web_check_key(request, reason);
    if (err == ERR_OK) {
        err = web_need_id(request, "pid", &creation->pid, reason);
    }
    if (err == ERR_OK) {
        err = json_read_int(request->body, "num", 1, ORDER_NUM_MAX, &creation->num, reason);
    }
    if (err == ERR_OK) {
        err =
            json_read_int(request->body, "amount", 0, ORDER_AMOUNT_MAX, &creation->amount, reason);
    }
    if (err == ERR_OK) {
        err = json_read_bool(request->body, "wait", &creation->wait, reason);
    }
    if (err == ERR_OK) {
        err = json_read_int(request->body, "uid", 1, WEB_ID_MAX, &uid, reason);
    }
    if (err == ERR_OK && uid != request->uid) {
        err = reason_set(reason, ERR_INVALID, "field 'uid': the token belongs to another user");
    }
    return err;
}

void order_create_handle(void *arg, struct web_request *request)
{
    struct creation *creation = mem_new(struct creation);
    struct reason reason;
    creation->order = arg;
    creation->request = request;
    creation->num = 1;
    creation->amount = -1;
    creation->wait = true;
    if (read_request(creation, &reason) != ERR_OK) {
        fail(creation, 400, "invalid", reason.text);
        return;
    }
    user_UserInfoRequest user = {.id = request->uid};
    data_ask(creation->order->service.saga, creation->order->settings.user_rpc, "user.User/Check",
             user_UserInfoRequest_fields, &user, on_user, creation);
}
