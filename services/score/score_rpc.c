#include "services/score/score.h"

#include "services/common/shard.h"
#include "wire/message.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const save_method = "score.UserScore/saveUserScore";
static const char *const revert_method = "score.UserScore/saveUserScoreCallback";

static void keys_add(struct score_keys *keys, int at, const char *suffix)
{
    char tag[SCORE_KEY_SIZE]; /* a copy: gcc takes two members of one struct for overlapping */
    memcpy(tag, keys->tag, sizeof(tag));
    snprintf(keys->text[at], SCORE_KEY_SIZE, "%.24s%s", tag, suffix);
    keys->list[at] = saga_text(keys->text[at]);
}

void score_keys_make(const struct score_service *score, int64_t uid, bool with_counter,
                     struct score_keys *keys)
{
    char ledger[32], account[32];
    int at = 0;
    snprintf(keys->tag, SCORE_KEY_SIZE, "{scr:%" PRId64 "}",
             shard_of(uid, score->settings.common.shards));
    snprintf(ledger, sizeof(ledger), ":l:%" PRId64, uid);
    snprintf(account, sizeof(account), ":a:%" PRId64, uid);
    if (with_counter) {
        keys_add(keys, at++, ":seq");
    }
    keys_add(keys, at++, ledger);
    keys_add(keys, at++, account);
    keys_add(keys, at, ":i");
}

static bool decode(struct saga_call *call, score_UserScoreRequest *request)
{
    if (!data_decode(call, score_UserScoreRequest_fields, request)) {
        return false;
    }
    /* The undo of what was refused must end: it finds that nothing was recorded. */
    if (request->user_id < 1 && service_may_refuse(call)) {
        saga_call_reply(call, SAGA_FAILURE, saga_text(""), "bad_user: user_id must be 1 or more");
        return false;
    }
    return true;
}

static void save_done(void *arg, struct saga_call *call, const struct saga_outcome *outcome)
{
    struct score_service *score = arg;
    /* The reply repeats the request, as the tutorial's service does. */
    service_settle(&score->service, call, save_method, outcome, saga_call_payload(call));
}

static void on_save(void *arg, struct saga_call *call)
{
    struct score_service *score = arg;
    score_UserScoreRequest request = score_UserScoreRequest_init_zero;
    if (!decode(call, &request)) {
        return;
    }
    struct score_keys keys;
    char uid[DATA_NUMBER_SIZE], points[DATA_NUMBER_SIZE], most[DATA_NUMBER_SIZE];
    score_keys_make(score, request.user_id, true, &keys);
    struct saga_bytes args[] = {service_bytes(data_number(request.user_id, uid)),
                                service_bytes(data_number(request.score, points)),
                                service_bytes(data_number(score->settings.grant_max, most))};
    saga_call_eval(call, &(struct saga_eval){.script = score->save,
                                             .tag = keys.tag,
                                             .keys = keys.list,
                                             .key_count = 4,
                                             .args = args,
                                             .arg_count = 3,
                                             .done = save_done,
                                             .arg = score});
}

static void revert_done(void *arg, struct saga_call *call, const struct saga_outcome *outcome)
{
    struct score_service *score = arg;
    if (outcome->verdict == SAGA_OK && slice_eq_str(service_slice(outcome->text), "absent")) {
        service_alert(&score->service, call, "compensation found no ledger entry");
    }
    service_settle(&score->service, call, revert_method, outcome, saga_text(""));
}

static void on_save_revert(void *arg, struct saga_call *call)
{
    struct score_service *score = arg;
    score_UserScoreRequest request = score_UserScoreRequest_init_zero;
    if (!decode(call, &request)) {
        return;
    }
    struct score_keys keys;
    score_keys_make(score, request.user_id, false, &keys);
    saga_call_eval(call, &(struct saga_eval){.script = score->save_revert,
                                             .tag = keys.tag,
                                             .keys = keys.list,
                                             .key_count = 3,
                                             .done = revert_done,
                                             .arg = score});
}

static void on_loaded(void *arg, const struct data_answer *answer,
                      const score_DetailResponse *detail)
{
    data_reply_call(arg, answer, score_DetailResponse_fields, detail);
}

static void on_detail(void *arg, struct saga_call *call)
{
    score_DetailRequest request = score_DetailRequest_init_zero;
    if (data_decode(call, score_DetailRequest_fields, &request)) {
        score_load(arg, request.user_id, on_loaded, call);
    }
}

void score_rpc_register(struct score_service *score)
{
    struct saga *saga = score->service.saga;
    saga_on_branch(saga, save_method, on_save, score);
    saga_on_branch(saga, revert_method, on_save_revert, score);
    score_deduct_register(score);
    saga_on_request(saga, "score.UserScore/Detail", on_detail, score);
}
