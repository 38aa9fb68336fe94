#include "bench/bench.h"

#include "base/clock.h"
#include "base/mem.h"
#include "mall/order.pb.h"
#include "mall/product.pb.h"
#include "wire/message.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { AGAIN_MS = 50, RAMP_MS = 20, PROGRESS_MS = 200, BAR_WIDTH = 40 };

/* One of the C places; carries one transaction at a time. */
struct slot {
    struct bench *bench;
    int64_t index; /* of its transaction */
    int64_t begin_us;
    int coordinator;
    struct loop_timer timer; /* to begin; then, to go on after an error that may pass */
};

static void slot_next(struct slot *slot);
static void slot_submit(void *arg);

static bool is_final(const char *status)
{
    return strcmp(status, "succeed") == 0 || strcmp(status, "failed") == 0;
}

static void count_end(struct bench *bench, const char *status)
{
    bool ok = strcmp(status, "succeed") == 0;
    bench->succeeded += ok;
    bench->failed += !ok;
    bench->errors[BENCH_FAILED] += !ok;
}

static void slot_end(struct slot *slot, const struct saga_answer *answer)
{
    struct bench *bench = slot->bench;
    if (is_final(answer->status)) {
        count_end(bench, answer->status);
        bench->latency_us[bench->latency_count++] = clock_mono_us() - slot->begin_us;
    } else {
        bench->errors[BENCH_LATE]++;
        bench->late[bench->late_count++] = slot->index;
    }
    bench->ended++;
    slot_next(slot);
}

/* The same transaction again, at the next coordinator: its gid makes that harmless. */
static void slot_try_again(struct slot *slot)
{
    struct bench *bench = slot->bench;
    slot->coordinator = (slot->coordinator + 1) % bench->env.coordinators;
    loop_timer_set(&slot->timer, loop_now_ms(bench->loop) + AGAIN_MS);
}

static void on_submitted(void *arg, const struct saga_answer *answer)
{
    struct slot *slot = arg;
    struct bench *bench = slot->bench;
    switch (answer->error) {
    case SAGA_E_NONE: slot_end(slot, answer); break;
    case SAGA_E_INVALID:
        if (bench->errors[BENCH_REFUSED]++ == 0) {
            fprintf(stderr, "sagabench: refused: %s\n", answer->message);
        }
        bench->ended++;
        slot_next(slot);
        break;
    case SAGA_E_BUSY:
        bench->errors[BENCH_BUSY]++;
        slot_try_again(slot);
        break;
    case SAGA_E_UNAVAILABLE:
    case SAGA_E_CANCELLED:
        bench->errors[BENCH_UNAVAILABLE]++;
        slot_try_again(slot);
        break;
    }
}

static void encode_payloads(const struct slot *slot, struct buf payloads[2])
{
    const struct bench *bench = slot->bench;
    if (bench_is_hosted(bench)) { /* there is no mall to ask users and products of */
        char number[32];
        for (int i = 0; i < 2; i++) {
            buf_add_str(&payloads[i], bench_host_payload(bench, slot->index, number).ptr);
        }
        return;
    }
    order_CreateRequest create = {
        .uid = bench_uid(bench, slot->index),
        .pid = bench->product,
        .amount = 5,
        .id = bench->first_order + slot->index * bench->order_step,
        .num = 1,
    };
    product_DecrStockRequest decr = {.id = bench->product, .num = 1};
    wire_pb_encode(order_CreateRequest_fields, &create, &payloads[0]);
    wire_pb_encode(product_DecrStockRequest_fields, &decr, &payloads[1]);
}

static void send_submission(struct slot *slot, struct saga_submission *submission)
{
    struct bench *bench = slot->bench;
    submission->gid = saga_text(bench->gids[slot->index]);
    submission->retry_interval_ms = bench->retry_ms;
    submission->wait = true;
    if (bench->http) {
        bench_http_submit(bench, slot->coordinator, submission, on_submitted, slot);
    } else {
        saga_submit(bench->sagas[slot->coordinator], submission, on_submitted, slot);
    }
}

