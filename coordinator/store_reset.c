/*
 * Making due now what is due much later, one partition after the other: a part of its due set is
 * listed, and the script moves those of them that nobody owns.
 */
#include "base/arena.h"
#include "base/check.h"
#include "base/mem.h"
#include "coordinator/store_internal.h"
#include "coordinator_scripts.h"

#include <stdlib.h>

enum { RESET_STEP = 64 };

struct reset_job {
    struct store_redis *store;
    archive_reset_cb cb;
    void *arg;
    int64_t later_ms;
    size_t limit;
    int64_t left;   /* of it */
    int partition;  /* the present one */
    int64_t offset; /* in its list: what was looked at and stays there */
    size_t listed;  /* in this step, without the one that only tells that there are more */
    bool more;
    struct arena arena;
    struct slice *owned;
    struct archive_reset answer;
};

static void step_list(struct reset_job *job);

static void job_end(struct reset_job *job)
{
    job->answer.owned = job->owned;
    job->cb(job->arg, &job->answer);
    arena_fini(&job->arena);
    free(job->owned);
    free(job);
}

static void job_fail(struct reset_job *job, const struct redis_result *reply)
{
    store_warn(job->store, reply);
    job->answer.status = store_status_of(reply->err);
    job->answer.message = reply->message;
    job_end(job);
}

/* Which step comes after this one. */
static void job_move(struct reset_job *job)
{
    if (!job->more) {
        job->partition++;
        job->offset = 0;
    }
    if (job->partition == job->store->partitions) {
        job_end(job);
    } else {
        step_list(job);
    }
}

static void on_reset(void *arg, const struct redis_result *reply)
{
    struct reset_job *job = arg;
    if (reply->err != ERR_OK) {
        job_fail(job, reply);
        return;
    }
    const struct redis_value *owned = redis_value_at(reply->value, 2);
    size_t count = owned ? redis_value_count(owned) : 0;
    for (size_t i = 0; i < count && job->answer.owned_count < job->limit; i++) {
        job->owned[job->answer.owned_count++] = arena_copy(&job->arena, store_text_at(owned, i));
    }
    int64_t moved = store_int_at(reply->value, 1);
    job->answer.moved += moved;
    job->left -= moved;
    job->offset += (int64_t)job->listed - moved;
    /* Those that are owned come last, for a lease is short: behind these there is nothing to move,
     * however many are in work. */
    job->more = job->more && moved > 0;
    job_move(job);
}

static void step_run(struct reset_job *job, const struct redis_value *gids)
{
    struct store_redis *store = job->store;
    struct scratch *scratch = &store->scratch;
    size_t gid_bytes = 0;
    for (size_t i = 0; i < job->listed; i++) {
        size_t len = store_text_at(gids, i).len;
        gid_bytes = len > gid_bytes ? len : gid_bytes;
    }
    store_keys_begin(store, RESET_STEP + 1, gid_bytes);
    store_key_due(store, job->partition);
    scratch_begin(scratch, SCRATCH_INT_BYTES + 1);
    for (size_t i = 0; i < RESET_STEP; i++) {
        struct slice gid = store_text_at(gids, i < job->listed ? i : job->listed - 1);
        store_key_tx(store, gid);
        scratch_add(scratch, gid);
    }
    scratch_add_int(scratch, job->later_ms);
    store_eval(store, &script_due_reset, on_reset, job);
}

static void on_listed(void *arg, const struct redis_result *reply)
{
    struct reset_job *job = arg;
    if (reply->err != ERR_OK) {
        job_fail(job, reply);
        return;
    }
    size_t count = redis_value_count(reply->value);
    size_t most = job->left < RESET_STEP ? (size_t)job->left : RESET_STEP;
    job->more = count > most;
    job->listed = job->more ? most : count;
    if (count > 0 && most == 0) {
        job->answer.remaining = true;
        job_end(job);
    } else if (count == 0) {
        job_move(job);
    } else {
        step_run(job, reply->value);
    }
}

static void step_list(struct reset_job *job)
{
    struct store_redis *store = job->store;
    struct scratch *scratch = &store->scratch;
    int64_t most = job->left < RESET_STEP ? job->left : RESET_STEP;
    store_keys_begin(store, 1, 0);
    store_key_due(store, job->partition);
    scratch_begin(scratch, (size_t)4 * SCRATCH_INT_BYTES);
    scratch_add_str(scratch, "ZRANGE");
    scratch_add(scratch, store->keys[0]);
    scratch_add_str(scratch, "+inf");
    /* By Redis' clock as far as we know it; the script looks again. */
    scratch_add_int(scratch, store_redis_now_ms(store) + job->later_ms + 1);
    scratch_add_str(scratch, "BYSCORE");
    scratch_add_str(scratch, "REV");
    scratch_add_str(scratch, "LIMIT");
    scratch_add_int(scratch, job->offset);
    scratch_add_int(scratch, most + 1);
    redis_command(store->redis, loop_now_ms(store->loop) + store->timeout_ms, scratch->argv,
                  scratch->argc, on_listed, job);
}

void store_due_reset(struct archive *archive, int64_t later_ms, int limit, archive_reset_cb cb,
                     void *arg)
{
    check(limit > 0 && limit <= ARCHIVE_PAGE_MAX);
    struct reset_job *job = mem_new(struct reset_job);
    *job = (struct reset_job){
        .store = container_of(archive, struct store_redis, archive),
        .cb = cb,
        .arg = arg,
        .later_ms = later_ms,
        .limit = (size_t)limit,
        .left = limit,
        .answer = {.status = STORE_OK, .message = ""},
    };
    job->owned = mem_zalloc((size_t)limit * sizeof(*job->owned));
    step_list(job);
}
