/* Waiting until a transaction has ended, or waits for an operator: asks again and again. */
#include "base/mem.h"
#include "saga_internal.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

enum { PAUSE_FIRST_MS = 10, PAUSE_MAX_MS = 500 };

struct saga_watch {
    struct saga *saga;
    struct saga_watch *prev, *next; /* in saga->watches */
    struct saga_bytes gid;          /* a copy */
    int64_t until_ms, pause_ms;
    struct loop_timer again;
    saga_answer_cb cb;
    void *arg;
};

static void watch_end(struct saga_watch *watch, const struct saga_answer *answer)
{
    struct saga *saga = watch->saga;
    loop_timer_clear(&watch->again);
    DL_DELETE(saga->watches, watch);
    if (watch->cb) {
        watch->cb(watch->arg, answer);
    }
    saga->pending--;
    free((char *)(uintptr_t)watch->gid.ptr);
    free(watch);
}

/* Nothing will change by itself any more, or nothing can be learnt. */
static bool is_over(const struct saga_answer *answer)
{
    switch (answer->error) {
    case SAGA_E_INVALID:
    case SAGA_E_CANCELLED: return true;
    case SAGA_E_BUSY:
    case SAGA_E_UNAVAILABLE: return false;
    case SAGA_E_NONE: break;
    }
    return !answer->status || answer->parked.len > 0 || strcmp(answer->status, "succeed") == 0 ||
           strcmp(answer->status, "failed") == 0;
}

static void on_state(void *arg, const struct saga_answer *answer)
{
    struct saga_watch *watch = arg;
    int64_t now_ms = loop_now_ms(watch->saga->loop);
    if (is_over(answer) || now_ms >= watch->until_ms) {
        watch_end(watch, answer);
        return;
    }
    int64_t at_ms = now_ms + watch->pause_ms;
    watch->pause_ms = 2 * watch->pause_ms < PAUSE_MAX_MS ? 2 * watch->pause_ms : PAUSE_MAX_MS;
    loop_timer_set(&watch->again, at_ms < watch->until_ms ? at_ms : watch->until_ms);
}

static void watch_ask(void *arg)
{
    struct saga_watch *watch = arg;
    saga_query(watch->saga, watch->gid, on_state, watch);
}

void saga_watch(struct saga *saga, struct saga_bytes gid, int64_t wait_ms, saga_answer_cb cb,
                void *arg)
{
    struct saga_watch *watch = mem_new(struct saga_watch);
    watch->saga = saga;
    watch->gid = (struct saga_bytes){slice_dup(slice_of(gid)), gid.len};
    watch->until_ms = deadline_in_ms(saga, wait_ms > 0 ? wait_ms : INT64_MAX);
    watch->pause_ms = PAUSE_FIRST_MS;
    watch->cb = cb;
    watch->arg = arg;
    loop_timer_init(&watch->again, saga->loop, watch_ask, watch);
    DL_APPEND(saga->watches, watch);
    saga->pending++;
    watch_ask(watch);
}

void watches_close(struct saga *saga)
{
    for (struct saga_watch *watch = saga->watches; watch; watch = watch->next) {
        if (loop_timer_is_armed(&watch->again)) {
            loop_timer_clear(&watch->again);
            watch_ask(watch); /* is told that it is over, as the others are */
        }
    }
}
