/* A tcc whose tries this program calls by itself. */
#include "base/mem.h"
#include "two_phase.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct saga_tcc *saga_tcc_begin(struct saga *saga, const struct saga_submission *begin,
                                saga_answer_cb cb, void *arg)
{
    struct saga_tcc *tcc = mem_new(struct saga_tcc);
    two_phase_begin(&tcc->all, saga, "tcc", begin, cb, arg);
    return tcc;
}

/* One branch on its way: registered, then tried. */
struct trial {
    struct joining joining;
    struct participant_url url;
    char *payload;
    size_t payload_len;
    saga_response_cb cb;
    void *arg;
};

static void trial_end(struct trial *trial, const struct saga_response *response)
{
    bool ok = response->error == SAGA_E_NONE && response->result == SAGA_SUCCESS;
    const char *said = response->message && response->message[0] ? response->message : "not done";
    two_phase_count(&trial->joining, "try", ok ? NULL : said);
    if (trial->cb) {
        trial->cb(trial->arg, response);
    }
    two_phase_joined(&trial->joining);
    participant_url_fini(&trial->url);
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
    struct two_phase *all = trial->joining.all;
    if (answer->error != SAGA_E_NONE) {
        struct saga_response response = {
            .error = answer->error, .result = SAGA_ERROR, .message = answer->message};
        trial_end(trial, &response);
        return;
    }
    struct wire_call call = {
        .gid = all->gid,
        .branch_id = slice_str(trial->joining.id),
        .op = slice_str("try"),
        .trans_type = slice_str("tcc"),
        .method = slice_str(trial->url.method),
        .payload = slice_make(trial->payload, trial->payload_len),
        .headers = all->options.headers,
        .header_count = all->options.header_count,
    };
    int64_t asked_ms = all->options.request_timeout_ms;
    participant_call(all->saga, trial->url.address, &call,
                     asked_ms ? asked_ms : all->saga->timeout_ms, NULL, on_tried, trial);
}

static struct wire_register registration_of(const struct saga_branch *branch)
{
    return (struct wire_register){.confirm = slice_str(branch->confirm),
                                  .cancel = slice_str(branch->cancel),
                                  .payload = slice_of(branch->payload)};
}

/* What is registered has no calls of the coordinator's but the second phase. */
static const char *options_wrong(const struct saga_branch *branch)
{
    const struct saga_call_options *own = &branch->options;
    return own->request_timeout_ms || own->retry_interval_ms || own->header_count
               ? "options of a branch are for a declared tcc; here those of begin count for all"
               : NULL;
}

void saga_tcc_try(struct saga_tcc *tcc, const struct saga_branch *branch, saga_response_cb cb,
                  void *arg)
{
    struct trial *trial = mem_new(struct trial);
    *trial = (struct trial){.cb = cb, .arg = arg};
    const char *wrong = options_wrong(branch);
    const char *url_wrong = participant_url_init(&trial->url, branch->try_url);
    trial->payload = slice_dup(slice_of(branch->payload));
    trial->payload_len = branch->payload.len;
    struct wire_register urls = registration_of(branch);
    two_phase_join(&tcc->all, &trial->joining, &urls, wrong ? wrong : url_wrong, on_registered,
                   trial);
}

void saga_tcc_register(struct saga_tcc *tcc, const struct saga_branch *branch, saga_answer_cb cb,
                       void *arg)
{
    const char *wrong = options_wrong(branch);
    struct wire_register urls = registration_of(branch);
    if (!wrong && branch->try_url && branch->try_url[0]) {
        wrong = "who registers a branch calls its try by itself: try_url must be NULL";
    }
    two_phase_register(&tcc->all, &urls, wrong, cb, arg);
}

void saga_tcc_end(struct saga_tcc *tcc, bool confirm, saga_answer_cb cb, void *arg)
{
    two_phase_end(&tcc->all, confirm, cb, arg);
}
