/* What the services' branches share: settling a call, alerts, submitting a saga. */
#include "base/log.h"
#include "base/check.h"
#include "base/mem.h"
#include "services/common/service.h"
#include "wire/message.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

enum { URL_SIZE = 512 };

/* ---- the injected fault ---- */

struct service_delay {
    struct service_delay *prev, *next;
    struct service *service;
    struct loop_timer timer;
    struct saga_call *call;
    enum saga_verdict verdict;
    char *text;
    char *payload;
    size_t payload_len;
};

static void delay_free(void *ptr)
{
    struct service_delay *delay = ptr;
    free(delay->text);
    free(delay->payload);
    free(delay);
}

static void delay_fire(void *arg)
{
    struct service_delay *delay = arg;
    struct saga_outcome outcome = {delay->verdict, saga_text(delay->text)};
    saga_call_settle(delay->call, &outcome,
                     (struct saga_bytes){delay->payload, delay->payload_len});
    DL_DELETE(delay->service->delays, delay);
    loop_defer_free(delay->service->loop, delay, delay_free);
}

static void delay_settle(struct service *service, struct saga_call *call,
                         const struct saga_outcome *outcome, struct saga_bytes payload)
{
    struct service_delay *delay = mem_new(struct service_delay);
    delay->service = service;
    delay->call = call;
    delay->verdict = outcome->verdict;
    delay->text = mem_dup(outcome->text.ptr, outcome->text.len);
    delay->payload = mem_dup(payload.ptr, payload.len);
    delay->payload_len = payload.len;
    DL_APPEND(service->delays, delay);
    loop_timer_init(&delay->timer, service->loop, delay_fire, delay);
    loop_timer_set(&delay->timer, loop_now_ms(service->loop) + service->settings->fault_delay_ms);
}

static bool fault_applies(const struct service *service, const struct saga_call *call,
                          const char *method, const struct saga_outcome *outcome)
{
    const struct service_settings *settings = service->settings;
    bool hit = !settings->fault_method[0] || strcmp(settings->fault_method, method) == 0;
    return strcmp(settings->fault, "off") != 0 && hit && outcome->verdict == SAGA_OK &&
           !saga_call_is_undo(call);
}

void service_delays_close(struct service *service)
{
    struct service_delay *delay;
    struct service_delay *next;
    DL_FOREACH_SAFE(service->delays, delay, next)
    {
        DL_DELETE(service->delays, delay);
        loop_timer_clear(&delay->timer);
        delay_free(delay);
    }
}

void service_settle(struct service *service, struct saga_call *call, const char *method,
                    const struct saga_outcome *outcome, struct saga_bytes payload)
{
    counters_call(service->counters, method, outcome->verdict);
    if (!fault_applies(service, call, method, outcome)) {
        saga_call_settle(call, outcome, payload);
        return;
    }
    const char *fault = service->settings->fault;
    log_warn("service", "msg=\"injected fault\" fault=%s method=%s", fault, method);
    if (strcmp(fault, "failure") == 0) {
        saga_call_reply(call, SAGA_FAILURE, saga_text(""),
                        "injected_fault: failed after the barrier");
    } else if (strcmp(fault, "drop") == 0) {
        saga_call_drop(call);
    } else if (strcmp(fault, "delay") == 0) {
        delay_settle(service, call, outcome, payload);
    } else {
        _exit(70); /* as a crash: nothing is flushed, nothing is answered */
    }
}

bool service_may_refuse(const struct saga_call *call)
{
    return !saga_call_is_undo(call) && !slice_eq_str(service_slice(saga_call_op(call)), "confirm");
}

/* ---- alerts ---- */

void service_alert(struct service *service, const struct saga_call *call, const char *what)
{
    char gid[256];
    counters_alert(service->counters);
    log_error(service->name, "msg=\"%s\" alert=1 gid=\"%s\"", what,
              log_text(service_slice(saga_call_gid(call)), gid, sizeof(gid)));
}

/* ---- submitting ---- */

static const char *branch_url(const char *target, const char *method, char out[URL_SIZE])
{
    snprintf(out, URL_SIZE, "%s/%s", target, method);
    return out;
}

/* What the SDK is given for the branches of a submission; it copies all of it at once. */
struct parts {
    struct buf payloads[SERVICE_BRANCHES_MAX];
    char urls[SERVICE_BRANCHES_MAX][3][URL_SIZE];
    struct saga_step steps[SERVICE_BRANCHES_MAX];
    struct saga_branch branches[SERVICE_BRANCHES_MAX];
};

static void part_make(struct parts *parts, size_t i, const struct service_branch *branch)
{
    wire_pb_encode(branch->fields, branch->message, &parts->payloads[i]);
    struct saga_bytes payload = service_bytes(buf_slice(&parts->payloads[i]));
    const char *action = branch_url(branch->target, branch->action, parts->urls[i][0]);
    const char *undo = branch_url(branch->target, branch->undo, parts->urls[i][1]);
    if (branch->confirm) {
        const char *confirm = branch_url(branch->target, branch->confirm, parts->urls[i][2]);
        parts->branches[i] = (struct saga_branch){
            .try_url = action, .confirm = confirm, .cancel = undo, .payload = payload};
    } else {
        parts->steps[i] =
            (struct saga_step){.action = action, .compensate = undo, .payload = payload};
    }
}

void service_submit(const struct service *service, const struct service_submission *submission,
                    saga_answer_cb cb, void *arg)
{
    size_t count = submission->branch_count;
    struct parts parts = {0};
    check(count <= SERVICE_BRANCHES_MAX);
    for (size_t i = 0; i < count; i++) {
        check(submission->tcc == (submission->branches[i].confirm != NULL));
        part_make(&parts, i, &submission->branches[i]);
    }
    struct saga_submission whole = {.gid = saga_text(submission->gid),
                                    .wait = submission->wait,
                                    .wait_timeout_ms = submission->wait ? submission->wait_ms : 0};
    if (submission->tcc) {
        whole.trans_type = "tcc";
        whole.branches = parts.branches;
        whole.branch_count = count;
    } else {
        whole.steps = parts.steps;
        whole.step_count = count;
    }
    saga_submit(service->saga, &whole, cb, arg);
    for (size_t i = 0; i < count; i++) {
        buf_fini(&parts.payloads[i]);
    }
}
