/* After the run: stock + pieces of valid orders must be what the stock was at first. */
#include "bench/bench.h"

#include "mall/order.pb.h"
#include "mall/product.pb.h"
#include "wire/message.h"

#include <stdio.h>

enum { PAGE = 100, TRIES = 100, ORDER_INVALID = 9 };

struct page {
    bool done, ok;
    order_ListResponse list;
};

static void on_page(void *arg, const struct saga_response *response)
{
    struct page *page = arg;
    struct slice payload = slice_make(response->payload.ptr, response->payload.len);
    page->done = true;
    page->list = (order_ListResponse)order_ListResponse_init_zero;
    page->ok = response->error == SAGA_E_NONE && response->result == SAGA_SUCCESS &&
               wire_pb_decode(order_ListResponse_fields, &page->list, payload) == ERR_OK;
}

static bool read_page(struct bench *bench, int64_t uid, int64_t before, struct page *page)
{
    order_ListRequest request = {.uid = uid, .before = before, .limit = PAGE};
    struct buf payload = {0};
    wire_pb_encode(order_ListRequest_fields, &request, &payload);
    /* A service that was just started again may need a moment. */
    for (int i = 0; i < TRIES && !page->ok; i++) {
        page->done = false;
        saga_request(bench->sagas[0], bench->env.order_rpc, "order.Order/List",
                     (struct saga_bytes){payload.data, payload.len}, on_page, page);
        bench_await(bench, &page->done);
        if (!page->ok) {
            loop_turn(bench->loop, 50);
        }
    }
    buf_fini(&payload);
    return page->ok;
}

static bool count_orders_of(struct bench *bench, int64_t uid)
{
    static struct page page;
    int64_t before = 0;
    for (;;) {
        page.ok = false;
        if (!read_page(bench, uid, before, &page)) {
            return false;
        }
        for (size_t i = 0; i < page.list.data_count; i++) {
            const order_DetailResponse *order = &page.list.data[i];
            bench->ordered += order->status == ORDER_INVALID ? 0 : order->num;
            before = order->id;
        }
        if (page.list.data_count < PAGE) {
            return true;
        }
    }
}

static bool count_orders(struct bench *bench)
{
    for (int64_t i = 0; i < bench->users; i++) {
        if (!count_orders_of(bench, bench_uid(bench, i))) {
            return false;
        }
    }
    return true;
}

struct stock {
    bool done, ok;
    product_DetailResponse detail;
};

static void on_stock(void *arg, const struct saga_response *response)
{
    struct stock *stock = arg;
    struct slice payload = slice_make(response->payload.ptr, response->payload.len);
    stock->done = true;
    stock->ok = response->error == SAGA_E_NONE && response->result == SAGA_SUCCESS &&
                wire_pb_decode(product_DetailResponse_fields, &stock->detail, payload) == ERR_OK;
}

static bool read_stock(struct bench *bench)
{
    product_DetailRequest request = {.id = bench->product};
    struct stock stock = {.detail = product_DetailResponse_init_zero};
    struct buf payload = {0};
    wire_pb_encode(product_DetailRequest_fields, &request, &payload);
    for (int i = 0; i < TRIES && !stock.ok; i++) {
        stock.done = false;
        saga_request(bench->sagas[0], bench->env.product_rpc, "product.Product/Detail",
                     (struct saga_bytes){payload.data, payload.len}, on_stock, &stock);
        bench_await(bench, &stock.done);
        if (!stock.ok) {
            loop_turn(bench->loop, 50);
        }
    }
    bench->stock = stock.detail.stock;
    buf_fini(&payload);
    return stock.ok;
}

bool bench_books(struct bench *bench)
{
    if (bench_is_hosted(bench)) {
        return bench->noop || bench_host_books(bench);
    }
    if (!read_stock(bench) || !count_orders(bench)) {
        fprintf(stderr, "sagabench: the books cannot be read: order or product does not answer\n");
        return false;
    }
    bench->books_checked = true;
    /* Both must hold: no piece is lost or made, and each success took exactly one. */
    bench->books_balanced =
        bench->stock + bench->ordered == bench->total && bench->ordered == bench->succeeded;
    return true;
}
