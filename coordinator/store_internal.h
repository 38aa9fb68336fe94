/* What the files of the Redis store share. Nobody else includes it. */
#ifndef COORDINATOR_STORE_INTERNAL_H
#define COORDINATOR_STORE_INTERNAL_H

#include "coordinator/keys.h"
#include "coordinator/store_record.h"
#include "coordinator/store_redis.h"

enum { GID_BYTES_MAX = TXN_GID_CHARS_MAX * 4, STORE_KEYS_MAX = 65 };

struct store_request;
struct history_job;

/* How far a partition's lists were looked through for what can be forgotten. */
struct trim_place {
    int64_t recent, parked;
};

struct store_redis {
    struct store port;
    struct archive archive;
    struct loop *loop;
    struct redis *redis;
    char *owner;
    int partitions;
    int64_t retention_ms, timeout_ms;
    int64_t clock_ahead_ms; /* Redis' time minus the loop's; 0: not known yet */
    int64_t warned_ms;      /* when an error reply was logged last */
    struct scratch scratch;
    struct buf key_text;
    struct slice keys[STORE_KEYS_MAX];
    size_t key_count;
    struct store_request *idle; /* free list */
    struct trim_place *trims;   /* per partition */
    struct history_job *reads;  /* that wait for their turn (store_query.c) */
    int reading;
};

/* Keys of the script that is being put together. key_text must not move: reserve first. */
void store_keys_begin(struct store_redis *store, size_t count, size_t gid_bytes);
void store_key_tx(struct store_redis *store, struct slice gid);
void store_key_log(struct store_redis *store, struct slice gid);
void store_key_due(struct store_redis *store, int partition);
void store_key_recent(struct store_redis *store, int partition);
void store_key_parked(struct store_redis *store, int partition);
/* Runs the script on the keys and the arguments in `scratch`. */
void store_eval(struct store_redis *store, const struct redis_script *script, redis_cb cb,
                void *arg);
/* The same; told when the replicas that the settings want have what the script did and what it
 * read: for everything that is told to a client or that a decision rests on. */
void store_eval_durable(struct store_redis *store, const struct redis_script *script, redis_cb cb,
                        void *arg);

void store_saw_time(struct store_redis *store, int64_t now_ms);
/* REFUSED or UNKNOWN for an error of the client. */
enum store_status store_status_of(enum err err);
/* A transaction out of HGETALL's answer. */
enum err store_record_parse(struct store_redis *store, struct slice gid,
                            const struct redis_value *fields, struct txn **out,
                            struct reason *reason) MUST_CHECK;
/* Text and number of an element, whatever the server has answered: empty and 0 when there is none.
 */
struct slice store_text_at(const struct redis_value *array, size_t index);
int64_t store_int_at(const struct redis_value *array, size_t index);
/* Tells the operator about error replies, at most one a second. */
void store_warn(struct store_redis *store, const struct redis_result *result);

void store_reads_drop(struct store_redis *store); /* forgets those that wait */

extern const struct archive_ops store_archive_ops; /* store_query.c */
enum err store_page_list(struct archive *archive, const struct archive_filter *filter,
                         archive_page_cb cb, void *arg) MUST_CHECK; /* store_page.c */
void store_due_reset(struct archive *archive, int64_t later_ms, int limit, archive_reset_cb cb,
                     void *arg); /* store_reset.c */

#endif
