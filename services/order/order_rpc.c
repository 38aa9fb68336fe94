#include "services/order/order.h"

#include "base/mem.h"
#include "services/common/shard.h"
#include "wire/message.h"

#include <stdlib.h>

/* ---- branches ---- */

static void reply_branch(struct order_service *order, struct saga_call *call, const char *method,
                         const struct saga_outcome *outcome)
{
    order_CreateRequest request = order_CreateRequest_init_zero;
    struct buf payload = {0};
    bool done = outcome->verdict == SAGA_OK || outcome->verdict == SAGA_DUP;
    if (done && !saga_call_is_undo(call) &&
        wire_pb_decode(order_CreateRequest_fields, &request,
                       service_slice(saga_call_payload(call))) == ERR_OK) {
        order_CreateResponse response = {.id = request.id};
        wire_pb_encode(order_CreateResponse_fields, &response, &payload);
    }
    service_settle(&order->service, call, method, outcome,
                   (struct saga_bytes){payload.data, payload.len});
    buf_fini(&payload);
}

static void create_done(void *arg, struct saga_call *call, const struct saga_outcome *outcome)
{
    reply_branch(arg, call, "order.Order/Create", outcome);
}

static void try_done(void *arg, struct saga_call *call, const struct saga_outcome *outcome)
{
    reply_branch(arg, call, "order.Order/TryCreate", outcome);
}

/* An id of another shard than the user's would need two slots: refused, for no repetition will
 * make it right. */
static bool ids_are_valid(const struct order_service *order, const order_CreateRequest *request)
{
    int64_t shards = order->settings.common.shards;
    return request->id >= 1 && request->uid >= 1 && request->pid >= 1 &&
           shard_of(request->id, shards) == shard_of(request->uid, shards);
}

static void create(struct order_service *order, struct saga_call *call, int64_t status,
                   saga_eval_done done)
{
    order_CreateRequest request = order_CreateRequest_init_zero;
    if (!data_decode(call, order_CreateRequest_fields, &request)) {
        return;
    }
    if (!ids_are_valid(order, &request)) {
        saga_call_reply(call, SAGA_FAILURE, saga_text(""),
                        "bad_id: uid and pid must be 1 or more, id from NewId for this uid");
        return;
    }
    char tag[ORDER_KEY_SIZE], key[ORDER_KEY_SIZE], list[ORDER_KEY_SIZE];
    char numbers[6][DATA_NUMBER_SIZE];
    const int64_t values[] = {request.id,     request.uid,
                              request.pid,    request.num ? request.num : 1,
                              request.amount, status};
    struct saga_bytes args[6];
    for (int i = 0; i < 6; i++) {
        args[i] = service_bytes(data_number(values[i], numbers[i]));
    }
    order_tag(order, request.id, tag);
    struct saga_bytes keys[] = {service_bytes(order_key(order, request.id, key)),
                                service_bytes(order_user_key(order, request.uid, list))};
    saga_call_eval(call, &(struct saga_eval){.script = order->create,
                                             .tag = tag,
                                             .keys = keys,
                                             .key_count = 2,
                                             .args = args,
                                             .arg_count = 6,
                                             .done = done,
                                             .arg = order});
}

static void on_create(void *arg, struct saga_call *call)
{
    create(arg, call, ORDER_UNPAID, create_done);
}

static void on_try_create(void *arg, struct saga_call *call)
{
    create(arg, call, ORDER_PENDING, try_done);
}

/* What ends a branch looks at its own order only, and its script says which status it left. */
static void end(struct order_service *order, struct saga_call *call,
                const struct saga_script *script, saga_eval_done done)
{
    order_CreateRequest request = order_CreateRequest_init_zero;
    if (!data_decode(call, order_CreateRequest_fields, &request)) {
        return;
    }
    char tag[ORDER_KEY_SIZE], key[ORDER_KEY_SIZE], id[DATA_NUMBER_SIZE];
    order_tag(order, request.id, tag);
    struct saga_bytes keys[] = {service_bytes(order_key(order, request.id, key))};
    struct saga_bytes args[] = {service_bytes(data_number(request.id, id))};
    saga_call_eval(call, &(struct saga_eval){.script = script,
                                             .tag = tag,
                                             .keys = keys,
                                             .key_count = 1,
                                             .args = args,
                                             .arg_count = 1,
                                             .done = done,
                                             .arg = order});
}

static void undo_done(struct order_service *order, struct saga_call *call, const char *method,
                      const struct saga_outcome *outcome)
{
    struct slice text = service_slice(outcome->text);
    if (outcome->verdict == SAGA_OK && !slice_eq_str(text, "9")) {
        service_alert(&order->service, call,
                      slice_eq_str(text, "paid") ? "compensation left a paid order alone"
                                                 : "compensation found no order of its own");
    }
    reply_branch(order, call, method, outcome);
}

static void create_revert_done(void *arg, struct saga_call *call,
                               const struct saga_outcome *outcome)
{
    undo_done(arg, call, "order.Order/CreateRevert", outcome);
}

static void on_create_revert(void *arg, struct saga_call *call)
{
    struct order_service *order = arg;
    end(order, call, order->create_revert, create_revert_done);
}

static void cancel_create_done(void *arg, struct saga_call *call,
                               const struct saga_outcome *outcome)
{
    undo_done(arg, call, "order.Order/CancelCreate", outcome);
}

static void on_cancel_create(void *arg, struct saga_call *call)
{
    struct order_service *order = arg;
    end(order, call, order->create_revert, cancel_create_done);
}