static void submit_order(struct slot *slot)
{
    struct bench *bench = slot->bench;
    struct buf payloads[2] = {{0}, {0}};
    struct saga_step steps[2];
    encode_payloads(slot, payloads);
    for (int i = 0; i < 2; i++) {
        steps[i] = (struct saga_step){.action = bench->urls[2 * i],
                                      .compensate = bench->urls[2 * i + 1],
                                      .payload = {payloads[i].data, payloads[i].len}};
    }
    send_submission(slot, &(struct saga_submission){.steps = steps, .step_count = 2});
    buf_fini(&payloads[0]);
    buf_fini(&payloads[1]);
}

static void submit_tcc(struct slot *slot)
{
    struct bench *bench = slot->bench;
    char number[32];
    struct saga_bytes payload = bench_host_payload(bench, slot->index, number);
    struct saga_branch branches[2];
    for (int i = 0; i < 2; i++) {
        const char *url = bench->urls[2 * i];
        branches[i] =
            (struct saga_branch){.try_url = url, .confirm = url, .cancel = url, .payload = payload};
    }
    send_submission(slot, &(struct saga_submission){
                              .trans_type = "tcc", .branches = branches, .branch_count = 2});
}

static void submit_msg(struct slot *slot)
{
    struct bench *bench = slot->bench;
    char number[32];
    struct saga_bytes payload = bench_host_payload(bench, slot->index, number);
    struct saga_step steps[2] = {{.action = bench->urls[0], .payload = payload},
                                 {.action = bench->urls[2], .payload = payload}};
    send_submission(
        slot, &(struct saga_submission){.trans_type = "msg", .steps = steps, .step_count = 2});
}

/* ---- through the outbox ---- */

static const char outbox_stream[] = "{ord:0}:outbox"; /* what the coordinators of a stack consume */

static void on_left(void *arg, const struct saga_redis_answer *answer)
{
    struct slot *slot = arg;
    if (!answer
             ->ok) { /* perhaps it was left after all: then its gid makes the second one harmless */
        slot->bench->errors[BENCH_UNAVAILABLE]++;
        slot_try_again(slot);
    }
}

/* The gid tells the index: "RUN-INDEX". */
static void submit_outbox(struct slot *slot)
{
    struct bench *bench = slot->bench;
    char number[32];
    char *gid = bench->gids[slot->index];
    snprintf(gid, BENCH_GID_SIZE, "%.12s-%d", bench->run, (int)slot->index);
    struct saga_bytes payload = bench_host_payload(bench, slot->index, number);
    struct saga_bytes key = saga_text(outbox_stream);
    struct saga_bytes args[] = {saga_text(gid), saga_text(bench->urls[0]), payload,
                                saga_text(bench->urls[2]), payload};
    bench->waiting[slot->index] = slot;
    saga_redis_eval(bench->host, bench->outbox, &key, 1, args, 5, on_left, slot);
}

void bench_delivered(struct bench *bench, struct saga_bytes gid, struct saga_bytes branch_id)
{
    struct slice name = slice_make(gid.ptr, gid.len);
    const char *dash = bench->waiting ? memchr(gid.ptr, '-', gid.len) : NULL;
    int64_t index;
    if (!dash || !slice_eq_str(slice_make(branch_id.ptr, branch_id.len), "02") ||
        !slice_to_int64(slice_make(dash + 1, (size_t)(gid.ptr + gid.len - dash - 1)), &index) ||
        index < 0 || index >= bench->total || !slice_eq_str(name, bench->gids[index])) {
        return; /* of another run, or not the last branch */
    }
    struct slot *slot = bench->waiting[index];
    bench->waiting[index] = NULL;
    if (slot) { /* else it is called again */
        slot_end(slot, &(struct saga_answer){.status = "succeed"});
    }
}

/* Nobody tells that a message got lost: when nothing has come for so long, the rest has. */
static bool is_stuck(const struct bench *bench, int64_t ended, int64_t since_ms)
{
    return bench->mode == BENCH_OUTBOX && bench->ended == ended &&
           clock_mono_ms() - since_ms > bench->settle_ms;
}

static void slot_submit(void *arg)
{
    struct slot *slot = arg;
    switch (slot->bench->mode) {
    case BENCH_SAGA: submit_order(slot); return;
    case BENCH_TCC: submit_tcc(slot); return;
    case BENCH_MSG: submit_msg(slot); return;
    case BENCH_OUTBOX: submit_outbox(slot); return;
    }
}

static void slot_next(struct slot *slot)
{
    struct bench *bench = slot->bench;
    if (bench->started == bench->total) {
        return;
    }
    slot->index = bench->started++;
    slot->begin_us = clock_mono_us();
    saga_gid(bench->gids[slot->index]);
    slot_submit(slot);
}

