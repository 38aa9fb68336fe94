/*
 * The score service: points of users, a ledger entry for each grant. Redis model: under the tag
 * {scr:<s>}, s = user id mod shards, seq counter · l:<uid> ledger: entry → "score|gid|branch|ms" ·
 * a:<uid> account: total, frozen, count · i entry → uid · br:<gid>:<branch> barrier. `frozen` is
 * held by TCCs under way: total + frozen = sum of the ledger.
 */
#ifndef SERVICES_SCORE_SCORE_H
#define SERVICES_SCORE_SCORE_H

#include "mall/score.pb.h"
#include "services/common/data.h"

enum { SCORE_ENTRIES_MAX = 50 }; /* of one answer, the newest */

struct score_settings {
    struct service_settings common;
    int64_t grant_max; /* most points of one grant */
};

struct score_service {
    struct service service;
    struct score_settings settings;
    struct saga_script *save, *save_revert; /* gated, as the next */
    struct saga_script *deduct_try, *deduct_confirm, *deduct_cancel;
};

typedef void (*score_cb)(void *arg, const struct data_answer *answer,
                         const score_DetailResponse *detail);
/* Total and newest entries; a user without points has total 0 and none. */
void score_load(struct score_service *score, int64_t uid, score_cb cb, void *arg);

/* KEYS of the scripts, in their order: seq (when wanted), ledger, account, index. */
enum { SCORE_KEY_SIZE = 64, SCORE_KEYS_MAX = 4 };
struct score_keys {
    char tag[SCORE_KEY_SIZE];
    char text[SCORE_KEYS_MAX][SCORE_KEY_SIZE];
    struct saga_bytes list[SCORE_KEYS_MAX];
};
void score_keys_make(const struct score_service *score, int64_t uid, bool with_counter,
                     struct score_keys *keys);

void score_rpc_register(struct score_service *score);
void score_deduct_register(struct score_service *score); /* the branches that spend points */
extern const struct web_route score_routes[];

#endif
