#include "services/product/product.h"

#include "base/check.h"
#include "base/mem.h"
#include "redis/redis.h"

#include <stdio.h>
#include <stdlib.h>

struct slice product_tag(int64_t id, char out[PRODUCT_KEY_SIZE])
{
    int n = snprintf(out, PRODUCT_KEY_SIZE, "{prd:%lld}", (long long)id);
    return slice_make(out, (size_t)n);
}

struct slice product_key(int64_t id, char out[PRODUCT_KEY_SIZE])
{
    int n = snprintf(out, PRODUCT_KEY_SIZE, "{prd:%lld}:h", (long long)id);
    return slice_make(out, (size_t)n);
}

static void run(struct product_service *product, const struct data_script_call *call, data_cb cb,
                void *arg)
{
    data_run(product->service.saga, call, cb, arg);
}

/* ---- reading ---- */

struct load {
    product_cb cb;
    void *arg;
};

static void on_load(void *arg, const struct data_answer *answer)
{
    static const struct data_answer no_product = {
        DATA_REFUSED, SLICE_LIT("no_product: there is no such product"), NULL};
    struct load *load = arg;
    const struct redis_value *hash = answer->value;
    if (answer->kind != DATA_OK) {
        load->cb(load->arg, answer, NULL);
    } else if (redis_value_count(hash) == 0 || data_int(hash, "status") == PRODUCT_REMOVED) {
        load->cb(load->arg, &no_product, NULL);
    } else {
        product_DetailResponse record = {
            .id = data_int(hash, "id"),
            .stock = data_int(hash, "stock"),
            .amount = data_int(hash, "amount"),
            .status = data_int(hash, "status"),
            .ver = data_int(hash, "ver"),
            .frozen = data_int(hash, "frozen"),
        };
        data_copy(data_text(hash, "name"), record.name, sizeof(record.name));
        data_copy(data_text(hash, "desc"), record.desc, sizeof(record.desc));
        load->cb(load->arg, answer, &record);
    }
    free(load);
}

void product_load(struct product_service *product, int64_t id, product_cb cb, void *arg)
{
    char key[PRODUCT_KEY_SIZE];
    struct load *load = mem_new(struct load);
    *load = (struct load){cb, arg};
    struct slice argv[] = {SLICE_LIT("HGETALL"), product_key(id, key)};
    data_read(product->service.saga, argv, 2, on_load, load);
}

/* ---- checks ---- */

static enum err check_text(const char *field, const char *text, struct reason *reason)
{
    struct slice s = slice_str(text);
    if (!utf8_is_valid(s) || utf8_length(s) > PRODUCT_TEXT_MAX || utf8_has_control(s)) {
        return reason_set(reason, ERR_INVALID,
                          "field '%s': allowed are up to %d characters, no control characters",
                          field, PRODUCT_TEXT_MAX);
    }
    return ERR_OK;
}

static enum err check_number(const char *field, int64_t value, int64_t max, struct reason *reason)
{
    if (value < 0 || value > max) {
        return reason_set(reason, ERR_INVALID, "field '%s': %lld is not allowed; 0 to %lld", field,
                          (long long)value, (long long)max);
    }
    return ERR_OK;
}

enum err product_create_check(const product_CreateRequest *request, struct reason *reason)
{
    enum err err = check_text("name", request->name, reason);
    if (err == ERR_OK && !request->name[0]) {
        err = reason_set(reason, ERR_INVALID, "field 'name' is missing");
    }
    if (err == ERR_OK) {
        err = check_text("desc", request->desc, reason);
    }
    if (err == ERR_OK) {
        err = check_number("stock", request->stock, PRODUCT_NUMBER_MAX, reason);
    }
    if (err == ERR_OK) {
        err = check_number("amount", request->amount, PRODUCT_NUMBER_MAX, reason);
    }
    if (err == ERR_OK) {
        err = check_number("status", request->status, PRODUCT_OFF_SHELF, reason);
    }
    return err;
}

