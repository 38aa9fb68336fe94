/* Ids carry their shard: id = n·S + s, so that the record of an id and the list of its owner lie
 * under one hash tag. With S = 1 ids are 1, 2, 3, …. */
#ifndef SERVICES_COMMON_SHARD_H
#define SERVICES_COMMON_SHARD_H

#include <stdint.h>

static inline int64_t shard_of(int64_t id, int64_t shards)
{
    return id % shards;
}

static inline int64_t shard_id(int64_t n, int64_t shard, int64_t shards)
{
    return n * shards + shard;
}

#endif
