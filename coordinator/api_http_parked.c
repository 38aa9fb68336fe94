/* Requests of operators about what is parked: retryParked, resolve. */
#include "coordinator/api_http_call.h"

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { RETRY_LIMIT_DEFAULT = 100, REASON_MAX = 200 };

/* ---- retryParked ---- */

struct retry_item {
    struct retry_job *job;
    char *gid;
    char *message; /* NULL: it goes on */
};

struct retry_job {
    struct api_call *call;
    struct retry_item *items;
    size_t count, waiting;
    char *next_position;
};

static void put_failed(struct json_writer *w, const struct retry_job *job)
{
    json_open_array(w, "failed");
    for (size_t i = 0; i < job->count; i++) {
        if (job->items[i].message) {
            json_open_object(w, NULL);
            json_put_text(w, "gid", job->items[i].gid);
            json_put_text(w, "message", job->items[i].message);
            json_close_object(w);
        }
    }
    json_close_array(w);
}

static void retry_reply(const struct retry_job *job)
{
    struct buf body = {0};
    struct json_writer w;
    size_t failed = 0;
    for (size_t i = 0; i < job->count; i++) {
        failed += job->items[i].message != NULL;
    }
    json_writer_init(&w, &body);
    json_open_object(&w, NULL);
    json_put_int(&w, "succeed_count", (int64_t)(job->count - failed));
    put_failed(&w, job);
    json_put_text(&w, "next_position", job->next_position);
    json_close_object(&w);
    api_reply_json(job->call, buf_slice(&body));
    buf_fini(&body);
}

static void retry_end(struct retry_job *job)
{
    retry_reply(job);
    for (size_t i = 0; i < job->count; i++) {
        free(job->items[i].gid);
        free(job->items[i].message);
    }
    free(job->items);
    free(job->next_position);
    free(job);
}

static void on_unparked(void *arg, const struct engine_answer *answer)
{
    struct retry_item *item = arg;
    struct retry_job *job = item->job;
    if (answer->err) {
        bool says = answer->message && answer->message[0];
        item->message = mem_strdup(says ? answer->message : err_text(answer->err));
    }
    if (--job->waiting == 0) {
        retry_end(job);
    }
}

static void on_parked_page(void *arg, const struct archive_page *page)
{
    struct api_call *call = arg;
    if (page->status != STORE_OK) {
        api_reply_store_error(call, page->status, page->message);
        return;
    }
    struct retry_job *job = mem_new(struct retry_job);
    job->call = call;
    job->next_position = slice_dup(page->next_position);
    job->items = mem_zalloc((page->count + 1) * sizeof(*job->items));
    job->count = job->waiting = page->count;
    for (size_t i = 0; i < page->count; i++) {
        job->items[i].job = job;
        job->items[i].gid = slice_dup(page->txns[i]->gid);
        engine_unpark(call->api->env.engine, page->txns[i]->gid, on_unparked, &job->items[i]);
    }
    if (page->count == 0) {
        retry_end(job);
    }
}

void api_handle_retry_parked(struct api_call *call)
{
    struct archive *archive = call->api->env.archive;
    struct archive_filter filter = {.parked = true};
    struct reason reason;
    int64_t limit = RETRY_LIMIT_DEFAULT;
    if (api_query_int(call, "limit", 1, ARCHIVE_PAGE_MAX, &limit, &reason)) {
        api_reply_error(call, 400, "%s", reason.text);
        return;
    }
    filter.limit = (int)limit;
    filter.position = slice_str(http_request_query(call->request, "position"));
    if (archive->ops->list(archive, &filter, on_parked_page, call)) {
        api_reply_error(call, 400, "parameter 'position': is not a next_position of this list");
    }
}

/* ---- resolve ---- */

struct resolve_job {
    struct api_call *call;
    char *what; /* for the log */
};

static void on_resolved(void *arg, const struct engine_answer *answer)
{
    struct resolve_job *job = arg;
    struct api_call *call = job->call;
    if (answer->err) {
        api_reply_engine_error(call, answer);
    } else {
        log_warn("admin", "msg=\"an operator resolved an op\" %s", job->what);
        api_reply_success(call, txn_status_name(answer->status));
    }
    free(job->what);
    free(job);
}

/* A text that must be there. */
static enum err read_text(const struct json *body, const char *name, size_t max, struct slice *out,
                          struct reason *reason)
{
    enum err err = json_read_string(body, name, out, reason);
    if (!err && (out->len == 0 || out->len > max || utf8_has_control(*out))) {
        err = reason_set(reason, ERR_INVALID,
                         "field '%s': must be a text of 1 to %zu bytes without control characters",
                         name, max);
    }
    return err;
}

static enum err resolve_decode(const struct json *body, struct engine_resolve *out,
                               struct reason *reason)
{
    struct slice as = {0};
    enum err err = read_text(body, "branch_id", TXN_BRANCH_ID_MAX, &out->branch_id, reason);
    if (!err) {
        err = read_text(body, "op", TXN_BRANCH_OP_MAX, &out->op, reason);
    }
    if (!err) {
        err = read_text(body, "as", TXN_BRANCH_OP_MAX, &as, reason);
    }
    if (!err && !slice_eq_str(as, "succeed")) {
        err = reason_set(reason, ERR_INVALID,
                         "field 'as': must be succeed; what cannot be done is turned round with "
                         "abort, or ended with forceStop");
    }
    return err ? err : read_text(body, "reason", REASON_MAX, &out->reason, reason);
}

static char *describe(struct slice gid, const struct engine_resolve *resolve)
{
    char gid_text[4 * TXN_GID_CHARS_MAX + 1], why[REASON_MAX + 1];
    struct buf text = {0};
    buf_printf(&text, "gid=\"%s\" op=%.*s.%.*s as=succeed reason=\"%s\"",
               log_text(gid, gid_text, sizeof(gid_text)), SLICE_ARG(resolve->branch_id),
               SLICE_ARG(resolve->op), log_text(resolve->reason, why, sizeof(why)));
    char *copy = mem_strdup(text.data);
    buf_fini(&text);
    return copy;
}

void api_handle_resolve(struct api_call *call)
{
    struct json *body;
    struct engine_resolve resolve = {{0}, {0}, {0}};
    struct reason reason;
    if (!api_read_gid_body(call, &body)) {
        return;
    }
    if (resolve_decode(body, &resolve, &reason)) {
        api_reply_error(call, 400, "%s", reason.text);
    } else {
        struct resolve_job *job = mem_new(struct resolve_job);
        *job = (struct resolve_job){call, describe(call->gid, &resolve)};
        engine_resolve(call->api->env.engine, call->gid, &resolve, on_resolved, job);
    }
    json_free(body);
}
