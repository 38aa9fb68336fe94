#include "coordinator/recovery.h"

#include "base/arena.h"
#include "base/check.h"
#include "base/fault.h"
#include "base/heap.h"
#include "base/log.h"
#include "base/mem.h"
#include "coordinator/keys.h"

#include <stdlib.h>

/*
 * One partition: waiting (in the heap) → listing → taking → waiting. It is listed again only when
 * all of the last listing is settled, so that nothing is taken twice.
 */
struct partition {
    struct heap_node node; /* when to look; first member */
    struct recovery *recovery;
    int number;
    bool listing;
    int64_t looked_ms;  /* when it was listed last */
    struct arena arena; /* of gids */
    struct slice *gids; /* the last listing: taken from `next` on */
    size_t count, next;
    int taking;      /* takes in flight */
    bool full;       /* the listing was as long as it may be: there is more */
    bool progress;   /* something of the listing was taken */
    int64_t next_at; /* local time when the next one is due; INT64_MAX: none known */
    struct partition *queue_next;
    bool queued;
};

struct take {
    struct partition *partition;
    int64_t sent_ms;
    struct take *next; /* free list */
};

struct recovery {
    struct loop *loop;
    struct store *store;
    struct store_redis *trim;
    struct recovery_conf conf;
    struct recovery_sink sink;
    struct partition *partitions;
    int count;
    struct heap heap;
    struct loop_timer timer;
    struct partition *queue_first, *queue_last; /* with gids to take, in turn */
    struct take *idle_takes;
    int takes;
    int64_t backoff_ms, backoff_until_ms; /* the store is away */
    int trim_partition;
    int64_t trim_at_ms;
    bool trimming, stopped;
    struct recovery_stats stats;
};

const struct recovery_conf recovery_conf_default = {
    .period_ms = 1000, .batch = 64, .takes_max = 64};

enum {
    GAP_MIN_MS = 20, /* between two looks into the same due set without a backlog */
    BACKOFF_MIN_MS = 50,
    BACKOFF_MAX_MS = 500,
};

static void recovery_run(struct recovery *recovery);

/* ---- when ---- */

static int64_t now_of(const struct recovery *recovery)
{
    return loop_now_ms(recovery->loop);
}

/* The looks of the partitions are spread evenly over the period. */
static int64_t slot_after(const struct partition *partition, int64_t now_ms)
{
    const struct recovery *recovery = partition->recovery;
    int64_t period = recovery->conf.period_ms;
    int64_t phase = period * partition->number / recovery->count;
    return now_ms - (now_ms - phase) % period + period;
}

static void arm(struct recovery *recovery)
{
    struct heap_node *first = heap_first(&recovery->heap);
    int64_t at = first ? first->at : INT64_MAX;
    if (recovery->trim && !recovery->trimming && recovery->trim_at_ms < at) {
        at = recovery->trim_at_ms;
    }
    if (at == INT64_MAX) {
        loop_timer_clear(&recovery->timer);
        return;
    }
    at = at > recovery->backoff_until_ms ? at : recovery->backoff_until_ms;
    loop_timer_set(&recovery->timer, at);
}

/* Everything of the last listing is settled. */
static void partition_wait(struct partition *partition)
{
    struct recovery *recovery = partition->recovery;
    int64_t now_ms = now_of(recovery), at = slot_after(partition, now_ms);
    if (partition->full && partition->progress) {
        at = now_ms;
    } else {
        int64_t next = partition->full ? now_ms : partition->next_at;
        next = next > now_ms + GAP_MIN_MS ? next : now_ms + GAP_MIN_MS;
        at = next < at ? next : at;
    }
    heap_set(&recovery->heap, &partition->node, at);
}

static void store_failed(struct recovery *recovery, const char *what, const char *message)
{
    int64_t now_ms = now_of(recovery);
    if (now_ms < recovery->backoff_until_ms) {
        return; /* one of many that failed together */
    }
    int64_t longer = 2 * recovery->backoff_ms;
    recovery->backoff_ms = longer < BACKOFF_MIN_MS   ? BACKOFF_MIN_MS
                           : longer > BACKOFF_MAX_MS ? BACKOFF_MAX_MS
                                                     : longer;
    recovery->backoff_until_ms = now_ms + recovery->backoff_ms;
    char shown[128];
    log_warn("recovery", "msg=\"store does not answer\" call=%s error=\"%s\" again_in_ms=%d", what,
             log_text(slice_str(message), shown, sizeof(shown)), (int)recovery->backoff_ms);
}

static void store_answered(struct recovery *recovery)
{
    recovery->backoff_ms = 0;
}

static bool may_ask(const struct recovery *recovery)
{
    return !recovery->stopped && now_of(recovery) >= recovery->backoff_until_ms;
}

/* ---- taking ---- */

