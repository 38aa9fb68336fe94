#include "redis/cluster.h"

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

enum {
    PAUSE_MIN_MS = 100, /* between two questions for the map */
    PAUSE_MAX_MS = 1000,
    SWEEP_MS = 5000, /* a member without slots is closed when it was idle for so long */
    ADDRESS_SIZE = 256,
};

/* ---- members ---- */

static void on_member_ready(void *arg)
{
    struct member *member = arg;
    struct cluster *cluster = member->cluster;
    if (cluster->connected) {
        cluster->connected(cluster->connected_arg);
    }
    if (!cluster->closed) {
        strays_send(cluster);
    }
}

static struct member *member_open(struct cluster *cluster, const char *address)
{
    struct member *member = mem_new(struct member);
    const struct node_conf conf = {.address = address, .is_impatient = true};
    member->cluster = cluster;
    member->unused_ms = loop_now_ms(cluster->loop);
    member->node = node_open(cluster->loop, cluster->conf, &conf);
    node_on_connect(member->node, on_member_ready, member);
    DL_APPEND(cluster->members, member);
    cluster->member_count++;
    loop_timer_set(&cluster->sweep_timer, loop_now_ms(cluster->loop) + SWEEP_MS);
    return member;
}

static void member_close(struct member *member)
{
    struct cluster *cluster = member->cluster;
    cluster->past_round_trips += member->node->round_trips;
    DL_DELETE(cluster->members, member);
    cluster->member_count--;
    node_close(member->node);
    loop_defer_free(cluster->loop, member, free);
}

struct member *map_member_at(struct cluster *cluster, const char *address)
{
    struct member *member;
    DL_FOREACH(cluster->members, member)
    {
        if (strcmp(member->node->conf.address, address) == 0) {
            return member;
        }
    }
    return cluster->member_count < MEMBERS_MAX ? member_open(cluster, address) : NULL;
}

/* Those that were replaced, and seeds, go when nothing was asked of them for a while. */
static void on_sweep_timer(void *arg)
{
    struct cluster *cluster = arg;
    int64_t now_ms = loop_now_ms(cluster->loop);
    struct member *member, *next;
    bool more = false;
    DL_FOREACH_SAFE(cluster->members, member, next)
    {
        bool idle = member->slots == 0 && node_is_idle(member->node);
        if (idle && now_ms - member->unused_ms >= SWEEP_MS) {
            member_close(member);
        } else {
            more = more || member->slots == 0;
        }
    }
    if (more) {
        loop_timer_set(&cluster->sweep_timer, now_ms + SWEEP_MS);
    }
}

/* An answer without a host means the one that it came from. */
static bool address_make(const struct member *from, struct slice host, int64_t port,
                         char out[ADDRESS_SIZE])
{
    if (port < 1 || port > 65535) {
        return false;
    }
    if (host.len == 0 || slice_eq_str(host, "?")) {
        const char *own = from->node->conf.address;
        host = slice_make(own, (size_t)(strrchr(own, ':') - own));
    }
    bool bare_v6 = host.ptr[0] != '[' && memchr(host.ptr, ':', host.len);
    int n =
        snprintf(out, ADDRESS_SIZE, bare_v6 ? "[%.*s]:%d" : "%.*s:%d", SLICE_ARG(host), (int)port);
    return n < ADDRESS_SIZE;
}

/* ---- slots ---- */

static void unused(struct member *member)
{
    member->unused_ms = loop_now_ms(member->cluster->loop);
    loop_timer_set(&member->cluster->sweep_timer, member->unused_ms + SWEEP_MS);
}

void map_set(struct cluster *cluster, int slot, struct member *member)
{
    struct member *old = cluster->slots[slot];
    if (old && --old->slots == 0) {
        unused(old);
    }
    cluster->slots[slot] = member;
    member->slots++;
}

/* In turn: each time another one of those that are connected; NULL: none is. */
static struct member *connected_one(struct cluster *cluster)
{
    struct member *member, *first = NULL;
    size_t seen = 0;
    DL_FOREACH(cluster->members, member)
    {
        if (member->slots > 0 && member->node->state == SESSION_READY) {
            first = first ? first : member;
            if (seen++ == cluster->turn) {
                cluster->turn++;
                return member;
            }
        }
    }
    cluster->turn = 1;
    return first;
}

