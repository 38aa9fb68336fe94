/*
 * Salted password hashes (scrypt, RFC 7914), computed in short-lived child processes: one takes
 * about 0.1 s, and the event loop must not stand still so long. At most PASSWORD_JOBS_MAX run at a
 * time, PASSWORD_QUEUE_MAX wait; beyond that the answer is ERR_BUSY, which also slows down
 * guessing.
 */
#ifndef SERVICES_USER_PASSWORD_H
#define SERVICES_USER_PASSWORD_H

#include "base/err.h"
#include "net/loop.h"

enum { PASSWORD_JOBS_MAX = 2, PASSWORD_QUEUE_MAX = 64, PASSWORD_HASH_SIZE = 128 };

struct passwords; /* one per process: it uses SIGCHLD */

/* `hash` is "scrypt$N$r$p$salt$key" (base64), NULL unless ERR_OK. ERR_BUSY; ERR_SYSTEM: no process
 * could be made or the child died. Valid during the callback. */
typedef void (*password_cb)(void *arg, enum err err, const char *hash);

struct passwords *passwords_new(struct loop *loop);
void passwords_free(struct passwords *passwords); /* jobs complete with ERR_CANCELLED */

/* Hashes with a fresh salt. The callback comes exactly once, never from inside this call. */
void password_hash(struct passwords *passwords, const char *password, password_cb cb, void *arg);
/* Hashes again with the salt of `like`: the result equals `like` when the password is the same
 * (compare with password_equals). A malformed `like` costs the same time and never equals. */
void password_hash_like(struct passwords *passwords, const char *password, const char *like,
                        password_cb cb, void *arg);
bool password_equals(const char *a, const char *b); /* in constant time */

#endif
