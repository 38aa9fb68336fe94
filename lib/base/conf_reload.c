/* Taking some settings over while a program runs. */
#include "base/check.h"
#include "base/conf_internal.h"

#include <string.h>

static bool text_eq(const void *a, const void *b)
{
    const char *const *x = a, *const *y = b;
    return strcmp(*x, *y) == 0;
}

static bool map_eq(const struct conf_map *a, const struct conf_map *b)
{
    bool equal = a->count == b->count;
    for (size_t i = 0; i < a->count && equal; i++) {
        const char *value = conf_map_get(b, a->entries[i].key);
        equal = value && strcmp(value, a->entries[i].value) == 0;
    }
    return equal;
}

static size_t value_size(const struct conf_option *option)
{
    switch (option->type) {
    case CONF_STRING:
    case CONF_SECRET:
    case CONF_CHOICE: return sizeof(char *);
    case CONF_BOOL: return sizeof(bool);
    case CONF_INT:
    case CONF_DURATION:
    case CONF_SIZE: return sizeof(int64_t);
    case CONF_MAP: return sizeof(struct conf_map);
    }
    unreachable("option type");
}

static bool value_eq(const struct conf_option *option, const void *a, const void *b)
{
    switch (option->type) {
    case CONF_STRING:
    case CONF_SECRET:
    case CONF_CHOICE: return text_eq(a, b);
    case CONF_MAP: return map_eq(a, b);
    case CONF_BOOL:
    case CONF_INT:
    case CONF_DURATION:
    case CONF_SIZE: return memcmp(a, b, value_size(option)) == 0;
    }
    unreachable("option type");
}

static bool is_named(const struct conf_option *option, const char *const *names)
{
    while (*names && strcmp(*names, option->name) != 0) {
        names++;
    }
    return *names;
}

/* Both keep what they own: the old value goes with `fresh`. */
static void value_swap(const struct conf_option *option, void *a, void *b)
{
    unsigned char kept[sizeof(struct conf_map)];
    size_t size = value_size(option);
    memcpy(kept, a, size);
    memcpy(a, b, size);
    memcpy(b, kept, size);
}

void conf_take_over(const struct conf_program *program, void *settings, void *fresh,
                    const char *const *names, conf_differs_cb differs, void *arg)
{
    for (const struct conf_option *option = program->options; option->name; option++) {
        void *now = (char *)settings + option->offset, *then = (char *)fresh + option->offset;
        if (!value_eq(option, now, then)) {
            bool taken = is_named(option, names);
            if (taken) {
                value_swap(option, now, then);
            }
            differs(arg, option->name, taken);
        }
    }
}
