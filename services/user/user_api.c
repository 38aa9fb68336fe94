/* The HTTP API of the user service. */
#include "services/user/user.h"

#include "base/clock.h"
#include "base/mem.h"
#include "services/common/token.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

static void put_info(struct json_writer *w, const user_UserInfoResponse *info)
{
    json_put_int(w, "id", info->id);
    json_put_text(w, "name", info->name);
    json_put_int(w, "gender", info->gender);
    json_put_text(w, "mobile", info->mobile);
}

/* ---- login ---- */

struct login {
    struct user_service *user;
    struct web_request *request;
};

static void on_login(void *arg, const struct data_answer *answer, const struct user_record *record)
{
    struct login *login = arg;
    if (answer->kind == DATA_REFUSED) {
        web_fail(login->request, 401, "bad_login", "mobile number or password is wrong");
    } else if (answer->kind != DATA_OK) {
        data_fail_web(login->request, answer);
    } else {
        int64_t now_s = clock_wall_ms() / 1000;
        char *token = token_sign(login->user->service.jwt_secret, record->info.id, now_s);
        struct web_answer body;
        struct json_writer *w = web_answer_begin(&body);
        json_open_object(w, NULL);
        json_put_text(w, "accessToken", token);
        json_put_int(w, "accessExpire", now_s + TOKEN_LIFE_S);
        json_close_object(w);
        web_answer_send(&body, login->request, 200);
        free(token);
    }
    free(login);
}

static void handle_login(void *arg, struct web_request *request)
{
    struct reason reason;
    user_LoginRequest message = user_LoginRequest_init_zero;
    enum err err =
        web_need_copy(request, "mobile", 1, 33, message.mobile, sizeof(message.mobile), &reason);
    if (err == ERR_OK) {
        err = web_need_copy(request, "password", 1, USER_PASSWORD_MAX, message.password,
                            sizeof(message.password), &reason);
    }
    if (err == ERR_OK) {
        struct login *login = mem_new(struct login);
        *login = (struct login){arg, request};
        user_login(arg, &message, on_login, login);
    } else {
        web_refuse(request, &reason);
    }
    OPENSSL_cleanse(&message, sizeof(message));
}

/* ---- register ---- */

struct registering {
    struct web_request *request;
    user_UserInfoResponse info;
};

static void on_registered(void *arg, const struct user_registration *registration)
{
    struct registering *registering = arg;
    if (registration->kind == REGISTRATION_FAILED) {
        data_fail_web(registering->request, &registration->failure);
        free(registering);
        return;
    }
    struct web_answer body;
    struct json_writer *w = web_answer_begin(&body);
    int status = service_http_status(registration->status);
    json_open_object(w, NULL);
    if (status == 409) {
        service_put_failure(w, registration->rollback_reason, "registration_failed");
    } else {
        registering->info.id = registration->id;
        put_info(w, &registering->info);
    }
    json_put_text(w, "gid", registration->gid);
    json_put_text(w, "status", registration->status);
    json_close_object(w);
    web_answer_send(&body, registering->request, status);
    free(registering);
}

static enum err read_registration(const struct web_request *request, user_RegisterRequest *message,
                                  struct reason *reason)
{
    enum err err = web_need_copy(request, "name", 1, USER_NAME_MAX, message->name,
                                 sizeof(message->name), reason);
    if (err == ERR_OK) {
        err = json_read_int(request->body, "gender", 0, 255, &message->gender, reason);
    }
    if (err == ERR_OK) {
        err = web_need_copy(request, "mobile", 1, 33, message->mobile, sizeof(message->mobile),
                            reason);
    }
    if (err == ERR_OK) {
        err = web_need_copy(request, "password", 1, USER_PASSWORD_MAX, message->password,
                            sizeof(message->password), reason);
    }
    if (err == ERR_OK) {
        err = web_check_key(request, reason);
    }
    return err == ERR_OK ? user_register_check(message, reason) : err;
}

static void start_registration(struct user_service *user, struct web_request *request,
                               const user_RegisterRequest *message)
{
    struct registering *registering = mem_new(struct registering);
    registering->request = request;
    registering->info.gender = message->gender;
    memcpy(registering->info.name, message->name, sizeof(message->name));
    memcpy(registering->info.mobile, message->mobile, sizeof(message->mobile));
    user_register(user, message, web_header(request, "Idempotency-Key"), on_registered,
                  registering);
}

static void handle_register(void *arg, struct web_request *request)
{
    struct reason reason;
    user_RegisterRequest message = user_RegisterRequest_init_zero;
    if (read_registration(request, &message, &reason) == ERR_OK) {
        start_registration(arg, request, &message);
    } else {
        web_refuse(request, &reason);
    }
    OPENSSL_cleanse(&message, sizeof(message));
}

/* ---- userinfo ---- */

static void on_info(void *arg, const struct data_answer *answer, const struct user_record *record)
{
    if (answer->kind != DATA_OK) {
        data_fail_web(arg, answer);
        return;
    }
    struct web_answer body;
    struct json_writer *w = web_answer_begin(&body);
    json_open_object(w, NULL);
    put_info(w, &record->info);
    json_close_object(w);
    web_answer_send(&body, arg, 200);
}

static void handle_userinfo(void *arg, struct web_request *request)
{
    user_load(arg, request->uid, on_info, request);
}

const struct web_route user_routes[] = {
    {"/api/user/register", true, handle_register},
    {"/api/user/login", true, handle_login},
    {"/api/user/userinfo", false, handle_userinfo},
    {NULL, false, NULL},
};
