/* An intrusive binary min-heap of times: the one timer structure of a module. A zeroed heap is
 * empty. Nodes are embedded in their owner and must leave the heap before the owner is freed. */
#ifndef BASE_HEAP_H
#define BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_node {
    int64_t at;   /* ordering key, in any unit */
    size_t index; /* 1-based place in the heap; 0: not in a heap */
};

struct heap {
    struct heap_node **nodes;
    size_t count;
    size_t cap;
};

void heap_fini(struct heap *heap);
/* Puts the node in, or moves it when it is in already. */
void heap_set(struct heap *heap, struct heap_node *node, int64_t at);
void heap_remove(struct heap *heap, struct heap_node *node); /* nothing when it is not in */
struct heap_node *heap_first(const struct heap *heap);       /* NULL when empty */
bool heap_has(const struct heap_node *node);

#endif
