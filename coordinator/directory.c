#include "coordinator/directory.h"

#include "base/buf.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HASH_FUNCTION(key, len, hash) HASH_FNV(key, len, hash)
#include <uthash.h>

enum { KEY_SIZE = BRANCH_ADDRESS_SIZE + 2 };

struct record {
    struct service service;
    uint64_t version;       /* of the directory, when it was made */
    int64_t fresh_until_ms; /* a host name of it may be older afterwards */
    int64_t used_ms;        /* by a call; 0: only looked at */
    UT_hash_handle hh;
    char key[]; /* 't' or 'h', then host[:port] */
};

struct directory {
    struct loop *loop;
    struct directory_conf conf;
    const struct registry *registry;
    struct names *names;
    struct record *records;
    uint64_t version; /* grows with each change of what records are made of */
};

/* ---- instances ---- */

static void instances_clear(struct service *service)
{
    for (size_t i = 0; i < service->count; i++) {
        free(service->instances[i].address);
        free(service->instances[i].host);
    }
    free(service->instances);
    service->instances = NULL;
    service->count = 0;
}

static void instance_add(struct service *service, struct slice address, struct slice host,
                         int64_t lease_ends_ms)
{
    for (size_t i = 0; i < service->count; i++) {
        if (slice_eq_str(address, service->instances[i].address)) {
            return; /* two names for one place */
        }
    }
    if (service->count == BRANCH_INSTANCES_MAX) {
        return;
    }
    size_t size = (service->count + 1) * sizeof(*service->instances);
    service->instances = mem_resize(service->instances, size);
    service->instances[service->count++] =
        (struct instance){slice_dup(address), slice_dup(host), lease_ends_ms};
}

static void number_add(struct service *service, const char *number, struct slice port,
                       struct slice host, int64_t lease_ends_ms)
{
    char address[BRANCH_ADDRESS_SIZE];
    snprintf(address, sizeof(address), "%s:%.*s", number, SLICE_ARG(port));
    instance_add(service, slice_str(address), host, lease_ends_ms);
}

/* One address as somebody has written it: as many instances as DNS knows for its host. */
static void address_add(struct directory *directory, struct record *record, struct slice address,
                        int64_t lease_ends_ms)
{
    struct slice host, port;
    struct service *service = &record->service;
    if (directory->conf.dns_ttl_ms == 0 || !resolver_split(address, &host, &port) ||
        resolver_is_number(host)) {
        instance_add(service, address, address, lease_ends_ms);
        return;
    }
    struct name_addresses known = names_find(directory->names, host);
    record->fresh_until_ms = loop_now_ms(directory->loop) + directory->conf.dns_ttl_ms;
    for (size_t i = 0; i < known.count; i++) {
        number_add(service, known.addresses[i], port, address, lease_ends_ms);
    }
    if (known.count == 0) {
        instance_add(service, address, address, lease_ends_ms);
    }
}

static void map_add(struct directory *directory, struct record *record, const char *value)
{
    struct slice list = slice_str(value);
    struct slice address;
    record->service.source = DIRECTORY_MAP;
    while (resolver_next_address(&list, &address)) {
        bool is_unix = slice_has_prefix(address, "unix:");
        if (!is_unix || record->service.scheme == BRANCH_TCP) {
            address_add(directory, record, address, 0);
        }
    }
}

static void registered_add(struct directory *directory, struct record *record,
                           const struct registry_entry *entries, size_t count)
{
    record->service.source = DIRECTORY_REGISTERED;
    for (size_t i = 0; i < count; i++) {
        address_add(directory, record, entries[i].address, entries[i].lease_ends_ms);
    }
}

/* ---- records ---- */

static const char *map_value(const struct directory *directory, struct slice name)
{
    char text[BRANCH_ADDRESS_SIZE]; /* resolver_parse has seen to its length */
    snprintf(text, sizeof(text), "%.*s", SLICE_ARG(name));
    return directory->conf.map ? conf_map_get(directory->conf.map, text) : NULL;
}