static void confirm_create_done(void *arg, struct saga_call *call,
                                const struct saga_outcome *outcome)
{
    struct order_service *order = arg;
    struct slice text = service_slice(outcome->text);
    if (outcome->verdict == SAGA_OK && !slice_eq_str(text, "1")) {
        service_alert(&order->service, call, "confirmation found no pending order of its own");
    }
    reply_branch(order, call, "order.Order/ConfirmCreate", outcome);
}

static void on_confirm_create(void *arg, struct saga_call *call)
{
    struct order_service *order = arg;
    end(order, call, order->create_confirm, confirm_create_done);
}

/* ---- plain requests ---- */

static void refuse(struct saga_call *call, const char *why)
{
    saga_call_reply(call, SAGA_FAILURE, saga_text(""), why);
}

static void on_detail_loaded(void *arg, const struct data_answer *answer,
                             const order_DetailResponse *record)
{
    data_reply_call(arg, answer, order_DetailResponse_fields, record);
}

static void on_detail(void *arg, struct saga_call *call)
{
    order_DetailRequest request = order_DetailRequest_init_zero;
    if (data_decode(call, order_DetailRequest_fields, &request)) {
        order_load(arg, request.id, 0, on_detail_loaded, call);
    }
}

static void on_listed(void *arg, const struct data_answer *answer, const order_ListResponse *list)
{
    data_reply_call(arg, answer, order_ListResponse_fields, list);
}

static void on_list(void *arg, struct saga_call *call)
{
    order_ListRequest request = order_ListRequest_init_zero;
    if (data_decode(call, order_ListRequest_fields, &request)) {
        order_list(arg, &request, on_listed, call);
    }
}

static void on_paid(void *arg, struct saga_call *call)
{
    order_PaidRequest request = order_PaidRequest_init_zero;
    if (data_decode(call, order_PaidRequest_fields, &request)) {
        order_paid(arg, &request, data_changed_call, call);
    }
}

static void on_update(void *arg, struct saga_call *call)
{
    order_UpdateRequest request = order_UpdateRequest_init_zero;
    if (!data_decode(call, order_UpdateRequest_fields, &request)) {
        return;
    }
    if (!request.has_uid || request.uid < 1 || request.has_pid || request.has_status) {
        refuse(call, "bad_update: uid (the owner) must be given, 1 or more; pid and status of an "
                     "order cannot change");
        return;
    }
    if (request.has_amount && (request.amount < 0 || request.amount > ORDER_AMOUNT_MAX)) {
        refuse(call, "bad_amount: allowed are 0 to 4294967295");
        return;
    }
    order_update(arg, request.uid, &request, data_changed_call, call);
}

struct request {
    struct order_service *order;
    struct saga_call *call;
    int64_t count;
};

static struct request *request_new(struct order_service *order, struct saga_call *call)
{
    struct request *request = mem_new(struct request);
    request->order = order;
    request->call = call;
    return request;
}

/* The record tells its owner, under whom the script then checks it again. */
static void on_remove_loaded(void *arg, const struct data_answer *answer,
                             const order_DetailResponse *record)
{
    struct request *request = arg;
    if (answer->kind == DATA_OK) {
        order_remove(request->order, record->uid, record->id, data_changed_call, request->call);
    } else {
        data_reply_call(request->call, answer, NULL, NULL);
    }
    free(request);
}

static void on_remove(void *arg, struct saga_call *call)
{
    order_RemoveRequest message = order_RemoveRequest_init_zero;
    if (data_decode(call, order_RemoveRequest_fields, &message)) {
        order_load(arg, message.id, 0, on_remove_loaded, request_new(arg, call));
    }
}

static void on_new_ids(void *arg, const struct data_answer *answer, int64_t first)
{
    struct request *request = arg;
    order_NewIdResponse response = {
        .first = first, .step = request->order->settings.common.shards, .count = request->count};
    data_reply_call(request->call, answer, order_NewIdResponse_fields, &response);
    free(request);
}

static void on_new_id(void *arg, struct saga_call *call)
{
    order_NewIdRequest message = order_NewIdRequest_init_zero;
    if (!data_decode(call, order_NewIdRequest_fields, &message)) {
        return;
    }
    int64_t count = message.count ? message.count : 1;
    if (message.uid < 1 || count < 1 || count > ORDER_IDS_MAX) {
        refuse(call, "bad_request: uid must be 1 or more, count 1 to 1000000");
        return;
    }
    struct request *request = request_new(arg, call);
    request->count = count;
    order_new_id(arg, message.uid, count, on_new_ids, request);
}

void order_rpc_register(struct order_service *order)
{
    struct saga *saga = order->service.saga;
    saga_on_branch(saga, "order.Order/Create", on_create, order);
    saga_on_branch(saga, "order.Order/CreateRevert", on_create_revert, order);
    saga_on_branch(saga, "order.Order/TryCreate", on_try_create, order);
    saga_on_branch(saga, "order.Order/ConfirmCreate", on_confirm_create, order);
    saga_on_branch(saga, "order.Order/CancelCreate", on_cancel_create, order);
    saga_on_request(saga, "order.Order/NewId", on_new_id, order);
    saga_on_request(saga, "order.Order/Detail", on_detail, order);
    saga_on_request(saga, "order.Order/List", on_list, order);
    saga_on_request(saga, "order.Order/Update", on_update, order);
    saga_on_request(saga, "order.Order/Paid", on_paid, order);
    saga_on_request(saga, "order.Order/Remove", on_remove, order);
}
