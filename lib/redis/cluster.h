/*
 * Inside of the client: a cluster. One node for each master (its `member`), commands by the slot of
 * their key. Two halves: cluster.c brings each call to its node, as often as the cluster says so;
 * cluster_map.c knows which node serves a slot.
 *
 * A call is at a node, or a stray: its node is not known or away, or the cluster has refused it for
 * now (TRYAGAIN, CLUSTERDOWN, …). Strays are sent when the map was read anew, when a node connects,
 * or when their pause is over; what is refused has had no effect, so that is safe until the
 * deadline.
 */
#ifndef REDIS_CLUSTER_H
#define REDIS_CLUSTER_H

#include "redis/key.h"
#include "redis/node.h"

enum { MEMBERS_MAX = 1024 };

struct cluster;

struct member {
    struct member *prev, *next; /* utlist */
    struct cluster *cluster;
    struct node *node;
    size_t slots;      /* that it serves; 0: a seed, the target of ASK, or one that was replaced */
    int64_t unused_ms; /* since when it has none */
};

struct call;

struct cluster {
    struct loop *loop;
    const struct redis_conf *conf;
    const struct where *seeds;
    struct rng rng;
    bool closed;

    /* cluster_map.c */
    struct member *members;
    size_t member_count;
    size_t turn;               /* of members: who gets what any of them may have */
    struct member **slots;     /* SLOTS of them; NULL: not known */
    bool map_known, map_asked; /* asked: the answer is on its way */
    int64_t map_asked_ms, map_pause_ms;
    size_t map_failures;   /* since the last answer that could be used */
    struct reason map_why; /* of the last failure */
    struct loop_timer map_timer, sweep_timer;
    uint64_t past_round_trips; /* of members that are gone */

    /* cluster.c */
    struct call *strays, *failed;
    size_t pending;
    struct loop_timer stray_timer;
    struct loop_task fail_task, close_task;
    redis_observer observer;
    void *observer_arg;
    void (*connected)(void *arg);
    void *connected_arg;
};

/* `conf` and `seeds` must outlive it. */
struct cluster *cluster_open(struct loop *loop, const struct redis_conf *conf,
                             const struct where *seeds);
void cluster_close(struct cluster *cluster);
void cluster_command(struct cluster *cluster, int64_t deadline_ms, const struct slice *argv,
                     size_t argc, redis_cb cb, void *arg);
void cluster_eval(struct cluster *cluster, int64_t deadline_ms, const struct redis_eval *eval,
                  redis_cb cb, void *arg);
bool cluster_is_connected(const struct cluster *cluster);
uint64_t cluster_round_trips(const struct cluster *cluster);
size_t cluster_masters(const struct cluster *cluster);
struct member *cluster_master(const struct cluster *cluster, size_t index); /* NULL: not so many */
void cluster_command_at(struct cluster *cluster, size_t master, int64_t deadline_ms,
                        const struct slice *argv, size_t argc, redis_cb cb, void *arg);

/* ---- cluster_map.c ---- */

void map_open(struct cluster *cluster);
void map_close(struct cluster *cluster); /* closes all members */
void map_free(struct cluster *cluster);
/* Somebody has seen that it is wrong: it is read anew, not more often than a pause allows. */
void map_want(struct cluster *cluster);
/* Who serves the slot, or may know; NULL: nobody is connected. -1: any slot. */
struct member *map_member(struct cluster *cluster, int slot);
/* The one at this address, opened when there is none; NULL: there are too many. */
struct member *map_member_at(struct cluster *cluster, const char *address);
/* "[slot] [host]:port", as MOVED and ASK tell; an empty host is that of `from`. */
struct member *map_member_told(struct cluster *cluster, const struct member *from,
                               struct slice text, int *slot);
void map_set(struct cluster *cluster, int slot, struct member *member);

/* ---- cluster.c ---- */

void strays_send(struct cluster *cluster); /* those that can be */
/* Nobody will tell where they belong. */
void strays_refuse(struct cluster *cluster, enum err err, const char *why);

#endif
