#include "coordinator/api_http_custom.h"

#include "wire/json.h"

enum { MS_PER_S = 1000 };

/* The indices after which a step comes. */
static enum err order_decode(const struct json *list, size_t count, struct txn_step *step,
                             struct arena *arena, struct reason *reason)
{
    uint8_t *after = arena_alloc(arena, count + 1);
    step->after = after;
    for (const struct json *item = json_first(list); item; item = json_next(item)) {
        double index = json_is_number(item) ? json_double(item) : -1;
        if (!(index >= 0 && index < (double)count) || step->after_count == count ||
            index > (double)(size_t)index) {
            return reason_set(
                reason, ERR_INVALID,
                "field 'custom_data': orders must name steps from 0 to %zu, each once", count - 1);
        }
        after[step->after_count++] = (uint8_t)index;
    }
    return ERR_OK;
}

static enum err orders_decode(const struct json *orders, struct txn_spec *spec,
                              struct txn_step *steps, struct arena *arena, struct reason *reason)
{
    if (orders && !json_is_object(orders)) {
        return reason_set(reason, ERR_INVALID,
                          "field 'custom_data': orders must be an object like {\"2\": [0, 1]}");
    }
    for (const struct json *item = json_first(orders); item; item = json_next(item)) {
        int64_t index = -1;
        struct slice name = json_name(item);
        if (!slice_to_int64(name, &index) || index < 0 || (size_t)index >= spec->step_count ||
            !json_is_array(item) || steps[index].after) {
            char shown[40];
            return reason_set(reason, ERR_INVALID,
                              "field 'custom_data': orders has '%s'; must be a step from 0 to %zu, "
                              "once, with an array",
                              slice_printable(name, shown, sizeof(shown)), spec->step_count - 1);
        }
        enum err err = order_decode(item, spec->step_count, &steps[index], arena, reason);
        if (err) {
            return err;
        }
    }
    return ERR_OK;
}

static enum err saga_decode(const struct json *custom, struct txn_spec *spec,
                            struct txn_step *steps, struct arena *arena, struct reason *reason)
{
    spec->options.concurrent = json_bool(json_get(custom, "concurrent"));
    if (!spec->options.concurrent) {
        return ERR_OK;
    }
    return orders_decode(json_get(custom, "orders"), spec, steps, arena, reason);
}

static enum err msg_decode(const struct json *custom, struct txn_spec *spec, struct reason *reason)
{
    int64_t seconds = 0;
    enum err err = json_read_int(custom, "delay", 0, CUSTOM_DELAY_S_MAX, &seconds, reason);
    spec->options.delay_ms = seconds * MS_PER_S;
    return err;
}

static enum err workflow_decode(const struct json *custom, struct txn_spec *spec,
                                struct arena *arena, struct reason *reason)
{
    struct slice name = {0}, data = {0};
    enum err err = json_read_string(custom, "name", &name, reason);
    if (!err) {
        err = json_read_string(custom, "data", &data, reason);
    }
    struct buf bytes = {0};
    if (!err && buf_add_base64_decoded(&bytes, data)) {
        err = reason_set(reason, ERR_INVALID, "field 'custom_data': data is not base64 (RFC 4648)");
    }
    spec->workflow = arena_copy(arena, name);
    spec->workflow_data = arena_copy(arena, buf_slice(&bytes));
    buf_fini(&bytes);
    return err;
}

enum err custom_data_decode(struct txn_spec *spec, enum txn_type type, struct txn_step *steps,
                            struct arena *arena, struct reason *reason)
{
    struct json *custom = NULL;
    enum err err = ERR_OK;
    if (spec->custom_data.len == 0 || json_parse(spec->custom_data, &custom, NULL) ||
        !json_is_object(custom)) {
        json_free(custom);
        return type == TXN_WORKFLOW && spec->prepare
                   ? reason_set(reason, ERR_INVALID,
                                "field 'custom_data': of a workflow it must be JSON like "
                                "{\"name\": \"…\", \"data\": \"base64\"}")
                   : ERR_OK;
    }
    switch (type) {
    case TXN_SAGA: err = saga_decode(custom, spec, steps, arena, reason); break;
    case TXN_MSG: err = msg_decode(custom, spec, reason); break;
    case TXN_WORKFLOW: err = workflow_decode(custom, spec, arena, reason); break;
    case TXN_TCC:
    case TXN_XA: break;
    }
    json_free(custom);
    return err;
}
