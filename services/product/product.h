/*
 * The product service. Redis model: {prd:<id>}:h product hash · {prd:<id>}:br:<gid>:<branch>
 * barrier · {prd:seq}:n counter. One hash tag per product, so products spread over a cluster.
 * Pieces are in `stock`, in `frozen` (held by a TCC under way) or sold.
 */
#ifndef SERVICES_PRODUCT_PRODUCT_H
#define SERVICES_PRODUCT_PRODUCT_H

#include "mall/product.pb.h"
#include "services/common/data.h"

enum { PRODUCT_TEXT_MAX = 255, PRODUCT_ON_SALE = 0, PRODUCT_OFF_SHELF = 1, PRODUCT_REMOVED = 9 };
#define PRODUCT_NUMBER_MAX 4294967295LL /* stock and amount */

struct product_settings {
    struct service_settings common;
};

enum { PRODUCT_KEY_SIZE = 64, PRODUCT_BRANCHES = 5 };

struct product_branch {
    struct product_service *product;
    const char *method;
    const struct saga_script *script;
    const char *alert; /* when the script finds no product */
};

struct product_service {
    struct service service;
    struct product_settings settings;
    struct saga_script *decr_stock, *decr_stock_revert; /* gated, as the next */
    struct saga_script *decr_stock_try, *decr_stock_confirm, *decr_stock_cancel;
    struct saga_script *new_id, *create, *update, *set_stock, *remove; /* plain */
    struct product_branch branches[PRODUCT_BRANCHES];
};

struct slice product_tag(int64_t id, char out[PRODUCT_KEY_SIZE]);
struct slice product_key(int64_t id, char out[PRODUCT_KEY_SIZE]);

/* ---- data, shared by the RPC and HTTP sides; `record` and `id` count only when the answer is OK
 * ---- */

typedef void (*product_cb)(void *arg, const struct data_answer *answer,
                           const product_DetailResponse *record);

void product_load(struct product_service *product, int64_t id, product_cb cb, void *arg);
/* ERR_INVALID with a reason that names the field. */
enum err product_create_check(const product_CreateRequest *request,
                              struct reason *reason) MUST_CHECK;
enum err product_update_check(const product_UpdateRequest *request,
                              struct reason *reason) MUST_CHECK;
void product_create(struct product_service *product, const product_CreateRequest *request,
                    data_id_cb cb, void *arg);
void product_update(struct product_service *product, const product_UpdateRequest *request,
                    data_cb cb, void *arg);
void product_set_stock(struct product_service *product, int64_t id, int64_t stock, data_cb cb,
                       void *arg);
void product_remove(struct product_service *product, int64_t id, data_cb cb, void *arg);

/* ---- the sides ---- */

void product_rpc_register(struct product_service *product);
extern const struct web_route product_routes[];

#endif
