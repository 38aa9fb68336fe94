/* Workflows: steps that this program calls, and the coordinator remembers. */
#include "base/check.h"
#include "base/mem.h"
#include "saga_internal.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

static const char default_op[] = "action";

/* What was reported of a step. */
struct done {
    struct saga_op op;
    struct done *next;
};

/* Undos, confirms and commits have room of their own: what was begun can be brought to an end. */
enum phase { FIRST, SECOND, PHASES };
static const size_t phase_most[PHASES] = {WIRE_STEPS_MAX, WIRE_SECOND_PHASE_MAX};

struct saga_workflow {
    struct saga *saga;
    struct saga_workflow *prev, *next; /* in saga->workflows */
    struct arena arena;
    struct slice gid;
    struct wire_header *headers;
    size_t header_count;
    int64_t started_ms; /* as the coordinator tells it */
    struct done *done;
    size_t reports[PHASES]; /* that were done, or may come of what is under way */
    size_t bytes;           /* of the data of what was done */
    bool prepared;
    bool asking; /* the answer to begin or end is to come */
    bool gone;   /* freed with the last step */
    int working;
    saga_answer_cb cb; /* of begin, then of end */
    void *arg;
};

static void workflow_free(struct saga_workflow *flow)
{
    DL_DELETE(flow->saga->workflows, flow);
    arena_fini(&flow->arena);
    free(flow);
}

static void flow_go(struct saga_workflow *flow)
{
    flow->gone = true;
    if (flow->working == 0) {
        workflow_free(flow);
    }
}

static void work_begins(struct saga_workflow *flow)
{
    flow->working++;
}

static void work_ends(struct saga_workflow *flow)
{
    flow->working--;
    if (flow->gone && flow->working == 0) {
        workflow_free(flow);
    }
}

void workflows_free(struct saga *saga)
{
    while (saga->workflows) {
        workflow_free(saga->workflows);
    }
}

/* ---- what was done ---- */

static const struct saga_op *done_find(const struct saga_workflow *flow, struct slice branch_id,
                                       struct slice op)
{
    for (const struct done *done = flow->done; done; done = done->next) {
        if (slice_eq(slice_of(done->op.branch_id), branch_id) &&
            slice_eq(slice_of(done->op.op), op)) {
            return &done->op;
        }
    }
    return NULL;
}

static enum phase phase_of(struct slice op)
{
    static const char *const second[] = {"compensate", "confirm", "cancel", "commit", "rollback"};
    for (size_t i = 0; i < sizeof(second) / sizeof(second[0]); i++) {
        if (slice_eq_str(op, second[i])) {
            return SECOND;
        }
    }
    return FIRST;
}

static void done_add(struct saga_workflow *flow, struct slice branch_id, struct slice op,
                     const char *status, struct slice data)
{
    if (done_find(flow, branch_id, op)) {
        return; /* reported once more, and the same */
    }
    struct done *done = arena_alloc(&flow->arena, sizeof(*done));
    done->op = (struct saga_op){.branch_id = bytes_of(arena_copy(&flow->arena, branch_id)),
                                .op = bytes_of(arena_copy(&flow->arena, op)),
                                .status = status,
                                .result = bytes_of(arena_copy(&flow->arena, data))};
    LL_PREPEND(flow->done, done);
    flow->reports[phase_of(op)]++;
    flow->bytes += data.len;
}

static const char *status_of(bool failed)
{
    return wire_status_name(failed ? WIRE_STATUS_FAILED : WIRE_STATUS_SUCCEED);
}

static bool is_failed(const struct saga_op *op)
{
    return strcmp(op->status, status_of(true)) == 0;
}

const struct saga_op *saga_workflow_done(const struct saga_workflow *flow, const char *branch_id,
                                         const char *op)
{
    return done_find(flow, slice_str(branch_id), slice_str(op ? op : default_op));
}

/* ---- begin ---- */