static void enqueue(struct partition *partition)
{
    struct recovery *recovery = partition->recovery;
    if (partition->queued || partition->next >= partition->count) {
        return;
    }
    partition->queued = true;
    partition->queue_next = NULL;
    if (recovery->queue_last) {
        recovery->queue_last->queue_next = partition;
    } else {
        recovery->queue_first = partition;
    }
    recovery->queue_last = partition;
}

static struct partition *dequeue(struct recovery *recovery)
{
    struct partition *partition = recovery->queue_first;
    recovery->queue_first = partition->queue_next;
    if (!recovery->queue_first) {
        recovery->queue_last = NULL;
    }
    partition->queued = false;
    return partition;
}

/* Forgets what is left of the listing; what is still overdue will be listed again. */
static void drop_rest(struct partition *partition)
{
    partition->full = partition->full || partition->next < partition->count;
    partition->next = partition->count;
}

static void settle(struct partition *partition)
{
    if (partition->next >= partition->count && partition->taking == 0 && !partition->listing) {
        arena_fini(&partition->arena);
        partition->arena = (struct arena){0};
        partition->count = partition->next = 0;
        partition_wait(partition);
    }
}

static void hand_over(const struct take *take, struct txn *txn)
{
    struct partition *partition = take->partition;
    struct recovery *recovery = partition->recovery;
    if (recovery->stopped || FAULT("recovery.after_take_before_adopt")) {
        txn_free(txn);
        return;
    }
    partition->progress = true;
    recovery->stats.taken++;
    recovery->sink.adopt(recovery->sink.arg, txn, take->sent_ms);
}

static void on_taken(void *arg, const struct store_result *result)
{
    struct take *take = arg;
    struct partition *partition = take->partition;
    struct recovery *recovery = partition->recovery;
    take->next = recovery->idle_takes;
    recovery->idle_takes = take;
    recovery->takes--;
    partition->taking--;
    switch (result->status) {
    case STORE_OK: hand_over(take, result->txn); break;
    case STORE_FINISHED: txn_free(result->txn); break;
    case STORE_EXISTS:
    case STORE_FENCED:
    case STORE_CONFLICT:
    case STORE_NOT_FOUND:
    case STORE_NOT_DUE: break;
    case STORE_REFUSED:
    case STORE_UNKNOWN:
        if (result->now_ms == 0) { /* otherwise it is this record that is damaged */
            store_failed(recovery, "take", result->message);
            drop_rest(partition);
        }
        break;
    }
    settle(partition);
    recovery_run(recovery);
}

static void take_one(struct partition *partition)
{
    struct recovery *recovery = partition->recovery;
    struct slice gid = partition->gids[partition->next++];
    if (recovery->sink.is_live(recovery->sink.arg, gid)) {
        return; /* late with its lease, but alive */
    }
    struct take *take = recovery->idle_takes;
    if (take) {
        recovery->idle_takes = take->next;
    } else {
        take = mem_new(struct take);
    }
    take->partition = partition;
    take->sent_ms = now_of(recovery);
    recovery->takes++;
    partition->taking++;
    struct store_due due = {.in_ms = recovery->conf.lease_ms};
    recovery->store->ops->take(recovery->store, gid, (struct store_take){0}, due, on_taken, take);
}

/* One of each partition in turn. */
static void take_more(struct recovery *recovery)
{
    while (recovery->queue_first && recovery->takes < recovery->conf.takes_max) {
        struct partition *partition = dequeue(recovery);
        if (!may_ask(recovery) || !recovery->sink.has_room(recovery->sink.arg)) {
            drop_rest(partition);
            partition->progress = false; /* look again after a gap */
        } else {
            take_one(partition);
            enqueue(partition);
        }
        settle(partition);
    }
}

/* ---- listing ---- */

static void on_overdue(void *arg, const struct store_overdue *overdue)
{
    struct partition *partition = arg;
    struct recovery *recovery = partition->recovery;
    partition->listing = false;
    if (overdue->status != STORE_OK) {
        store_failed(recovery, "overdue", "");
    } else {
        store_answered(recovery);
        partition->gids =
            arena_alloc(&partition->arena, (overdue->count + 1) * sizeof(struct slice));
        for (size_t i = 0; i < overdue->count; i++) {
            partition->gids[i] = arena_copy(&partition->arena, overdue->gids[i]);
        }
        partition->count = overdue->count;
        partition->full = overdue->count >= (size_t)recovery->conf.batch;
        if (overdue->next_ms > 0) {
            int64_t at = now_of(recovery) + overdue->next_ms - overdue->now_ms + 1;
            partition->next_at = at < partition->next_at ? at : partition->next_at;
        }
        enqueue(partition);
    }
    settle(partition);
    recovery_run(recovery);
}

