/* The change that a two-phase message announces, made by the program that prepared it. */
#include "base/mem.h"
#include "saga_internal.h"

#include <stdlib.h>

struct change {
    struct wire_call branch; /* as if the coordinator had called it; the gid is a copy */
    char *gid;
    struct gate_run run;
    saga_change_done done;
    void *arg;
};

static void on_ended(void *arg, const struct saga_outcome *outcome)
{
    struct change *change = arg;
    if (change->done) {
        change->done(change->arg, outcome);
    }
    change->run.saga->pending--;
    free(change->gid);
    free(change);
}

void saga_msg_change(struct saga *saga, struct saga_bytes gid, const struct saga_eval *eval,
                     saga_change_done done, void *arg)
{
    struct change *change = mem_new(struct change);
    char *copy = slice_dup(slice_of(gid));
    *change = (struct change){
        .gid = copy,
        .branch = {.gid = slice_make(copy, gid.len),
                   .branch_id = slice_str("00"),
                   .op = slice_str("msg"),
                   .trans_type = slice_str("msg")},
        .run = {.saga = saga, .branch = &change->branch, .barrier = 1, .ended = on_ended},
        .done = done,
        .arg = arg,
    };
    change->run.owner = change;
    saga->pending++;
    gate_start(&change->run, eval, gid.len == 0 ? "gid is empty" : NULL, INT64_MAX);
}
