/* Which key a command is about: what decides where in a cluster it goes. */
#ifndef REDIS_KEY_H
#define REDIS_KEY_H

#include "base/slice.h"

#include <stdbool.h>
#include <stddef.h>

enum { SLOTS = 16384 };

/* The slot of a key: of what stands between its first '{' and the next '}', if anything does. */
int key_slot(struct slice key);
/* The first key of a command; false: it has none, and any server may answer it. A command that is
 * not known has its key behind its name, as most do. */
bool command_key(const struct slice *argv, size_t argc, struct slice *key);

#endif
