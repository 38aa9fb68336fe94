/*
 * What the setting `redis` says, taken apart:
 *
 *     HOST:PORT, [V6]:PORT, unix:/PATH               one server
 *     sentinel://HOST:PORT,HOST:PORT,…/MASTER        the master that sentinels name
 *     cluster://HOST:PORT,HOST:PORT,…                a cluster; any of its nodes will do
 */
#ifndef REDIS_WHERE_H
#define REDIS_WHERE_H

#include "base/err.h"

#include <stddef.h>

enum { WHERE_HOSTS_MAX = 32, WHERE_MASTER_MAX = 128 };

enum where_kind { WHERE_SERVER, WHERE_SENTINELS, WHERE_CLUSTER };

struct where {
    enum where_kind kind;
    char *hosts[WHERE_HOSTS_MAX]; /* SERVER: its address */
    size_t count;
    char *master; /* SENTINELS */
};

/* `out` is empty after an error; the reason shows the text. */
enum err where_parse(const char *text, struct where *out, struct reason *reason) MUST_CHECK;
void where_fini(struct where *where); /* of a parsed or zeroed one */

#endif
