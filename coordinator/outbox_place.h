/*
 * One value of the setting `outbox`: which streams to consume, and where they are.
 *
 *     KEY                                        on the coordinator's own Redis
 *     redis://[USER[:PASSWORD]@]HOST:PORT/KEY    on another one
 *     unix://[USER[:PASSWORD]@]/PATH:KEY         on another one, by its socket
 *     sentinel://[USER[:PASSWORD]@]HOST:PORT,…/MASTER/KEY    on the master that sentinels name
 *     cluster://[USER[:PASSWORD]@]HOST:PORT,…/KEY            on a cluster
 *
 * Behind each may stand ?NAME=N or ?NAME=N&NAME=N:
 *
 *     db               the database; else that of the setting redis_db, on another Redis 0
 *     wait_replicas    so many must have an entry before it becomes a message; else as the setting
 *                      wait_replicas says, on one other server (redis, unix) 0
 *
 * USER, PASSWORD and PATH are percent-encoded. KEY begins with its hash tag, so that a stream and
 * its dead letters, KEY:dead, are in one slot. It may have one range, {ord:0..15}:outbox: these are
 * 16 streams.
 */
#ifndef COORDINATOR_OUTBOX_PLACE_H
#define COORDINATOR_OUTBOX_PLACE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

enum {
    OUTBOX_PLACES_MAX = 64,
    OUTBOX_STREAMS_MAX = 1024, /* of one place */
    OUTBOX_KEY_MAX = 512,      /* bytes */
};

struct outbox_place {
    char *address;     /* NULL: the coordinator's own Redis */
    bool has_failover; /* behind sentinels, or a cluster */
    char *user, *password;
    int db, wait_replicas; /* −1: not said */
    char **keys;
    size_t key_count;
};

/* The reason repeats the name only: the value may have a password in it. */
enum err outbox_place_parse(const char *name, const char *value, struct outbox_place *out,
                            struct reason *reason) MUST_CHECK;
void outbox_place_fini(struct outbox_place *place); /* of a parsed or zeroed one */

#endif
