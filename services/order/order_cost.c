#include "services/order/order.h"

#include "base/mem.h"
#include "mall/product.pb.h"
#include "wire/message.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { WHY_SIZE = 160 };

struct cost {
    int64_t num;
    int64_t given; /* −1: none */
    order_amount_cb cb;
    void *arg;
};

/* False with a reason when there is no such amount. */
static bool multiply(const struct cost *cost, int64_t price, int64_t *amount, char why[WHY_SIZE])
{
    if (__builtin_mul_overflow(price, cost->num, amount) || *amount > ORDER_AMOUNT_MAX) {
        snprintf(why, WHY_SIZE, "bad_num: price times num is more than an order can hold");
        return false;
    }
    if (cost->given >= 0 && cost->given != *amount) {
        snprintf(why, WHY_SIZE,
                 "bad_amount: field 'amount': %" PRId64 " given, but %" PRId64 " × %" PRId64
                 " is %" PRId64,
                 cost->given, price, cost->num, *amount);
        return false;
    }
    return true;
}

static struct data_answer judge(const struct cost *cost, const struct data_answer *answer,
                                int64_t *amount, char why[WHY_SIZE])
{
    product_DetailResponse product = product_DetailResponse_init_zero;
    if (answer->kind != DATA_OK) {
        return *answer;
    }
    if (wire_pb_decode(product_DetailResponse_fields, &product, answer->text) != ERR_OK) {
        return (struct data_answer){
            DATA_AWAY, slice_str("the product service answered with another message"), NULL};
    }
    if (product.status != 0) {
        return (struct data_answer){DATA_REFUSED,
                                    slice_str("not_on_sale: the product is off the shelf"), NULL};
    }
    if (!multiply(cost, product.amount, amount, why)) {
        return (struct data_answer){DATA_REFUSED, slice_str(why), NULL};
    }
    return (struct data_answer){DATA_OK, slice_str(""), NULL};
}

static void on_product(void *arg, const struct data_answer *answer)
{
    struct cost *cost = arg;
    char why[WHY_SIZE];
    int64_t amount = 0;
    struct data_answer judged = judge(cost, answer, &amount, why);
    cost->cb(cost->arg, &judged, amount);
    free(cost);
}

void order_cost(struct order_service *order, int64_t pid, int64_t num, int64_t given,
                order_amount_cb cb, void *arg)
{
    product_DetailRequest request = {.id = pid};
    struct cost *cost = mem_new(struct cost);
    *cost = (struct cost){num, given, cb, arg};
    data_ask(order->service.saga, order->settings.product_rpc, "product.Product/Detail",
             product_DetailRequest_fields, &request, on_product, cost);
}
