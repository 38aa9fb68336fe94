#include "redis/where.h"

#include "base/slice.h"
#include "net/socket.h"
#include "redis/redis.h"

#include <stdlib.h>
#include <string.h>

static const char sentinel_scheme[] = "sentinel://";
static const char cluster_scheme[] = "cluster://";

static enum err refuse(struct reason *reason, const char *text, const char *why)
{
    char shown[96];
    return reason_set(reason, ERR_INVALID,
                      "'%s': %s; allowed: host:port, unix:/path, "
                      "sentinel://host:port,…/master or cluster://host:port,…",
                      slice_printable(slice_str(text), shown, sizeof(shown)), why);
}

static bool host_is_good(const char *text)
{
    struct address address;
    struct reason ignored;
    return address_parse(text, &address, &ignored) == ERR_OK && !address.is_unix &&
           address.host[0] && address.port > 0;
}

/* What stands before the next comma of *rest, which moves behind it. */
static struct slice host_cut(struct slice *rest)
{
    const char *comma = memchr(rest->ptr, ',', rest->len);
    struct slice host = slice_make(rest->ptr, comma ? (size_t)(comma - rest->ptr) : rest->len);
    size_t skip = host.len + (comma != NULL);
    *rest = slice_make(rest->ptr + skip, rest->len - skip);
    return host;
}

static enum err hosts_parse(const char *text, struct slice list, struct where *out,
                            struct reason *reason)
{
    bool more = true;
    while (more) {
        if (out->count == WHERE_HOSTS_MAX) {
            return refuse(reason, text, "names more than 32 servers");
        }
        more = memchr(list.ptr, ',', list.len) != NULL;
        char *host = out->hosts[out->count++] = slice_dup(host_cut(&list));
        if (!host_is_good(host)) {
            return refuse(reason, text, "not every server is host:port");
        }
    }
    return ERR_OK;
}

static enum err sentinels_parse(const char *text, struct where *out, struct reason *reason)
{
    const char *list = text + strlen(sentinel_scheme);
    const char *slash = strchr(list, '/');
    struct slice master = slice_str(slash ? slash + 1 : NULL);
    if (master.len == 0) {
        return refuse(reason, text, "the master's name is missing");
    }
    if (master.len > WHERE_MASTER_MAX || utf8_has_control(master) || strpbrk(slash + 1, " \"/,")) {
        return refuse(reason, text, "the master's name cannot be one");
    }
    out->master = slice_dup(master);
    return hosts_parse(text, slice_make(list, (size_t)(slash - list)), out, reason);
}

static enum err server_parse(const char *text, struct where *out, struct reason *reason)
{
    struct address address;
    enum err err = address_parse(text, &address, reason);
    if (err == ERR_OK && !address.is_unix && (!address.host[0] || address.port == 0)) {
        err = ERR_INVALID;
    }
    if (err) {
        return refuse(reason, text, "is not an address of Redis");
    }
    out->hosts[out->count++] = slice_dup(slice_str(text));
    return ERR_OK;
}

enum err where_parse(const char *text, struct where *out, struct reason *reason)
{
    enum err err;
    *out = (struct where){.kind = WHERE_SERVER};
    if (slice_has_prefix(slice_str(text), sentinel_scheme)) {
        out->kind = WHERE_SENTINELS;
        err = sentinels_parse(text, out, reason);
    } else if (slice_has_prefix(slice_str(text), cluster_scheme)) {
        out->kind = WHERE_CLUSTER;
        err = hosts_parse(text, slice_str(text + strlen(cluster_scheme)), out, reason);
    } else {
        err = server_parse(text, out, reason);
    }
    if (err) {
        where_fini(out);
    }
    return err;
}

void where_fini(struct where *where)
{
    for (size_t i = 0; i < where->count; i++) {
        free(where->hosts[i]);
    }
    free(where->master);
    *where = (struct where){.kind = WHERE_SERVER};
}

enum err redis_address_check(const char *address, int64_t db, struct reason *reason)
{
    struct where where;
    enum err err = where_parse(address, &where, reason);
    if (!err && where.kind == WHERE_CLUSTER && db != 0) {
        err =
            reason_set(reason, ERR_INVALID,
                       "'%.60s' with database %d: a cluster has only database 0", address, (int)db);
    }
    where_fini(&where);
    return err;
}
