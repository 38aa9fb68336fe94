#include "coordinator/topics.h"

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "coordinator/keys.h"
#include "coordinator_scripts.h"

#include <stdlib.h>

struct topics {
    struct loop *loop;
    struct redis *redis;
    int64_t timeout_ms;
    struct topic_book *book; /* NULL: never read */
    int64_t asked_ms;        /* when the question was sent whose answer the book is */
    struct loop_timer poll;
};

/* One script on its way. */
struct topics_job {
    struct topics *topics;
    topics_cb cb; /* NULL: the poll */
    void *arg;
    int64_t asked_ms;
};

static void job_end(struct topics_job *job, enum err err, const char *message)
{
    if (job->cb) {
        job->cb(job->arg, err, message);
    }
    free(job);
}

static void poll_later(struct topics *topics)
{
    loop_timer_set(&topics->poll, loop_now_ms(topics->loop) + TOPICS_POLL_MS);
}

/* Answers of one connection come in the order of their questions, so a book is never replaced by
 * an older one. */
static void book_replace(struct topics *topics, const struct redis_value *fields)
{
    size_t count = redis_value_count(fields);
    struct slice *texts = mem_zalloc((count + 1) * sizeof(*texts));
    struct slice damaged;
    for (size_t i = 0; i < count; i++) {
        texts[i] = redis_value_str(redis_value_at(fields, i));
    }
    struct topic_book *book = topic_book_new(texts, count, &damaged);
    if (damaged.len > 0) {
        char shown[160];
        log_error("topics", "msg=\"a topic cannot be read\" key=saga:topics field=\"%s\"",
                  log_text(damaged, shown, sizeof(shown)));
    }
    free(texts);
    topic_book_free(topics->book);
    topics->book = book;
}

/* ---- reading ---- */

static void on_read(void *arg, const struct redis_result *reply)
{
    struct topics_job *job = arg;
    struct topics *topics = job->topics;
    if (reply->err == ERR_OK) {
        if (redis_value_count(reply->value) > 1) {
            book_replace(topics, redis_value_at(reply->value, 1));
        }
        topics->asked_ms = job->asked_ms;
    }
    if (!job->cb && reply->err != ERR_CANCELLED) {
        poll_later(topics);
    }
    job_end(job, reply->err, reply->message);
}

static void script_run(struct topics *topics, const struct redis_script *script,
                       const struct slice *args, size_t count, redis_cb on_reply, topics_cb cb,
                       void *arg)
{
    struct topics_job *job = mem_new(struct topics_job);
    struct slice key = keys_topics();
    struct redis_eval eval = {.script = script,
                              .keys = &key,
                              .args = args,
                              .arg_count = count,
                              .is_durable = script == &script_topic_change};
    *job = (struct topics_job){
        .topics = topics, .cb = cb, .arg = arg, .asked_ms = loop_now_ms(topics->loop)};
    redis_eval(topics->redis, job->asked_ms + topics->timeout_ms, &eval, on_reply, job);
}

void topics_refresh(struct topics *topics, topics_cb cb, void *arg)
{
    struct slice known = topics->book ? topic_book_version(topics->book) : slice_str(NULL);
    script_run(topics, &script_topic_read, &known, 1, on_read, cb, arg);
}

static void on_poll(void *arg)
{
    topics_refresh(arg, NULL, NULL);
}

/* ---- changing ---- */

static void on_changed(void *arg, const struct redis_result *reply)
{
    static const struct {
        const char *word;
        enum err err;
        const char *message;
    } refusals[] = {
        {"EXISTS", ERR_CONFLICT, "this url exists"},
        {"NO_TOPIC", ERR_NOT_FOUND, "no such a topic"},
        {"EMPTY", ERR_NOT_FOUND, "this topic is empty"},
        {"NO_URL", ERR_NOT_FOUND, "no such an url"},
    };
    struct topics_job *job = arg;
    if (reply->err != ERR_OK) {
        job_end(job, reply->err, reply->message);
        return;
    }
    const struct redis_value *first = redis_value_at(reply->value, 0);
    const struct redis_value *third = redis_value_at(reply->value, 2);
    struct slice word = first ? redis_value_str(first) : slice_str(NULL);
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        if (slice_eq_str(word, refusals[i].word)) {
            job_end(job, refusals[i].err, refusals[i].message);
            return;
        }
    }
    if (!third) {
        job_end(job, ERR_PROTOCOL, "the script answered something unknown");
    } else if (slice_eq_str(word, "OK")) {
        book_replace(job->topics, third);
        job->topics->asked_ms = job->asked_ms;
        job_end(job, ERR_OK, "");
    } else {
        char text[200];
        job_end(job, ERR_LIMIT, slice_printable(redis_value_str(third), text, sizeof(text)));
    }
}

static void change(struct topics *topics, const char *what, struct slice topic, struct slice url,
                   struct slice remark, topics_cb cb, void *arg)
{
    struct buf limits[3] = {{0}, {0}, {0}};
    buf_printf(&limits[0], "%d", TOPICS_MAX);
    buf_printf(&limits[1], "%d", TOPIC_SUBSCRIBERS_MAX);
    buf_printf(&limits[2], "%d", TOPICS_BYTES_MAX);
    const struct slice args[] = {
        slice_str(what),       topic, url, remark, buf_slice(&limits[0]), buf_slice(&limits[1]),
        buf_slice(&limits[2]),
    };
    script_run(topics, &script_topic_change, args, sizeof(args) / sizeof(args[0]), on_changed, cb,
               arg);
    for (size_t i = 0; i < 3; i++) {
        buf_fini(&limits[i]);
    }
}

void topics_subscribe(struct topics *topics, struct slice topic, struct slice url,
                      struct slice remark, topics_cb cb, void *arg)
{
    change(topics, "subscribe", topic, url, remark, cb, arg);
}

void topics_unsubscribe(struct topics *topics, struct slice topic, struct slice url, topics_cb cb,
                        void *arg)
{
    change(topics, "unsubscribe", topic, url, slice_str(NULL), cb, arg);
}

void topics_delete(struct topics *topics, struct slice topic, topics_cb cb, void *arg)
{
    change(topics, "delete", topic, slice_str(NULL), slice_str(NULL), cb, arg);
}

/* ---- life ---- */

struct topics *topics_open(struct loop *loop, struct redis *redis, int64_t timeout_ms)
{
    struct topics *topics = mem_new(struct topics);
    topics->loop = loop;
    topics->redis = redis;
    topics->timeout_ms = timeout_ms;
    loop_timer_init(&topics->poll, loop, on_poll, topics);
    topics_refresh(topics, NULL, NULL);
    return topics;
}

void topics_free(struct topics *topics)
{
    if (topics) {
        loop_timer_clear(&topics->poll);
        topic_book_free(topics->book);
        free(topics);
    }
}

const struct topic_book *topics_book(const struct topics *topics)
{
    bool fresh = loop_now_ms(topics->loop) - topics->asked_ms <= TOPICS_STALE_MS;
    return topics->book && fresh ? topics->book : NULL;
}
