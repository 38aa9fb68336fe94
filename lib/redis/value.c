#include "redis/value.h"

#include <string.h>

enum redis_type redis_value_type(const struct redis_value *value)
{
    return value->type;
}

int64_t redis_value_int(const struct redis_value *value)
{
    int64_t number = 0;
    if (value->type == REDIS_INTEGER) {
        return value->integer;
    }
    if (value->type == REDIS_STRING && slice_to_int64(value->str, &number)) {
        return number;
    }
    return 0;
}

struct slice redis_value_str(const struct redis_value *value)
{
    return value->str;
}

size_t redis_value_count(const struct redis_value *value)
{
    return value->count;
}

const struct redis_value *redis_value_at(const struct redis_value *value, size_t index)
{
    return index < value->count ? &value->items[index] : NULL;
}

const struct redis_value *redis_value_field(const struct redis_value *array, const char *name)
{
    struct slice wanted = slice_str(name);
    for (size_t i = 0; i + 1 < array->count; i += 2) {
        if (slice_eq(array->items[i].str, wanted)) {
            return &array->items[i + 1];
        }
    }
    return NULL;
}

bool redis_error_is(struct slice text, const char *code)
{
    size_t len = strlen(code);
    return slice_has_prefix(text, code) && (text.len == len || text.ptr[len] == ' ');
}

enum err redis_error_classify(struct slice text)
{
    static const struct {
        const char *code;
        enum err err;
    } known[] = {
        {"LOADING", ERR_UNAVAILABLE},  {"BUSY", ERR_UNAVAILABLE},
        {"READONLY", ERR_UNAVAILABLE}, {"CLUSTERDOWN", ERR_UNAVAILABLE},
        {"TRYAGAIN", ERR_UNAVAILABLE}, {"MASTERDOWN", ERR_UNAVAILABLE},
        {"OOM", ERR_UNAVAILABLE},      {"NOREPLICAS", ERR_UNAVAILABLE},
        {"MISCONF", ERR_UNAVAILABLE},  {"ERR max number of clients", ERR_UNAVAILABLE},
        {"NOAUTH", ERR_DENIED},        {"WRONGPASS", ERR_DENIED},
        {"NOPERM", ERR_DENIED},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (redis_error_is(text, known[i].code)) {
            return known[i].err;
        }
    }
    return ERR_SCRIPT;
}
