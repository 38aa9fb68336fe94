#include "coordinator/keys.h"

#include "base/check.h"
#include "redis/redis.h"

int keys_partition(struct slice gid, int partitions)
{
    check(partitions > 0);
    return redis_crc16(gid) % partitions;
}

/* By hand rather than with printf: four keys for every script of the hot path. */
static void keys_add_tagged(struct buf *out, int partition, const char *kind)
{
    check(partition >= 0 && partition < KEYS_PARTITIONS_MAX);
    char digits[4];
    size_t n = 0;
    do {
        digits[n++] = (char)('0' + partition % 10);
        partition /= 10;
    } while (partition > 0);
    buf_add_str(out, "saga:{");
    while (n > 0)
        buf_add(out, &digits[--n], 1);
    buf_add_str(out, "}:");
    buf_add_str(out, kind);
}

void keys_add_tx(struct buf *out, int partition, struct slice gid)
{
    keys_add_tagged(out, partition, "tx:");
    buf_add_slice(out, gid);
}

void keys_add_log(struct buf *out, int partition, struct slice gid)
{
    keys_add_tagged(out, partition, "log:");
    buf_add_slice(out, gid);
}

void keys_add_due(struct buf *out, int partition)
{
    keys_add_tagged(out, partition, "due");
}

void keys_add_recent(struct buf *out, int partition)
{
    keys_add_tagged(out, partition, "recent");
}

void keys_add_parked(struct buf *out, int partition)
{
    keys_add_tagged(out, partition, "parked");
}

struct slice keys_meta(void)
{
    return slice_str("saga:meta");
}

struct slice keys_topics(void)
{
    return slice_str("saga:topics");
}
