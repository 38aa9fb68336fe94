/*
 * POST /api/order/create: the user must exist, the product must be on sale, the amount must be
 * price times number; then an id is allocated and a saga is submitted:
 *
 *     01  order.Order/Create       undone by  order.Order/CreateRevert
 *     02  product.Product/DecrStock           product.Product/DecrStockRevert
 *
 * With "pay": "points" it is a TCC, whose tries sagad calls too; a point is worth a unit of amount:
 *
 *     01  order.Order/TryCreate          ConfirmCreate        CancelCreate
 *     02  product.Product/TryDecrStock   ConfirmDecrStock     CancelDecrStock
 *     03  score.UserScore/TryDeduct      ConfirmDeduct        CancelDeduct
 *
 *     request → user? → product? → id → submit → answer
 *                  └───────┴─ no ─► key known? ─┘
 *
 * With an Idempotency-Key the id, the gid and the amount are those of the first request with that
 * key, so that a repeated POST submits the same transaction: what is new begins, what is known
 * gives its outcome. User and product may have changed since; so a request that they refuse looks
 * first whether its key is known, and only then is refused.
 */
#include "services/order/order.h"

#include "base/mem.h"
#include "mall/product.pb.h"
#include "mall/score.pb.h"
#include "mall/user.pb.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GID_SIZE = 384 };

struct creation {
    struct order_service *order;
    struct web_request *request;
    const char *key; /* the idempotency key, or NULL */
    int64_t pid, num;
    int64_t given;  /* amount that the client sent; −1: none */
    int64_t amount; /* price times num */
    int64_t id;
    bool wait;
    bool points; /* it is paid with points, at once */
    char gid[GID_SIZE];
    struct data_answer refusal; /* of user or product, while the key is looked for */
    char *refusal_text;
};

static void creation_free(struct creation *creation)
{
    free(creation->refusal_text);
    free(creation);
}

static void fail(struct creation *creation, int status, const char *code, const char *message)
{
    web_fail(creation->request, status, code, "%s", message);
    creation_free(creation);
}

static void fail_data(struct creation *creation, const struct data_answer *answer)
{
    data_fail_web(creation->request, answer);
    creation_free(creation);
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
    creation_free(creation);
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
        creation_free(creation);
        break;
    }
}

static void submit_branches(struct creation *creation, const struct service_branch *branches,
                            size_t count)
{
    service_submit(&creation->order->service,
                   &(struct service_submission){.gid = creation->gid,
                                                .tcc = creation->points,
                                                .branches = branches,
                                                .branch_count = count,
                                                .wait = creation->wait,
                                                .wait_ms = creation->order->settings.wait_ms},
                   on_submitted, creation);
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
    score_DeductRequest deduct = {.user_id = creation->request->uid, .score = creation->amount};
    const struct service_branch saga[] = {
        {settings->order_branch, "order.Order/Create", "order.Order/CreateRevert",
         order_CreateRequest_fields, &create, NULL},
        {settings->product_branch, "product.Product/DecrStock", "product.Product/DecrStockRevert",
         product_DecrStockRequest_fields, &decr, NULL},
    };
    const struct service_branch tcc[] = {
        {settings->order_branch, "order.Order/TryCreate", "order.Order/CancelCreate",
         order_CreateRequest_fields, &create, "order.Order/ConfirmCreate"},
        {settings->product_branch, "product.Product/TryDecrStock",
         "product.Product/CancelDecrStock", product_DecrStockRequest_fields, &decr,
         "product.Product/ConfirmDecrStock"},
        {settings->score_branch, "score.UserScore/TryDeduct", "score.UserScore/CancelDeduct",
         score_DeductRequest_fields, &deduct, "score.UserScore/ConfirmDeduct"},
    };
    if (creation->points) {
        submit_branches(creation, tcc, 3);
    } else {
        submit_branches(creation, saga, 2);
    }
}

/* ---- the id ---- */

/* The id is part of a key's gid: when the key is forgotten and comes again, it is another order and
 * must not be taken for the transaction of the first. */
