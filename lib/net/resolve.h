/*
 * All addresses of a host name, without blocking: /etc/hosts and DNS (A and AAAA).
 */
#ifndef NET_RESOLVE_H
#define NET_RESOLVE_H

#include "base/err.h"
#include "net/loop.h"

#include <stddef.h>

enum { RESOLVE_ADDRESSES_MAX = 64 };

/* ERR_OK: at least one address, as a number ("10.0.0.7", "[fd00::7]"), each once, at most
 * RESOLVE_ADDRESSES_MAX; valid during the callback. ERR_CONNECT: none, `why` is for the log. */
typedef void (*resolve_cb)(void *arg, enum err err, const char *const *addresses, size_t count,
                           const char *why);

struct resolve;

/* The callback comes exactly once, never from inside this call, unless it is cancelled; the object
 * is gone when it comes. It ends with the name server's own time-outs. */
struct resolve *resolve_start(struct loop *loop, const char *host, resolve_cb cb, void *arg);
void resolve_cancel(struct resolve *resolve);

#endif
