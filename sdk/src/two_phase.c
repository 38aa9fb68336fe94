#include "two_phase.h"

#include "base/check.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

static void two_phase_free(struct two_phase *all)
{
    DL_DELETE(all->saga->two_phases, all);
    arena_fini(&all->arena);
    free(all); /* the first member of a saga_tcc or saga_xa */
}

static void two_phase_leave(struct two_phase *all)
{
    all->gone = true;
    if (all->joining == 0) {
        two_phase_free(all);
    }
}

void two_phases_free(struct saga *saga)
{
    while (saga->two_phases) {
        two_phase_free(saga->two_phases);
    }
}

/* ---- begin ---- */

static void on_begun(void *arg, const struct saga_answer *answer)
{
    struct two_phase *all = arg;
    saga_answer_cb cb = all->cb;
    all->asking = false;
    all->prepared = answer->error == SAGA_E_NONE;
    all->refused = answer->error == SAGA_E_INVALID;
    if (cb) {
        cb(all->arg, answer);
    }
    if (!all->prepared && !all->asking) { /* else its end has been asked for: it stays until then */
        two_phase_leave(all);
    }
}

void two_phase_begin(struct two_phase *all, struct saga *saga, const char *type,
                     const struct saga_submission *begin, saga_answer_cb cb, void *arg)
{
    *all = (struct two_phase){.saga = saga,
                              .type = type,
                              .asking = true,
                              .wait = begin->wait,
                              .wait_timeout_ms = begin->wait_timeout_ms,
                              .cb = cb,
                              .arg = arg};
    DL_APPEND(saga->two_phases, all);
    const char *wrong = submission_wrong(begin);
    if (!wrong && begin->step_count + begin->branch_count > 0) {
        wrong = "begin has no steps and no branches: they are registered one by one";
    }
    if (!wrong) {
        all->gid = arena_copy(&all->arena, slice_of(begin->gid));
        all->options = submission_options(begin, &all->arena);
    }
    struct wire_message request = {
        .kind = WIRE_PREPARE,
        .submit = {.gid = all->gid, .trans_type = slice_str(type), .options = all->options}};
    coordinator_ask(saga, &request, WIRE_SUBMIT_REPLY, 0, wrong, on_begun, all);
}

/* ---- branches ---- */

static const char *join_wrong(const struct two_phase *all)
{
    if (!all->prepared) {
        return "it is not prepared: its begin has not answered yet, or with an error";
    }
    if (all->gone || all->decision != OPEN) {
        return "it is at its end: no more branches";
    }
    return all->branches > WIRE_STEPS_MAX ? "it has 100 branches, the most that are possible"
                                          : NULL;
}

void two_phase_join(struct two_phase *all, struct joining *joining,
                    const struct wire_register *branch, const char *wrong, saga_answer_cb cb,
                    void *arg)
{
    all->branches++;
    all->joining++;
    joining->all = all;
    snprintf(joining->id, sizeof(joining->id), "%02d", all->branches);
    const char *too_late = join_wrong(all);
    struct wire_message request = {.kind = WIRE_REGISTER, .register_branch = *branch};
    request.register_branch.gid = all->gid;
    request.register_branch.trans_type = slice_str(all->type);
    request.register_branch.branch_id = slice_str(joining->id);
    coordinator_ask(all->saga, &request, WIRE_SUBMIT_REPLY, 0, too_late ? too_late : wrong, cb,
                    arg);
}

void two_phase_count(struct joining *joining, const char *what, const char *why)
{
    struct two_phase *all = joining->all;
    all->succeeded += !why;
    if (why && !all->why.text[0]) {
        (void)reason_set(&all->why, ERR_CANCELLED, "%s of branch %s: %s", what, joining->id, why);
    }
}

void two_phase_joined(struct joining *joining)
{
    struct two_phase *all = joining->all;
    all->joining--;
    if (all->gone && all->joining == 0) {
        two_phase_free(all);
    }
}

struct registration {
    struct joining joining;
    saga_answer_cb cb;
    void *arg;
};

static void on_registered(void *arg, const struct saga_answer *answer)
{
    struct registration *registration = arg;
    two_phase_count(&registration->joining, "registration",
                    answer->error == SAGA_E_NONE ? NULL : answer->message);
    if (registration->cb) {
        registration->cb(registration->arg, answer);
    }
    two_phase_joined(&registration->joining);
    free(registration);
}

void two_phase_register(struct two_phase *all, const struct wire_register *branch,
                        const char *wrong, saga_answer_cb cb, void *arg)
{
    struct registration *registration = mem_new(struct registration);
    registration->cb = cb;
    registration->arg = arg;
    two_phase_join(all, &registration->joining, branch, wrong, on_registered, registration);
}

/* ---- end ---- */

static void on_ended(void *arg, const struct saga_answer *answer)
{
    struct two_phase *all = arg;
    bool again = answer->error == SAGA_E_BUSY || answer->error == SAGA_E_UNAVAILABLE;
    saga_answer_cb cb = all->cb;
    void *cb_arg = all->arg;
    all->asking = false;
    if (!again) {
        two_phase_leave(all);
    }
    if (cb) {
        cb(cb_arg, answer);
    }
}

static int64_t end_wait_ms(const struct two_phase *all)
{
    struct saga_submission known = {.wait = all->wait,
                                    .wait_timeout_ms = all->wait_timeout_ms,
                                    .request_timeout_ms = all->options.request_timeout_ms,
                                    .branch_count = (size_t)all->branches};
    return submission_wait_ms(&known);
}

void two_phase_end(struct two_phase *all, bool wanted, saga_answer_cb cb, void *arg)
{
    check(!all->asking && !all->gone); /* one at a time, and not after the end */
    if (all->decision == OPEN) {
        bool all_done = all->prepared && all->succeeded == all->branches;
        all->decision = wanted && all_done ? DONE : UNDONE;
    }
    all->asking = true;
    all->cb = cb;
    all->arg = arg;
    struct wire_message submit = {.kind = WIRE_SUBMIT,
                                  .submit = {.gid = all->gid,
                                             .trans_type = slice_str(all->type),
                                             .wait_result = all->wait,
                                             .wait_timeout_ms = (uint32_t)all->wait_timeout_ms}};
    const char *why = all->why.text[0] ? all->why.text : "cancelled by its initiator";
    struct wire_message undo = {.kind = WIRE_ABORT,
                                .abort = {.gid = all->gid, .reason = slice_str(why)}};
    bool submits = all->decision == DONE;
    /* The gid of a begin that was refused may be that of another transaction. */
    coordinator_ask(
        all->saga, submits ? &submit : &undo, WIRE_SUBMIT_REPLY, submits ? end_wait_ms(all) : 0,
        all->refused ? "its begin was refused: there is nothing to end" : NULL, on_ended, all);
}