static void on_begun(void *arg, const struct saga_answer *answer)
{
    struct saga_workflow *flow = arg;
    flow->asking = false;
    flow->prepared = answer->error == SAGA_E_NONE && answer->status &&
                     strcmp(answer->status, wire_status_name(WIRE_STATUS_PREPARED)) == 0;
    flow->started_ms = answer->created_ms;
    for (size_t i = 0; flow->prepared && i < answer->op_count; i++) {
        const struct saga_op *op = &answer->ops[i];
        done_add(flow, slice_of(op->branch_id), slice_of(op->op), status_of(is_failed(op)),
                 slice_of(op->result));
    }
    work_begins(flow); /* it stays until the callback has returned */
    bool prepared = flow->prepared;
    if (flow->cb) {
        flow->cb(flow->arg, answer);
    }
    if (!prepared) {
        flow->gone = true;
    }
    work_ends(flow);
}

static const char *spec_wrong(const struct saga_workflow_spec *spec)
{
    if (spec->gid.len == 0) {
        return "gid is empty: take one from saga_gid or saga_new_gid, or an id of your own";
    }
    if (!spec->name || !spec->name[0]) {
        return "name is empty: the workflow is resumed by it";
    }
    if (spec->retry_interval_ms < 0 || spec->request_timeout_ms < 0) {
        return "a time is negative";
    }
    return spec->header_count > WIRE_HEADERS_MAX ? "a workflow has at most 32 headers" : NULL;
}

struct saga_workflow *saga_workflow_begin(struct saga *saga, const struct saga_workflow_spec *spec,
                                          saga_answer_cb cb, void *arg)
{
    struct saga_workflow *flow = mem_new(struct saga_workflow);
    *flow = (struct saga_workflow){.saga = saga, .asking = true, .cb = cb, .arg = arg};
    DL_APPEND(saga->workflows, flow);
    flow->gid = arena_copy(&flow->arena, slice_of(spec->gid));
    const char *wrong = spec_wrong(spec);
    if (!wrong) {
        flow->headers = headers_encode(spec->headers, spec->header_count, &flow->arena);
        flow->header_count = spec->header_count;
    }
    struct wire_message request = {
        .kind = WIRE_WORKFLOW,
        .workflow = {.gid = flow->gid,
                     .name = slice_str(spec->name),
                     .data = slice_of(spec->data),
                     .resume = slice_str(spec->resume),
                     .options = {.retry_interval_ms = spec->retry_interval_ms,
                                 .request_timeout_ms = spec->request_timeout_ms,
                                 .headers = flow->headers,
                                 .header_count = flow->header_count}}};
    coordinator_ask(saga, &request, WIRE_QUERY_REPLY, 0, wrong, on_begun, flow);
    return flow;
}

/* ---- reports ---- */

static const char *flow_wrong(const struct saga_workflow *flow)
{
    return !flow->prepared ? "saga_workflow_begin has not answered \"prepared\""
           : flow->gone    ? "this workflow is at its end"
                           : NULL;
}

/* A step on its way to the coordinator, by the participant or not. */
struct step {
    struct saga_workflow *flow;
    struct arena arena;
    struct slice branch_id, op, data;
    bool failed;
    bool counted;              /* in flow->reports: it is not among those that were done */
    saga_response_cb answered; /* of a step */
    saga_answer_cb reported;   /* of a report */
    void *arg;
    struct loop_task task;
    struct reason wrong;
};

static struct step *step_new(struct saga_workflow *flow, const char *branch_id, const char *op,
                             void *arg)
{
    struct step *step = mem_new(struct step);
    *step = (struct step){.flow = flow, .arg = arg};
    step->branch_id = arena_copy(&step->arena, slice_str(branch_id));
    step->op = arena_copy(&step->arena, slice_str(op ? op : default_op));
    step->counted = !done_find(flow, step->branch_id, step->op);
    flow->reports[phase_of(step->op)] += step->counted;
    work_begins(flow);
    return step;
}

static void step_uncount(struct step *step)
{
    step->flow->reports[phase_of(step->op)] -= step->counted;
    step->counted = false;
}

static void step_free(struct step *step)
{
    step_uncount(step);
    work_ends(step->flow);
    arena_fini(&step->arena);
    free(step);
}

