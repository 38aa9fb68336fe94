/* What the API and the operator ask of the store: history, pages, counts, housekeeping. */
#include "base/arena.h"
#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "coordinator/store_internal.h"
#include "coordinator_scripts.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

enum { READS_MAX = 32 };

static enum err err_of(enum err err)
{
    return err == ERR_OK ? ERR_OK : ERR_UNAVAILABLE;
}

static void send_command(struct store_redis *store, const struct slice *argv, size_t argc,
                         redis_cb cb, void *arg)
{
    redis_command(store->redis, loop_now_ms(store->loop) + store->timeout_ms, argv, argc, cb, arg);
}

/* ---- one transaction with its history ---- */

/* One entry of the stream: what one update did. */
struct history_entry {
    int64_t time_ms;
    struct slice events;
};

struct history_job {
    struct history_job *prev, *next; /* in store->reads */
    int64_t asked_ms;
    struct store_redis *store;
    archive_record_cb cb;
    void *arg;
    struct arena arena;
    struct slice gid;
    struct txn *txn;
    struct archive_line *lines;
    size_t count, cap, skip;       /* skip: so many of the first ones are not told */
    struct history_entry *entries; /* newest first */
    size_t entry_count;
    struct slice short_text; /* the field `history` */
    enum store_status status;
    struct reason message;
    int waiting;
};

static void history_fail(struct history_job *job, const struct redis_result *reply)
{
    store_warn(job->store, reply);
    job->status = store_status_of(reply->err);
    (void)reason_set(&job->message, reply->err, "%s", reply->message);
}

/* The part of `text` before the first `mark`; the rest stays in `text`. */
static struct slice cut(struct slice *text, const char *mark)
{
    size_t len = strlen(mark);
    const char *at = text->len >= len ? memmem(text->ptr, text->len, mark, len) : NULL;
    struct slice head = at ? slice_make(text->ptr, (size_t)(at - text->ptr)) : *text;
    size_t skip = at ? head.len + len : head.len;
    *text = slice_make(text->ptr ? text->ptr + skip : NULL, text->len - skip);
    return head;
}

/* "01.action FAILURE 12ms: out of stock", as the store writes it. */
static struct archive_line event_parse(struct slice text, int64_t time_ms)
{
    struct archive_line line = {.time_ms = time_ms};
    struct slice head = cut(&text, ": ");
    int64_t number;
    line.note = text;
    line.op = cut(&head, " ");
    line.result = cut(&head, " ");
    if (head.len > 2 && slice_to_int64(slice_make(head.ptr, head.len - 2), &number)) {
        line.duration_ms = number;
    }
    return line;
}

static struct archive_line *line_add(struct history_job *job)
{
    if (job->count == job->cap) {
        job->cap = 2 * job->cap + 16;
        job->lines = mem_resize(job->lines, job->cap * sizeof(*job->lines));
    }
    return &job->lines[job->count++];
}

/* "EVENT | EVENT | +MS EVENT …": each event has the time of the last +MS (since creation). */
static void events_parse(struct history_job *job, struct slice text, int64_t time_ms)
{
    while (text.len > 0) {
        struct slice event = cut(&text, " | ");
        int64_t since;
        if (event.len > 1 && event.ptr[0] == '+') {
            struct slice mark = cut(&event, " ");
            if (slice_to_int64(slice_make(mark.ptr + 1, mark.len - 1), &since)) {
                time_ms = job->txn->created_ms + since;
            }
        }
        *line_add(job) = event_parse(event, time_ms);
    }
}

/* Both answers are there: the first line, the stream, the field. */
static void history_complete(struct history_job *job)
{
    /* That it was submitted, the field `created` tells: txn_create writes no entry for it. */
    struct slice submitted = SLICE_LIT("submitted");
    *line_add(job) = (struct archive_line){.time_ms = job->txn->created_ms, .op = submitted};
    for (size_t i = job->entry_count; i-- > 0;) {
        events_parse(job, job->entries[i].events, job->entries[i].time_ms);
    }
    events_parse(job, job->short_text, job->txn->created_ms);
    bool begins_otherwise = job->count > 1 && slice_eq_str(job->lines[1].op, "prepared");
    job->skip = job->entry_count >= ARCHIVE_HISTORY_MAX || begins_otherwise;
    if (job->count - job->skip > ARCHIVE_HISTORY_MAX) {
        job->skip = job->count - ARCHIVE_HISTORY_MAX;
    }
}

