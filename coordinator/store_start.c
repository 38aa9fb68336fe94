/* The start: what all coordinators of one Redis must agree on. */
#include "base/mem.h"
#include "coordinator/store_internal.h"
#include "coordinator_scripts.h"

#include <inttypes.h>
#include <stdlib.h>

struct start_job {
    struct store_redis *store;
    store_start_cb cb;
    void *arg;
};

static enum err judge_meta(const struct store_redis *store, const struct redis_value *reply,
                           struct reason *reason)
{
    int64_t partitions, layout;
    if (redis_value_count(reply) != 2 || !slice_to_int64(store_text_at(reply, 0), &partitions) ||
        !slice_to_int64(store_text_at(reply, 1), &layout)) {
        return reason_set(reason, ERR_CONFLICT, "the key saga:meta of this Redis is damaged");
    }
    if (layout != KEYS_LAYOUT) {
        return reason_set(reason, ERR_CONFLICT,
                          "the keys of this Redis have layout %" PRId64
                          ", this program reads layout %d: use a sagad of that version",
                          layout, KEYS_LAYOUT);
    }
    if (partitions != store->partitions) {
        return reason_set(reason, ERR_CONFLICT,
                          "partitions = %d is configured, but this Redis was set up with %" PRId64
                          " and cannot change: set partitions = %" PRId64,
                          store->partitions, partitions, partitions);
    }
    return ERR_OK;
}

static void on_meta(void *arg, const struct redis_result *reply)
{
    struct start_job *job = arg;
    struct reason reason = {""};
    enum err err = reply->err;
    if (err == ERR_OK) {
        err = judge_meta(job->store, reply->value, &reason);
    } else {
        (void)reason_set(&reason, err, "cannot read saga:meta: %s", reply->message);
    }
    job->cb(job->arg, err, reason.text);
    free(job);
}

void store_redis_start(struct store_redis *store, store_start_cb cb, void *arg)
{
    struct start_job *job = mem_new(struct start_job);
    *job = (struct start_job){store, cb, arg};
    store_keys_begin(store, 1, 0);
    store->keys[store->key_count++] = keys_meta();
    scratch_begin(&store->scratch, (size_t)2 * SCRATCH_INT_BYTES);
    scratch_add_int(&store->scratch, store->partitions);
    scratch_add_int(&store->scratch, KEYS_LAYOUT);
    store_eval(store, &script_meta_init, on_meta, job);
}
