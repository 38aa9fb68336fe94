/*
 * The user service. Redis model: under the tag {usr:<s>}, s = crc16(mobile) mod shards = id mod
 * shards, seq counter · u:<id> user hash · m:<mobile> → id · k:<mobile>:<key> idempotency keys ·
 *   br:<gid>:<branch> barrier
 */
#ifndef SERVICES_USER_USER_H
#define SERVICES_USER_USER_H

#include "mall/user.pb.h"
#include "services/common/data.h"
#include "services/user/password.h"

enum {
    USER_NAME_MAX = 255,
    USER_PASSWORD_MIN = 6,
    USER_PASSWORD_MAX = 128,
    USER_IDS_MAX = 1000000
};

struct user_settings {
    struct service_settings common;
    char *user_branch;  /* how sagad reaches this service: "tcp://user" */
    char *score_branch; /* and the score service */
    int64_t welcome_score;
    int64_t wait_ms;
    int64_t key_ttl_ms;
};

struct user_service {
    struct service service;
    struct user_settings settings;
    struct saga_script *save, *save_revert; /* gated */
    struct saga_script *new_id, *reserve;   /* plain */
    struct passwords *passwords;
};

enum { USER_KEY_SIZE = 192 };
int64_t user_shard_of_mobile(const struct user_service *user, struct slice mobile);
struct slice user_tag(const struct user_service *user, int64_t id, char out[USER_KEY_SIZE]);
struct slice user_key(const struct user_service *user, int64_t id, char out[USER_KEY_SIZE]);
/* 3 to 32 digits, a '+' may lead. */
bool user_mobile_is_valid(struct slice mobile);
struct slice user_mobile_key(int64_t shard, struct slice mobile, char out[USER_KEY_SIZE]);

/* ---- data; `record` is NULL unless the answer is OK ---- */

struct user_record {
    user_UserInfoResponse info;
    char pass[PASSWORD_HASH_SIZE];
};
typedef void (*user_cb)(void *arg, const struct data_answer *answer,
                        const struct user_record *record);

void user_load(struct user_service *user, int64_t id, user_cb cb, void *arg);
void user_load_by_mobile(struct user_service *user, struct slice mobile, user_cb cb, void *arg);
void user_new_id(struct user_service *user, int64_t shard, int64_t count, data_id_cb cb, void *arg);
/* One id, remembered under the idempotency key together with the hash of the password. A key that
 * is known gives what it was remembered with. */
void user_reserve(struct user_service *user, struct slice mobile, struct slice key,
                  struct slice asked, const char *pass, data_id_cb cb, void *arg);
/* Of the answer of user_reserve, when it is OK. */
struct slice user_reserved_pass(const struct data_answer *answer);

/* ---- logging in and registering, for the RPC and HTTP sides ---- */

/* Refused with "bad_login" alike for an unknown mobile number and a wrong password, after the same
 * time. */
void user_login(struct user_service *user, const user_LoginRequest *request, user_cb cb, void *arg);

struct user_registration { /* how a registration ended */
    enum { REGISTRATION_ENDED, REGISTRATION_FAILED } kind;
    struct data_answer failure; /* FAILED: before the saga, or the coordinator is away */
    int64_t id;
    const char *gid;
    const char *status; /* ENDED: "succeed", "failed", or still running */
    struct slice rollback_reason;
};
typedef void (*user_registration_cb)(void *arg, const struct user_registration *registration);
enum err user_register_check(const user_RegisterRequest *request, struct reason *reason) MUST_CHECK;
/* The saga of saveUser and saveUserScore; `key` is the idempotency key or NULL. */
void user_register(struct user_service *user, const user_RegisterRequest *request, const char *key,
                   user_registration_cb cb, void *arg);

/* ---- the sides ---- */

void user_rpc_register(struct user_service *user);
extern const struct web_route user_routes[];

#endif
