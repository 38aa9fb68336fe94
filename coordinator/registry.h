/*
 * The instances that participants have registered themselves in Redis (zset saga:services, member
 * "SERVICE SCHEME://HOST:PORT" → end of the lease), read every `poll_ms` into memory.
 *
 * While Redis does not answer, what was read last stays in force: calls to it show who is alive.
 */
#ifndef COORDINATOR_REGISTRY_H
#define COORDINATOR_REGISTRY_H

#include "coordinator/resolver.h"
#include "net/loop.h"
#include "redis/redis.h"

enum { REGISTRY_MAX = 4096, REGISTRY_NAME_MAX = 128 };

struct registry_conf {
    int64_t poll_ms;
    int64_t timeout_ms;         /* of one command */
    void (*changed)(void *arg); /* instances came or went */
    void *arg;
};

struct registry_entry {
    enum branch_scheme scheme;
    struct slice service;
    struct slice address;  /* "host:port", "[v6]:port", "unix:/path" */
    int64_t lease_ends_ms; /* on the loop's clock, as it was when it was read */
};

struct registry;
/* Reads at once and then again and again. The redis outlives it, or has completed its commands. */
struct registry *registry_new(struct loop *loop, struct redis *redis,
                              const struct registry_conf *conf);
/* After redis_close, or the answer that is on its way is forgotten. */
void registry_free(struct registry *registry);
/* By service, scheme and address. Valid until the loop turns. */
const struct registry_entry *registry_entries(const struct registry *registry, size_t *count);
/* Those of one service under one scheme. */
const struct registry_entry *registry_find(const struct registry *registry,
                                           enum branch_scheme scheme, struct slice service,
                                           size_t *count);
/* Pure: takes a member apart; false when it is none. The slices are views. */
bool registry_parse(struct slice member, struct registry_entry *out);

#endif
