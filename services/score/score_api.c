/* The HTTP API of the score service: the points of the token's user. */
#include "services/score/score.h"

static void on_loaded(void *arg, const struct data_answer *answer,
                      const score_DetailResponse *detail)
{
    struct web_request *request = arg;
    if (answer->kind != DATA_OK) {
        data_fail_web(request, answer);
        return;
    }
    struct web_answer body;
    struct json_writer *w = web_answer_begin(&body);
    json_open_object(w, NULL);
    json_put_int(w, "userId", request->uid);
    json_put_int(w, "total", detail->total);
    json_put_int(w, "frozen", detail->frozen);
    json_put_int(w, "count", detail->count);
    json_open_array(w, "ledger");
    for (size_t i = 0; i < detail->entries_count; i++) {
        const score_DetailEntry *entry = &detail->entries[i];
        json_open_object(w, NULL);
        json_put_int(w, "id", entry->id);
        json_put_int(w, "score", entry->score);
        json_put_text(w, "gid", entry->gid);
        json_put_text(w, "branch_id", entry->branch_id);
        json_put_int(w, "time_ms", entry->time_ms);
        json_close_object(w);
    }
    json_close_array(w);
    json_close_object(w);
    web_answer_send(&body, request, 200);
}

static void handle_detail(void *arg, struct web_request *request)
{
    score_load(arg, request->uid, on_loaded, request);
}

const struct web_route score_routes[] = {
    {"/api/score/detail", false, handle_detail},
    {NULL, false, NULL},
};