static void on_id(void *arg, const struct data_answer *answer, int64_t id)
{
    struct creation *creation = arg;
    if (answer->kind != DATA_OK) {
        fail_data(creation, answer);
        return;
    }
    creation->id = id;
    if (creation->key) {
        creation->amount = order_reserved_amount(answer);
        snprintf(creation->gid, sizeof(creation->gid), "order:%" PRId64 ":%" PRId64 ":%s",
                 creation->request->uid, id, creation->key);
    } else {
        saga_gid(creation->gid);
    }
    submit(creation);
}

/* amount −1: only looks whether the key is known. */
static void reserve(struct creation *creation, int64_t amount, data_id_cb cb)
{
    char asked[96];
    snprintf(asked, sizeof(asked), "%" PRId64 "|%" PRId64 "|%" PRId64 "%s", creation->pid,
             creation->num, creation->given, creation->points ? "|points" : "");
    order_reserve(creation->order, creation->request->uid, slice_str(creation->key),
                  slice_str(asked), amount, cb, creation);
}

static void on_found(void *arg, const struct data_answer *answer, int64_t id)
{
    struct creation *creation = arg;
    char code[WEB_CODE_SIZE];
    (void)web_split_reason(answer->text, "", code);
    if (answer->kind == DATA_REFUSED && strcmp(code, "no_key") == 0) {
        fail_data(creation, &creation->refusal);
    } else {
        on_id(creation, answer, id);
    }
}

/* ---- what is asked before ---- */

/* Looked for after the refusal, not before: a request with the same key that runs beside this one
 * may have come further meanwhile. */
static void refuse(struct creation *creation, const struct data_answer *refusal)
{
    if (!creation->key) {
        fail_data(creation, refusal);
        return;
    }
    creation->refusal_text = slice_dup(refusal->text);
    creation->refusal =
        (struct data_answer){refusal->kind, slice_str(creation->refusal_text), NULL};
    reserve(creation, -1, on_found);
}

static void on_cost(void *arg, const struct data_answer *answer, int64_t amount)
{
    static const struct data_answer free_of_charge = {
        DATA_REFUSED, SLICE_LIT("bad_pay: the order costs nothing: there is nothing to pay"), NULL};
    struct creation *creation = arg;
    if (answer->kind != DATA_OK) {
        refuse(creation, answer);
    } else if (creation->points && amount == 0) {
        refuse(creation, &free_of_charge);
    } else if (creation->key) {
        reserve(creation, amount, on_id);
    } else {
        creation->amount = amount;
        order_new_id(creation->order, creation->request->uid, 1, on_id, creation);
    }
}

static void on_user(void *arg, const struct data_answer *answer)
{
    struct creation *creation = arg;
    if (answer->kind != DATA_OK) {
        refuse(creation, answer);
        return;
    }
    order_cost(creation->order, creation->pid, creation->num, creation->given, on_cost, creation);
}

/* ---- the request ---- */

static enum err read_pay(struct creation *creation, struct reason *reason)
{
    struct slice pay = {0};
    enum err err = json_read_string(creation->request->body, "pay", &pay, reason);
    creation->points = err == ERR_OK && slice_eq_str(pay, "points");
    if (err == ERR_OK && pay.ptr && !creation->points) {
        err = reason_set(reason, ERR_INVALID,
                         "field 'pay': allowed is \"points\"; leave it out to pay later");
    }
    return err;
}

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
        err = json_read_int(request->body, "amount", 0, ORDER_AMOUNT_MAX, &creation->given, reason);
    }
    if (err == ERR_OK) {
        err = json_read_bool(request->body, "wait", &creation->wait, reason);
    }
    if (err == ERR_OK) {
        err = read_pay(creation, reason);
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
    creation->key = web_header(request, "Idempotency-Key");
    creation->num = 1;
    creation->given = -1;
    creation->wait = true;
    if (read_request(creation, &reason) != ERR_OK) {
        fail(creation, 400, "invalid", reason.text);
        return;
    }
    user_UserInfoRequest user = {.id = request->uid};
    data_ask(creation->order->service.saga, creation->order->settings.user_rpc, "user.User/Check",
             user_UserInfoRequest_fields, &user, on_user, creation);
}
