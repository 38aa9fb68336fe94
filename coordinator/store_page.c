/*
 * Pages of transactions, newest first: each round asks every partition for its newest ones after
 * the position, merges them by (creation time, gid), loads as many records as the page may have
 * and filters them; further rounds follow until the page is full. For what is parked the same is
 * done with the parked sets, and the time is when it was parked.
 */
#include "base/arena.h"
#include "base/check.h"
#include "base/mem.h"
#include "coordinator/store_internal.h"
#include "coordinator_scripts.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct listed {
    int64_t at_ms;    /* when it was created, or parked */
    struct slice gid; /* in the arena of the round */
    struct txn *txn;  /* NULL: gone, damaged or filtered out */
    struct page_job *job;
};

struct page_job {
    struct store_redis *store;
    archive_page_cb cb;
    void *arg;
    struct archive_filter filter; /* its position is kept below */
    size_t limit;
    int64_t after_ms; /* the position: -1 at the beginning */
    struct buf after_gid;
    struct arena arena; /* of the present round */
    struct listed *listed;
    size_t listed_count, listed_cap;
    bool more; /* a partition has more than it gave in this round */
    int waiting, rounds;
    struct txn **txns; /* the page */
    size_t count;
    enum store_status status;
    struct reason message;
};

static void round_begin(struct page_job *job);

/* ---- position: base64 of "MS:GID" ---- */

static enum err position_parse(struct page_job *job, struct slice position)
{
    job->after_ms = -1;
    if (position.len == 0) {
        return ERR_OK;
    }
    struct buf plain = {0};
    int64_t ms = 0;
    enum err err = buf_add_base64_decoded(&plain, position);
    const char *colon = err == ERR_OK && plain.len > 0 ? memchr(plain.data, ':', plain.len) : NULL;
    if (!colon || !slice_to_int64(slice_make(plain.data, (size_t)(colon - plain.data)), &ms) ||
        ms < 0) {
        err = ERR_INVALID;
    } else {
        job->after_ms = ms;
        buf_add(&job->after_gid, colon + 1, plain.len - (size_t)(colon + 1 - plain.data));
    }
    buf_fini(&plain);
    return err;
}

static void position_move(struct page_job *job, const struct listed *to)
{
    job->after_ms = to->at_ms;
    buf_clear(&job->after_gid);
    buf_add_slice(&job->after_gid, to->gid);
}

static void position_add(const struct page_job *job, struct buf *out)
{
    struct buf plain = {0};
    struct slice gid = buf_slice(&job->after_gid);
    /* A longer one passes no check: somebody else has written it there. */
    gid.len = gid.len < GID_BYTES_MAX ? gid.len : GID_BYTES_MAX;
    buf_printf(&plain, "%" PRId64 ":", job->after_ms);
    buf_add_slice(&plain, gid);
    buf_add_base64(out, buf_slice(&plain));
    buf_fini(&plain);
}

/* ---- end ---- */

static void round_free(struct page_job *job)
{
    arena_fini(&job->arena);
    job->arena = (struct arena){0};
    job->listed_count = 0;
}

static void job_free(struct page_job *job)
{
    for (size_t i = 0; i < job->count; i++) {
        txn_free(job->txns[i]);
    }
    round_free(job);
    free(job->txns);
    free(job->listed);
    buf_fini(&job->after_gid);
    free(job);
}

static void job_end(struct page_job *job, bool more)
{
    struct buf next = {0};
    if (job->status == STORE_OK && more) {
        position_add(job, &next);
    }
    struct archive_page page = {
        .status = job->status,
        .message = job->message.text,
        .txns = job->txns,
        .count = job->status == STORE_OK ? job->count : 0,
        .next_position = buf_slice(&next),
    };
    job->cb(job->arg, &page);
    buf_fini(&next);
    job_free(job);
}

static void job_fail(struct page_job *job, enum store_status status, const char *message)
{
    job->status = status;
    (void)reason_set(&job->message, ERR_UNAVAILABLE, "%s", message);
}

/* ---- loading and filtering ---- */

static bool filter_matches(const struct archive_filter *filter, const struct txn *txn)
{
    return (!filter->parked || txn->parked_ms > 0) &&
           (!filter->has_status || txn->status == filter->status) &&
           (!filter->has_type || txn->type == filter->type) &&
           txn->created_ms >= filter->created_from_ms &&
           (filter->created_to_ms == 0 || txn->created_ms <= filter->created_to_ms);
}

/* Keeps what matches, in order, until the page is full; the position follows. */
static void page_fill(struct page_job *job, size_t examine)
{
    size_t i = 0;
    for (; i < examine && job->count < job->limit; i++) {
        struct listed *entry = &job->listed[i];
        position_move(job, entry);
        if (entry->txn && filter_matches(&job->filter, entry->txn)) {
            job->txns[job->count++] = entry->txn;
            entry->txn = NULL;
        }
    }
    job->more = job->more || i < job->listed_count;
    for (i = 0; i < job->listed_count; i++) {
        txn_free(job->listed[i].txn);
    }
    round_free(job);
}

static size_t round_size(const struct page_job *job)
{
    return job->listed_count < job->limit ? job->listed_count : job->limit;
}

static void round_end(struct page_job *job)
{
    page_fill(job, round_size(job));
    if (job->status != STORE_OK || !job->more || job->count == job->limit ||
        ++job->rounds >= STORE_ROUNDS_MAX) {
        job_end(job, job->more);
    } else {
        round_begin(job);
    }
}

