/*
 * Looks at the Redis that the coordinator is given and tells whether it can keep the promise that
 * the settings `durability` and `wait_replicas` make. Refuses what would lose transactions
 * silently, warns of what costs, and says what to change.
 */
#ifndef COORDINATOR_REDIS_CHECK_H
#define COORDINATOR_REDIS_CHECK_H

#include "base/buf.h"
#include "redis/redis.h"

/* What an acknowledged transaction survives. */
enum durability {
    DURABILITY_MEMORY,   /* nothing: Redis need not write to disk */
    DURABILITY_EVERYSEC, /* all but the last second */
    DURABILITY_ALWAYS,   /* a power cut */
};
enum err durability_parse(struct slice name, enum durability *out) MUST_CHECK;

struct redis_promise {
    enum durability durability;
    int wait_replicas; /* must have a write before it is acknowledged */
};

/* What is known of a server. Texts are empty and numbers -1 when it could not be found out. */
struct redis_facts {
    char version[32];
    char appendfsync[16];
    char maxmemory_policy[32];
    int aof_enabled; /* 1, 0 */
    int64_t maxmemory_bytes;
    int64_t stream_node_bytes;
    int replicas; /* connected and in step */
    bool is_replica;
    bool has_aof_failed;             /* its last write to the append-only file */
    bool has_fsync_rest;             /* no-appendfsync-on-rewrite, which counts under always too */
    bool is_loading;                 /* then it says of its append-only file that there is none */
    bool info_hidden, config_hidden; /* the commands INFO, CONFIG are not permitted */
};
/* Reads the text of INFO. */
void redis_facts_add_info(struct redis_facts *facts, struct slice info);

struct redis_verdict {
    enum err err; /* OK; CONFLICT: refuse to run; UNAVAILABLE: not yet, replicas are missing;
                     else, and when not `judged`, Redis did not answer: see refusal */
    bool judged;
    struct buf refusal;  /* every reason, a line each */
    struct buf warnings; /* a line each */
};
void redis_verdict_fini(struct redis_verdict *verdict);
/* The rules, without any server. `verdict` is zeroed. */
void redis_facts_judge(const struct redis_facts *facts, struct redis_promise promise,
                       struct redis_verdict *verdict);
/* Writes the verdict to the log: refusals as errors, warnings as warnings. */
void redis_verdict_log(const struct redis_verdict *verdict);

/* Asks the server, or every master of a cluster, and judges; with several, each line begins with an
 * address. Exactly once, never from inside the call; the verdict is valid during
 * the callback. */
typedef void (*redis_check_cb)(void *arg, const struct redis_verdict *verdict);
void redis_check(struct redis *redis, int64_t deadline_ms, struct redis_promise promise,
                 redis_check_cb cb, void *arg);

#endif