/* Without a port. */
static void name_fill(struct directory *directory, struct record *record)
{
    struct slice name = record->service.name;
    const char *mapped = map_value(directory, name);
    if (mapped) {
        map_add(directory, record, mapped);
        return;
    }
    size_t count = 0;
    const struct registry_entry *entries = NULL;
    if (directory->registry) {
        entries = registry_find(directory->registry, record->service.scheme, name, &count);
    }
    if (count > 0) {
        registered_add(directory, record, entries, count);
    } else if (record->service.scheme == BRANCH_HTTP) {
        char address[BRANCH_ADDRESS_SIZE];
        snprintf(address, sizeof(address), "%.*s:%d", SLICE_ARG(name), BRANCH_HTTP_PORT);
        record->service.source = DIRECTORY_ADDRESS;
        address_add(directory, record, slice_str(address), 0);
    }
}

static void record_fill(struct directory *directory, struct record *record, bool has_port)
{
    instances_clear(&record->service);
    record->fresh_until_ms = INT64_MAX;
    record->version = directory->version;
    if (has_port) {
        record->service.source = DIRECTORY_ADDRESS;
        address_add(directory, record, record->service.name, 0);
    } else {
        name_fill(directory, record);
    }
}

static void record_free(struct directory *directory, struct record *record)
{
    HASH_DEL(directory->records, record);
    instances_clear(&record->service);
    free(record);
}

static void records_sweep(struct directory *directory, int64_t since_ms)
{
    struct record *record, *next;
    HASH_ITER(hh, directory->records, record, next)
    {
        if (record->used_ms <= since_ms) {
            record_free(directory, record);
        }
    }
}

static struct record *record_new(struct directory *directory, const char *key)
{
    int64_t now = loop_now_ms(directory->loop);
    if (HASH_COUNT(directory->records) >= (unsigned)directory->conf.services_max) {
        records_sweep(directory, now - directory->conf.idle_ms);
    }
    if (HASH_COUNT(directory->records) >= (unsigned)directory->conf.services_max) {
        records_sweep(directory, INT64_MAX); /* nothing is lost but work */
    }
    size_t len = strlen(key);
    struct record *record = mem_zalloc(sizeof(*record) + len + 1);
    memcpy(record->key, key, len + 1);
    record->service.scheme = key[0] == 't' ? BRANCH_TCP : BRANCH_HTTP;
    record->service.name = slice_str(record->key + 1);
    HASH_ADD_STR(directory->records, key, record);
    return record;
}

static struct record *record_get(struct directory *directory, const struct branch_address *to)
{
    char key[KEY_SIZE];
    size_t len = 0; /* resolver_parse has seen to the length of the host */
    key[len++] = to->scheme == BRANCH_TCP ? 't' : 'h';
    memcpy(key + len, to->host.ptr, to->host.len);
    len += to->host.len;
    if (to->port.len > 0) {
        key[len++] = ':';
        memcpy(key + len, to->port.ptr, to->port.len);
        len += to->port.len;
    }
    key[len] = '\0';
    struct record *record;
    HASH_FIND_STR(directory->records, key, record);
    return record ? record : record_new(directory, key);
}

static void refuse_unknown(const struct directory *directory, const struct branch_address *to,
                           struct reason *reason)
{
    char shown[120];
    bool is_mapped = map_value(directory, to->host) != NULL;
    reason_set(reason, ERR_INVALID, "name '%s': %s",
               slice_printable(to->host, shown, sizeof(shown)),
               is_mapped ? "it is a unix socket, which only tcp:// can use"
                         : "it is not in the resolver map of sagad, no instance of it is "
                           "registered, and the url has no port");
}

/* NULL: nobody knows the name. Such a record does not stay: who submits chooses the names. */
static struct record *record_fresh(struct directory *directory, const struct branch_address *to)
{
    struct record *record = record_get(directory, to);
    if (record->version != directory->version ||
        loop_now_ms(directory->loop) >= record->fresh_until_ms) {
        record_fill(directory, record, to->port.len > 0);
    }
    if (record->service.count == 0) {
        record_free(directory, record);
        return NULL;
    }
    return record;
}