static void reads_pump(struct store_redis *store);

static void history_answer(struct history_job *job)
{
    bool good = job->status == STORE_OK;
    if (good) {
        history_complete(job);
    }
    struct archive_record record = {
        .status = job->status,
        .message = job->message.text,
        .txn = good ? job->txn : NULL,
        .lines = good ? job->lines + job->skip : NULL,
        .line_count = job->count - job->skip,
        .partition = keys_partition(job->gid, job->store->partitions),
        .history_short = job->entry_count == 0,
    };
    job->cb(job->arg, &record);
    txn_free(job->txn);
    arena_fini(&job->arena);
    free(job->lines);
    free(job->entries);
    free(job);
}

/* [id, [events, TEXT]]; what looks different is an entry without events. */
static struct history_entry entry_parse(struct history_job *job, const struct redis_value *value)
{
    struct history_entry entry = {0};
    struct slice id = store_text_at(value, 0);
    if (redis_value_count(value) != 2 || !slice_to_int64(cut(&id, "-"), &entry.time_ms)) {
        return entry;
    }
    const struct redis_value *text = redis_value_field(redis_value_at(value, 1), "events");
    if (text) {
        entry.events = arena_copy(&job->arena, redis_value_str(text));
    }
    return entry;
}

static void history_read_record(struct history_job *job, const struct redis_value *fields)
{
    struct reason fault;
    if (store_record_parse(job->store, job->gid, fields, &job->txn, &fault) != ERR_OK) {
        job->status = STORE_REFUSED;
        (void)reason_set(&job->message, ERR_INVALID, "damaged record: %s", fault.text);
        return;
    }
    const struct redis_value *text = redis_value_field(fields, "history");
    if (text) {
        job->short_text = arena_copy(&job->arena, redis_value_str(text));
    }
}

/* One of the two replies has been dealt with. */
static void history_end(struct history_job *job, const struct redis_result *reply)
{
    struct store_redis *store = job->store;
    if (--job->waiting > 0) {
        return;
    }
    store->reading--;
    history_answer(job);
    if (reply->err != ERR_CANCELLED) { /* the client of Redis is there still */
        reads_pump(store);
    }
}

static void on_history_record(void *arg, const struct redis_result *reply)
{
    struct history_job *job = arg;
    if (reply->err != ERR_OK) {
        history_fail(job, reply);
    } else if (redis_value_count(reply->value) < 3) {
        job->status = STORE_NOT_FOUND;
    } else {
        history_read_record(job, redis_value_at(reply->value, 2));
    }
    history_end(job, reply);
}

static void on_history_stream(void *arg, const struct redis_result *reply)
{
    struct history_job *job = arg;
    if (reply->err != ERR_OK) {
        history_fail(job, reply);
        history_end(job, reply);
        return;
    }
    job->entry_count = redis_value_count(reply->value);
    job->entries = mem_zalloc((job->entry_count + 1) * sizeof(*job->entries));
    for (size_t i = 0; i < job->entry_count; i++) {
        job->entries[i] = entry_parse(job, redis_value_at(reply->value, i));
    }
    history_end(job, reply);
}

static void history_send(struct history_job *job)
{
    struct store_redis *store = job->store;
    store->reading++;
    store_keys_begin(store, 1, job->gid.len);
    store_key_tx(store, job->gid);
    scratch_begin(&store->scratch, 0);
    store_eval_durable(store, &script_txn_read, on_history_record, job);
    store_keys_begin(store, 1, job->gid.len);
    store_key_log(store, job->gid);
    const struct slice stream[] = {
        SLICE_LIT("XREVRANGE"), store->keys[0],     SLICE_LIT("+"),
        SLICE_LIT("-"),         SLICE_LIT("COUNT"), SLICE_LIT("1000"),
    };
    send_command(store, stream, sizeof(stream) / sizeof(stream[0]), on_history_stream, job);
}

/* Records can be large, and the transactions' own commands wait behind them in Redis and on the
 * way: so a few at a time. */
