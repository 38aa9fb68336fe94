#include "services/score/score.h"

#include "base/mem.h"
#include "redis/redis.h"
#include "services/common/shard.h"

#include <stdio.h>
#include <stdlib.h>

/* Two reads that leave in one write: the account and the ledger. One may fail before the other is
 * answered, so the last one to come ends it. */
struct load {
    score_cb cb;
    void *arg;
    int pending;
    bool failed;
    score_DetailResponse detail;
};

static void load_step(struct load *load)
{
    static const struct data_answer ok = {DATA_OK, SLICE_LIT(""), NULL};
    static const struct data_answer away = {DATA_AWAY, SLICE_LIT("redis is away"), NULL};
    if (--load->pending == 0) {
        load->cb(load->arg, load->failed ? &away : &ok, load->failed ? NULL : &load->detail);
        free(load);
    }
}

static void on_account(void *arg, const struct data_answer *answer)
{
    struct load *load = arg;
    if (answer->kind == DATA_OK) {
        load->detail.total = data_int(answer->value, "total");
        load->detail.frozen = data_int(answer->value, "frozen");
        load->detail.count = data_int(answer->value, "count");
    } else {
        load->failed = true;
    }
    load_step(load);
}

/* "score|gid|branch|ms"; the gid may hold '|' itself, so it is cut from both ends. */
static bool parse_entry(struct slice text, score_DetailEntry *entry)
{
    const char *end = text.ptr + text.len;
    const char *bar[3] = {NULL, NULL, NULL};
    for (const char *p = text.ptr; p < end && !bar[0]; p++) {
        bar[0] = *p == '|' ? p : NULL;
    }
    for (const char *p = end; p > text.ptr && !bar[1]; p--) {
        if (p[-1] == '|') {
            *(bar[2] ? &bar[1] : &bar[2]) = p - 1;
        }
    }
    if (!bar[0] || !bar[1] || bar[1] <= bar[0]) {
        return false;
    }
    snprintf(entry->gid, sizeof(entry->gid), "%.*s", (int)(bar[1] - bar[0] - 1), bar[0] + 1);
    snprintf(entry->branch_id, sizeof(entry->branch_id), "%.*s", (int)(bar[2] - bar[1] - 1),
             bar[1] + 1);
    return slice_to_int64(slice_make(text.ptr, (size_t)(bar[0] - text.ptr)), &entry->score) &&
           slice_to_int64(slice_make(bar[2] + 1, (size_t)(end - bar[2] - 1)), &entry->time_ms);
}

static int newest_first(const void *a, const void *b)
{
    const score_DetailEntry *x = a;
    const score_DetailEntry *y = b;
    return (x->id < y->id) - (x->id > y->id);
}

static void read_ledger(const struct redis_value *hash, score_DetailResponse *detail)
{
    size_t count = redis_value_count(hash) / 2;
    score_DetailEntry *all = mem_zalloc(count * sizeof(*all));
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        all[n].id = redis_value_int(redis_value_at(hash, 2 * i));
        n += parse_entry(redis_value_str(redis_value_at(hash, 2 * i + 1)), &all[n]);
    }
    qsort(all, n, sizeof(*all), newest_first);
    for (size_t i = 0; i < n && i < SCORE_ENTRIES_MAX; i++) {
        detail->entries[detail->entries_count++] = all[i];
    }
    free(all);
}

static void on_ledger(void *arg, const struct data_answer *answer)
{
    struct load *load = arg;
    if (answer->kind == DATA_OK) {
        read_ledger(answer->value, &load->detail);
    } else {
        load->failed = true;
    }
    load_step(load);
}

void score_load(struct score_service *score, int64_t uid, score_cb cb, void *arg)
{
    char account[64], ledger[64];
    long long shard = shard_of(uid, score->settings.common.shards);
    struct load *load = mem_new(struct load);
    load->pending = 2;
    load->cb = cb;
    load->arg = arg;
    snprintf(account, sizeof(account), "{scr:%lld}:a:%lld", shard, (long long)uid);
    snprintf(ledger, sizeof(ledger), "{scr:%lld}:l:%lld", shard, (long long)uid);
    struct slice first[] = {SLICE_LIT("HGETALL"), slice_str(account)};
    struct slice second[] = {SLICE_LIT("HGETALL"), slice_str(ledger)};
    data_read(score->service.saga, first, 2, on_account, load);
    data_read(score->service.saga, second, 2, on_ledger, load);
}
