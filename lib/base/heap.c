#include "base/heap.h"

#include "base/check.h"
#include "base/mem.h"

#include <stdlib.h>

void heap_fini(struct heap *heap)
{
    free(heap->nodes);
    *heap = (struct heap){0};
}

static void place(struct heap *heap, size_t index, struct heap_node *node)
{
    heap->nodes[index - 1] = node;
    node->index = index;
}

static void sift_up(struct heap *heap, struct heap_node *node)
{
    size_t i = node->index;
    while (i > 1 && heap->nodes[i / 2 - 1]->at > node->at) {
        place(heap, i, heap->nodes[i / 2 - 1]);
        i /= 2;
    }
    place(heap, i, node);
}

static void sift_down(struct heap *heap, struct heap_node *node)
{
    size_t i = node->index;
    for (;;) {
        size_t child = 2 * i;
        if (child > heap->count) {
            break;
        }
        if (child < heap->count && heap->nodes[child]->at < heap->nodes[child - 1]->at) {
            child++;
        }
        if (heap->nodes[child - 1]->at >= node->at) {
            break;
        }
        place(heap, i, heap->nodes[child - 1]);
        i = child;
    }
    place(heap, i, node);
}

void heap_set(struct heap *heap, struct heap_node *node, int64_t at)
{
    node->at = at;
    if (node->index == 0) {
        if (heap->count == heap->cap) {
            heap->cap = heap->cap ? heap->cap * 2 : 64;
            heap->nodes = mem_resize(heap->nodes, heap->cap * sizeof(struct heap_node *));
        }
        place(heap, ++heap->count, node);
    }
    sift_up(heap, node);
    sift_down(heap, node);
}

void heap_remove(struct heap *heap, struct heap_node *node)
{
    if (node->index == 0) {
        return;
    }
    check(node->index <= heap->count && heap->nodes[node->index - 1] == node);
    struct heap_node *last = heap->nodes[--heap->count];
    if (last != node) {
        place(heap, node->index, last);
        sift_up(heap, last);
        sift_down(heap, last);
    }
    node->index = 0;
}

struct heap_node *heap_first(const struct heap *heap)
{
    return heap->count > 0 ? heap->nodes[0] : NULL;
}

bool heap_has(const struct heap_node *node)
{
    return node->index != 0;
}