enum err product_update_check(const product_UpdateRequest *request, struct reason *reason)
{
    enum err err = ERR_OK;
    if (request->has_stock) {
        err = reason_set(reason, ERR_INVALID,
                         "field 'stock' is not set here; /api/product/setstock (SetStock) does it");
    }
    if (err == ERR_OK && request->has_name) {
        err = check_text("name", request->name, reason);
    }
    if (err == ERR_OK && request->has_desc) {
        err = check_text("desc", request->desc, reason);
    }
    if (err == ERR_OK && request->has_amount) {
        err = check_number("amount", request->amount, PRODUCT_NUMBER_MAX, reason);
    }
    if (err == ERR_OK && request->has_status) {
        err = check_number("status", request->status, PRODUCT_OFF_SHELF, reason);
    }
    return err;
}

/* ---- changes ---- */

struct create {
    struct product_service *product;
    product_CreateRequest request;
    int64_t id;
    data_id_cb cb;
    void *arg;
};

static void on_created(void *arg, const struct data_answer *answer)
{
    struct create *create = arg;
    create->cb(create->arg, answer, create->id);
    free(create);
}

static void on_new_id(void *arg, const struct data_answer *answer)
{
    struct create *create = arg;
    if (answer->kind != DATA_OK) {
        on_created(create, answer);
        return;
    }
    check(slice_to_int64(answer->text, &create->id));
    char key[PRODUCT_KEY_SIZE], id[DATA_NUMBER_SIZE], stock[DATA_NUMBER_SIZE],
        amount[DATA_NUMBER_SIZE], status[DATA_NUMBER_SIZE];
    struct slice keys[] = {product_key(create->id, key)};
    struct slice args[] = {data_number(create->id, id),
                           slice_str(create->request.name),
                           slice_str(create->request.desc),
                           data_number(create->request.stock, stock),
                           data_number(create->request.amount, amount),
                           data_number(create->request.status, status)};
    run(create->product, &(struct data_script_call){create->product->create, keys, 1, args, 6},
        on_created, create);
}

void product_create(struct product_service *product, const product_CreateRequest *request,
                    data_id_cb cb, void *arg)
{
    struct create *create = mem_new(struct create);
    *create = (struct create){product, *request, 0, cb, arg};
    struct slice keys[] = {SLICE_LIT("{prd:seq}:n")};
    run(product, &(struct data_script_call){product->new_id, keys, 1, NULL, 0}, on_new_id, create);
}

void product_update(struct product_service *product, const product_UpdateRequest *request,
                    data_cb cb, void *arg)
{
    char key[PRODUCT_KEY_SIZE], ver[DATA_NUMBER_SIZE], amount[DATA_NUMBER_SIZE],
        status[DATA_NUMBER_SIZE];
    struct slice keys[] = {product_key(request->id, key)};
    struct slice args[9] = {request->has_ver ? data_number(request->ver, ver) : slice_str("")};
    size_t n = 1;
    const struct {
        bool given;
        const char *field;
        struct slice value;
    } fields[] = {
        {request->has_name, "name", slice_str(request->name)},
        {request->has_desc, "desc", slice_str(request->desc)},
        {request->has_amount, "amount", data_number(request->amount, amount)},
        {request->has_status, "status", data_number(request->status, status)},
    };
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (fields[i].given) {
            args[n++] = slice_str(fields[i].field);
            args[n++] = fields[i].value;
        }
    }
    run(product, &(struct data_script_call){product->update, keys, 1, args, n}, cb, arg);
}

void product_set_stock(struct product_service *product, int64_t id, int64_t stock, data_cb cb,
                       void *arg)
{
    char key[PRODUCT_KEY_SIZE], text[DATA_NUMBER_SIZE];
    struct slice keys[] = {product_key(id, key)};
    struct slice args[] = {data_number(stock, text)};
    run(product, &(struct data_script_call){product->set_stock, keys, 1, args, 1}, cb, arg);
}

void product_remove(struct product_service *product, int64_t id, data_cb cb, void *arg)
{
    char key[PRODUCT_KEY_SIZE];
    struct slice keys[] = {product_key(id, key)};
    run(product, &(struct data_script_call){product->remove, keys, 1, NULL, 0}, cb, arg);
}
