/*
 * Asynchronous Redis client: one pipelined connection with automatic reconnect, or one to each
 * master of a cluster, on hiredis' reader (whose types stay in redis/). All commands queued within
 * one loop turn leave in one write.
 *
 * Every command has a deadline of its own and completes exactly once, never from inside the call
 * that started it. A connection that has been silent for as long as its oldest command had time
 * (200 ms at least) when that deadline passes is taken for dead and replaced; commands in flight
 * then complete with ERR_CLOSED: their effect is unknown. A server that is slow but speaks keeps
 * its connection; what comes too late is dropped.
 * While there is no connection, commands wait in line up to their deadline (at most `queue_max` of
 * them). Reconnect backs off from 50 ms, doubling with jitter to 2 s, until a command went well.
 *
 * On a cluster a command goes to the master of its (first) key's slot, one without a key to any.
 * What was surely not executed is sent again until 50 ms before its deadline, with pauses of 10 to
 * 320 ms: MOVED and ASK (these are followed at once, twice at most before each pause), TRYAGAIN,
 * CLUSTERDOWN, LOADING, MASTERDOWN, READONLY, and what waited for a node that could not be reached.
 * So order holds only between commands of one slot that nothing delays. The map of the slots is
 * read anew (CLUSTER SLOTS) when something shows that it is wrong, at most every 100 ms, and every
 * 100 ms to 1 s while a master is away.
 */
#ifndef REDIS_REDIS_H
#define REDIS_REDIS_H

#include "base/err.h"
#include "base/slice.h"
#include "net/loop.h"
#include "redis/script.h"

struct redis;
struct redis_value; /* a reply; belongs to the client, valid during the callback */

struct redis_conf {
    const char *address;  /* as redis_address_check takes it; names are resolved at each connect */
    const char *user;     /* NULL or "": none */
    const char *password; /* NULL or "": none; never logged */
    int db;
    int64_t connect_timeout_ms;
    size_t queue_max;  /* commands waiting, in flight or held for replicas; beyond: ERR_BUSY */
    int wait_replicas; /* so many must have what a durable script did; 0: none */
    int64_t wait_ms;   /* how long to wait for them; well below the deadlines of scripts */
};

enum redis_type { REDIS_NIL, REDIS_STRING, REDIS_INTEGER, REDIS_ARRAY, REDIS_STATUS };

struct redis_result {
    /* ERR_OK: `value` is set (never an error reply).
     * ERR_UNAVAILABLE: the server refused for now: LOADING, BUSY, READONLY, CLUSTERDOWN, TRYAGAIN,
     *   MASTERDOWN, OOM, NOREPLICAS, MISCONF, too many clients; nothing was done. READONLY also
     *   reconnects, once what is in flight is answered. Of a cluster: what it said last, until the
     *   deadline.
     * ERR_SCRIPT: any other error reply.
     * ERR_DENIED: NOAUTH, WRONGPASS, NOPERM; and what waited when AUTH was refused.
     * ERR_TIMEOUT, ERR_CLOSED: effect unknown; so ends also a durable script that was executed but
     *   that not enough replicas have within wait_ms. ERR_CONNECT: no connection until its
     * deadline, never sent. ERR_BUSY: queue full, never sent. */
    enum err err;
    const struct redis_value *value;
    const char *message; /* with an error: the server's or our text; "" otherwise */
    int64_t elapsed_us;  /* from queueing to reply */
};
typedef void (*redis_cb)(void *arg, const struct redis_result *result);

/* Called for each completed command when set: for metrics. */
typedef void (*redis_observer)(void *arg, const struct redis_result *result);

/*
 * "host:port", "unix:/path": one server.
 *
 * "sentinel://host:port,host:port,…/name": the master that sentinels name. They are asked in turn
 * for each connection, so also after each one that was lost and after READONLY, and once a second;
 * what they name counts once its ROLE is master and they name it still. User, password and db are
 * those of the master; the sentinels themselves must not want a password. Back-off ends at 0.5 s.
 *
 * "cluster://host:port,host:port,…": a cluster, of which these are some nodes, masters or not; the
 * others are found. User and password are those of every node, `db` must be 0.
 *
 * ERR_INVALID with what is wrong and what is allowed.
 */
enum err redis_address_check(const char *address, int64_t db, struct reason *reason) MUST_CHECK;

/* An address that is none fails when it is connected to. */
struct redis *redis_open(struct loop *loop, const struct redis_conf *conf); /* conf is copied */
/* Pending commands complete with ERR_CANCELLED at the end of the turn; then the memory goes. No
 * command may be started after this. */
void redis_close(struct redis *redis);
void redis_observe(struct redis *redis, redis_observer observer, void *arg);
bool redis_is_connected(const struct redis *redis);    /* a cluster: to every master */
uint64_t redis_round_trips(const struct redis *redis); /* commands that were sent so far */
/* Called after every (re)connect, when AUTH and SELECT went through and before waiting commands
 * are sent; commands started in it come first. Of a cluster: for each of its nodes; what is started
 * in it goes where it belongs. */
void redis_on_connect(struct redis *redis, void (*fn)(void *arg), void *arg);

/* `deadline_ms` is absolute (loop_now_ms). Arguments are copied. `cb` may be NULL. */
void redis_command(struct redis *redis, int64_t deadline_ms, const struct slice *argv, size_t argc,
                   redis_cb cb, void *arg);

struct redis_eval {
    const struct redis_script *script; /* must live until the callback */
    const struct slice *keys;          /* script->keys of them */
    const struct slice *args;
    size_t arg_count;
    /* Told when conf.wait_replicas have what it has done, and what it has read: of keys in `keys`;
     * the user may write the first of them. */
    bool is_durable;
};
/* EVALSHA; when the server answers NOSCRIPT, the same as EVAL, once. That comes after commands that
 * were started meanwhile. */
void redis_eval(struct redis *redis, int64_t deadline_ms, const struct redis_eval *eval,
                redis_cb cb, void *arg);

/* The masters: 1, or those of the cluster that are known by now (0 before its map was read). The
 * numbers hold for this turn. */
size_t redis_masters(const struct redis *redis);
const char *redis_master_address(const struct redis *redis, size_t master); /* for texts */
/* As redis_command, to this master alone: of a cluster it is not sent again, and ERR_CONNECT comes
 * as soon as the master cannot be reached. */
void redis_command_at(struct redis *redis, size_t master, int64_t deadline_ms,
                      const struct slice *argv, size_t argc, redis_cb cb, void *arg);

/* Typed access to replies. */
enum redis_type redis_value_type(const struct redis_value *value);
int64_t redis_value_int(const struct redis_value *value); /* INTEGER, or STRING of digits; else 0 */
struct slice redis_value_str(const struct redis_value *value); /* STRING, STATUS; else empty */
size_t redis_value_count(const struct redis_value *value);     /* ARRAY; else 0 */
const struct redis_value *redis_value_at(const struct redis_value *value, size_t index);
/* In a flat array of name, value, name, value…: the value of `name`, or NULL. */
const struct redis_value *redis_value_field(const struct redis_value *array, const char *name);

/* crc16 of Redis Cluster (XMODEM) over the bytes. */
uint16_t redis_crc16(struct slice bytes);

#endif
