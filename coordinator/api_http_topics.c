/* Topics of messages: subscribe, unsubscribe, delete, and DTM's view of them as keys and values. */
#include "coordinator/api_http_call.h"

#include "base/clock.h"

#include <string.h>

enum { KV_LIMIT_DEFAULT = 100, KV_LIMIT_MAX = 1000 };

static bool topics_are_here(struct api_call *call)
{
    if (!call->api->env.topics) {
        api_reply_error(call, 503, "there are no topics here");
    }
    return call->api->env.topics;
}

/* ---- changing ---- */

static void on_changed(void *arg, enum err err, const char *message)
{
    struct api_call *call = arg;
    if (err == ERR_OK) {
        api_reply_success(call, NULL);
    } else if (err == ERR_CONFLICT) {
        api_reply_failure(call, "%s", message);
    } else if (err == ERR_NOT_FOUND) {
        api_reply_error(call, 404, "%s", message);
    } else if (err == ERR_LIMIT) {
        api_reply_error(call, 400, "%s", message);
    } else if (err == ERR_SCRIPT || err == ERR_PROTOCOL) {
        api_reply_error(call, 500, "%s", message);
    } else {
        api_reply_error(call, 503, "the store does not answer: %s", message);
    }
}

/* What a subscription is about: from the query of a GET, from the body of a POST that has one. */
struct subscription {
    struct slice topic, url, remark;
    struct json *body;
};

static enum err subscription_fields(struct api_call *call, struct subscription *out,
                                    struct reason *reason)
{
    if (http_request_body(call->request).len == 0) {
        out->topic = slice_str(http_request_query(call->request, "topic"));
        out->url = slice_str(http_request_query(call->request, "url"));
        out->remark = slice_str(http_request_query(call->request, "remark"));
        return ERR_OK;
    }
    enum err err = api_take_body(call, &out->body, reason);
    if (!err && !json_is_object(out->body)) {
        err = reason_set(reason, ERR_INVALID, "the body must be a JSON object");
    }
    if (!err) {
        err = json_read_string(out->body, "topic", &out->topic, reason);
    }
    if (!err) {
        err = json_read_string(out->body, "url", &out->url, reason);
    }
    return err ? err : json_read_string(out->body, "remark", &out->remark, reason);
}

/* False: answered. */
static bool subscription_read(struct api_call *call, struct subscription *out)
{
    struct reason reason;
    if (!topics_are_here(call)) {
        return false;
    }
    enum err err = subscription_fields(call, out, &reason);
    if (!err) {
        err = topic_name_check(out->topic, &reason);
    }
    if (!err) {
        err = topic_url_check(out->url, &reason);
    }
    if (!err) {
        err = topic_remark_check(out->remark, &reason);
    }
    if (err) {
        json_free(out->body);
        api_reply_error(call, 400, "%s", reason.text);
    }
    return !err;
}

void api_handle_subscribe(struct api_call *call)
{
    struct subscription what = {0};
    if (subscription_read(call, &what)) {
        topics_subscribe(call->api->env.topics, what.topic, what.url, what.remark, on_changed,
                         call);
        json_free(what.body);
    }
}

void api_handle_unsubscribe(struct api_call *call)
{
    struct subscription what = {0};
    if (subscription_read(call, &what)) {
        topics_unsubscribe(call->api->env.topics, what.topic, what.url, on_changed, call);
        json_free(what.body);
    }
}

static void on_deleted(void *arg, enum err err, const char *message)
{
    on_changed(arg, err, err == ERR_NOT_FOUND ? "storage: NotFound" : message);
}

void api_handle_delete_topic(struct api_call *call)
{
    struct reason reason;
    struct slice topic = slice_str(http_request_path(call->request) + strlen(API_TOPIC_PATH));
    if (topic_name_check(topic, &reason)) {
        api_reply_error(call, 400, "%s", reason.text);
    } else if (topics_are_here(call)) {
        topics_delete(call->api->env.topics, topic, on_deleted, call);
    }
}

/* ---- showing ---- */

