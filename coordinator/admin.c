/* Requests of operators: forceStop, resetNextCronTime, resetCronTime, all, ping, metrics. */
#include "coordinator/api_http_call.h"

#include "coordinator/api_http_view.h"

#include <string.h>

enum { LIST_LIMIT_DEFAULT = 100 };

/* ---- forceStop, resetNextCronTime ---- */

static void reply_admin(struct api_call *call, const struct engine_answer *answer, const char *what)
{
    if (answer->err == ERR_CONFLICT) {
        api_reply_failure(call, "current status '%s', cannot %s.", txn_status_name(answer->status),
                          what);
    } else if (answer->err) {
        api_reply_engine_error(call, answer);
    } else {
        api_reply_success(call, txn_status_name(answer->status));
    }
}

static void on_force_stopped(void *arg, const struct engine_answer *answer)
{
    reply_admin(arg, answer, "force stop");
}

void api_handle_force_stop(struct api_call *call)
{
    struct json *body;
    if (api_read_gid_body(call, &body)) {
        json_free(body);
        engine_force_stop(call->api->env.engine, call->gid, on_force_stopped, call);
    }
}

static void on_retried(void *arg, const struct engine_answer *answer)
{
    reply_admin(arg, answer, "retry");
}

void api_handle_retry_now(struct api_call *call)
{
    struct json *body;
    if (api_read_gid_body(call, &body)) {
        json_free(body);
        engine_retry_now(call->api->env.engine, call->gid, on_retried, call);
    }
}

/* ---- resetCronTime ---- */

enum { RESET_TIMEOUT_S_DEFAULT = 3 * 35, RESET_TIMEOUT_S_MAX = 366 * 24 * 3600 };

static void ignore_answer(void *arg, const struct engine_answer *answer)
{
    (void)arg;
    (void)answer;
}

/* Those that this coordinator drives and that only wait for a retry are tried at once; of those
 * that others drive we know no more than that they are at work. */
static void on_reset(void *arg, const struct archive_reset *reset)
{
    struct api_call *call = arg;
    struct engine *engine = call->api->env.engine;
    int64_t count = reset->moved;
    if (reset->status != STORE_OK) {
        api_reply_store_error(call, reset->status, reset->message);
        return;
    }
    for (size_t i = 0; i < reset->owned_count; i++) {
        if (engine_is_live(engine, reset->owned[i])) {
            engine_retry_now(engine, reset->owned[i], ignore_answer, NULL);
            count++;
        }
    }
    struct buf body = {0};
    struct json_writer w;
    json_writer_init(&w, &body);
    json_open_object(&w, NULL);
    json_put_bool(&w, "has_remaining", reset->remaining);
    json_put_int(&w, "succeed_count", count);
    json_close_object(&w);
    api_reply_json(call, buf_slice(&body));
    buf_fini(&body);
}

void api_handle_reset(struct api_call *call)
{
    struct archive *archive = call->api->env.archive;
    struct reason reason;
    int64_t timeout_s = RESET_TIMEOUT_S_DEFAULT, limit = LIST_LIMIT_DEFAULT;
    if (api_query_int(call, "timeout", 0, RESET_TIMEOUT_S_MAX, &timeout_s, &reason) ||
        api_query_int(call, "limit", 1, ARCHIVE_PAGE_MAX, &limit, &reason)) {
        api_reply_error(call, 400, "%s", reason.text);
    } else {
        archive->ops->reset(archive, timeout_s * 1000, (int)limit, on_reset, call);
    }
}

/* ---- all ---- */

static void reply_page(struct api_call *call, const struct archive_page *page)
{
    struct buf body = {0};
    view_page(&body, page);
    api_reply_json(call, buf_slice(&body));
    buf_fini(&body);
}

static void on_page(void *arg, const struct archive_page *page)
{
    struct api_call *call = arg;
    if (page->status != STORE_OK) {
        api_reply_store_error(call, page->status, page->message);
        return;
    }
    reply_page(call, page);
}

