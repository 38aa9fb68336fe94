#include "services/user/user.h"

#include "base/mem.h"
#include "redis/redis.h"
#include "services/common/shard.h"

#include <stdio.h>
#include <stdlib.h>

int64_t user_shard_of_mobile(const struct user_service *user, struct slice mobile)
{
    return shard_of(redis_crc16(mobile), user->settings.common.shards);
}

static int64_t shard(const struct user_service *user, int64_t id)
{
    return shard_of(id, user->settings.common.shards);
}

struct slice user_tag(const struct user_service *user, int64_t id, char out[USER_KEY_SIZE])
{
    int n = snprintf(out, USER_KEY_SIZE, "{usr:%lld}", (long long)shard(user, id));
    return slice_make(out, (size_t)n);
}

struct slice user_key(const struct user_service *user, int64_t id, char out[USER_KEY_SIZE])
{
    int n = snprintf(out, USER_KEY_SIZE, "{usr:%lld}:u:%lld", (long long)shard(user, id),
                     (long long)id);
    return slice_make(out, (size_t)n);
}

bool user_mobile_is_valid(struct slice mobile)
{
    size_t digits = mobile.len;
    const char *at = mobile.ptr;
    if (digits > 0 && *at == '+') {
        at++;
        digits--;
    }
    for (size_t i = 0; i < digits; i++) {
        if (at[i] < '0' || at[i] > '9') {
            return false;
        }
    }
    return digits >= 3 && digits <= 32;
}

struct slice user_mobile_key(int64_t shard_number, struct slice mobile, char out[USER_KEY_SIZE])
{
    int n = snprintf(out, USER_KEY_SIZE, "{usr:%lld}:m:%.*s", (long long)shard_number,
                     SLICE_ARG(mobile));
    return slice_make(out, (size_t)n);
}

/* ---- reading ---- */

static const struct data_answer no_user = {DATA_REFUSED,
                                           SLICE_LIT("no_user: there is no such user"), NULL};

struct load {
    struct user_service *user;
    user_cb cb;
    void *arg;
};

static struct load *load_new(struct user_service *user, user_cb cb, void *arg)
{
    struct load *load = mem_new(struct load);
    *load = (struct load){user, cb, arg};
    return load;
}

static void on_load(void *arg, const struct data_answer *answer)
{
    struct load *load = arg;
    const struct redis_value *hash = answer->value;
    if (answer->kind != DATA_OK) {
        load->cb(load->arg, answer, NULL);
    } else if (redis_value_count(hash) == 0) {
        load->cb(load->arg, &no_user, NULL);
    } else {
        struct user_record record = {
            .info = {.id = data_int(hash, "id"), .gender = data_int(hash, "gender")}};
        data_copy(data_text(hash, "name"), record.info.name, sizeof(record.info.name));
        data_copy(data_text(hash, "mobile"), record.info.mobile, sizeof(record.info.mobile));
        data_copy(data_text(hash, "pass"), record.pass, sizeof(record.pass));
        load->cb(load->arg, answer, &record);
    }
    free(load);
}

void user_load(struct user_service *user, int64_t id, user_cb cb, void *arg)
{
    char key[USER_KEY_SIZE];
    struct slice argv[] = {SLICE_LIT("HGETALL"), user_key(user, id, key)};
    data_read(user->service.saga, argv, 2, on_load, load_new(user, cb, arg));
}

static void on_mobile(void *arg, const struct data_answer *answer)
{
    struct load *load = arg;
    int64_t id = answer->kind == DATA_OK ? redis_value_int(answer->value) : 0;
    if (id > 0) {
        user_load(load->user, id, load->cb, load->arg);
    } else {
        load->cb(load->arg, answer->kind == DATA_OK ? &no_user : answer, NULL);
    }
    free(load);
}

void user_load_by_mobile(struct user_service *user, struct slice mobile, user_cb cb, void *arg)
{
    char key[USER_KEY_SIZE];
    struct slice argv[] = {SLICE_LIT("GET"),
                           user_mobile_key(user_shard_of_mobile(user, mobile), mobile, key)};
    data_read(user->service.saga, argv, 2, on_mobile, load_new(user, cb, arg));
}

/* ---- ids ---- */

static struct slice counter_key(int64_t shard_number, char out[USER_KEY_SIZE])
{
    int n = snprintf(out, USER_KEY_SIZE, "{usr:%lld}:seq", (long long)shard_number);
    return slice_make(out, (size_t)n);
}

void user_new_id(struct user_service *user, int64_t shard_number, int64_t count, data_id_cb cb,
                 void *arg)
{
    char key[USER_KEY_SIZE], number[DATA_NUMBER_SIZE];
    struct slice keys[] = {counter_key(shard_number, key)};
    struct slice args[] = {data_number(count, number)};
    data_take_id(user->service.saga, &(struct data_script_call){user->new_id, keys, 1, args, 1},
                 shard_number, user->settings.common.shards, cb, arg);
}

void user_reserve(struct user_service *user, struct slice mobile, struct slice key,
                  struct slice asked, const char *pass, data_id_cb cb, void *arg)
{
    int64_t shard_number = user_shard_of_mobile(user, mobile);
    char seq[USER_KEY_SIZE], ttl[DATA_NUMBER_SIZE];
    struct buf record = {0};
    buf_printf(&record, "{usr:%lld}:k:%.*s:%.*s", (long long)shard_number, SLICE_ARG(mobile),
               SLICE_ARG(key));
    struct slice keys[] = {counter_key(shard_number, seq), buf_slice(&record)};
    struct slice args[] = {asked, slice_str(pass), data_number(user->settings.key_ttl_ms, ttl)};
    data_take_id(user->service.saga, &(struct data_script_call){user->reserve, keys, 2, args, 3},
                 shard_number, user->settings.common.shards, cb, arg);
    buf_fini(&record);
}

struct slice user_reserved_pass(const struct data_answer *answer)
{
    return redis_value_str(redis_value_at(answer->value, 2));
}