static void reads_pump(struct store_redis *store)
{
    while (store->reads && store->reading < READS_MAX) {
        struct history_job *job = store->reads;
        DL_DELETE(store->reads, job);
        if (loop_now_ms(store->loop) - job->asked_ms < store->timeout_ms) {
            history_send(job);
        } else {
            job->status = STORE_REFUSED;
            (void)reason_set(&job->message, ERR_BUSY, "too many queries wait for Redis");
            history_answer(job);
        }
    }
}

void store_reads_drop(struct store_redis *store)
{
    while (store->reads) {
        struct history_job *job = store->reads;
        DL_DELETE(store->reads, job);
        arena_fini(&job->arena);
        free(job);
    }
}

static void archive_read(struct archive *archive, struct slice gid, archive_record_cb cb, void *arg)
{
    struct store_redis *store = container_of(archive, struct store_redis, archive);
    struct history_job *job = mem_new(struct history_job);
    *job = (struct history_job){.store = store, .cb = cb, .arg = arg, .waiting = 2};
    job->asked_ms = loop_now_ms(store->loop);
    job->gid = arena_copy(&job->arena, gid);
    if (store->reading < READS_MAX) {
        history_send(job);
    } else {
        DL_APPEND(store->reads, job); /* those in flight will come to it */
    }
}

/* ---- counts ---- */

struct count_job {
    struct store_redis *store;
    archive_backlog_cb cb;
    void *arg;
    struct archive_backlog backlog;
    int waiting;
};

static void on_count(void *arg, const struct redis_result *reply)
{
    struct count_job *job = arg;
    if (reply->err != ERR_OK) {
        store_warn(job->store, reply);
        job->backlog.status = store_status_of(reply->err);
    } else {
        job->backlog.due += store_int_at(reply->value, 1);
        job->backlog.overdue += store_int_at(reply->value, 2);
        job->backlog.parked += store_int_at(reply->value, 3);
    }
    if (--job->waiting == 0) {
        job->cb(job->arg, &job->backlog);
        free(job);
    }
}

static void archive_backlog(struct archive *archive, archive_backlog_cb cb, void *arg)
{
    struct store_redis *store = container_of(archive, struct store_redis, archive);
    struct count_job *job = mem_new(struct count_job);
    *job = (struct count_job){.store = store, .cb = cb, .arg = arg, .waiting = store->partitions};
    for (int p = 0; p < store->partitions; p++) {
        store_keys_begin(store, 2, 0);
        store_key_due(store, p);
        store_key_parked(store, p);
        scratch_begin(&store->scratch, 0);
        store_eval(store, &script_due_count, on_count, job);
    }
}

const struct archive_ops store_archive_ops = {
    .read = archive_read,
    .list = store_page_list,
    .backlog = archive_backlog,
    .reset = store_due_reset,
};

/* ---- housekeeping ---- */

enum { TRIM_STEP = 64 };

/* A part of the list of recent ones; when that one needs no more for now, a part of the parked
 * ones.
 */
struct trim_job {
    struct store_redis *store;
    store_trim_cb cb;
    void *arg;
    int partition;
    bool parked;
    size_t listed;
    int64_t forgotten;
};

static void trim_list(struct trim_job *job);

static void trim_end(struct trim_job *job, enum err err, bool more)
{
    job->cb(job->arg, err, job->forgotten, more);
    free(job);
}

static int64_t *trim_offset(const struct trim_job *job)
{
    struct trim_place *place = &job->store->trims[job->partition];
    return job->parked ? &place->parked : &place->recent;
}

static void trim_key(const struct trim_job *job)
{
    if (job->parked) {
        store_key_parked(job->store, job->partition);
    } else {
        store_key_recent(job->store, job->partition);
    }
}

static void trim_move(struct trim_job *job, bool more)
{
    if (more || job->parked) {
        trim_end(job, ERR_OK, more);
    } else {
        job->parked = true;
        trim_list(job);
    }
}

static void on_trimmed(void *arg, const struct redis_result *reply)
{
    struct trim_job *job = arg;
    if (reply->err != ERR_OK) {
        store_warn(job->store, reply);
        trim_end(job, err_of(reply->err), false);
        return;
    }
    int64_t forgotten = redis_value_int(reply->value);
    bool full = job->listed == TRIM_STEP;
    /* Those that are still there (unfinished, or finished late) are stepped over, and looked at
     * again in the next round. */
    int64_t *offset = trim_offset(job);
    *offset = full ? *offset + TRIM_STEP - forgotten : 0;
    job->forgotten += forgotten;
    trim_move(job, full && forgotten > 0);
}

