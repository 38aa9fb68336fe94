/* The client as everybody sees it: one server, the one that sentinels name, or a cluster. */
#include "redis/redis.h"

#include "base/check.h"
#include "base/mem.h"
#include "redis/cluster.h"

#include <stdlib.h>
#include <string.h>

struct redis {
    struct loop *loop;
    struct where where;
    struct node *node;       /* NULL: a cluster */
    struct cluster *cluster; /* NULL: one server */
    struct redis_conf conf;  /* of a cluster; its texts are ours */
};

static void cluster_start(struct redis *redis, const struct redis_conf *conf)
{
    redis->conf = *conf;
    redis->conf.address = mem_strdup(conf->address);
    redis->conf.user = mem_strdup(conf->user);
    redis->conf.password = mem_strdup(conf->password);
    redis->cluster = cluster_open(redis->loop, &redis->conf, &redis->where);
}

struct redis *redis_open(struct loop *loop, const struct redis_conf *conf)
{
    struct redis *redis = mem_new(struct redis);
    struct reason reason;
    redis->loop = loop;
    enum err err = where_parse(conf->address, &redis->where, &reason);
    if (!err && redis->where.kind == WHERE_CLUSTER) {
        cluster_start(redis, conf);
        return redis;
    }
    const struct node_conf node = {
        .address = conf->address, /* what cannot be parsed fails when it is connected to */
        .sentinels = !err && redis->where.kind == WHERE_SENTINELS ? &redis->where : NULL,
    };
    redis->node = node_open(loop, conf, &node);
    return redis;
}

static void redis_free(void *arg)
{
    struct redis *redis = arg;
    char *password = (char *)(uintptr_t)redis->conf.password;
    if (password) {
        explicit_bzero(password, strlen(password));
    }
    free(password);
    free((char *)(uintptr_t)redis->conf.address);
    free((char *)(uintptr_t)redis->conf.user);
    where_fini(&redis->where);
    free(redis);
}

void redis_close(struct redis *redis)
{
    if (redis->node) {
        node_close(redis->node);
    } else {
        cluster_close(redis->cluster);
    }
    loop_defer_free(redis->loop, redis, redis_free);
}

void redis_observe(struct redis *redis, redis_observer observer, void *arg)
{
    if (redis->node) {
        node_observe(redis->node, observer, arg);
    } else {
        redis->cluster->observer = observer;
        redis->cluster->observer_arg = arg;
    }
}

bool redis_is_connected(const struct redis *redis)
{
    return redis->node ? redis->node->state == SESSION_READY : cluster_is_connected(redis->cluster);
}

uint64_t redis_round_trips(const struct redis *redis)
{
    return redis->node ? redis->node->round_trips : cluster_round_trips(redis->cluster);
}

void redis_on_connect(struct redis *redis, void (*fn)(void *arg), void *arg)
{
    if (redis->node) {
        node_on_connect(redis->node, fn, arg);
    } else {
        redis->cluster->connected = fn;
        redis->cluster->connected_arg = arg;
    }
}

void redis_command(struct redis *redis, int64_t deadline_ms, const struct slice *argv, size_t argc,
                   redis_cb cb, void *arg)
{
    if (redis->node) {
        node_command(redis->node, deadline_ms, argv, argc, cb, arg);
    } else {
        cluster_command(redis->cluster, deadline_ms, argv, argc, cb, arg);
    }
}

void redis_eval(struct redis *redis, int64_t deadline_ms, const struct redis_eval *eval,
                redis_cb cb, void *arg)
{
    if (redis->node) {
        node_eval(redis->node, deadline_ms, eval, false, cb, arg);
    } else {
        cluster_eval(redis->cluster, deadline_ms, eval, cb, arg);
    }
}

size_t redis_masters(const struct redis *redis)
{
    return redis->node ? 1 : cluster_masters(redis->cluster);
}

const char *redis_master_address(const struct redis *redis, size_t master)
{
    const struct node *node = redis->node;
    if (!node) {
        const struct member *member = cluster_master(redis->cluster, master);
        return member ? member->node->conf.address : "";
    }
    return node->master ? node->master : node->conf.address;
}

void redis_command_at(struct redis *redis, size_t master, int64_t deadline_ms,
                      const struct slice *argv, size_t argc, redis_cb cb, void *arg)
{
    if (redis->node) {
        node_command(redis->node, deadline_ms, argv, argc, cb, arg);
    } else {
        cluster_command_at(redis->cluster, master, deadline_ms, argv, argc, cb, arg);
    }
}
