/*
 * Host names and their addresses, asked of DNS again when they are older than `ttl_ms` and in use.
 * What was known stays in force while DNS does not answer: a participant is not lost because a name
 * server is.
 */
#ifndef COORDINATOR_NAMES_H
#define COORDINATOR_NAMES_H

#include "base/slice.h"
#include "net/loop.h"

struct names_conf {
    int64_t ttl_ms;
    int64_t idle_ms; /* a name that was not asked for during this is forgotten */
    int names_max;
    void (*changed)(void *arg); /* some name has other addresses now */
    void *arg;
};

/* Valid until the loop turns. */
struct name_addresses {
    const char *const *addresses; /* "10.0.0.7", "[fd00::7]" */
    size_t count;                 /* 0: not known (yet) */
};

struct names;
struct names *names_new(struct loop *loop, const struct names_conf *conf);
void names_free(struct names *names);
struct name_addresses names_find(struct names *names, struct slice host);

#endif
