/*
 * The order service. Redis model (docs/architecture.md, "The mall"): under the tag {ord:<s>},
 * s = uid mod shards = id mod shards,
 *   seq counter · o:<id> order hash · u:<uid> orders of a user · k:<uid>:<key> idempotency keys ·
 *   outbox messages · br:<gid>:<branch> barrier
 */
#ifndef SERVICES_ORDER_ORDER_H
#define SERVICES_ORDER_ORDER_H

#include "mall/order.pb.h"
#include "services/common/data.h"

enum { ORDER_NUM_MAX = 1000000, ORDER_LIST_MAX = 100, ORDER_IDS_MAX = 1000000 };
enum { ORDER_UNPAID = 0, ORDER_PENDING = 2 }; /* statuses of a new order: of a saga, of a TCC */
#define ORDER_AMOUNT_MAX 4294967295LL

struct order_settings {
    struct service_settings common;
    char *user_rpc;
    char *product_rpc;
    char *order_branch;   /* how sagad reaches this service: "tcp://order" */
    char *product_branch; /* and the product service */
    char *score_branch;   /* and the score service */
    int64_t paid_score;   /* points for a paid order; 0: none */
    int64_t wait_ms;      /* how long create waits for the end of its saga */
    int64_t key_ttl_ms;   /* how long an idempotency key is remembered */
};

struct order_service {
    struct service service;
    struct order_settings settings;
    struct saga_script *create, *create_confirm, *create_revert;   /* gated */
    struct saga_script *new_id, *reserve, *paid, *update, *remove; /* plain */
};

/* Names of keys, by id or uid; formatted into a buffer of the caller. */
enum { ORDER_KEY_SIZE = 256 };
struct slice order_tag(const struct order_service *order, int64_t id, char out[ORDER_KEY_SIZE]);
struct slice order_key(const struct order_service *order, int64_t id, char out[ORDER_KEY_SIZE]);
struct slice order_user_key(const struct order_service *order, int64_t uid,
                            char out[ORDER_KEY_SIZE]);

/* ---- data, shared by the RPC and HTTP sides; `record` is NULL unless the answer is OK ---- */

typedef void (*order_cb)(void *arg, const struct data_answer *answer,
                         const order_DetailResponse *record);
typedef void (*order_list_cb)(void *arg, const struct data_answer *answer,
                              const order_ListResponse *list);

/* uid 0: of whomever; otherwise an order of somebody else is "no_order". */
void order_load(struct order_service *order, int64_t id, int64_t uid, order_cb cb, void *arg);
void order_list(struct order_service *order, const order_ListRequest *request, order_list_cb cb,
                void *arg);
void order_new_id(struct order_service *order, int64_t uid, int64_t count, data_id_cb cb,
                  void *arg);
/* As order_new_id for one id, remembered under the idempotency key together with `amount`; `asked`
 * is what the request wants, in words that are compared. A key that is known gives what it was
 * remembered with. −1 for `amount`: it is only looked for, and "no_key" when it is not known. */
void order_reserve(struct order_service *order, int64_t uid, struct slice key, struct slice asked,
                   int64_t amount, data_id_cb cb, void *arg);
/* Of the answer of order_reserve, when it is OK. */
int64_t order_reserved_amount(const struct data_answer *answer);
/* With `paid_score` the change and the message that grants the points are one. */
void order_paid(struct order_service *order, const order_PaidRequest *request, data_cb cb,
                void *arg);
void order_remove(struct order_service *order, int64_t uid, int64_t id, data_cb cb, void *arg);

/* ---- amounts ---- */

/* `amount` counts only when the answer is OK. */
typedef void (*order_amount_cb)(void *arg, const struct data_answer *answer, int64_t amount);
/* What `num` pieces of a product that is on sale cost now. Refused with "bad_amount" when `given`
 * is another amount; −1: none is given. */
void order_cost(struct order_service *order, int64_t pid, int64_t num, int64_t given,
                order_amount_cb cb, void *arg);
/* Sets the amount of an unpaid order of this user to what it costs now. */
void order_update(struct order_service *order, int64_t uid, const order_UpdateRequest *request,
                  data_cb cb, void *arg);

/* ---- the sides ---- */

void order_rpc_register(struct order_service *order); /* branches and plain requests */
extern const struct web_route order_routes[];
void order_create_handle(void *arg, struct web_request *request); /* POST /api/order/create */

#endif
