/*
 * The score service: points of users, a ledger entry for each grant. Redis model: under the tag
 * {scr:<s>}, s = user id mod shards, seq counter · l:<uid> ledger: entry → "score|gid|branch|ms" ·
 * a:<uid> account: total, count · i entry → uid · br:<gid>:<branch> barrier. total = sum of the
 * ledger.
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
    struct saga_script *save, *save_revert; /* gated */
};

typedef void (*score_cb)(void *arg, const struct data_answer *answer,
                         const score_DetailResponse *detail);
/* Total and newest entries; a user without points has total 0 and none. */
void score_load(struct score_service *score, int64_t uid, score_cb cb, void *arg);

void score_rpc_register(struct score_service *score);
extern const struct web_route score_routes[];

#endif
