#include "services/user/user.h"

#include "base/mem.h"
#include "wire/message.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

/* ---- branches ---- */

static const char *const save_method = "user.User/saveUser";
static const char *const revert_method = "user.User/saveUserCallback";

static void settle(struct user_service *user, struct saga_call *call, const char *method,
                   const struct saga_outcome *outcome)
{
    user_UserRequest request = user_UserRequest_init_zero;
    user_UserResponse response = user_UserResponse_init_zero;
    struct buf payload = {0};
    if (wire_pb_decode(user_UserRequest_fields, &request, service_slice(saga_call_payload(call))) ==
        ERR_OK) {
        memcpy(response.id, request.id, sizeof(response.id));
        memcpy(response.name, request.name, sizeof(response.name));
        memcpy(response.gender, request.gender, sizeof(response.gender));
        wire_pb_encode(user_UserResponse_fields, &response, &payload);
    }
    service_settle(&user->service, call, method, outcome,
                   (struct saga_bytes){payload.data, payload.len});
    buf_fini(&payload);
}

static void save_done(void *arg, struct saga_call *call, const struct saga_outcome *outcome)
{
    settle(arg, call, save_method, outcome);
}

static void revert_done(void *arg, struct saga_call *call, const struct saga_outcome *outcome)
{
    struct user_service *user = arg;
    if (outcome->verdict == SAGA_OK && slice_eq_str(service_slice(outcome->text), "absent")) {
        service_alert(&user->service, call, "compensation found no user of its own");
    }
    settle(user, call, revert_method, outcome);
}

/* Decodes and checks; answers itself when something is wrong. What makes an action refuse does not
 * stop its undo: that must end, and finds that nothing was recorded. */
static bool decode(struct saga_call *call, user_UserRequest *request, int64_t *id)
{
    if (!data_decode(call, user_UserRequest_fields, request)) {
        return false;
    }
    struct slice mobile = slice_str(request->mobile);
    bool id_ok = slice_to_int64(slice_str(request->id), id) && *id >= 1;
    if (!id_ok) {
        *id = 0;
    }
    bool ok = id_ok && (mobile.len == 0 || user_mobile_is_valid(mobile));
    if (!ok && !saga_call_is_undo(call)) {
        saga_call_reply(call, SAGA_FAILURE, saga_text(""),
                        "bad_user: id must be a number from NewId, mobile 3 to 32 digits");
        return false;
    }
    return true;
}

/* The user's hash, and the index of the mobile number when there is one: it lies in the same shard,
 * because the id was allocated there. */
static size_t make_keys(const struct user_service *user, const user_UserRequest *request,
                        int64_t id, char text[2][USER_KEY_SIZE], struct saga_bytes keys[2])
{
    int64_t shard = id % user->settings.common.shards;
    keys[0] = service_bytes(user_key(user, id, text[0]));
    keys[1] = service_bytes(user_mobile_key(shard, slice_str(request->mobile), text[1]));
    return request->mobile[0] ? 2 : 1;
}

static void eval(struct user_service *user, struct saga_call *call, const struct saga_eval *what,
                 const user_UserRequest *request, int64_t id)
{
    char tag[USER_KEY_SIZE], text[2][USER_KEY_SIZE];
    struct saga_bytes keys[2];
    struct saga_eval full = *what;
    user_tag(user, id, tag);
    full.tag = tag;
    full.keys = keys;
    full.key_count = make_keys(user, request, id, text, keys);
    full.arg = user;
    saga_call_eval(call, &full);
}

static void on_save(void *arg, struct saga_call *call)
{
    struct user_service *user = arg;
    user_UserRequest request = user_UserRequest_init_zero;
    int64_t id;
    if (!decode(call, &request, &id)) {
        return;
    }
    struct slice mobile = slice_str(request.mobile);
    if (mobile.len > 0 && user_shard_of_mobile(user, mobile) != id % user->settings.common.shards) {
        saga_call_reply(call, SAGA_FAILURE, saga_text(""),
                        "bad_user: the id was not allocated (NewId) for this mobile number");
        return;
    }
    struct saga_bytes args[] = {saga_text(request.id), saga_text(request.name),
                                saga_text(request.gender), saga_text(request.mobile),
                                saga_text(request.pass)};
    eval(user, call,
         &(struct saga_eval){.script = user->save, .args = args, .arg_count = 5, .done = save_done},
         &request, id);
}

static void on_save_revert(void *arg, struct saga_call *call)
{
    struct user_service *user = arg;
    user_UserRequest request = user_UserRequest_init_zero;
    int64_t id;
    if (!decode(call, &request, &id)) {
        return;
    }
    struct saga_bytes args[] = {saga_text(request.id), saga_text(request.mobile)};
    eval(user, call,
         &(struct saga_eval){
             .script = user->save_revert, .args = args, .arg_count = 2, .done = revert_done},
         &request, id);
}

/* Check changes nothing, so it needs no barrier: a plain request, and a branch without
 * compensation. */
