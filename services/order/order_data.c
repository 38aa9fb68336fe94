#include "services/order/order.h"

#include "base/buf.h"
#include "base/mem.h"
#include "mall/score.pb.h"
#include "redis/redis.h"
#include "services/common/shard.h"
#include "wire/message.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static int64_t shard(const struct order_service *order, int64_t id)
{
    return shard_of(id, order->settings.common.shards);
}

static struct slice key_format(const struct order_service *order, int64_t id, const char *rest,
                               int64_t number, char out[ORDER_KEY_SIZE])
{
    int n = snprintf(out, ORDER_KEY_SIZE, "{ord:%lld}%s", (long long)shard(order, id), rest);
    if (number >= 0) {
        n += snprintf(out + n, ORDER_KEY_SIZE - (size_t)n, "%lld", (long long)number);
    }
    return slice_make(out, (size_t)n);
}

struct slice order_tag(const struct order_service *order, int64_t id, char out[ORDER_KEY_SIZE])
{
    return key_format(order, id, "", -1, out);
}

struct slice order_key(const struct order_service *order, int64_t id, char out[ORDER_KEY_SIZE])
{
    return key_format(order, id, ":o:", id, out);
}

struct slice order_user_key(const struct order_service *order, int64_t uid,
                            char out[ORDER_KEY_SIZE])
{
    return key_format(order, uid, ":u:", uid, out);
}

static const struct data_answer no_order = {DATA_REFUSED,
                                            SLICE_LIT("no_order: there is no such order"), NULL};

/* ---- one order ---- */

struct load {
    int64_t uid;
    order_cb cb;
    void *arg;
};

static order_DetailResponse record_read(const struct redis_value *hash)
{
    return (order_DetailResponse){
        .id = data_int(hash, "id"),
        .uid = data_int(hash, "uid"),
        .pid = data_int(hash, "pid"),
        .amount = data_int(hash, "amount"),
        .status = data_int(hash, "status"),
        .num = data_int(hash, "num"),
        .ver = data_int(hash, "ver"),
        .create_time_ms = data_int(hash, "ctime"),
    };
}

static bool record_is_visible(const struct redis_value *hash, int64_t uid)
{
    return redis_value_count(hash) > 0 && !redis_value_field(hash, "removed") &&
           (uid == 0 || data_int(hash, "uid") == uid);
}

static void on_load(void *arg, const struct data_answer *answer)
{
    struct load *load = arg;
    if (answer->kind != DATA_OK) {
        load->cb(load->arg, answer, NULL);
    } else if (!record_is_visible(answer->value, load->uid)) {
        load->cb(load->arg, &no_order, NULL);
    } else {
        order_DetailResponse record = record_read(answer->value);
        load->cb(load->arg, answer, &record);
    }
    free(load);
}

void order_load(struct order_service *order, int64_t id, int64_t uid, order_cb cb, void *arg)
{
    char key[ORDER_KEY_SIZE];
    struct load *load = mem_new(struct load);
    *load = (struct load){uid, cb, arg};
    struct slice argv[] = {SLICE_LIT("HGETALL"), order_key(order, id, key)};
    data_read(order->service.saga, argv, 2, on_load, load);
}

/* ---- a user's orders: the ids first, then each record; all reads of the second step leave in one
 * write ---- */

struct list {
    struct order_service *order;
    int64_t uid;
    order_list_cb cb;
    void *arg;
    size_t pending;
    bool failed;
    order_ListResponse response;
};

static void list_finish(struct list *list, const struct data_answer *answer)
{
    list->cb(list->arg, answer, answer->kind == DATA_OK ? &list->response : NULL);
    free(list);
}

static int newest_first(const void *a, const void *b)
{
    const order_DetailResponse *x = a;
    const order_DetailResponse *y = b;
    return (x->id < y->id) - (x->id > y->id);
}

static void on_list_record(void *arg, const struct data_answer *answer)
{
    struct list *list = arg;
    list->pending--;
    if (answer->kind != DATA_OK) {
        list->failed = true;
    } else if (record_is_visible(answer->value, list->uid)) {
        list->response.data[list->response.data_count++] = record_read(answer->value);
    }
    if (list->pending == 0) {
        struct data_answer away = {DATA_AWAY, slice_str("redis is away"), NULL};
        struct data_answer ok = {DATA_OK, slice_str(""), NULL};
        /* What Redis Cluster moves just now was answered behind the others. */
        qsort(list->response.data, list->response.data_count, sizeof(list->response.data[0]),
              newest_first);
        list_finish(list, list->failed ? &away : &ok);
    }
}

static void on_list_ids(void *arg, const struct data_answer *answer)
{
    struct list *list = arg;
    size_t count = answer->kind == DATA_OK ? redis_value_count(answer->value) : 0;
    if (count == 0) {
        list_finish(list, answer);
        return;
    }
    list->pending = count;
    for (size_t i = 0; i < count; i++) {
        char key[ORDER_KEY_SIZE];
        int64_t id = redis_value_int(redis_value_at(answer->value, i));
        struct slice argv[] = {SLICE_LIT("HGETALL"), order_key(list->order, id, key)};
        data_read(list->order->service.saga, argv, 2, on_list_record, list);
    }
}

