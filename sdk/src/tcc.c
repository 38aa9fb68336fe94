/* A tcc whose tries this program calls by itself. */
#include "base/check.h"
#include "base/mem.h"
#include "saga_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

enum { ADDRESS_MAX = 300, WHY_MAX = 256 };

/* Between begin and end; while `trying` > 0 the tries point to it as well. */
struct saga_tcc {
    struct saga *saga;
    struct saga_tcc *prev, *next; /* in saga->tccs */
    char *gid;
    size_t gid_len;
    struct saga_submission begin; /* times and wait; gid is the copy above, all else empty */
    bool prepared;
    bool asking; /* the answer to begin or end is to come */
    bool gone;   /* ended; freed with the last try */
    enum { OPEN, CONFIRMED, CANCELLED } decision;
    int branches, succeeded, trying;
    char why[WHY_MAX]; /* the first try that did not succeed */
    saga_answer_cb cb; /* of begin, then of end */
    void *arg;
};

/* One branch on its way: registered, then tried. */
struct trial {
    struct saga_tcc *tcc;
    char id[16];
    char address[ADDRESS_MAX];
    char *method;
    char *payload;
    size_t payload_len;
    saga_response_cb cb;
    void *arg;
};

static void tcc_free(struct saga_tcc *tcc)
{
    DL_DELETE(tcc->saga->tccs, tcc);
    free(tcc->gid);
    free(tcc);
}

static void tcc_end(struct saga_tcc *tcc)
{
    tcc->gone = true;
    if (tcc->trying == 0) {
        tcc_free(tcc);
    }
}

void tccs_free(struct saga *saga)
{
    while (saga->tccs) {
        tcc_free(saga->tccs);
    }
}

static struct slice gid_of(const struct saga_tcc *tcc)
{
    return slice_make(tcc->gid, tcc->gid_len);
}

/* ---- begin ---- */

static void on_begun(void *arg, const struct saga_answer *answer)
{
    struct saga_tcc *tcc = arg;
    tcc->asking = false;
    tcc->prepared = answer->error == SAGA_E_NONE;
    if (tcc->cb) {
        tcc->cb(tcc->arg, answer);
    }
    if (answer->error != SAGA_E_NONE) {
        tcc_end(tcc);
    }
}

struct saga_tcc *saga_tcc_begin(struct saga *saga, const struct saga_submission *begin,
                                saga_answer_cb cb, void *arg)
{
    struct saga_tcc *tcc = mem_new(struct saga_tcc);
    *tcc = (struct saga_tcc){.saga = saga, .asking = true, .cb = cb, .arg = arg};
    tcc->gid = slice_dup(slice_of(begin->gid));
    tcc->gid_len = begin->gid.len;
    tcc->begin = (struct saga_submission){.gid = {tcc->gid, tcc->gid_len},
                                          .request_timeout_ms = begin->request_timeout_ms,
                                          .wait = begin->wait,
                                          .wait_timeout_ms = begin->wait_timeout_ms};
    DL_APPEND(saga->tccs, tcc);
    const char *wrong = submission_wrong(begin);
    if (!wrong && begin->step_count + begin->branch_count > 0) {
        wrong = "begin has no steps and no branches: they come with saga_tcc_try";
    }
    struct wire_message request = {.kind = WIRE_PREPARE,
                                   .submit = {.gid = gid_of(tcc),
                                              .trans_type = slice_str("tcc"),
                                              .options = submission_options(begin)}};
    coordinator_ask(saga, &request, WIRE_SUBMIT_REPLY, 0, wrong, on_begun, tcc);
    return tcc;
}

/* ---- try ---- */

static void trial_end(struct trial *trial, const struct saga_response *response)
{
    struct saga_tcc *tcc = trial->tcc;
    bool ok = response->error == SAGA_E_NONE && response->result == SAGA_SUCCESS;
    tcc->succeeded += ok;
    if (!ok && tcc->why[0] == '\0') {
        snprintf(tcc->why, sizeof(tcc->why), "try of branch %s: %s", trial->id,
                 response->message && response->message[0] ? response->message : "not done");
    }
    if (trial->cb) {
        trial->cb(trial->arg, response);
    }
    tcc->trying--;
    if (tcc->gone && tcc->trying == 0) {
        tcc_free(tcc);
    }
    free(trial->method);
    free(trial->payload);
    free(trial);
}

static void on_tried(void *arg, const struct saga_response *response)
{
    trial_end(arg, response);
}