static void on_checked(void *arg, const struct data_answer *answer,
                       const struct user_record *record)
{
    (void)record;
    data_reply_call(arg, answer, NULL, NULL);
}

static void on_check(void *arg, struct saga_call *call)
{
    user_UserInfoRequest request = user_UserInfoRequest_init_zero;
    if (data_decode(call, user_UserInfoRequest_fields, &request)) {
        user_load(arg, request.id, on_checked, call);
    }
}

/* ---- plain requests ---- */

static void on_info_loaded(void *arg, const struct data_answer *answer,
                           const struct user_record *record)
{
    data_reply_call(arg, answer, user_UserInfoResponse_fields, record ? &record->info : NULL);
}

static void on_info(void *arg, struct saga_call *call)
{
    user_UserInfoRequest request = user_UserInfoRequest_init_zero;
    if (data_decode(call, user_UserInfoRequest_fields, &request)) {
        user_load(arg, request.id, on_info_loaded, call);
    }
}

static void on_login(void *arg, struct saga_call *call)
{
    /* The response of Login has the fields of UserInfoResponse. */
    user_LoginRequest request = user_LoginRequest_init_zero;
    if (data_decode(call, user_LoginRequest_fields, &request)) {
        user_login(arg, &request, on_info_loaded, call);
    }
    OPENSSL_cleanse(&request, sizeof(request));
}

struct request {
    struct user_service *user;
    struct saga_call *call;
    user_RegisterResponse response;
    int64_t count;
};

static struct data_answer judge(const struct user_registration *registration)
{
    if (registration->kind == REGISTRATION_FAILED) {
        return registration->failure;
    }
    if (strcmp(registration->status, "succeed") == 0) {
        return (struct data_answer){DATA_OK, slice_str(""), NULL};
    }
    if (strcmp(registration->status, "failed") == 0) {
        struct slice why = service_unwrap_reason(registration->rollback_reason);
        return (struct data_answer){DATA_REFUSED, why, NULL};
    }
    return (struct data_answer){
        DATA_AWAY, slice_str("the registration goes on, it has not ended in time"), NULL};
}

static void on_registered(void *arg, const struct user_registration *registration)
{
    struct request *request = arg;
    struct data_answer answer = judge(registration);
    request->response.id = registration->id;
    data_reply_call(request->call, &answer, user_RegisterResponse_fields, &request->response);
    free(request);
}

static void start_registration(struct user_service *user, struct saga_call *call,
                               const user_RegisterRequest *message)
{
    struct reason reason;
    if (user_register_check(message, &reason) != ERR_OK) {
        data_refuse_call(call, &reason);
        return;
    }
    struct request *request = mem_new(struct request);
    request->call = call;
    request->response.gender = message->gender;
    memcpy(request->response.name, message->name, sizeof(message->name));
    memcpy(request->response.mobile, message->mobile, sizeof(message->mobile));
    user_register(user, message, NULL, on_registered, request);
}

static void on_register(void *arg, struct saga_call *call)
{
    user_RegisterRequest message = user_RegisterRequest_init_zero;
    if (data_decode(call, user_RegisterRequest_fields, &message)) {
        start_registration(arg, call, &message);
    }
    OPENSSL_cleanse(&message, sizeof(message));
}

static void on_new_ids(void *arg, const struct data_answer *answer, int64_t first)
{
    struct request *request = arg;
    user_NewIdResponse response = {
        .first = first, .step = request->user->settings.common.shards, .count = request->count};
    data_reply_call(request->call, answer, user_NewIdResponse_fields, &response);
    free(request);
}

static void on_new_id(void *arg, struct saga_call *call)
{
    struct user_service *user = arg;
    user_NewIdRequest message = user_NewIdRequest_init_zero;
    if (!data_decode(call, user_NewIdRequest_fields, &message)) {
        return;
    }
    int64_t count = message.count ? message.count : 1;
    if (count < 1 || count > USER_IDS_MAX) {
        saga_call_reply(call, SAGA_FAILURE, saga_text(""),
                        "bad_request: count must be 1 to 1000000");
        return;
    }
    struct request *request = mem_new(struct request);
    request->user = user;
    request->call = call;
    request->count = count;
    user_new_id(user, user_shard_of_mobile(user, slice_str(message.mobile)), count, on_new_ids,
                request);
}

void user_rpc_register(struct user_service *user)
{
    struct saga *saga = user->service.saga;
    saga_on_branch(saga, save_method, on_save, user);
    saga_on_branch(saga, revert_method, on_save_revert, user);
    saga_on_branch(saga, "user.User/Check", on_check, user);
    saga_on_request(saga, "user.User/Check", on_check, user);
    saga_on_request(saga, "user.User/UserInfo", on_info, user);
    saga_on_request(saga, "user.User/Login", on_login, user);
    saga_on_request(saga, "user.User/Register", on_register, user);
    saga_on_request(saga, "user.User/NewId", on_new_id, user);
}
