/*
 * libsaga: an instance of a participant registers itself with the coordinators. Included by saga.h.
 *
 * They then find tcp://SERVICE/… by its name and share the calls between all instances of it. The
 * registration is a lease in the coordinators' Redis, renewed at a third of its time; who crashes
 * gets no calls when it has ended, or earlier, when calls to it fail.
 */
#ifndef SAGA_ADVERT_H
#define SAGA_ADVERT_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct saga;

struct saga_advert {
    const char *service; /* its name in urls: 1 to 128 letters, digits, '.', '_', '-' */
    /* As the coordinators reach it: "host:port" (port 0: the one that it listens on), "[v6]:port"
     * or "unix:/path". */
    const char *address;
    const char *redis; /* Redis of the coordinators; NULL: saga_conf.redis, with its user */
    const char *redis_user;
    const char *redis_password;
    int redis_db;
    int64_t lease_ms; /* 0: 10 s */
};

/* Takes an instance that has registered itself off the list, so that no new calls come: the first
 * step of a clean stop. `done` comes once, also when it was not registered or Redis is away.
 * saga_close does it, on a loop of its own; on a loop of the caller, whoever does not do it stays
 * on the list until the lease ends. */
typedef void (*saga_withdrawn_cb)(void *arg);
void saga_withdraw(struct saga *saga, saga_withdrawn_cb done, void *arg);

#ifdef __cplusplus
}
#endif

#endif