enum err api_query_int(const struct api_call *call, const char *name, int64_t min, int64_t max,
                       int64_t *out, struct reason *reason)
{
    const char *text = http_request_query(call->request, name);
    if (!text || !text[0]) {
        return ERR_OK;
    }
    if (!slice_to_int64(slice_str(text), out) || *out < min || *out > max) {
        return reason_set(reason, ERR_INVALID,
                          "parameter '%s': '%.40s' must be a whole number from %lld to %lld", name,
                          text, (long long)min, (long long)max);
    }
    return ERR_OK;
}

static enum err query_words(const struct api_call *call, struct archive_filter *filter,
                            struct reason *reason)
{
    struct slice status = slice_str(http_request_query(call->request, "status"));
    struct slice type_name = slice_str(http_request_query(call->request, "transType"));
    struct slice parked = slice_str(http_request_query(call->request, "parked"));
    filter->parked = parked.len > 0;
    if (parked.len > 0 && !slice_eq_str(parked, "true")) {
        return reason_set(reason, ERR_INVALID, "parameter 'parked': '%.40s' must be true",
                          parked.ptr);
    }
    filter->has_type = type_name.len > 0;
    filter->has_status = status.len > 0;
    if (status.len > 0 && txn_status_parse(status, &filter->status)) {
        return reason_set(reason, ERR_INVALID,
                          "parameter 'status': '%.40s' must be prepared, submitted, aborting, "
                          "succeed or failed",
                          status.ptr);
    }
    if (type_name.len > 0 && txn_type_parse(type_name, &filter->type)) {
        return reason_set(reason, ERR_INVALID,
                          "parameter 'transType': '%.40s' must be saga, tcc, msg, xa or workflow",
                          type_name.ptr);
    }
    return ERR_OK;
}

static enum err filter_decode(const struct api_call *call, struct archive_filter *filter,
                              struct reason *reason)
{
    int64_t limit = LIST_LIMIT_DEFAULT;
    enum err err = query_words(call, filter, reason);
    if (!err) {
        err = api_query_int(call, "createTimeStart", 0, INT64_C(1) << 53, &filter->created_from_ms,
                            reason);
    }
    if (!err) {
        err = api_query_int(call, "createTimeEnd", 0, INT64_C(1) << 53, &filter->created_to_ms,
                            reason);
    }
    if (!err) {
        err = api_query_int(call, "limit", 1, ARCHIVE_PAGE_MAX, &limit, reason);
    }
    filter->limit = (int)limit;
    filter->position = slice_str(http_request_query(call->request, "position"));
    return err;
}

void api_handle_all(struct api_call *call)
{
    struct archive *archive = call->api->env.archive;
    struct archive_filter filter = {0};
    struct reason reason;
    enum err err = filter_decode(call, &filter, &reason);
    filter.gid = slice_str(http_request_query(call->request, "gid"));
    if (!err && filter.gid.len > 0) {
        err = txn_gid_check(filter.gid, &reason);
    }
    if (err) {
        api_reply_error(call, 400, "%s", reason.text);
    } else if (archive->ops->list(archive, &filter, on_page, call)) {
        api_reply_error(call, 400, "parameter 'position': is not a next_position of this list");
    }
}

/* ---- ping, metrics ---- */

void api_handle_ping(struct api_call *call)
{
    if (call->api->draining) {
        api_reply_error(call, 503, "sagad is shutting down");
        return;
    }
    api_reply_json(call, slice_str("{\"msg\":\"pong\"}"));
}

static void on_backlog(void *arg, const struct archive_backlog *backlog)
{
    struct api_call *call = arg;
    struct metrics_backlog shown = {.known = backlog->status == STORE_OK,
                                    .due = backlog->due,
                                    .overdue = backlog->overdue,
                                    .parked = backlog->parked};
    const struct api_env *env = &call->api->env;
    struct buf body = {0};
    if (env->refresh) {
        env->refresh(env->refresh_arg);
    }
    metrics_render(env->metrics, &shown, &body);
    api_reply_body(call, "text/plain; version=0.0.4; charset=utf-8", buf_slice(&body));
    buf_fini(&body);
}

void api_handle_metrics(struct api_call *call)
{
    struct archive *archive = call->api->env.archive;
    archive->ops->backlog(archive, on_backlog, call);
}
