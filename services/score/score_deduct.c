/* Points that pay for an order: the branches of a TCC. Try moves them from `total` to `frozen` of
 * the account, Confirm spends them, Cancel moves them back. */
#include "services/score/score.h"

static const char *const try_method = "score.UserScore/TryDeduct";
static const char *const confirm_method = "score.UserScore/ConfirmDeduct";
static const char *const cancel_method = "score.UserScore/CancelDeduct";

static bool decode(struct saga_call *call, score_DeductRequest *request)
{
    if (!data_decode(call, score_DeductRequest_fields, request)) {
        return false;
    }
    if (request->user_id < 1 && service_may_refuse(call)) {
        saga_call_reply(call, SAGA_FAILURE, saga_text(""), "bad_user: user_id must be 1 or more");
        return false;
    }
    return true;
}

/* Of the account alone. */
static void eval_account(struct score_service *score, struct saga_call *call,
                         const struct saga_script *script, saga_eval_done done)
{
    score_DeductRequest request = score_DeductRequest_init_zero;
    if (!decode(call, &request)) {
        return;
    }
    struct score_keys keys;
    char points[DATA_NUMBER_SIZE];
    score_keys_make(score, request.user_id, false, &keys);
    struct saga_bytes args[] = {service_bytes(data_number(request.score, points))};
    saga_call_eval(call, &(struct saga_eval){.script = script,
                                             .tag = keys.tag,
                                             .keys = &keys.list[1],
                                             .key_count = 1,
                                             .args = args,
                                             .arg_count = 1,
                                             .done = done,
                                             .arg = score});
}

static void try_done(void *arg, struct saga_call *call, const struct saga_outcome *outcome)
{
    struct score_service *score = arg;
    service_settle(&score->service, call, try_method, outcome, saga_text(""));
}

static void on_try(void *arg, struct saga_call *call)
{
    struct score_service *score = arg;
    eval_account(score, call, score->deduct_try, try_done);
}

static void cancel_done(void *arg, struct saga_call *call, const struct saga_outcome *outcome)
{
    struct score_service *score = arg;
    service_settle(&score->service, call, cancel_method, outcome, saga_text(""));
}

static void on_cancel(void *arg, struct saga_call *call)
{
    struct score_service *score = arg;
    eval_account(score, call, score->deduct_cancel, cancel_done);
}

static void confirm_done(void *arg, struct saga_call *call, const struct saga_outcome *outcome)
{
    struct score_service *score = arg;
    service_settle(&score->service, call, confirm_method, outcome, saga_text(""));
}

static void on_confirm(void *arg, struct saga_call *call)
{
    struct score_service *score = arg;
    score_DeductRequest request = score_DeductRequest_init_zero;
    if (!decode(call, &request)) {
        return;
    }
    struct score_keys keys;
    char uid[DATA_NUMBER_SIZE];
    score_keys_make(score, request.user_id, true, &keys);
    struct saga_bytes args[] = {service_bytes(data_number(request.user_id, uid))};
    saga_call_eval(call, &(struct saga_eval){.script = score->deduct_confirm,
                                             .tag = keys.tag,
                                             .keys = keys.list,
                                             .key_count = SCORE_KEYS_MAX,
                                             .args = args,
                                             .arg_count = 1,
                                             .done = confirm_done,
                                             .arg = score});
}

void score_deduct_register(struct score_service *score)
{
    struct saga *saga = score->service.saga;
    saga_on_branch(saga, try_method, on_try, score);
    saga_on_branch(saga, confirm_method, on_confirm, score);
    saga_on_branch(saga, cancel_method, on_cancel, score);
}
