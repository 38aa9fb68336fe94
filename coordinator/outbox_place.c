#include "coordinator/outbox_place.h"

#include "base/buf.h"
#include "base/mem.h"
#include "redis/redis.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { DB_MAX = 1000, WAIT_REPLICAS_MAX = 16 };

static enum err refuse(struct reason *reason, const char *name, const char *why)
{
    return reason_set(
        reason, ERR_INVALID,
        "outbox.%.60s: %s; must be KEY ({TAG}…), redis://[USER[:PASSWORD]@]HOST:PORT/KEY, "
        "unix://[…@]/PATH:KEY, sentinel://[…@]HOST:PORT,…/MASTER/KEY or "
        "cluster://[…@]HOST:PORT,…/KEY",
        name, why);
}

/* What stands before the first (or last) `c`, and behind it; false when there is none. */
static bool cut(struct slice text, char c, bool last, struct slice *before, struct slice *behind)
{
    size_t at = text.len;
    for (size_t i = 0; i < text.len && (last || at == text.len); i++) {
        at = text.ptr[i] == c ? i : at;
    }
    if (at == text.len) {
        return false;
    }
    *before = slice_make(text.ptr, at);
    *behind = slice_make(text.ptr + at + 1, text.len - at - 1);
    return true;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* NULL when a '%' is not followed by two digits, or stands for a NUL. */
static char *percent_decode(struct slice text)
{
    char *out = mem_alloc(text.len + 1);
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c == '%') {
            int high = i + 2 < text.len ? hex_digit(text.ptr[i + 1]) : -1;
            int low = high >= 0 ? hex_digit(text.ptr[i + 2]) : -1;
            if (low < 0 || high * 16 + low == 0) {
                free(out);
                return NULL;
            }
            c = (char)(high * 16 + low);
            i += 2;
        }
        out[len++] = c;
    }
    out[len] = '\0';
    return out;
}

static enum err login_parse(const char *name, struct slice login, struct outbox_place *out,
                            struct reason *reason)
{
    struct slice user = login, password = {0};
    (void)cut(login, ':', false, &user, &password);
    out->user = percent_decode(user);
    out->password = percent_decode(password);
    return out->user && out->password
               ? ERR_OK
               : refuse(reason, name, "user or password have a '%' without two hex digits");
}

/* What the place is reached by: redis.h's address is `scheme`, hosts and `master`. */
struct servers {
    const char *scheme;  /* "" for one server */
    struct slice where;  /* [login@]hosts */
    struct slice master; /* with its slash; empty: none */
};

static enum err servers_parse(const char *name, const struct servers *servers,
                              struct outbox_place *out, struct reason *reason)
{
    struct slice login, hosts = servers->where;
    struct buf address = {0};
    struct reason ignored;
    enum err err = ERR_OK;
    if (cut(servers->where, '@', true, &login, &hosts)) {
        err = login_parse(name, login, out, reason);
    }
    out->has_failover = servers->scheme[0] != '\0';
    buf_add_str(&address, servers->scheme);
    buf_add_slice(&address, hosts);
    buf_add_slice(&address, servers->master);
    out->address = slice_dup(buf_slice(&address));
    buf_fini(&address);
    if (!err && redis_address_check(out->address, 0, &ignored)) {
        err =
            refuse(reason, name,
                   servers->scheme[0] ? "not every server is HOST:PORT" : "there is no HOST:PORT");
    }
    return err;
}

/* What stands behind the scheme, up to the KEY. */
static enum err network_parse(const char *name, const char *scheme, struct slice text,
                              struct outbox_place *out, struct slice *key, struct reason *reason)
{
    struct servers servers = {.scheme = scheme};
    bool has_master = strncmp(scheme, "sentinel", strlen("sentinel")) == 0;
    if (!cut(text, '/', false, &servers.where, key)) {
        return refuse(reason, name, "there is no /KEY");
    }
    if (has_master) {
        struct slice master = *key;
        if (!cut(*key, '/', false, &servers.master, key) || servers.master.len == 0) {
            return refuse(reason, name, "there is no /MASTER/KEY");
        }
        servers.master = slice_make(master.ptr - 1, servers.master.len + 1);
    }
    return servers_parse(name, &servers, out, reason);
}

/* "[login@]/PATH:KEY" */
static enum err socket_parse(const char *name, struct slice text, struct outbox_place *out,
                             struct slice *key, struct reason *reason)
{
    struct slice login, path, rest;
    if (!cut(text, '/', false, &login, &rest) ||
        (login.len > 0 && login.ptr[login.len - 1] != '@') || !cut(rest, ':', false, &path, key) ||
        path.len == 0) {
        return refuse(reason, name, "there is no /PATH:KEY");
    }
    char *decoded = percent_decode(path);
    if (!decoded) {
        return refuse(reason, name, "the path has a '%' without two hex digits");
    }
    struct buf address = {0};
    buf_printf(&address, "unix:/%s", decoded);
    out->address = slice_dup(buf_slice(&address));
    buf_fini(&address);
    free(decoded);
    login.len -= login.len > 0;
    return login.len > 0 ? login_parse(name, login, out, reason) : ERR_OK;
}

