/*
 * Registration: the password is hashed, an id allocated, and the saga submitted:
 *
 *     01  user.User/saveUser             undone by  user.User/saveUserCallback
 *     02  score.UserScore/saveUserScore  undone by  score.UserScore/saveUserScoreCallback
 *
 * With an idempotency key the id, the gid and the hash of the password are those of the first
 * request with that key and mobile number. A repeat hashes its password once more, with the salt of
 * the first: another password is another request.
 */
#include "services/user/user.h"

#include "base/log.h"
#include "base/mem.h"
#include "mall/score.pb.h"

#include <inttypes.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>

enum { GID_SIZE = 384 };

static const char too_many[] = "too many registrations at once";
/* In the words of id_reserve.lua, which compares the rest. */
static const struct data_answer key_reused = {
    DATA_REFUSED, SLICE_LIT("key_reused: this idempotency key came with another request before"),
    NULL};

struct registration {
    struct user_service *user;
    user_RegisterRequest request;
    char *key; /* or NULL */
    char pass[PASSWORD_HASH_SIZE];
    int64_t id;
    char gid[GID_SIZE];
    user_registration_cb cb;
    void *arg;
};

static void finish(struct registration *registration, const struct user_registration *result)
{
    registration->cb(registration->arg, result);
    OPENSSL_cleanse(&registration->request, sizeof(registration->request));
    free(registration->key);
    free(registration);
}

static void fail(struct registration *registration, const struct data_answer *answer)
{
    struct user_registration result = {.kind = REGISTRATION_FAILED, .failure = *answer};
    finish(registration, &result);
}

static void fail_away(struct registration *registration, const char *why)
{
    struct data_answer away = {DATA_AWAY, slice_str(why), NULL};
    fail(registration, &away);
}

static void on_submitted(void *arg, const struct saga_answer *saga)
{
    struct registration *registration = arg;
    if (saga->error == SAGA_E_INVALID) {
        log_error("user", "msg=\"the coordinator refused a registration\" error=\"%s\"",
                  saga->message);
        fail(registration, &(struct data_answer){DATA_BROKEN, slice_str("internal error"), NULL});
        return;
    }
    if (saga->error != SAGA_E_NONE) {
        fail_away(registration, saga->message);
        return;
    }
    struct user_registration result = {.kind = REGISTRATION_ENDED,
                                       .id = registration->id,
                                       .gid = registration->gid,
                                       .status = saga->status,
                                       .rollback_reason = service_slice(saga->rollback_reason)};
    finish(registration, &result);
}

static void submit(struct registration *registration)
{
    const struct user_settings *settings = &registration->user->settings;
    const user_RegisterRequest *request = &registration->request;
    user_UserRequest save = user_UserRequest_init_zero;
    score_UserScoreRequest grant = {.user_id = registration->id,
                                    .score = (int32_t)settings->welcome_score};
    snprintf(save.id, sizeof(save.id), "%" PRId64, registration->id);
    snprintf(save.name, sizeof(save.name), "%s", request->name);
    snprintf(save.gender, sizeof(save.gender), "%" PRId64, request->gender);
    snprintf(save.mobile, sizeof(save.mobile), "%s", request->mobile);
    snprintf(save.pass, sizeof(save.pass), "%s", registration->pass);
    const struct service_branch branches[] = {
        {settings->user_branch, "user.User/saveUser", "user.User/saveUserCallback",
         user_UserRequest_fields, &save, NULL},
        {settings->score_branch, "score.UserScore/saveUserScore",
         "score.UserScore/saveUserScoreCallback", score_UserScoreRequest_fields, &grant, NULL},
    };
    service_submit(&registration->user->service,
                   &(struct service_submission){.gid = registration->gid,
                                                .branches = branches,
                                                .branch_count = 2,
                                                .wait = true,
                                                .wait_ms = settings->wait_ms},
                   on_submitted, registration);
}

static void on_hash_again(void *arg, enum err err, const char *hash)
{
    struct registration *registration = arg;
    if (err != ERR_OK) {
        fail_away(registration, too_many);
    } else if (password_equals(hash, registration->pass)) {
        submit(registration);
    } else {
        fail(registration, &key_reused);
    }
}

static void submit_keyed(struct registration *registration, struct slice pass)
{
    /* With the id: a key that comes again after it was forgotten is another registration. */
    snprintf(registration->gid, sizeof(registration->gid), "register:%s:%" PRId64 ":%s",
             registration->request.mobile, registration->id, registration->key);
    if (slice_eq_str(pass, registration->pass)) {
        submit(registration);
        return;
    }
    data_copy(pass, registration->pass, sizeof(registration->pass));
    password_hash_like(registration->user->passwords, registration->request.password,
                       registration->pass, on_hash_again, registration);
}

static void on_id(void *arg, const struct data_answer *answer, int64_t id)
{
    struct registration *registration = arg;
    if (answer->kind != DATA_OK) {
        fail(registration, answer);
        return;
    }
    registration->id = id;
    if (registration->key) {
        submit_keyed(registration, user_reserved_pass(answer));
    } else {
        saga_gid(registration->gid);
        submit(registration);
    }
}

static void allocate_id(struct registration *registration)
{
    struct user_service *user = registration->user;
    const user_RegisterRequest *request = &registration->request;
    struct slice mobile = slice_str(request->mobile);
    if (!registration->key) {
        user_new_id(user, user_shard_of_mobile(user, mobile), 1, on_id, registration);
        return;
    }
    struct buf asked = {0};
    buf_printf(&asked, "%" PRId64 "|%s", request->gender, request->name);
    user_reserve(user, mobile, slice_str(registration->key), buf_slice(&asked), registration->pass,
                 on_id, registration);
    buf_fini(&asked);
}

static void on_hash(void *arg, enum err err, const char *hash)
{
    struct registration *registration = arg;
    if (err != ERR_OK) {
        fail_away(registration, too_many);
        return;
    }
    snprintf(registration->pass, sizeof(registration->pass), "%s", hash);
    allocate_id(registration);
}

static enum err check_chars(const char *field, const char *text, size_t min, size_t max,
                            struct reason *reason)
{
    struct slice s = slice_str(text);
    size_t chars = utf8_is_valid(s) ? utf8_length(s) : 0;
    if (chars < min || chars > max || utf8_has_control(s)) {
        return reason_set(reason, ERR_INVALID,
                          "field '%s': allowed are %zu to %zu characters, no control characters",
                          field, min, max);
    }
    return ERR_OK;
}

enum err user_register_check(const user_RegisterRequest *request, struct reason *reason)
{
    enum err err = check_chars("name", request->name, 1, USER_NAME_MAX, reason);
    if (err == ERR_OK) {
        err = check_chars("password", request->password, USER_PASSWORD_MIN, USER_PASSWORD_MAX,
                          reason);
    }
    if (err == ERR_OK && (request->gender < 0 || request->gender > 255)) {
        err = reason_set(reason, ERR_INVALID, "field 'gender': allowed are 0 to 255");
    }
    if (err == ERR_OK && !user_mobile_is_valid(slice_str(request->mobile))) {
        err = reason_set(reason, ERR_INVALID,
                         "field 'mobile': allowed are 3 to 32 digits, a '+' may lead");
    }
    return err;
}

void user_register(struct user_service *user, const user_RegisterRequest *request, const char *key,
                   user_registration_cb cb, void *arg)
{
    struct registration *registration = mem_new(struct registration);
    registration->user = user;
    registration->request = *request;
    registration->key = key ? mem_strdup(key) : NULL;
    registration->cb = cb;
    registration->arg = arg;
    password_hash(user->passwords, request->password, on_hash, registration);
}