static void put_topic(struct json_writer *w, const struct topic *topic)
{
    char created[CLOCK_TEXT_SIZE], updated[CLOCK_TEXT_SIZE];
    struct buf text = {0};
    struct json_writer inner;
    json_writer_init(&inner, &text);
    json_open_array(&inner, NULL);
    for (size_t i = 0; i < topic->subscriber_count; i++) {
        json_open_object(&inner, NULL);
        json_put_string(&inner, "url", topic->subscribers[i].url);
        json_put_string(&inner, "remark", topic->subscribers[i].remark);
        json_close_object(&inner);
    }
    json_close_array(&inner);
    json_open_object(w, NULL);
    json_put_int(w, "id", 0);
    json_put_text(w, "create_time", clock_format(topic->created_ms, created));
    json_put_text(w, "update_time", clock_format(topic->updated_ms, updated));
    json_put_text(w, "cat", "topics");
    json_put_string(w, "k", topic->name);
    json_put_string(w, "v", buf_slice(&text));
    json_put_int(w, "version", topic->version);
    json_close_object(w);
    buf_fini(&text);
}

/* Topics from `first` on; with a position when there are more. */
static void reply_topics(struct api_call *call, const struct topic_book *book, size_t first,
                         size_t limit, bool pages)
{
    struct buf body = {0};
    struct json_writer w;
    size_t count = book ? topic_book_count(book) : 0;
    size_t end = first < count && limit < count - first ? first + limit : count;
    json_writer_init(&w, &body);
    json_open_object(&w, NULL);
    json_open_array(&w, "kv");
    for (size_t i = first; i < end; i++) {
        put_topic(&w, topic_book_at(book, i));
    }
    json_close_array(&w);
    if (pages) {
        bool more = first < end && end < count;
        json_put_string(&w, "next_position",
                        more ? topic_book_at(book, end - 1)->name : slice_str(NULL));
    }
    json_close_object(&w);
    api_reply_json(call, buf_slice(&body));
    buf_fini(&body);
}

/* The topics as they are at this moment; NULL: answered. A category other than topics has none. */
static const struct topic_book *book_read(struct api_call *call, enum err err, const char *message)
{
    const struct topic_book *book = err ? NULL : topics_book(call->api->env.topics);
    if (!book) {
        api_reply_error(call, 503, "the topics cannot be read: %s", message);
    }
    return book;
}

static bool asks_for_topics(const struct api_call *call)
{
    return slice_eq_str(slice_str(http_request_query(call->request, "cat")), "topics");
}

static void on_scan(void *arg, enum err err, const char *message)
{
    struct api_call *call = arg;
    struct reason reason;
    struct slice position = slice_str(http_request_query(call->request, "position"));
    int64_t limit = KV_LIMIT_DEFAULT;
    const struct topic_book *book = book_read(call, err, message);
    if (!book) {
        return;
    }
    if (api_query_int(call, "limit", 1, KV_LIMIT_MAX, &limit, &reason)) {
        api_reply_error(call, 400, "%s", reason.text);
        return;
    }
    size_t first = position.len > 0 ? topic_book_after(book, position) : 0;
    reply_topics(call, book, first, (size_t)limit, true);
}

static void on_query(void *arg, enum err err, const char *message)
{
    struct api_call *call = arg;
    struct slice key = slice_str(http_request_query(call->request, "key"));
    const struct topic_book *book = book_read(call, err, message);
    if (book) {
        bool found = topic_book_find(book, key);
        reply_topics(call, found ? book : NULL, found ? topic_book_after(book, key) - 1 : 0, 1,
                     false);
    }
}

static void kv_handle(struct api_call *call, topics_cb show, bool pages)
{
    if (!topics_are_here(call)) {
        return;
    }
    if (asks_for_topics(call)) {
        topics_refresh(call->api->env.topics, show, call);
    } else if (!http_request_query(call->request, "cat")) {
        api_reply_error(call, 400, "parameter 'cat': is missing; there are keys of: topics");
    } else {
        reply_topics(call, NULL, 0, 0, pages);
    }
}

void api_handle_scan_kv(struct api_call *call)
{
    kv_handle(call, on_scan, true);
}

void api_handle_query_kv(struct api_call *call)
{
    kv_handle(call, on_query, false);
}