/* One NAME=N; false when it is none of them, or there twice. */
static bool option_parse(struct slice text, struct outbox_place *out)
{
    const struct {
        const char *name;
        int64_t max;
        int *number;
    } options[] = {{"db", DB_MAX, &out->db},
                   {"wait_replicas", WAIT_REPLICAS_MAX, &out->wait_replicas}};
    struct slice name, digits;
    int64_t number;
    if (!cut(text, '=', false, &name, &digits) || !slice_to_int64(digits, &number)) {
        return false;
    }
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        if (slice_eq_str(name, options[i].name) && *options[i].number < 0 && number >= 0 &&
            number <= options[i].max) {
            *options[i].number = (int)number;
            return true;
        }
    }
    return false;
}

static enum err options_parse(const char *name, struct slice *key, struct outbox_place *out,
                              struct reason *reason)
{
    struct slice before, option, rest;
    if (!cut(*key, '?', true, &before, &rest)) {
        return ERR_OK;
    }
    *key = before;
    for (bool more = true; more;) {
        option = rest;
        more = cut(rest, '&', false, &option, &rest);
        if (!option_parse(option, out)) {
            return refuse(reason, name,
                          "what follows the '?' is not db=N, N from 0 to 1000, or "
                          "wait_replicas=N, N from 0 to 16, or both with a '&' between them");
        }
    }
    return out->db > 0 && out->address && redis_address_check(out->address, out->db, NULL)
               ? refuse(reason, name, "a cluster has only database 0")
               : ERR_OK;
}

static size_t digits_at(const char *text, size_t len)
{
    size_t n = 0;
    while (n < len && text[n] >= '0' && text[n] <= '9') {
        n++;
    }
    return n;
}

struct range {
    struct slice before, behind;
    int64_t first, last;
};

/* The first "N..M" of the key. */
static bool range_find(struct slice key, struct range *out)
{
    for (size_t i = 0; i < key.len; i++) {
        size_t n = digits_at(key.ptr + i, key.len - i), dots = i + n;
        if (n == 0) {
            continue;
        }
        size_t last = dots + 2;
        size_t m = last < key.len ? digits_at(key.ptr + last, key.len - last) : 0;
        if (m > 0 && key.ptr[dots] == '.' && key.ptr[dots + 1] == '.') {
            out->before = slice_make(key.ptr, i);
            out->behind = slice_make(key.ptr + last + m, key.len - last - m);
            return slice_to_int64(slice_make(key.ptr + i, n), &out->first) &&
                   slice_to_int64(slice_make(key.ptr + last, m), &out->last);
        }
        i = dots > i ? dots - 1 : i;
    }
    return false;
}

static enum err keys_parse(const char *name, struct slice key, struct outbox_place *out,
                           struct reason *reason)
{
    struct range range;
    struct slice tag, rest;
    if (!cut(key, '}', false, &tag, &rest) || tag.len < 2 || tag.ptr[0] != '{') {
        return refuse(reason, name, "KEY must begin with its hash tag, as {ord:0}:outbox does");
    }
    if (key.len > OUTBOX_KEY_MAX || utf8_has_control(key)) {
        return refuse(reason, name, "KEY must have at most 512 bytes, no control characters");
    }
    if (!range_find(key, &range)) {
        out->keys = mem_zalloc(sizeof(*out->keys));
        out->keys[out->key_count++] = slice_dup(key);
        return ERR_OK;
    }
    if (range.last < range.first || range.last - range.first >= OUTBOX_STREAMS_MAX) {
        return refuse(reason, name, "a range goes from low to high and has at most 1024 numbers");
    }
    size_t count = (size_t)(range.last - range.first + 1);
    out->keys = mem_zalloc(count * sizeof(*out->keys));
    for (size_t i = 0; i < count; i++) {
        struct buf text = {0};
        buf_add_slice(&text, range.before);
        buf_printf(&text, "%" PRId64, range.first + (int64_t)i);
        buf_add_slice(&text, range.behind);
        out->keys[out->key_count++] = slice_dup(buf_slice(&text));
        buf_fini(&text);
    }
    return ERR_OK;
}

/* Where it is; `key` begins behind that. */
static enum err where_parse(const char *name, struct slice *key, struct outbox_place *out,
                            struct reason *reason)
{
    static const char *const schemes[] = {"unix://", "redis://", "sentinel://", "cluster://"};
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        size_t len = strlen(schemes[i]);
        if (slice_has_prefix(*key, schemes[i])) {
            struct slice rest = slice_make(key->ptr + len, key->len - len);
            return i == 0 ? socket_parse(name, rest, out, key, reason)
                          : network_parse(name, i == 1 ? "" : schemes[i], rest, out, key, reason);
        }
    }
    /* What is no KEY is an address that was misspelt, maybe with a password, which would be logged
     * as a key of the coordinator's own Redis. */
    return slice_has_prefix(*key, "{") ? ERR_OK
                                       : refuse(reason, name, "neither an address nor a KEY");
}

enum err outbox_place_parse(const char *name, const char *value, struct outbox_place *out,
                            struct reason *reason)
{
    struct slice key = slice_str(value);
    *out = (struct outbox_place){.db = -1, .wait_replicas = -1};
    enum err err = where_parse(name, &key, out, reason);
    if (!err) {
        err = options_parse(name, &key, out, reason);
    }
    if (!err) {
        err = keys_parse(name, key, out, reason);
    }
    if (err) {
        outbox_place_fini(out);
    }
    return err;
}

void outbox_place_fini(struct outbox_place *place)
{
    for (size_t i = 0; i < place->key_count; i++) {
        free(place->keys[i]);
    }
    free(place->keys);
    free(place->address);
    free(place->user);
    free(place->password);
    *place = (struct outbox_place){0};
}
