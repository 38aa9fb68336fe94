/* Before the run: initiators, and either a product with enough stock and a block of order ids, or
 * participants that live in this process. */
#include "bench/bench.h"

#include "base/clock.h"
#include "mall/order.pb.h"
#include "mall/product.pb.h"
#include "wire/message.h"

#include <stdio.h>

enum { ORDERS_PER_USER = 8, USERS_MAX = 100000 };

int64_t bench_uid(const struct bench *bench, int64_t index)
{
    return bench->first_uid + index % bench->users * bench->order_step;
}

void bench_await(struct bench *bench, const bool *done)
{
    while (!*done) {
        loop_turn(bench->loop, 100);
    }
}

struct answer {
    bool done, ok;
    const void *fields;
    void *message;
};

static void on_answer(void *arg, const struct saga_response *response)
{
    struct answer *answer = arg;
    struct slice payload = slice_make(response->payload.ptr, response->payload.len);
    answer->done = true;
    answer->ok = response->error == SAGA_E_NONE && response->result == SAGA_SUCCESS &&
                 wire_pb_decode(answer->fields, answer->message, payload) == ERR_OK;
    if (!answer->ok) {
        fprintf(stderr, "sagabench: %s\n", response->message ? response->message : "bad answer");
    }
}

struct request {
    const char *address, *method;
    const void *in_fields, *in;
    const void *out_fields;
    void *out;
};

static bool ask(struct bench *bench, const struct request *request)
{
    struct answer answer = {.fields = request->out_fields, .message = request->out};
    struct buf payload = {0};
    wire_pb_encode(request->in_fields, request->in, &payload);
    saga_request(bench->sagas[0], request->address, request->method,
                 (struct saga_bytes){payload.data, payload.len}, on_answer, &answer);
    bench_await(bench, &answer.done);
    buf_fini(&payload);
    if (!answer.ok) {
        fprintf(stderr, "sagabench: %s at %s did not answer as it should; is the stack up?\n",
                request->method, request->address);
    }
    return answer.ok;
}

static bool setup_mall(struct bench *bench)
{
    if (!bench->env.order_rpc || !bench->env.product_rpc) {
        fprintf(stderr, "sagabench: ORDER_RPC and PRODUCT_RPC are not known; use --env D/env of a "
                        "stack, or --noop\n");
        return false;
    }
    product_CreateRequest create = {.name = "sagabench", .stock = bench->total, .amount = 5};
    product_CreateResponse created = product_CreateResponse_init_zero;
    /* Users of its own for each run keep the books apart; nobody asks orders who they are. */
    bench->first_uid = clock_wall_ms() * USERS_MAX;
    bench->users =
        bench->total > USERS_MAX * ORDERS_PER_USER ? USERS_MAX : 1 + bench->total / ORDERS_PER_USER;
    order_NewIdRequest ids = {.uid = bench->first_uid, .count = bench->total};
    order_NewIdResponse block = order_NewIdResponse_init_zero;
    if (!ask(bench, &(struct request){bench->env.product_rpc, "product.Product/Create",
                                      product_CreateRequest_fields, &create,
                                      product_CreateResponse_fields, &created}) ||
        !ask(bench,
             &(struct request){bench->env.order_rpc, "order.Order/NewId", order_NewIdRequest_fields,
                               &ids, order_NewIdResponse_fields, &block})) {
        return false;
    }
    bench->product = created.id;
    bench->first_order = block.first;
    bench->order_step = block.step;
    snprintf(bench->urls[0], sizeof(bench->urls[0]), "tcp://order/order.Order/Create");
    snprintf(bench->urls[1], sizeof(bench->urls[1]), "tcp://order/order.Order/CreateRevert");
    snprintf(bench->urls[2], sizeof(bench->urls[2]), "tcp://product/product.Product/DecrStock");
    snprintf(bench->urls[3], sizeof(bench->urls[3]),
             "tcp://product/product.Product/DecrStockRevert");
    return true;
}

bool bench_setup(struct bench *bench)
{
    char error[256];
    for (int i = 0; i < bench->env.coordinators; i++) {
        struct saga_conf conf = {.program = "sagabench",
                                 .coordinator = bench->env.tcp[i],
                                 .timeout_ms = 10000,
                                 .loop = bench->loop};
        bench->sagas[i] = saga_open(&conf, error, sizeof(error));
        if (!bench->sagas[i]) {
            fprintf(stderr, "sagabench: %s\n", error);
            return false;
        }
    }
    if (bench->over_http) {
        return bench_http_open(bench);
    }
    return bench_is_hosted(bench) ? bench_host_open(bench) : setup_mall(bench);
}
