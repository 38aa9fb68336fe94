/*
 * Every Redis key of the coordinator, in one place. A transaction belongs to one partition; all
 * keys of a partition share the tag {p}, so that they live in one slot of a cluster.
 *
 *   saga:{p}:tx:<gid>   hash    the transaction
 *   saga:{p}:log:<gid>  stream  its history
 *   saga:{p}:due        zset    gid → when somebody must look at it, in ms
 *   saga:{p}:recent     zset    gid → creation time in ms
 *   saga:{p}:parked     zset    gid → since when it waits for a person, in ms
 *   saga:meta           hash    partitions, layout
 *   saga:topics         hash    the topics of messages and who has subscribed, see topic_book.h
 */
#ifndef COORDINATOR_KEYS_H
#define COORDINATOR_KEYS_H

#include "base/buf.h"
#include "base/slice.h"

enum {
    KEYS_PARTITIONS_MAX = 1024,
    KEYS_LAYOUT = 2,    /* changes whenever older coordinators could not read the keys any more */
    KEYS_TEXT_MAX = 32, /* bytes of a key without its gid */
};

int keys_partition(struct slice gid, int partitions); /* crc16(gid) mod partitions */

/* Add a key to `out`; nothing else is added. */
void keys_add_tx(struct buf *out, int partition, struct slice gid);
void keys_add_log(struct buf *out, int partition, struct slice gid);
void keys_add_due(struct buf *out, int partition);
void keys_add_recent(struct buf *out, int partition);
void keys_add_parked(struct buf *out, int partition);
struct slice keys_meta(void);
struct slice keys_topics(void);

#endif