/* Why the coordinator would not take its report, as far as that can be known before; or NULL. */
static const char *step_wrong(struct step *step)
{
    char shown[WIRE_BRANCH_ID_MAX + 1];
    struct slice id = step->branch_id;
    enum phase phase = phase_of(step->op);
    if (flow_wrong(step->flow)) {
        return flow_wrong(step->flow);
    }
    if (!slice_is_name(id) || id.len > WIRE_BRANCH_ID_MAX || id.ptr[0] < '0' || id.ptr[0] > '9' ||
        slice_eq_str(id, "00")) {
        (void)reason_set(&step->wrong, ERR_INVALID,
                         "branch_id: '%s' must be 1 to %d letters, digits, '-' or '_', begin with "
                         "a digit and not be 00",
                         slice_printable(id, shown, sizeof(shown)), WIRE_BRANCH_ID_MAX);
        return step->wrong.text;
    }
    if (!slice_is_name(step->op) || step->op.len > WIRE_OP_MAX) {
        (void)reason_set(&step->wrong, ERR_INVALID,
                         "op: '%s' must be 1 to %d letters, digits, '-' or '_'",
                         slice_printable(step->op, shown, sizeof(shown)), WIRE_OP_MAX);
        return step->wrong.text;
    }
    if (step->counted && step->flow->reports[phase] > phase_most[phase]) {
        (void)reason_set(&step->wrong, ERR_LIMIT, "a workflow has at most %zu %s",
                         phase_most[phase],
                         phase == SECOND ? "undos, confirms and commits"
                                         : "steps, besides undos, confirms and commits");
        return step->wrong.text;
    }
    return NULL;
}

static void report_send(struct step *step, const char *wrong, saga_answer_cb cb)
{
    struct wire_message request = {
        .kind = WIRE_REGISTER,
        .register_branch = {.gid = step->flow->gid,
                            .trans_type = slice_str("workflow"),
                            .branch_id = step->branch_id,
                            .payload = step->data,
                            .op = step->op,
                            .status = step->failed ? WIRE_STATUS_FAILED : WIRE_STATUS_SUCCEED}};
    coordinator_ask(step->flow->saga, &request, WIRE_SUBMIT_REPLY, 0, wrong, cb, step);
}

static void step_keep(struct step *step)
{
    done_add(step->flow, step->branch_id, step->op, status_of(step->failed), step->data);
    step_uncount(step); /* done_add has counted it for good */
}

static void on_report(void *arg, const struct saga_answer *answer)
{
    struct step *step = arg;
    if (answer->error == SAGA_E_NONE) {
        step_keep(step);
    }
    if (step->reported) {
        step->reported(step->arg, answer);
    }
    step_free(step);
}

void saga_workflow_report(struct saga_workflow *flow, const struct saga_report *report,
                          saga_answer_cb cb, void *arg)
{
    struct step *step = step_new(flow, report->branch_id, report->op, arg);
    step->reported = cb;
    step->failed = report->failed;
    step->data = arena_copy(&step->arena, slice_of(report->data));
    report_send(step, step_wrong(step), on_report);
}

/* ---- steps ---- */

static void step_answer(struct step *step, const struct saga_response *response)
{
    if (step->answered) {
        step->answered(step->arg, response);
    }
    step_free(step);
}

/* As the participant answered it, in this life or an earlier one. */
static void step_answer_done(struct step *step)
{
    struct saga_bytes data = bytes_of(step->data);
    struct saga_response response = {.result = step->failed ? SAGA_FAILURE : SAGA_SUCCESS,
                                     .payload = step->failed ? (struct saga_bytes){0} : data,
                                     .message = step->failed && data.len ? data.ptr : ""};
    step_answer(step, &response);
}

static void on_known(void *arg)
{
    struct step *step = arg;
    step->flow->saga->pending--;
    step_answer_done(step);
}

static void on_step_reported(void *arg, const struct saga_answer *answer)
{
    struct step *step = arg;
    if (answer->error == SAGA_E_NONE) {
        step_keep(step);
        step_answer_done(step);
        return;
    }
    struct saga_response response = {
        .error = answer->error, .result = SAGA_ERROR, .message = answer->message};
    step_answer(step, &response);
}

/* What may be refused; anything else is tried until it succeeds. */
static bool is_refusable(struct slice op)
{
    return slice_eq_str(op, "action") || slice_eq_str(op, "try");
}

static bool step_data_fits(const struct step *step)
{
    return step->data.len <= WIRE_PAYLOAD_MAX &&
           step->flow->bytes + step->data.len <= WIRE_PAYLOADS_MAX;
}

