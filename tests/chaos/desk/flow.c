/*
 * An order as a workflow of libsaga: 01 creates it, 02 takes the stock; when one of them is refused
 * both are undone. What is done next follows from what was done, in this run or an earlier one.
 *
 * The refused step is undone, too: a call of it that an earlier run did not hear of may still be on
 * its way, and find stock by then. Its compensation bars it.
 */
#include "base/mem.h"
#include "mall/order.pb.h"
#include "mall/product.pb.h"
#include "services/common/data.h"
#include "tests/chaos/desk/desk.h"
#include "wire/message.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RETRY_MS = 1000, TEXT_SIZE = 64, URL_SIZE = 300 };

struct flow {
    struct desk *desk;
    struct saga_call *call; /* the request, or the resume, that wants its answer */
    struct saga_workflow *workflow;
    order_CreateRequest order;
};

static void over(struct flow *flow, enum saga_result result, struct saga_bytes payload,
                 const char *message)
{
    saga_call_reply(flow->call, result, payload, message);
    free(flow);
}

/* The answer is "STATUS RESULT". */
static void ended(void *arg, const struct saga_answer *answer)
{
    char text[TEXT_SIZE];
    if (answer->error != SAGA_E_NONE) {
        over(arg, SAGA_ERROR, saga_text(""), answer->message);
        return;
    }
    snprintf(text, sizeof(text), "%s %.*s", answer->status, (int)answer->result.len,
             answer->result.len ? answer->result.ptr : "");
    over(arg, SAGA_SUCCESS, saga_text(text), NULL);
}

static void end(struct flow *flow, const char *failure)
{
    char id[DATA_NUMBER_SIZE];
    struct saga_bytes result = service_bytes(data_number(flow->order.id, id));
    saga_workflow_end(flow->workflow, failure, failure ? saga_text("") : result, ended, flow);
}

static void next(void *arg, const struct saga_response *response);

static void step(struct flow *flow, const char *branch_id, const char *op, const char *address,
                 const char *method, const void *fields, const void *message)
{
    char url[URL_SIZE];
    struct buf payload = {0};
    snprintf(url, sizeof(url), "tcp://%s/%s", address, method);
    wire_pb_encode(fields, message, &payload);
    saga_workflow_step(flow->workflow,
                       &(struct saga_work){.branch_id = branch_id,
                                           .op = op,
                                           .url = url,
                                           .payload = service_bytes(buf_slice(&payload))},
                       next, flow);
    buf_fini(&payload);
}

static void step_order(struct flow *flow, const char *op, const char *method)
{
    step(flow, "01", op, flow->desk->settings.order_rpc, method, order_CreateRequest_fields,
         &flow->order);
}

static void step_stock(struct flow *flow, const char *op, const char *method)
{
    product_DecrStockRequest request = {.id = flow->order.pid, .num = flow->order.num};
    step(flow, "02", op, flow->desk->settings.product_rpc, method, product_DecrStockRequest_fields,
         &request);
}

static void go_on(struct flow *flow)
{
    const struct saga_op *order = saga_workflow_done(flow->workflow, "01", "action");
    const struct saga_op *stock = saga_workflow_done(flow->workflow, "02", "action");
    bool refused = (order && strcmp(order->status, "failed") == 0) ||
                   (stock && strcmp(stock->status, "failed") == 0);
    if (!order) {
        step_order(flow, "action", "order.Order/Create");
    } else if (!refused && !stock) {
        step_stock(flow, "action", "product.Product/DecrStock");
    } else if (!refused) {
        end(flow, NULL);
    } else if (!saga_workflow_done(flow->workflow, "02", "compensate")) {
        step_stock(flow, "compensate", "product.Product/DecrStockRevert");
    } else if (!saga_workflow_done(flow->workflow, "01", "compensate")) {
        step_order(flow, "compensate", "order.Order/CreateRevert");
    } else {
        end(flow, "refused");
    }
}

static void next(void *arg, const struct saga_response *response)
{
    struct flow *flow = arg;
    if (response->error != SAGA_E_NONE) { /* it will be resumed */
        saga_workflow_leave(flow->workflow);
        over(flow, SAGA_ERROR, saga_text(""), response->message);
    } else {
        go_on(flow);
    }
}

static void begun(void *arg, const struct saga_answer *answer)
{
    if (answer->error != SAGA_E_NONE || strcmp(answer->status, "prepared") != 0) {
        ended(arg, answer);
    } else {
        go_on(arg);
    }
}

/* Payload: an order.CreateRequest, whose id makes the gid. */
static void on_order(void *arg, struct saga_call *call)
{
    struct desk *desk = arg;
    order_CreateRequest order = order_CreateRequest_init_zero;
    char gid[TEXT_SIZE];
    if (!data_decode(call, order_CreateRequest_fields, &order)) {
        return;
    }
    struct flow *flow = mem_new(struct flow);
    *flow = (struct flow){.desk = desk, .call = call, .order = order};
    snprintf(gid, sizeof(gid), "flow-%" PRId64, order.id);
    flow->workflow = saga_workflow_begin(desk->service.saga,
                                         &(struct saga_workflow_spec){
                                             .gid = saga_text(gid),
                                             .name = "order",
                                             .data = saga_call_payload(call),
                                             .resume = "tcp://desk/desk.Desk/Order",
                                             .retry_interval_ms = RETRY_MS,
                                         },
                                         begun, flow);
}

void flow_register(struct desk *desk)
{
    saga_on_request(desk->service.saga, "desk.Desk/Order", on_order, desk);
    saga_on_branch(desk->service.saga, "desk.Desk/Order", on_order, desk);
}