static void slot_begin(void *arg)
{
    struct slot *slot = arg;
    loop_timer_init(&slot->timer, slot->bench->loop, slot_submit, slot);
    slot_next(slot);
}

/* One after the other: those that begin at one moment stay together for a while, all waiting for
 * the same program while the others have nothing to do. */
static struct slot *begin_slots(struct bench *bench)
{
    struct slot *slots = mem_zalloc((size_t)bench->concurrency * sizeof(*slots));
    int64_t now_ms = loop_now_ms(bench->loop);
    for (int64_t i = 0; i < bench->concurrency; i++) {
        slots[i].bench = bench;
        slots[i].coordinator = (int)(i % bench->env.coordinators);
        loop_timer_init(&slots[i].timer, bench->loop, slot_begin, &slots[i]);
        loop_timer_set(&slots[i].timer, now_ms + i * RAMP_MS / bench->concurrency);
    }
    return slots;
}

static void show_progress(const struct bench *bench)
{
    double part = (double)bench->ended / (double)bench->total;
    double seconds = (double)(clock_mono_us() - bench->begin_us) / 1e6;
    char bar[BAR_WIDTH + 1];
    for (int i = 0; i < BAR_WIDTH; i++) {
        bar[i] = i < (int)(part * BAR_WIDTH) ? '#' : '.';
    }
    bar[BAR_WIDTH] = '\0';
    fprintf(stderr, "\r[%s] %3.0f %%  %" PRId64 "/%" PRId64 "  %.0f %ss/s ", bar, part * 100,
            bench->ended, bench->total, (double)bench->ended / (seconds > 0 ? seconds : 1),
            bench_mode_name(bench->mode));
}

/* ---- settling: those that were still running are asked for until they have ended ---- */

struct settle {
    struct bench *bench;
    bool done;
    bool final;
};

static void on_queried(void *arg, const struct saga_answer *answer)
{
    struct settle *settle = arg;
    settle->done = true;
    settle->final = answer->error == SAGA_E_NONE && answer->status && is_final(answer->status);
    if (settle->final) {
        count_end(settle->bench, answer->status);
    }
}

static bool settle_one(struct bench *bench, int64_t index, int64_t until_ms)
{
    for (int turn = 0; clock_mono_ms() < until_ms; turn++) {
        struct settle settle = {.bench = bench};
        saga_query(bench->sagas[turn % bench->env.coordinators], saga_text(bench->gids[index]),
                   on_queried, &settle);
        bench_await(bench, &settle.done);
        if (settle.final) {
            return true;
        }
        int64_t again = clock_mono_ms() + AGAIN_MS;
        while (clock_mono_ms() < again) {
            loop_turn(bench->loop, AGAIN_MS);
        }
    }
    return false;
}

static void settle_all(struct bench *bench)
{
    int64_t until_ms = clock_mono_ms() + bench->settle_ms;
    for (size_t i = 0; i < bench->late_count; i++) {
        bench->errors[BENCH_UNFINISHED] += !settle_one(bench, bench->late[i], until_ms);
    }
}

void bench_run(struct bench *bench)
{
    int64_t shown_ms = 0;
    if (bench->mode == BENCH_OUTBOX) {
        bench->waiting = mem_zalloc((size_t)bench->total * sizeof(struct slot *));
    }
    bench->begin_us = clock_mono_us();
    bench->slots = begin_slots(bench);
    int64_t ended = 0, since_ms = clock_mono_ms();
    while (bench->ended < bench->total && !is_stuck(bench, ended, since_ms)) {
        since_ms = bench->ended == ended ? since_ms : clock_mono_ms();
        ended = bench->ended;
        loop_turn(bench->loop, PROGRESS_MS);
        if (!bench->quiet && loop_now_ms(bench->loop) - shown_ms >= PROGRESS_MS) {
            shown_ms = loop_now_ms(bench->loop);
            show_progress(bench);
        }
    }
    bench->end_us = clock_mono_us();
    if (!bench->quiet) {
        show_progress(bench);
        fputc('\n', stderr);
    }
    bench->errors[BENCH_UNFINISHED] += (uint64_t)(bench->total - bench->ended);
    free(bench->waiting);
    bench->waiting = NULL;
    settle_all(bench);
}