static void on_registered(void *arg, const struct saga_answer *answer)
{
    struct trial *trial = arg;
    struct saga_tcc *tcc = trial->tcc;
    if (answer->error != SAGA_E_NONE) {
        struct saga_response response = {
            .error = answer->error, .result = SAGA_ERROR, .message = answer->message};
        trial_end(trial, &response);
        return;
    }
    struct wire_call call = {
        .gid = gid_of(tcc),
        .branch_id = slice_str(trial->id),
        .op = slice_str("try"),
        .trans_type = slice_str("tcc"),
        .method = slice_str(trial->method),
        .payload = slice_make(trial->payload, trial->payload_len),
    };
    int64_t timeout_ms =
        tcc->begin.request_timeout_ms ? tcc->begin.request_timeout_ms : tcc->saga->timeout_ms;
    participant_call(tcc->saga, trial->address, &call, timeout_ms, NULL, on_tried, trial);
}

/* "tcp://HOST:PORT/METHOD"; false when it is not so. */
static bool url_split(const char *url, struct trial *trial)
{
    static const char scheme[] = "tcp://";
    if (!url || strncmp(url, scheme, sizeof(scheme) - 1) != 0) {
        return false;
    }
    const char *authority = url + sizeof(scheme) - 1;
    size_t len = strcspn(authority, "/");
    const char *bracket = memchr(authority, ']', len);
    const char *port = bracket ? bracket + 1 : memchr(authority, ':', len);
    if (authority[len] != '/' || !port || *port != ':' || len >= ADDRESS_MAX) {
        return false;
    }
    snprintf(trial->address, sizeof(trial->address), "%.*s", (int)len, authority);
    trial->method = mem_strdup(authority + len + 1);
    return true;
}

static const char *try_wrong(const struct saga_tcc *tcc, bool url_is_good)
{
    if (!tcc->prepared || tcc->gone || tcc->decision != OPEN) {
        return tcc->prepared ? "this tcc is at its end" : "saga_tcc_begin has not answered yet";
    }
    if (tcc->branches > WIRE_STEPS_MAX) {
        return "a tcc has at most 100 branches";
    }
    return url_is_good ? NULL
                       : "try_url must be tcp://HOST:PORT/package.Service/Method: names are known "
                         "to the coordinator only";
}

void saga_tcc_try(struct saga_tcc *tcc, const struct saga_branch *branch, saga_response_cb cb,
                  void *arg)
{
    struct trial *trial = mem_new(struct trial);
    *trial = (struct trial){.tcc = tcc, .cb = cb, .arg = arg};
    bool url_is_good = url_split(branch->try_url, trial);
    tcc->branches++;
    tcc->trying++;
    const char *wrong = try_wrong(tcc, url_is_good);
    snprintf(trial->id, sizeof(trial->id), "%02d", tcc->branches);
    trial->payload = slice_dup(slice_of(branch->payload));
    trial->payload_len = branch->payload.len;
    struct wire_message request = {.kind = WIRE_REGISTER,
                                   .register_branch = {.gid = gid_of(tcc),
                                                       .trans_type = slice_str("tcc"),
                                                       .branch_id = slice_str(trial->id),
                                                       .confirm = slice_str(branch->confirm),
                                                       .cancel = slice_str(branch->cancel),
                                                       .payload = slice_of(branch->payload)}};
    coordinator_ask(tcc->saga, &request, WIRE_SUBMIT_REPLY, 0, wrong, on_registered, trial);
}

/* ---- end ---- */

static void on_ended(void *arg, const struct saga_answer *answer)
{
    struct saga_tcc *tcc = arg;
    bool again = answer->error == SAGA_E_BUSY || answer->error == SAGA_E_UNAVAILABLE;
    saga_answer_cb cb = tcc->cb;
    void *cb_arg = tcc->arg;
    tcc->asking = false;
    if (!again) {
        tcc_end(tcc);
    }
    if (cb) {
        cb(cb_arg, answer);
    }
}

void saga_tcc_end(struct saga_tcc *tcc, bool confirm, saga_answer_cb cb, void *arg)
{
    check(!tcc->asking && !tcc->gone); /* one at a time, and not after the end */
    if (tcc->decision == OPEN) {
        tcc->decision = confirm && tcc->succeeded == tcc->branches ? CONFIRMED : CANCELLED;
    }
    tcc->asking = true;
    tcc->cb = cb;
    tcc->arg = arg;
    struct wire_message submit = {
        .kind = WIRE_SUBMIT,
        .submit = {.gid = gid_of(tcc),
                   .trans_type = slice_str("tcc"),
                   .wait_result = tcc->begin.wait,
                   .wait_timeout_ms = (uint32_t)tcc->begin.wait_timeout_ms}};
    struct wire_message cancel = {
        .kind = WIRE_ABORT,
        .abort = {.gid = gid_of(tcc),
                  .reason = slice_str(tcc->why[0] ? tcc->why : "cancelled by its initiator")}};
    struct saga_submission known = tcc->begin;
    known.branch_count = (size_t)tcc->branches;
    bool submits = tcc->decision == CONFIRMED;
    coordinator_ask(tcc->saga, submits ? &submit : &cancel, WIRE_SUBMIT_REPLY,
                    submits ? submission_wait_ms(&known) : 0, NULL, on_ended, tcc);
}