struct service *directory_find(struct directory *directory, const struct branch_address *to,
                               struct reason *reason)
{
    struct record *record = record_fresh(directory, to);
    if (!record) {
        refuse_unknown(directory, to, reason);
        return NULL;
    }
    record->used_ms = loop_now_ms(directory->loop);
    return &record->service;
}

/* ---- looking at all ---- */

struct visitor {
    struct directory *directory;
    void (*visit)(void *arg, const struct service *service);
    void *arg;
};

static void visit_name(const struct visitor *visitor, enum branch_scheme scheme, struct slice name)
{
    struct branch_address to = {.scheme = scheme, .host = name};
    const struct record *record = record_fresh(visitor->directory, &to);
    if (record) {
        visitor->visit(visitor->arg, &record->service);
    }
}

/* A name of the map serves both schemes; it is shown under the one in use, else under tcp. */
static bool is_in_use(const struct directory *directory, enum branch_scheme scheme,
                      const char *name)
{
    char key[KEY_SIZE];
    snprintf(key, sizeof(key), "%c%s", scheme == BRANCH_TCP ? 't' : 'h', name);
    struct record *record;
    HASH_FIND_STR(directory->records, key, record);
    return record && record->used_ms > 0;
}

static void visit_map(const struct visitor *visitor)
{
    const struct directory *directory = visitor->directory;
    for (size_t i = 0; directory->conf.map && i < directory->conf.map->count; i++) {
        const char *name = directory->conf.map->entries[i].key;
        bool http = is_in_use(directory, BRANCH_HTTP, name);
        if (http) {
            visit_name(visitor, BRANCH_HTTP, slice_str(name));
        }
        if (!http || is_in_use(directory, BRANCH_TCP, name)) {
            visit_name(visitor, BRANCH_TCP, slice_str(name));
        }
    }
}

static void visit_registered(const struct visitor *visitor)
{
    size_t count;
    const struct registry_entry *entries = registry_entries(visitor->directory->registry, &count);
    for (size_t i = 0; i < count; i++) {
        bool again = i > 0 && entries[i].scheme == entries[i - 1].scheme &&
                     slice_eq(entries[i].service, entries[i - 1].service);
        if (!again && !map_value(visitor->directory, entries[i].service)) {
            visit_name(visitor, entries[i].scheme, entries[i].service);
        }
    }
}

void directory_renew(struct directory *directory)
{
    directory->version++;
}

void directory_each(struct directory *directory,
                    void (*visit)(void *arg, const struct service *service), void *arg)
{
    struct visitor visitor = {directory, visit, arg};
    directory_renew(directory); /* the ends of leases are as old as the records */
    records_sweep(directory, loop_now_ms(directory->loop) - directory->conf.idle_ms);
    visit_map(&visitor);
    if (directory->registry) {
        visit_registered(&visitor);
    }
    struct record *record, *next;
    HASH_ITER(hh, directory->records, record, next)
    {
        if (record->service.source == DIRECTORY_ADDRESS) {
            visit(arg, &record->service);
        }
    }
}

static void count_service(void *arg, const struct service *service)
{
    struct directory_stats *stats = arg;
    stats->services++;
    stats->instances += (int)service->count;
}

struct directory_stats directory_stats(struct directory *directory)
{
    struct directory_stats stats = {0};
    directory_each(directory, count_service, &stats);
    return stats;
}

/* ---- life ---- */

static void on_names_changed(void *arg)
{
    directory_renew(arg);
}

struct directory *directory_new(struct loop *loop, const struct directory_conf *conf)
{
    struct directory *directory = mem_new(struct directory);
    directory->loop = loop;
    directory->conf = *conf;
    directory->version = 1; /* a new record has 0 */
    struct names_conf names = {.ttl_ms = conf->dns_ttl_ms,
                               .idle_ms = conf->idle_ms,
                               .names_max = conf->services_max,
                               .changed = on_names_changed,
                               .arg = directory};
    directory->names = names_new(loop, &names);
    return directory;
}

void directory_free(struct directory *directory)
{
    records_sweep(directory, INT64_MAX);
    names_free(directory->names);
    free(directory);
}

void directory_set_registry(struct directory *directory, const struct registry *registry)
{
    directory->registry = registry;
    directory_renew(directory);
}
