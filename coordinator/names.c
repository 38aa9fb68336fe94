#include "coordinator/names.h"

#include "base/log.h"
#include "base/mem.h"
#include "net/resolve.h"

#include <stdlib.h>
#include <string.h>

#define HASH_FUNCTION(key, len, hash) HASH_FNV(key, len, hash)
#include <uthash.h>

struct name {
    struct names *names;
    char **addresses;
    size_t count;
    struct resolve *resolve; /* on its way, or NULL */
    int64_t asked_ms;        /* last; 0: never */
    int64_t used_ms;
    UT_hash_handle hh;
    char host[]; /* the key */
};

struct names {
    struct loop *loop;
    struct names_conf conf;
    struct name *all;
};

static void addresses_clear(struct name *name)
{
    for (size_t i = 0; i < name->count; i++) {
        free(name->addresses[i]);
    }
    free(name->addresses);
    name->addresses = NULL;
    name->count = 0;
}

static void name_free(struct name *name)
{
    HASH_DEL(name->names->all, name);
    if (name->resolve) {
        resolve_cancel(name->resolve);
    }
    addresses_clear(name);
    free(name);
}

struct names *names_new(struct loop *loop, const struct names_conf *conf)
{
    struct names *names = mem_new(struct names);
    names->loop = loop;
    names->conf = *conf;
    return names;
}

void names_free(struct names *names)
{
    struct name *name, *next;
    HASH_ITER(hh, names->all, name, next)
    {
        name_free(name);
    }
    free(names);
}

static bool addresses_equal(const struct name *name, const char *const *addresses, size_t count)
{
    bool equal = name->count == count;
    for (size_t i = 0; equal && i < count; i++) {
        bool found = false;
        for (size_t k = 0; k < count && !found; k++) {
            found = strcmp(name->addresses[k], addresses[i]) == 0;
        }
        equal = found;
    }
    return equal;
}

static void on_resolved(void *arg, enum err err, const char *const *addresses, size_t count,
                        const char *why)
{
    struct name *name = arg;
    name->resolve = NULL;
    if (err) {
        log_debug("names", "msg=\"no addresses\" host=%s why=\"%s\" known=%zu", name->host, why,
                  name->count);
        return;
    }
    if (addresses_equal(name, addresses, count)) {
        return;
    }
    addresses_clear(name);
    name->addresses = mem_alloc(count * sizeof(*name->addresses));
    name->count = count;
    for (size_t i = 0; i < count; i++) {
        name->addresses[i] = mem_strdup(addresses[i]);
    }
    log_debug("names", "msg=\"addresses have changed\" host=%s count=%zu", name->host, count);
    name->names->conf.changed(name->names->conf.arg);
}

static void name_ask(struct name *name)
{
    struct names *names = name->names;
    int64_t now = loop_now_ms(names->loop);
    if (!name->resolve && (name->asked_ms == 0 || now - name->asked_ms >= names->conf.ttl_ms)) {
        name->asked_ms = now;
        name->resolve = resolve_start(names->loop, name->host, on_resolved, name);
    }
}

static void names_sweep(struct names *names)
{
    int64_t since_ms = loop_now_ms(names->loop) - names->conf.idle_ms;
    struct name *name, *next;
    HASH_ITER(hh, names->all, name, next)
    {
        if (name->used_ms <= since_ms) {
            name_free(name);
        }
    }
}

static struct name *name_new(struct names *names, struct slice host)
{
    struct name *name = mem_zalloc(sizeof(*name) + host.len + 1);
    name->names = names;
    memcpy(name->host, host.ptr, host.len);
    HASH_ADD_KEYPTR(hh, names->all, name->host, host.len, name);
    return name;
}

struct name_addresses names_find(struct names *names, struct slice host)
{
    struct name *name;
    HASH_FIND(hh, names->all, host.ptr, host.len, name);
    if (!name) {
        if (HASH_COUNT(names->all) >= (unsigned)names->conf.names_max) {
            names_sweep(names);
        }
        if (HASH_COUNT(names->all) >= (unsigned)names->conf.names_max) {
            return (struct name_addresses){0};
        }
        name = name_new(names, host);
    }
    name->used_ms = loop_now_ms(names->loop);
    name_ask(name);
    return (struct name_addresses){(const char *const *)name->addresses, name->count};
}