static void look(struct partition *partition)
{
    struct recovery *recovery = partition->recovery;
    if (!recovery->sink.has_room(recovery->sink.arg)) {
        heap_set(&recovery->heap, &partition->node, now_of(recovery) + GAP_MIN_MS);
        return;
    }
    heap_remove(&recovery->heap, &partition->node);
    partition->listing = true;
    partition->full = partition->progress = false;
    partition->next_at = INT64_MAX;
    partition->looked_ms = now_of(recovery);
    recovery->stats.looks++;
    recovery->store->ops->overdue(recovery->store, partition->number, recovery->conf.batch,
                                  on_overdue, partition);
}

/* ---- trimming ---- */

static void on_trimmed(void *arg, enum err err, int64_t forgotten, bool more)
{
    struct recovery *recovery = arg;
    (void)forgotten;
    recovery->trimming = false;
    if (err != ERR_OK) {
        store_failed(recovery, "trim", "");
    }
    if (!more) {
        recovery->trim_partition = (recovery->trim_partition + 1) % recovery->count;
    }
    recovery->trim_at_ms = now_of(recovery) + (more ? 0 : recovery->conf.period_ms);
    recovery_run(recovery);
}

static void trim_step(struct recovery *recovery)
{
    if (recovery->trim && !recovery->trimming && recovery->trim_at_ms <= now_of(recovery)) {
        recovery->trimming = true;
        store_redis_trim(recovery->trim, recovery->trim_partition, on_trimmed, recovery);
    }
}

/* ---- the driver ---- */

static void recovery_run(struct recovery *recovery)
{
    take_more(recovery);
    if (may_ask(recovery)) {
        int64_t now_ms = now_of(recovery);
        struct heap_node *first = heap_first(&recovery->heap);
        while (first && first->at <= now_ms) {
            look((struct partition *)(void *)first);
            first = heap_first(&recovery->heap);
        }
        trim_step(recovery);
    }
    if (!recovery->stopped) {
        arm(recovery);
    }
}

static void on_timer(void *arg)
{
    recovery_run(arg);
}

void recovery_expect(struct recovery *recovery, struct slice gid, int64_t in_ms)
{
    if (recovery->stopped) {
        return;
    }
    struct partition *partition = &recovery->partitions[keys_partition(gid, recovery->count)];
    int64_t at = now_of(recovery) + (in_ms > 0 ? in_ms : 0) + 1;
    if (at < partition->next_at) {
        partition->next_at = at;
    }
    int64_t soonest = partition->looked_ms + GAP_MIN_MS;
    at = at > soonest ? at : soonest;
    if (heap_has(&partition->node) && at < partition->node.at) {
        heap_set(&recovery->heap, &partition->node, at);
        arm(recovery);
    }
}

/* ---- life ---- */

struct recovery *recovery_new(struct loop *loop, struct store *store, struct store_redis *trim,
                              const struct recovery_conf *conf, const struct recovery_sink *sink)
{
    check(conf->lease_ms > 0 && conf->period_ms > 0 && conf->batch > 0 && conf->takes_max > 0);
    struct recovery *recovery = mem_new(struct recovery);
    recovery->loop = loop;
    recovery->store = store;
    recovery->trim = trim;
    recovery->conf = *conf;
    recovery->sink = *sink;
    recovery->count = store->ops->partitions(store);
    recovery->partitions = mem_zalloc((size_t)recovery->count * sizeof(*recovery->partitions));
    loop_timer_init(&recovery->timer, loop, on_timer, recovery);
    for (int i = 0; i < recovery->count; i++) {
        struct partition *partition = &recovery->partitions[i];
        partition->recovery = recovery;
        partition->number = i;
        partition->next_at = INT64_MAX;
        heap_set(&recovery->heap, &partition->node, now_of(recovery));
    }
    recovery->trim_at_ms = now_of(recovery) + conf->period_ms;
    arm(recovery);
    return recovery;
}

void recovery_stop(struct recovery *recovery)
{
    recovery->stopped = true;
    loop_timer_clear(&recovery->timer);
    while (recovery->queue_first) {
        drop_rest(dequeue(recovery));
    }
}

void recovery_free(struct recovery *recovery)
{
    if (!recovery) {
        return;
    }
    loop_timer_clear(&recovery->timer);
    for (int i = 0; i < recovery->count; i++) {
        arena_fini(&recovery->partitions[i].arena);
    }
    while (recovery->idle_takes) {
        struct take *next = recovery->idle_takes->next;
        free(recovery->idle_takes);
        recovery->idle_takes = next;
    }
    heap_fini(&recovery->heap);
    free(recovery->partitions);
    free(recovery);
}

struct recovery_stats recovery_stats(const struct recovery *recovery)
{
    struct recovery_stats stats = recovery->stats;
    stats.in_flight = recovery->takes;
    return stats;
}