static void trim_run(struct trim_job *job, const struct redis_value *gids)
{
    struct store_redis *store = job->store;
    size_t gid_bytes = 0;
    for (size_t i = 0; i < job->listed; i++) {
        size_t len = store_text_at(gids, i).len;
        gid_bytes = len > gid_bytes ? len : gid_bytes;
    }
    store_keys_begin(store, TRIM_STEP + 1, gid_bytes);
    trim_key(job);
    scratch_begin(&store->scratch, 0);
    for (size_t i = 0; i < TRIM_STEP; i++) {
        struct slice gid = store_text_at(gids, i < job->listed ? i : job->listed - 1);
        store_key_tx(store, gid);
        scratch_add(&store->scratch, gid);
    }
    scratch_add_str(&store->scratch, job->parked ? "ended" : "");
    store_eval(store, &script_recent_trim, on_trimmed, job);
}

static void on_trim_listed(void *arg, const struct redis_result *reply)
{
    struct trim_job *job = arg;
    job->listed = reply->err == ERR_OK ? redis_value_count(reply->value) : 0;
    if (reply->err != ERR_OK) {
        store_warn(job->store, reply);
        *trim_offset(job) = 0;
        trim_end(job, err_of(reply->err), false);
    } else if (job->listed == 0) {
        *trim_offset(job) = 0;
        trim_move(job, false);
    } else {
        trim_run(job, reply->value);
    }
}

static void trim_list(struct trim_job *job)
{
    struct store_redis *store = job->store;
    struct scratch *scratch = &store->scratch;
    /* Nothing younger than this can have expired. The clock is that of Redis, as far as we know. */
    int64_t before_ms = store_redis_now_ms(store) - store->retention_ms;
    store_keys_begin(store, 1, 0);
    scratch_begin(scratch, (size_t)4 * SCRATCH_INT_BYTES);
    trim_key(job);
    scratch_add_str(scratch, "ZRANGE");
    scratch_add(scratch, store->keys[0]);
    scratch_add_str(scratch, "-inf");
    if (job->parked) {
        scratch_add_str(scratch, "+inf");
    } else {
        scratch_add_int(scratch, before_ms > 0 ? before_ms : 0);
    }
    scratch_add_str(scratch, "BYSCORE");
    scratch_add_str(scratch, "LIMIT");
    scratch_add_int(scratch, *trim_offset(job));
    scratch_add_int(scratch, TRIM_STEP);
    send_command(store, scratch->argv, scratch->argc, on_trim_listed, job);
}

void store_redis_trim(struct store_redis *store, int partition, store_trim_cb cb, void *arg)
{
    struct trim_job *job = mem_new(struct trim_job);
    *job = (struct trim_job){.store = store, .cb = cb, .arg = arg, .partition = partition};
    trim_list(job);
}

/* ---- for the operator ---- */

/* In single quotes, as a POSIX shell wants it. */
static void add_quoted(struct buf *out, struct slice text)
{
    buf_add_str(out, "'");
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '\'') {
            buf_add_str(out, "'\\''");
        } else {
            buf_add(out, &text.ptr[i], 1);
        }
    }
    buf_add_str(out, "'");
}

void store_redis_add_commands(const struct store_redis *store, struct slice gid, struct buf *out)
{
    int partition = keys_partition(gid, store->partitions);
    struct buf key = {0};
    keys_add_tx(&key, partition, gid);
    buf_add_str(out, "redis-cli HGETALL ");
    add_quoted(out, buf_slice(&key));
    buf_clear(&key);
    keys_add_log(&key, partition, gid);
    buf_add_str(out, "\nredis-cli XRANGE ");
    add_quoted(out, buf_slice(&key));
    buf_clear(&key);
    keys_add_due(&key, partition);
    buf_add_str(out, " - +\nredis-cli ZSCORE ");
    add_quoted(out, buf_slice(&key));
    buf_add_str(out, " ");
    add_quoted(out, gid);
    buf_add_str(out, "\n");
    buf_fini(&key);
}
