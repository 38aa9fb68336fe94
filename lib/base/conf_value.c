#include "base/conf_internal.h"

#include "base/check.h"
#include "base/mem.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Largest first, so that a bound is printed in the largest unit in which it is whole. */
struct unit {
    const char *name;
    int64_t factor;
};
static const struct unit durations[] = {
    {"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}, {NULL, 0},
};
static const struct unit sizes[] = {
    {"gb", 1 << 30}, {"mb", 1 << 20}, {"kb", 1 << 10}, {"", 1}, {NULL, 0},
};

static void *place(const struct conf_option *option, void *settings)
{
    return (char *)settings + option->offset;
}

static const struct unit *units_of(const struct conf_option *option)
{
    return option->type == CONF_DURATION ? durations : option->type == CONF_SIZE ? sizes : NULL;
}

static void add_number(struct buf *out, const struct unit *units, int64_t value)
{
    const char *name = "";
    for (; units && units->name && value != 0; units++) {
        if (value % units->factor == 0) {
            value /= units->factor;
            name = units->name;
            break;
        }
    }
    buf_printf(out, "%" PRId64 "%s", value, name);
}

void conf_add_bounds(struct buf *out, const struct conf_option *option)
{
    const struct unit *units = units_of(option);
    bool is_number = units || option->type == CONF_INT;
    bool has_max = option->max != 0;
    if (!is_number || (!has_max && option->min == 0 && option->type != CONF_INT)) {
        return;
    }
    add_number(out, units, option->min);
    buf_add_str(out, has_max ? " … " : " or more");
    if (has_max) {
        add_number(out, units, option->max);
    }
}

static void add_choices(struct buf *out, const char *choices)
{
    for (const char *at = choices; *at; at++) {
        if (*at == '|') {
            buf_add_str(out, ", ");
        } else {
            buf_add(out, at, 1);
        }
    }
}

void conf_add_allowed(struct buf *out, const struct conf_option *option)
{
    switch (option->type) {
    case CONF_STRING:
    case CONF_SECRET:
    case CONF_MAP: return;
    case CONF_BOOL: buf_add_str(out, "yes or no"); return;
    case CONF_CHOICE: add_choices(out, option->choices); return;
    case CONF_INT: buf_add_str(out, "a number"); break;
    case CONF_DURATION:
        buf_add_str(out, option->min > 0 ? "" : "0 or ");
        buf_add_str(out, "a number with ms, s, m, h or d");
        break;
    case CONF_SIZE: buf_add_str(out, "bytes, or a number with kb, mb or gb"); break;
    }
    struct buf bounds = {0};
    conf_add_bounds(&bounds, option);
    if (bounds.len > 0) {
        buf_printf(out, ", %s", bounds.data);
    }
    buf_fini(&bounds);
}

static enum err refuse(const struct conf_option *option, struct slice text, const char *what,
                       struct reason *reason)
{
    char shown[80];
    struct buf allowed = {0};
    conf_add_allowed(&allowed, option);
    enum err err =
        reason_set(reason, ERR_INVALID, "'%s' %s%s%s", slice_printable(text, shown, sizeof(shown)),
                   what, allowed.len > 0 ? "; allowed: " : "", allowed.len > 0 ? allowed.data : "");
    buf_fini(&allowed);
    return err;
}

/* ---- numbers ---- */

static const struct unit *find_unit(const struct unit *units, struct slice name)
{
    for (; units->name; units++) {
        if (strlen(units->name) == name.len && strncasecmp(units->name, name.ptr, name.len) == 0) {
            return units;
        }
    }
    return NULL;
}

/* Splits "250ms" into the digits and the unit. */
static struct slice take_digits(struct slice *text)
{
    size_t n = text->len > 0 && text->ptr[0] == '-';
    while (n < text->len && isdigit((unsigned char)text->ptr[n])) {
        n++;
    }
    struct slice digits = slice_make(text->ptr, n);
    *text = slice_make(text->ptr + n, text->len - n);
    return digits;
}

static enum err number_parse(const struct conf_option *option, struct slice text, int64_t *out,
                             struct reason *reason)
{
    const struct unit *units = units_of(option);
    struct slice unit_name = text;
    struct slice digits = take_digits(&unit_name);
    int64_t value;
    if (digits.len == 0 || !isdigit((unsigned char)digits.ptr[digits.len - 1])) {
        return refuse(option, text, "is not a number", reason);
    }
    if (!slice_to_int64(digits, &value)) {
        return refuse(option, text, "is out of range", reason);
    }
    if (option->type == CONF_DURATION && unit_name.len == 0 && value != 0) {
        return refuse(option, text, "has no unit", reason);
    }
    bool bare = unit_name.len == 0; /* a plain number, bytes, or 0 */
    const struct unit *unit = units && !bare ? find_unit(units, unit_name) : NULL;
    if (!bare && !unit) {
        return refuse(option, text, units ? "has an unknown unit" : "is not a number", reason);
    }
    if (__builtin_mul_overflow(value, unit ? unit->factor : 1, &value) || value < option->min ||
        (option->max != 0 && value > option->max)) {
        return refuse(option, text, "is out of range", reason);
    }
    *out = value;
    return ERR_OK;
}

/* ---- the other types ---- */

static enum err bool_parse(const struct conf_option *option, struct slice text, bool *out,
                           struct reason *reason)
{
    static const char *const words[2][4] = {{"no", "false", "off", "0"},
                                            {"yes", "true", "on", "1"}};
    for (size_t i = 0; i < 8; i++) {
        const char *word = words[i / 4][i % 4];
        if (strlen(word) == text.len && strncasecmp(word, text.ptr, text.len) == 0) {
            *out = i / 4 == 1;
            return ERR_OK;
        }
    }
    return refuse(option, text, "is neither yes nor no", reason);
}

static bool is_choice(const char *choices, struct slice text)
{
    while (*choices) {
        size_t n = strcspn(choices, "|");
        if (slice_eq(slice_make(choices, n), text)) {
            return true;
        }
        choices += choices[n] ? n + 1 : n;
    }
    return false;
}

static void set_text(char **at, struct slice text)
{
    free(*at);
    *at = slice_dup(text);
}

static bool is_map_key(struct slice key)
{
    for (size_t i = 0; i < key.len; i++) {
        char c = key.ptr[i];
        if (!isalnum((unsigned char)c) && c != '.' && c != '_' && c != '-') {
            return false;
        }
    }
    return key.len > 0;
}

static enum err map_set(struct conf_map *map, struct slice key, struct slice value,
                        struct reason *reason)
{
    if (!is_map_key(key)) {
        char shown[80];
        return reason_set(reason, ERR_INVALID,
                          "'%s' is not a key; allowed: letters, digits, '.', '_' and '-'",
                          slice_printable(key, shown, sizeof(shown)));
    }
    for (size_t i = 0; i < map->count; i++) {
        if (slice_eq_str(key, map->entries[i].key)) {
            set_text(&map->entries[i].value, value);
            return ERR_OK;
        }
    }
    map->entries = mem_resize(map->entries, (map->count + 1) * sizeof(struct conf_map_entry));
    map->entries[map->count++] = (struct conf_map_entry){slice_dup(key), slice_dup(value)};
    return ERR_OK;
}

enum err conf_set(const struct conf_option *option, void *settings, struct slice key,
                  struct slice text, struct reason *reason)
{
    void *at = place(option, settings);
    if (utf8_has_control(text)) {
        return reason_set(reason, ERR_INVALID, "the value has control characters or is not UTF-8");
    }
    switch (option->type) {
    case CONF_STRING:
    case CONF_SECRET: set_text(at, text); return ERR_OK;
    case CONF_BOOL: return bool_parse(option, text, at, reason);
    case CONF_INT:
    case CONF_DURATION:
    case CONF_SIZE: return number_parse(option, text, at, reason);
    case CONF_CHOICE:
        if (!is_choice(option->choices, text)) {
            return refuse(option, text, "is not a choice", reason);
        }
        set_text(at, text);
        return ERR_OK;
    case CONF_MAP: return map_set(at, key, text, reason);
    }
    unreachable("option type");
}

static void map_clear(struct conf_map *map)
{
    for (size_t i = 0; i < map->count; i++) {
        free(map->entries[i].key);
        free(map->entries[i].value);
    }
    free(map->entries);
    *map = (struct conf_map){0};
}

void conf_clear(const struct conf_option *option, void *settings)
{
    void *at = place(option, settings);
    switch (option->type) {
    case CONF_STRING:
    case CONF_SECRET:
    case CONF_CHOICE: {
        char **text = at;
        free(*text);
        *text = NULL;
        return;
    }
    case CONF_MAP: map_clear(at); return;
    case CONF_BOOL:
    case CONF_INT:
    case CONF_DURATION:
    case CONF_SIZE: return;
    }
}

const char *conf_map_get(const struct conf_map *map, const char *key)
{
    for (size_t i = 0; i < map->count; i++) {
        if (strcmp(map->entries[i].key, key) == 0) {
            return map->entries[i].value;
        }
    }
    return NULL;
}
