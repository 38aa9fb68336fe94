/*
 * Changing an order. Of an order only the amount may change, and only to what the order costs:
 *
 *     order → product's present price × num → compare and set
 *
 * User, product and number are what the saga's books rest on: initial stock = stock + Σ num of the
 * valid orders. Another num would have to move stock too, which is a transaction of its own.
 */
#include "services/order/order.h"

#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct update {
    struct order_service *order;
    int64_t id;
    int64_t ver;    /* −1: whichever it has; then the one that it was read at */
    int64_t amount; /* −1: not given */
    data_cb cb;
    void *arg;
};

static void finish(struct update *update, const struct data_answer *answer)
{
    update->cb(update->arg, answer);
    free(update);
}

static void refuse(struct update *update, const char *why)
{
    struct data_answer refused = {DATA_REFUSED, slice_str(why), NULL};
    finish(update, &refused);
}

/* The version vouches for all that was looked at: every change of an order raises it. */
static void on_cost(void *arg, const struct data_answer *answer, int64_t amount)
{
    struct update *update = arg;
    if (answer->kind != DATA_OK) {
        finish(update, answer);
        return;
    }
    char key[ORDER_KEY_SIZE], text[2][DATA_NUMBER_SIZE];
    struct slice keys[] = {order_key(update->order, update->id, key)};
    struct slice args[] = {data_number(update->ver, text[0]), data_number(amount, text[1])};
    data_run(update->order->service.saga,
             &(struct data_script_call){update->order->update, keys, 1, args, 2}, update->cb,
             update->arg);
    free(update);
}

static void on_loaded(void *arg, const struct data_answer *answer,
                      const order_DetailResponse *record)
{
    struct update *update = arg;
    char why[128];
    if (answer->kind != DATA_OK) {
        finish(update, answer);
    } else if (record->status != ORDER_UNPAID) {
        snprintf(why, sizeof(why),
                 "not_unpaid: only an unpaid order (status 0) can be changed, this one is %" PRId64,
                 record->status);
        refuse(update, why);
    } else if (update->ver >= 0 && update->ver != record->ver) {
        snprintf(why, sizeof(why),
                 "changed_meanwhile: the order is at version %" PRId64 ", not %" PRId64,
                 record->ver, update->ver);
        refuse(update, why);
    } else {
        update->ver = record->ver;
        order_cost(update->order, record->pid, record->num, update->amount, on_cost, update);
    }
}

void order_update(struct order_service *order, int64_t uid, const order_UpdateRequest *request,
                  data_cb cb, void *arg)
{
    struct update *update = mem_new(struct update);
    *update = (struct update){.order = order,
                              .id = request->id,
                              .ver = request->has_ver ? request->ver : -1,
                              .amount = request->has_amount ? request->amount : -1,
                              .cb = cb,
                              .arg = arg};
    order_load(order, request->id, uid, on_loaded, update);
}