void order_list(struct order_service *order, const order_ListRequest *request, order_list_cb cb,
                void *arg)
{
    char key[ORDER_KEY_SIZE], before[32], limit[DATA_NUMBER_SIZE];
    bool all = request->limit < 1 || request->limit > ORDER_LIST_MAX;
    struct list *list = mem_new(struct list);
    list->order = order;
    list->uid = request->uid;
    list->cb = cb;
    list->arg = arg;
    snprintf(before, sizeof(before), "(%lld", (long long)request->before);
    struct slice argv[] = {SLICE_LIT("ZREVRANGEBYSCORE"),
                           order_user_key(order, request->uid, key),
                           slice_str(request->before > 0 ? before : "+inf"),
                           SLICE_LIT("-inf"),
                           SLICE_LIT("LIMIT"),
                           SLICE_LIT("0"),
                           data_number(all ? ORDER_LIST_MAX : request->limit, limit)};
    data_read(order->service.saga, argv, 7, on_list_ids, list);
}

/* ---- ids ---- */

void order_new_id(struct order_service *order, int64_t uid, int64_t count, data_id_cb cb, void *arg)
{
    char key[ORDER_KEY_SIZE], number[DATA_NUMBER_SIZE];
    struct slice keys[] = {key_format(order, uid, ":seq", -1, key)};
    struct slice args[] = {data_number(count, number)};
    data_take_id(order->service.saga, &(struct data_script_call){order->new_id, keys, 1, args, 1},
                 shard(order, uid), order->settings.common.shards, cb, arg);
}

void order_reserve(struct order_service *order, int64_t uid, struct slice key, struct slice asked,
                   int64_t amount, data_id_cb cb, void *arg)
{
    char seq[ORDER_KEY_SIZE], kept[DATA_NUMBER_SIZE], ttl[DATA_NUMBER_SIZE];
    struct buf record = {0};
    buf_printf(&record, "{ord:%lld}:k:%lld:%.*s", (long long)shard(order, uid), (long long)uid,
               SLICE_ARG(key));
    struct slice keys[] = {key_format(order, uid, ":seq", -1, seq), buf_slice(&record)};
    struct slice args[] = {asked, data_number(amount, kept),
                           amount < 0 ? slice_str("")
                                      : data_number(order->settings.key_ttl_ms, ttl)};
    data_take_id(order->service.saga, &(struct data_script_call){order->reserve, keys, 2, args, 3},
                 shard(order, uid), order->settings.common.shards, cb, arg);
    buf_fini(&record);
}

int64_t order_reserved_amount(const struct data_answer *answer)
{
    return redis_value_int(redis_value_at(answer->value, 2));
}

/* ---- changes ---- */

struct paid {
    struct order_service *order;
    order_PaidRequest request;
    data_cb cb;
    void *arg;
};

/* uid: whom the message grants the points; 0: no message. */
static void paid_run(const struct paid *paid, int64_t uid)
{
    struct order_service *order = paid->order;
    char key[ORDER_KEY_SIZE], box[ORDER_KEY_SIZE], amount[DATA_NUMBER_SIZE];
    struct buf gid = {0}, action = {0}, payload = {0};
    if (uid > 0) {
        score_UserScoreRequest grant = {.user_id = uid,
                                        .score = (int32_t)order->settings.paid_score};
        buf_printf(&gid, "order-paid-%" PRId64, paid->request.id);
        buf_printf(&action, "%s/score.UserScore/saveUserScore", order->settings.score_branch);
        wire_pb_encode(score_UserScoreRequest_fields, &grant, &payload);
    }
    struct slice keys[] = {order_key(order, paid->request.id, key),
                           key_format(order, paid->request.id, ":outbox", -1, box)};
    struct slice args[] = {paid->request.has_amount ? data_number(paid->request.amount, amount)
                                                    : slice_str(""),
                           buf_slice(&gid), buf_slice(&action), buf_slice(&payload)};
    data_run(order->service.saga, &(struct data_script_call){order->paid, keys, 2, args, 4},
             paid->cb, paid->arg);
    buf_fini(&gid);
    buf_fini(&action);
    buf_fini(&payload);
}

/* The user of an order never changes, so what was read before the script is still true in it. */
static void on_paid_loaded(void *arg, const struct data_answer *answer,
                           const order_DetailResponse *record)
{
    struct paid *paid = arg;
    if (answer->kind == DATA_OK) {
        paid_run(paid, record->uid);
    } else {
        paid->cb(paid->arg, answer);
    }
    free(paid);
}

void order_paid(struct order_service *order, const order_PaidRequest *request, data_cb cb,
                void *arg)
{
    struct paid paid = {order, *request, cb, arg};
    if (order->settings.paid_score == 0) {
        paid_run(&paid, 0);
        return;
    }
    struct paid *kept = mem_new(struct paid);
    *kept = paid;
    order_load(order, request->id, 0, on_paid_loaded, kept);
}

void order_remove(struct order_service *order, int64_t uid, int64_t id, data_cb cb, void *arg)
{
    char key[ORDER_KEY_SIZE], list[ORDER_KEY_SIZE], text[2][DATA_NUMBER_SIZE];
    /* The list under the tag of the order: a foreign order may lie in another slot than the user,
     * and is refused by the script. */
    struct slice keys[] = {order_key(order, id, key), key_format(order, id, ":u:", uid, list)};
    struct slice args[] = {data_number(uid, text[0]), data_number(id, text[1])};
    data_run(order->service.saga, &(struct data_script_call){order->remove, keys, 2, args, 2}, cb,
             arg);
}
