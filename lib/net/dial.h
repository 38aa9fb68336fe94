/*
 * Connecting without blocking: resolves the name, tries its addresses one after the other, gives
 * back a connected socket.
 */
#ifndef NET_DIAL_H
#define NET_DIAL_H

#include "base/err.h"
#include "net/loop.h"

struct dial;

/* ERR_OK: `fd` is connected, non-blocking, without Nagle's delay and belongs to the callee.
 * ERR_INVALID (the address), ERR_CONNECT, ERR_TIMEOUT: fd is -1, `why` is for the log. */
typedef void (*dial_cb)(void *arg, enum err err, int fd, const char *why);

/* "host:port", "[v6]:port" or "unix:/path". The callback comes exactly once, never from inside this
 * call, unless dial_cancel was called; the dial is gone when it comes. */
struct dial *dial_start(struct loop *loop, const char *address, int64_t timeout_ms, dial_cb cb,
                        void *arg);
void dial_cancel(struct dial *dial);

#endif
