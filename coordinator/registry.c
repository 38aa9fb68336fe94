#include "coordinator/registry.h"

#include "base/arena.h"
#include "base/log.h"
#include "base/mem.h"
#include "coordinator_scripts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WARN_EVERY_MS = 60000 };

struct registry {
    struct loop *loop;
    struct redis *redis; /* NULL: freed, waits for the answer that is on its way */
    struct registry_conf conf;
    struct arena arena; /* what the entries point at */
    struct registry_entry *entries;
    size_t count;
    bool asking;
    int64_t warned_ms;
    struct loop_timer timer;
};

static void registry_ask(void *arg);

/* ---- members ---- */

static bool scheme_parse(struct slice *text, enum branch_scheme *scheme)
{
    size_t len = strlen("tcp://");
    if (slice_has_prefix(*text, "tcp://")) {
        *scheme = BRANCH_TCP;
    } else if (slice_has_prefix(*text, "http://")) {
        *scheme = BRANCH_HTTP;
        len = strlen("http://");
    } else {
        return false;
    }
    *text = slice_make(text->ptr + len, text->len - len);
    return true;
}

bool registry_parse(struct slice member, struct registry_entry *out)
{
    const char *space = member.len > 0 ? memchr(member.ptr, ' ', member.len) : NULL;
    if (!space || space == member.ptr || space - member.ptr > REGISTRY_NAME_MAX) {
        return false;
    }
    out->service = slice_make(member.ptr, (size_t)(space - member.ptr));
    struct slice rest = slice_make(space + 1, member.len - out->service.len - 1);
    struct slice host, port;
    if (utf8_has_control(member) || !scheme_parse(&rest, &out->scheme) ||
        rest.len >= BRANCH_ADDRESS_SIZE) {
        return false;
    }
    out->address = rest;
    bool is_unix = out->scheme == BRANCH_TCP && slice_has_prefix(rest, "unix:/");
    return is_unix || resolver_split(rest, &host, &port);
}

static int slice_order(struct slice a, struct slice b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len > 0 ? memcmp(a.ptr, b.ptr, len) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

static int entry_order(const void *left, const void *right)
{
    const struct registry_entry *a = left, *b = right;
    int order = slice_order(a->service, b->service);
    order = order ? order : (int)a->scheme - (int)b->scheme;
    return order ? order : slice_order(a->address, b->address);
}

/* ---- reading ---- */

static void registry_warn(struct registry *registry, const char *what)
{
    int64_t now = loop_now_ms(registry->loop);
    if (registry->warned_ms == 0 || now - registry->warned_ms >= WARN_EVERY_MS) {
        log_warn("registry", "msg=\"registered services: %s\"", what);
        registry->warned_ms = now;
    }
}

/* Entries in a new arena, sorted. */
static size_t entries_read(struct registry *registry, const struct redis_value *reply,
                           struct arena *arena, struct registry_entry *entries)
{
    size_t count = 0;
    int64_t now = loop_now_ms(registry->loop);
    for (size_t i = 2; i + 1 < redis_value_count(reply) && count < REGISTRY_MAX; i += 2) {
        struct slice member = redis_value_str(redis_value_at(reply, i));
        struct registry_entry *entry = &entries[count];
        if (!registry_parse(arena_copy(arena, member), entry)) {
            char shown[120], text[200];
            snprintf(text, sizeof(text), "'%s' is skipped, it must be SERVICE tcp://HOST:PORT",
                     log_text(member, shown, sizeof(shown)));
            registry_warn(registry, text);
            continue;
        }
        entry->lease_ends_ms = now + redis_value_int(redis_value_at(reply, i + 1));
        count++;
    }
    qsort(entries, count, sizeof(*entries), entry_order);
    return count;
}

static bool entries_equal(const struct registry *registry, const struct registry_entry *entries,
                          size_t count)
{
    bool equal = registry->count == count;
    for (size_t i = 0; equal && i < count; i++) {
        equal = entry_order(&registry->entries[i], &entries[i]) == 0;
    }
    return equal;
}

static void registry_take(struct registry *registry, const struct redis_value *reply)
{
    size_t pairs = redis_value_count(reply) / 2;
    struct arena arena = {0};
    struct registry_entry *entries = mem_alloc((pairs + 1) * sizeof(*entries));
    size_t count = entries_read(registry, reply, &arena, entries);
    if (redis_value_int(redis_value_at(reply, 1)) > REGISTRY_MAX) {
        registry_warn(registry, "there are more than are read");
    }
    bool changed = !entries_equal(registry, entries, count);
    arena_fini(&registry->arena);
    free(registry->entries);
    registry->arena = arena;
    registry->entries = entries;
    registry->count = count;
    if (changed) {
        log_info("registry", "msg=\"registered instances have changed\" count=%zu", count);
        registry->conf.changed(registry->conf.arg);
    }
}

static void registry_destroy(struct registry *registry)
{
    arena_fini(&registry->arena);
    free(registry->entries);
    free(registry);
}

static void on_listed(void *arg, const struct redis_result *result)
{
    struct registry *registry = arg;
    registry->asking = false;
    if (!registry->redis) {
        registry_destroy(registry);
        return;
    }
    if (result->err == ERR_OK && redis_value_count(result->value) >= 2) {
        registry_take(registry, result->value);
    } else if (result->err == ERR_DENIED || result->err == ERR_SCRIPT) {
        registry_warn(registry, result->message);
    }
    loop_timer_set(&registry->timer, loop_now_ms(registry->loop) + registry->conf.poll_ms);
}

static void registry_ask(void *arg)
{
    struct registry *registry = arg;
    char most[16];
    snprintf(most, sizeof(most), "%d", REGISTRY_MAX);
    struct slice key = slice_str("saga:services");
    struct slice argument = slice_str(most);
    struct redis_eval eval = {
        .script = &script_service_list, .keys = &key, .args = &argument, .arg_count = 1};
    registry->asking = true;
    redis_eval(registry->redis, loop_now_ms(registry->loop) + registry->conf.timeout_ms, &eval,
               on_listed, registry);
}

/* ---- the registry ---- */

struct registry *registry_new(struct loop *loop, struct redis *redis,
                              const struct registry_conf *conf)
{
    struct registry *registry = mem_new(struct registry);
    registry->loop = loop;
    registry->redis = redis;
    registry->conf = *conf;
    loop_timer_init(&registry->timer, loop, registry_ask, registry);
    registry_ask(registry);
    return registry;
}

void registry_free(struct registry *registry)
{
    loop_timer_clear(&registry->timer);
    registry->redis = NULL;
    if (!registry->asking) {
        registry_destroy(registry);
    }
}

const struct registry_entry *registry_entries(const struct registry *registry, size_t *count)
{
    *count = registry->count;
    return registry->entries;
}

const struct registry_entry *registry_find(const struct registry *registry,
                                           enum branch_scheme scheme, struct slice service,
                                           size_t *count)
{
    const struct registry_entry wanted = {.scheme = scheme, .service = service};
    size_t low = 0, high = registry->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (entry_order(&registry->entries[middle], &wanted) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    size_t end = low;
    while (end < registry->count && registry->entries[end].scheme == scheme &&
           slice_eq(registry->entries[end].service, service)) {
        end++;
    }
    *count = end - low;
    return registry->entries + low;
}