struct member *map_member(struct cluster *cluster, int slot)
{
    struct member *member = slot >= 0 ? cluster->slots[slot] : NULL;
    return member ? member : connected_one(cluster); /* a slot of nobody: it tells so */
}

struct member *map_member_told(struct cluster *cluster, const struct member *from,
                               struct slice text, int *slot)
{
    char address[ADDRESS_SIZE];
    int64_t number, port;
    const char *space = text.len > 0 ? memchr(text.ptr, ' ', text.len) : NULL;
    const char *colon = text.len > 0 ? memrchr(text.ptr, ':', text.len) : NULL;
    const char *end = text.ptr + text.len;
    if (!space || !colon || colon < space ||
        !slice_to_int64(slice_make(text.ptr, (size_t)(space - text.ptr)), &number) || number < 0 ||
        number >= SLOTS ||
        !slice_to_int64(slice_make(colon + 1, (size_t)(end - colon - 1)), &port) ||
        !address_make(from, slice_make(space + 1, (size_t)(colon - space - 1)), port, address)) {
        return NULL;
    }
    *slot = (int)number;
    return map_member_at(cluster, address);
}

/* ---- reading the map ---- */

/* [first, last, [host, port, …], replicas…] */
static bool range_read(struct cluster *cluster, const struct member *from,
                       const struct redis_value *range, struct member **slots)
{
    char address[ADDRESS_SIZE];
    const struct redis_value *master = redis_value_at(range, 2);
    if (!master || redis_value_count(master) < 2) {
        return false;
    }
    int64_t first = redis_value_int(redis_value_at(range, 0));
    int64_t last = redis_value_int(redis_value_at(range, 1));
    if (first < 0 || last < first || last >= SLOTS ||
        !address_make(from, redis_value_str(redis_value_at(master, 0)),
                      redis_value_int(redis_value_at(master, 1)), address)) {
        return false;
    }
    struct member *member = map_member_at(cluster, address);
    for (int64_t slot = first; slot <= last; slot++) {
        slots[slot] = member;
    }
    return true;
}

/* A slot that this node knows nobody for is not forgotten: whoever had it tells what is wrong. */
static void map_apply(struct cluster *cluster, struct member **slots)
{
    size_t changed = 0, known = 0;
    for (int slot = 0; slot < SLOTS; slot++) {
        if (slots[slot] && slots[slot] != cluster->slots[slot]) {
            map_set(cluster, slot, slots[slot]);
            changed++;
        }
        known += cluster->slots[slot] != NULL;
    }
    cluster->map_known = true;
    if (changed > 0) {
        log_info("redis", "msg=\"cluster map\" masters=%zu slots=%zu changed=%zu",
                 cluster_masters(cluster), known, changed);
    }
}

static bool map_read(struct cluster *cluster, const struct member *from,
                     const struct redis_value *value)
{
    struct member **slots = mem_zalloc(SLOTS * sizeof(struct member *));
    size_t count = redis_value_count(value);
    bool good = count > 0;
    for (size_t i = 0; i < count && good; i++) {
        good = range_read(cluster, from, redis_value_at(value, i), slots);
    }
    if (good) {
        map_apply(cluster, slots);
    }
    free(slots);
    return good;
}

/* A master is away: sooner or later another node takes its place. */
static bool map_is_whole(const struct cluster *cluster)
{
    const struct member *member;
    DL_FOREACH(cluster->members, member)
    {
        if (member->slots > 0 && !node_is_usable(member->node)) {
            return false;
        }
    }
    return true;
}

static void map_pause(struct cluster *cluster, bool longer)
{
    int64_t pause_ms = longer ? 2 * cluster->map_pause_ms : PAUSE_MIN_MS;
    cluster->map_pause_ms = pause_ms < PAUSE_MAX_MS ? pause_ms : PAUSE_MAX_MS;
}

