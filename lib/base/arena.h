/* Memory that is freed all at once: what belongs to one transaction or one decoded request. A
 * zeroed struct is an empty arena. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "base/slice.h"

struct arena_chunk;
struct arena {
    struct arena_chunk *chunks;
};

void *arena_alloc(struct arena *arena, size_t size);          /* zeroed, aligned for any type */
struct slice arena_copy(struct arena *arena, struct slice s); /* the copy has a NUL behind it */
size_t arena_size(const struct arena *arena);                 /* bytes that it takes */
void arena_fini(struct arena *arena);

#endif