static void on_loaded(void *arg, const struct store_result *result)
{
    struct listed *entry = arg;
    struct page_job *job = entry->job;
    entry->txn = result->txn; /* NULL when it is gone by now, or damaged: then it is in the log */
    if (result->status == STORE_UNKNOWN || (result->status == STORE_REFUSED && !result->now_ms)) {
        job_fail(job, result->status, result->message);
    }
    if (--job->waiting == 0) {
        round_end(job);
    }
}

/* ---- listing ---- */

/* Newest first. */
static int listed_compare(const void *a, const void *b)
{
    const struct listed *x = a, *y = b;
    if (x->at_ms != y->at_ms) {
        return x->at_ms < y->at_ms ? 1 : -1;
    }
    size_t len = x->gid.len < y->gid.len ? x->gid.len : y->gid.len;
    int order = memcmp(y->gid.ptr, x->gid.ptr, len);
    return order != 0 ? order : (x->gid.len < y->gid.len) - (x->gid.len > y->gid.len);
}

static void round_load(struct page_job *job)
{
    if (job->status != STORE_OK || job->listed_count == 0) {
        job_end(job, false);
        return;
    }
    qsort(job->listed, job->listed_count, sizeof(*job->listed), listed_compare);
    size_t count = round_size(job);
    job->waiting = (int)count;
    struct store *port = &job->store->port;
    for (size_t i = 0; i < count; i++) {
        port->ops->load(port, job->listed[i].gid, on_loaded, &job->listed[i]);
    }
}

static void listed_add(struct page_job *job, struct slice gid, int64_t at_ms)
{
    if (job->listed_count == job->listed_cap) {
        job->listed_cap = job->listed_cap ? 2 * job->listed_cap : 256;
        job->listed = mem_resize(job->listed, job->listed_cap * sizeof(*job->listed));
    }
    job->listed[job->listed_count++] =
        (struct listed){.at_ms = at_ms, .gid = arena_copy(&job->arena, gid), .job = job};
}

static void on_listed(void *arg, const struct redis_result *reply)
{
    struct page_job *job = arg;
    size_t count = reply->err == ERR_OK ? redis_value_count(reply->value) : 0;
    if (reply->err != ERR_OK) {
        store_warn(job->store, reply);
        job_fail(job, store_status_of(reply->err), reply->message);
    }
    for (size_t i = 0; i + 1 < count; i += 2) {
        int64_t at_ms;
        if (slice_to_int64(store_text_at(reply->value, i + 1), &at_ms)) {
            listed_add(job, store_text_at(reply->value, i), at_ms);
        }
    }
    job->more = job->more || count >= 2 * job->limit;
    if (--job->waiting == 0) {
        round_load(job);
    }
}

static void list_partition(struct page_job *job, int partition)
{
    struct store_redis *store = job->store;
    struct scratch *scratch = &store->scratch;
    store_keys_begin(store, 1, 0);
    if (job->filter.parked) {
        store_key_parked(store, partition);
    } else {
        store_key_recent(store, partition);
    }
    scratch_begin(scratch, (size_t)4 * SCRATCH_INT_BYTES);
    if (job->after_ms >= 0) {
        scratch_add_int(scratch, job->after_ms);
    } else if (job->filter.created_to_ms > 0 && !job->filter.parked) {
        scratch_add_int(scratch, job->filter.created_to_ms);
    } else {
        scratch_add_str(scratch, "+inf");
    }
    scratch_add_int(scratch, job->filter.parked ? 0 : job->filter.created_from_ms);
    scratch_add(scratch, job->after_ms >= 0 ? buf_slice(&job->after_gid) : slice_str(NULL));
    scratch_add_int(scratch, (int64_t)job->limit);
    store_eval(store, &script_recent_list, on_listed, job);
}

static void round_begin(struct page_job *job)
{
    job->more = false;
    job->waiting = job->store->partitions;
    for (int p = 0; p < job->store->partitions; p++) {
        list_partition(job, p);
    }
}

/* ---- only one gid ---- */

/* It is on the page that begins behind the position, or it was on one before. */
static bool is_behind_position(const struct page_job *job, const struct txn *txn)
{
    struct listed at = {.at_ms = job->after_ms, .gid = buf_slice(&job->after_gid)};
    struct listed one = {.at_ms = job->filter.parked ? txn->parked_ms : txn->created_ms,
                         .gid = txn->gid};
    return job->after_ms < 0 || listed_compare(&at, &one) < 0;
}

static void on_one_loaded(void *arg, const struct store_result *result)
{
    struct page_job *job = arg;
    struct txn *txn = result->txn;
    if (result->status == STORE_REFUSED || result->status == STORE_UNKNOWN) {
        job_fail(job, result->status, result->message);
    } else if (txn && filter_matches(&job->filter, txn) && is_behind_position(job, txn)) {
        job->txns[job->count++] = txn;
        txn = NULL;
    }
    txn_free(txn);
    job_end(job, false);
}

/* ---- entry ---- */

enum err store_page_list(struct archive *archive, const struct archive_filter *filter,
                         archive_page_cb cb, void *arg)
{
    check(filter->limit > 0 && filter->limit <= ARCHIVE_PAGE_MAX);
    struct page_job *job = mem_new(struct page_job);
    *job = (struct page_job){
        .store = container_of(archive, struct store_redis, archive),
        .cb = cb,
        .arg = arg,
        .filter = *filter,
        .limit = (size_t)filter->limit,
    };
    job->txns = mem_zalloc(job->limit * sizeof(void *));
    enum err err = position_parse(job, filter->position);
    if (err != ERR_OK) {
        job_free(job);
        return err;
    }
    if (filter->gid.len > 0) {
        struct store *port = &job->store->port;
        port->ops->load(port, filter->gid, on_one_loaded, job);
    } else {
        round_begin(job);
    }
    return ERR_OK;
}