static void map_failed(struct cluster *cluster, const struct member *from, enum err err,
                       const char *why)
{
    struct reason reason;
    const char *hint = strstr(why, "NOPERM") ? " (the user needs +cluster|slots)"
                       : strstr(why, "cluster support disabled")
                           ? " (it is no cluster: name it without cluster://)"
                           : "";
    (void)reason_set(&reason, err, "no map of the cluster from %s: %s%s", from->node->conf.address,
                     why, hint);
    if (strcmp(reason.text, cluster->map_why.text) != 0) {
        log_warn("redis", "msg=\"%s\"", reason.text);
    }
    cluster->map_why = reason;
    cluster->map_failures++;
    if ((err == ERR_DENIED || err == ERR_SCRIPT) &&
        cluster->map_failures >= cluster->seeds->count) {
        strays_refuse(cluster, err, cluster->map_why.text); /* this will not pass by itself */
    }
    map_pause(cluster, cluster->map_failures % cluster->seeds->count == 0);
    map_want(cluster);
}

static void on_map(void *arg, const struct redis_result *result)
{
    struct member *from = arg;
    struct cluster *cluster = from->cluster;
    cluster->map_asked = false;
    if (cluster->closed) {
        return;
    }
    if (result->err != ERR_OK) {
        map_failed(cluster, from, result->err, result->message);
    } else if (!map_read(cluster, from, result->value)) {
        map_failed(cluster, from, ERR_PROTOCOL, "it knows of no slots");
    } else {
        cluster->map_failures = 0;
        cluster->map_why.text[0] = '\0';
        map_pause(cluster, !map_is_whole(cluster));
        if (!map_is_whole(cluster)) {
            map_want(cluster);
        }
        strays_send(cluster);
    }
}

/* A connected member, or else one seed after the other. */
static void on_map_timer(void *arg)
{
    static const struct slice words[] = {SLICE_LIT("CLUSTER"), SLICE_LIT("SLOTS")};
    struct cluster *cluster = arg;
    int64_t now_ms = loop_now_ms(cluster->loop);
    struct member *member = connected_one(cluster);
    if (!member) {
        size_t seed = cluster->map_failures % cluster->seeds->count;
        member = map_member_at(cluster, cluster->seeds->hosts[seed]);
    }
    if (!member) {
        return;
    }
    cluster->map_asked = true;
    cluster->map_asked_ms = now_ms;
    node_command(member->node, now_ms + cluster->conf->connect_timeout_ms, words, 2, on_map,
                 member);
}

void map_want(struct cluster *cluster)
{
    if (!cluster->map_asked && !loop_timer_is_armed(&cluster->map_timer)) {
        loop_timer_set(&cluster->map_timer, cluster->map_asked_ms + cluster->map_pause_ms);
    }
}

/* ---- what is known ---- */

size_t cluster_masters(const struct cluster *cluster)
{
    size_t count = 0;
    const struct member *member;
    DL_FOREACH(cluster->members, member)
    {
        count += member->slots > 0;
    }
    return count;
}

struct member *cluster_master(const struct cluster *cluster, size_t index)
{
    struct member *member;
    DL_FOREACH(cluster->members, member)
    {
        if (member->slots > 0 && index-- == 0) {
            return member;
        }
    }
    return NULL;
}

bool cluster_is_connected(const struct cluster *cluster)
{
    const struct member *member;
    DL_FOREACH(cluster->members, member)
    {
        if (member->slots > 0 && member->node->state != SESSION_READY) {
            return false;
        }
    }
    return cluster->map_known;
}

uint64_t cluster_round_trips(const struct cluster *cluster)
{
    uint64_t count = cluster->past_round_trips;
    const struct member *member;
    DL_FOREACH(cluster->members, member)
    {
        count += member->node->round_trips;
    }
    return count;
}

/* ---- open and close ---- */

void map_open(struct cluster *cluster)
{
    cluster->slots = mem_zalloc(SLOTS * sizeof(struct member *));
    cluster->map_pause_ms = PAUSE_MIN_MS;
    loop_timer_init(&cluster->map_timer, cluster->loop, on_map_timer, cluster);
    loop_timer_init(&cluster->sweep_timer, cluster->loop, on_sweep_timer, cluster);
    loop_timer_set(&cluster->map_timer, 0);
}

void map_close(struct cluster *cluster)
{
    loop_timer_clear(&cluster->map_timer);
    loop_timer_clear(&cluster->sweep_timer);
    while (cluster->members) {
        member_close(cluster->members);
    }
    loop_timer_clear(&cluster->sweep_timer);
}

void map_free(struct cluster *cluster)
{
    free(cluster->slots);
}