/* The participant has done it, and the program cannot be told what it answered in its next life. */
static void step_answer_too_long(struct step *step)
{
    (void)reason_set(&step->wrong, ERR_LIMIT,
                     "done, but its reply of %zu bytes cannot be kept: at most %d, and %d of all "
                     "steps together; report it by saga_workflow_report, or undo it",
                     step->data.len, WIRE_PAYLOAD_MAX, WIRE_PAYLOADS_MAX);
    struct saga_response response = {
        .error = SAGA_E_INVALID, .result = SAGA_ERROR, .message = step->wrong.text};
    step_answer(step, &response);
}

static void on_called(void *arg, const struct saga_response *response)
{
    struct step *step = arg;
    bool decided = response->result == SAGA_SUCCESS ||
                   (response->result == SAGA_FAILURE && is_refusable(step->op));
    if (response->error != SAGA_E_NONE || !decided) {
        bool said = response->message && response->message[0];
        struct saga_response open = {
            .error = response->error ? response->error : SAGA_E_UNAVAILABLE,
            .result = SAGA_ERROR,
            .message = said ? response->message : "the participant has not decided yet"};
        step_answer(step, &open);
        return;
    }
    step->failed = response->result == SAGA_FAILURE;
    step->data = arena_copy(&step->arena, step->failed ? slice_str(response->message)
                                                       : slice_of(response->payload));
    if (!step_data_fits(step)) {
        if (!step->failed && phase_of(step->op) == FIRST) {
            step_answer_too_long(step);
            return;
        }
        step->data = (struct slice){0}; /* that it was refused, undone or confirmed must be kept */
    }
    report_send(step, flow_wrong(step->flow), on_step_reported);
}

static void step_call(struct step *step, const struct saga_work *work)
{
    struct saga_workflow *flow = step->flow;
    struct participant_url url;
    const char *url_wrong = participant_url_init(&url, work->url);
    const char *wrong = step_wrong(step);
    struct wire_call call = {.gid = flow->gid,
                             .branch_id = step->branch_id,
                             .op = step->op,
                             .trans_type = slice_str("workflow"),
                             .method = slice_str(url.method),
                             .payload = slice_of(work->payload),
                             .started_ms = flow->started_ms,
                             .headers = flow->headers,
                             .header_count = flow->header_count};
    participant_call(flow->saga, url.address, &call,
                     work->timeout_ms > 0 ? work->timeout_ms : flow->saga->timeout_ms,
                     wrong ? wrong : url_wrong, on_called, step);
    participant_url_fini(&url);
}

void saga_workflow_step(struct saga_workflow *flow, const struct saga_work *work,
                        saga_response_cb cb, void *arg)
{
    struct step *step = step_new(flow, work->branch_id, work->op, arg);
    const struct saga_op *known = done_find(flow, step->branch_id, step->op);
    step->answered = cb;
    if (!known) {
        step_call(step, work);
        return;
    }
    step->failed = is_failed(known);
    step->data = arena_copy(&step->arena, slice_of(known->result));
    flow->saga->pending++;
    loop_defer(flow->saga->loop, &step->task, on_known, step);
}

/* ---- end ---- */

static void on_ended(void *arg, const struct saga_answer *answer)
{
    struct saga_workflow *flow = arg;
    saga_answer_cb cb = flow->cb;
    void *cb_arg = flow->arg;
    flow->asking = false;
    flow_go(flow);
    if (cb) {
        cb(cb_arg, answer);
    }
}

void saga_workflow_end(struct saga_workflow *flow, const char *failure, struct saga_bytes result,
                       saga_answer_cb cb, void *arg)
{
    check(flow->prepared && !flow->asking && !flow->gone); /* once, and not before the begin */
    flow->asking = true;
    flow->cb = cb;
    flow->arg = arg;
    struct wire_message request = {
        .kind = WIRE_FINISH,
        .finish = {.gid = flow->gid,
                   .status = failure ? WIRE_STATUS_FAILED : WIRE_STATUS_SUCCEED,
                   .reason = slice_str(failure),
                   .result = slice_of(result)}};
    coordinator_ask(flow->saga, &request, WIRE_SUBMIT_REPLY, 0, NULL, on_ended, flow);
}

void saga_workflow_leave(struct saga_workflow *flow)
{
    check(flow->prepared && !flow->asking && !flow->gone);
    flow_go(flow);
}
