#include "wire/rpc_calls.h"

#include "base/check.h"
#include "base/mem.h"

#include <stdlib.h>

/* An id is the slot's number, from 1, and above it how often the slot was used before. */
enum { PAGE_SIZE = 256, SLOT_BITS = 20 };
static const uint64_t SLOT_MASK = ((uint64_t)1 << SLOT_BITS) - 1;
static const uint64_t USE_ONE = (uint64_t)1 << SLOT_BITS;

static void add_page(struct rpc_calls *calls)
{
    check((calls->page_count + 1) * PAGE_SIZE <= SLOT_MASK);
    struct rpc_call *page = mem_zalloc(PAGE_SIZE * sizeof(*page));
    for (size_t i = PAGE_SIZE; i-- > 0;) {
        page[i].id = calls->page_count * PAGE_SIZE + i + 1;
        page[i].next = calls->free;
        calls->free = &page[i];
    }
    calls->pages = mem_resize(calls->pages, (calls->page_count + 1) * sizeof(struct rpc_call *));
    calls->pages[calls->page_count++] = page;
}

void calls_fini(struct rpc_calls *calls)
{
    check(calls->waiting.count == 0 && !calls->failed_first);
    for (size_t i = 0; i < calls->page_count; i++) {
        free(calls->pages[i]);
    }
    free(calls->pages);
    heap_fini(&calls->waiting);
    *calls = (struct rpc_calls){0};
}

struct rpc_call *calls_add(struct rpc_calls *calls, rpc_reply_cb cb, void *arg, int64_t deadline_ms)
{
    if (!calls->free) {
        add_page(calls);
    }
    struct rpc_call *call = calls->free;
    calls->free = call->next;
    call->cb = cb;
    call->arg = arg;
    call->next = NULL;
    heap_set(&calls->waiting, &call->deadline, deadline_ms);
    return call;
}

struct rpc_call *calls_find(const struct rpc_calls *calls, uint64_t id)
{
    uint64_t slot = (id & SLOT_MASK) - 1; /* of 0: far out of range */
    if (slot / PAGE_SIZE >= calls->page_count) {
        return NULL;
    }
    struct rpc_call *call = &calls->pages[slot / PAGE_SIZE][slot % PAGE_SIZE];
    return call->id == id && heap_has(&call->deadline) ? call : NULL;
}

size_t calls_waiting(const struct rpc_calls *calls)
{
    return calls->waiting.count;
}

struct rpc_call *calls_first(const struct rpc_calls *calls)
{
    struct heap_node *node = heap_first(&calls->waiting);
    return node ? container_of(node, struct rpc_call, deadline) : NULL;
}

void calls_fail(struct rpc_calls *calls, struct rpc_call *call, enum err err, const char *why)
{
    check(heap_has(&call->deadline));
    heap_remove(&calls->waiting, &call->deadline);
    call->err = err;
    call->why = why;
    if (calls->failed_last) {
        calls->failed_last->next = call;
    } else {
        calls->failed_first = call;
    }
    calls->failed_last = call;
}

void calls_fail_all(struct rpc_calls *calls, enum err err, const char *why)
{
    for (struct rpc_call *call; (call = calls_first(calls));) {
        calls_fail(calls, call, err, why);
    }
}

static void release(struct rpc_calls *calls, struct rpc_call *call)
{
    call->id += USE_ONE;
    call->next = calls->free;
    calls->free = call;
}

void calls_complete(struct rpc_calls *calls, struct rpc_call *call,
                    const struct wire_message *reply)
{
    check(heap_has(&call->deadline));
    heap_remove(&calls->waiting, &call->deadline);
    release(calls, call);
    call->cb(call->arg, ERR_OK, reply, "");
}

void calls_tell_failed(struct rpc_calls *calls)
{
    struct rpc_call *next = calls->failed_first;
    calls->failed_first = NULL;
    calls->failed_last = NULL;
    while (next) {
        struct rpc_call *call = next;
        next = call->next;
        release(calls, call);
        call->cb(call->arg, call->err, NULL, call->why);
    }
}
