#include "wire/json.h"

#include "base/check.h"
#include "base/mem.h"
#include "wire/json_scan.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

/* Whole numbers beyond this have neighbours that a double cannot tell apart. */
static const int64_t int_max = ((int64_t)1 << 53) - 1;

/* `struct json` is never defined: it is what the outside calls a cJSON. */
static const cJSON *inner(const struct json *value)
{
    return (const cJSON *)(const void *)value;
}

static const struct json *outer(const cJSON *value)
{
    return (const struct json *)(const void *)value;
}

static int compare_names(const void *a, const void *b)
{
    const cJSON *const *left = a;
    const cJSON *const *right = b;
    return strcmp((*left)->string, (*right)->string);
}

/* A name that the object has twice, or NULL. Sorting keeps a hostile object with a hundred
 * thousand fields cheap. */
static const char *find_twin(const cJSON *object)
{
    size_t count = (size_t)cJSON_GetArraySize(object);
    if (count < 2) {
        return NULL;
    }
    const cJSON **members = mem_alloc(count * sizeof(const cJSON *));
    size_t n = 0;
    for (const cJSON *m = object->child; m; m = m->next) {
        members[n++] = m;
    }
    qsort(members, n, sizeof(const cJSON *), compare_names);
    const char *twin = NULL;
    for (size_t i = 1; i < n && !twin; i++) {
        twin = compare_names(&members[i - 1], &members[i]) == 0 ? members[i]->string : NULL;
    }
    free(members);
    return twin;
}

/* Recursion is bounded by JSON_DEPTH_MAX, which the scan has enforced. */
static enum err refuse_twins(const cJSON *value, struct reason *reason)
{
    const char *twin = cJSON_IsObject(value) ? find_twin(value) : NULL;
    if (twin) {
        char name[64];
        return reason_set(reason, ERR_INVALID, "field '%s': given twice",
                          slice_printable(slice_str(twin), name, sizeof(name)));
    }
    for (const cJSON *m = value->child; m; m = m->next) {
        enum err err = m->child ? refuse_twins(m, reason) : ERR_OK;
        if (err) {
            return err;
        }
    }
    return ERR_OK;
}

enum err json_parse(struct slice text, struct json **out, struct reason *reason)
{
    *out = NULL;
    enum err err = json_scan(text, reason);
    if (err) {
        return err;
    }
    cJSON *root = cJSON_ParseWithLength(text.ptr, text.len);
    check(root); /* the scan takes nothing that cJSON refuses, so memory is out */
    err = refuse_twins(root, reason);
    if (err) {
        cJSON_Delete(root);
        return err;
    }
    *out = (struct json *)(void *)root;
    return ERR_OK;
}

void json_free(struct json *root)
{
    cJSON_Delete((cJSON *)(void *)root);
}

struct json *json_take(struct json *object, const char *name)
{
    cJSON *whole = (cJSON *)(void *)object;
    return (struct json *)(void *)cJSON_DetachItemFromObjectCaseSensitive(whole, name);
}

const struct json *json_get(const struct json *object, const char *name)
{
    if (!json_is_object(object)) {
        return NULL;
    }
    const cJSON *member = cJSON_GetObjectItemCaseSensitive(inner(object), name);
    return cJSON_IsNull(member) ? NULL : outer(member);
}

bool json_is_object(const struct json *value)
{
    return cJSON_IsObject(inner(value));
}

bool json_is_array(const struct json *value)
{
    return cJSON_IsArray(inner(value));
}

bool json_is_string(const struct json *value)
{
    return cJSON_IsString(inner(value));
}

bool json_is_number(const struct json *value)
{
    return cJSON_IsNumber(inner(value));
}

bool json_is_bool(const struct json *value)
{
    return cJSON_IsBool(inner(value));
}

size_t json_count(const struct json *array)
{
    return json_is_array(array) ? (size_t)cJSON_GetArraySize(inner(array)) : 0;
}

const struct json *json_at(const struct json *array, size_t index)
{
    const cJSON *element = json_is_array(array) ? inner(array)->child : NULL;
    for (size_t i = 0; i < index && element; i++) {
        element = element->next;
    }
    return outer(element);
}

const struct json *json_first(const struct json *value)
{
    return value ? outer(inner(value)->child) : NULL;
}

const struct json *json_next(const struct json *member)
{
    return outer(inner(member)->next);
}

struct slice json_name(const struct json *member)
{
    return slice_str(inner(member)->string);
}

struct slice json_string(const struct json *value)
{
    return slice_str(json_is_string(value) ? inner(value)->valuestring : NULL);
}

bool json_bool(const struct json *value)
{
    return cJSON_IsTrue(inner(value));
}

double json_double(const struct json *value)
{
    return json_is_number(value) ? inner(value)->valuedouble : 0;
}

static const char *kind_of(const struct json *value)
{
    return json_is_object(value)   ? "an object"
           : json_is_array(value)  ? "an array"
           : json_is_string(value) ? "a string"
           : json_is_number(value) ? "a number"
                                   : "true or false";
}

enum err json_read_string(const struct json *object, const char *name, struct slice *out,
                          struct reason *reason)
{
    const struct json *value = json_get(object, name);
    if (value && !json_is_string(value)) {
        return reason_set(reason, ERR_INVALID, "field '%s': must be a string, not %s", name,
                          kind_of(value));
    }
    if (value) {
        *out = json_string(value);
    }
    return ERR_OK;
}

enum err json_read_bool(const struct json *object, const char *name, bool *out,
                        struct reason *reason)
{
    const struct json *value = json_get(object, name);
    if (value && !json_is_bool(value)) {
        return reason_set(reason, ERR_INVALID, "field '%s': must be true or false, not %s", name,
                          kind_of(value));
    }
    if (value) {
        *out = json_bool(value);
    }
    return ERR_OK;
}

enum err json_read_int(const struct json *object, const char *name, int64_t min, int64_t max,
                       int64_t *out, struct reason *reason)
{
    const struct json *value = json_get(object, name);
    if (!value) {
        return ERR_OK;
    }
    min = min < -int_max ? -int_max : min;
    max = max > int_max ? int_max : max;
    if (!json_is_number(value)) {
        return reason_set(reason, ERR_INVALID,
                          "field '%s': must be a whole number from %lld to %lld, not %s", name,
                          (long long)min, (long long)max, kind_of(value));
    }
    double number = inner(value)->valuedouble;
    bool in_range = number >= (double)min && number <= (double)max;
    if (!in_range || (double)(int64_t)number != number) {
        return reason_set(reason, ERR_INVALID,
                          "field '%s': must be a whole number from %lld to %lld, not %.17g", name,
                          (long long)min, (long long)max, number);
    }
    *out = (int64_t)number;
    return ERR_OK;
}

void json_put_value(struct json_writer *w, const struct json *member)
{
    char *text = cJSON_PrintUnformatted(inner(member));
    check(text);
    json_put_raw(w, inner(member)->string, slice_str(text));
    cJSON_free(text);
}
