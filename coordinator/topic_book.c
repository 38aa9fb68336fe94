#include "coordinator/topic_book.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN_SIZE = 100, ID_SIZE = 16 };

static const struct slice url_prefix = SLICE_LIT("topic://");
static const struct slice field_prefix = SLICE_LIT("t:");

struct topic_book {
    struct arena arena;
    struct slice version;
    struct topic *topics;
    size_t count;
};

/* ---- reading the hash ---- */

/* Takes the text before the first `mark`, and the mark, from the front of `rest`. */
static struct slice head_take(struct slice *rest, char mark)
{
    const char *at = rest->len > 0 ? memchr(rest->ptr, mark, rest->len) : NULL;
    struct slice head = slice_make(rest->ptr, at ? (size_t)(at - rest->ptr) : rest->len);
    size_t skip = at ? head.len + 1 : head.len;
    *rest = slice_make(rest->ptr ? rest->ptr + skip : NULL, rest->len - skip);
    return head;
}

static size_t lines_count(struct slice text)
{
    size_t count = text.len > 0;
    for (size_t i = 0; i < text.len; i++) {
        count += text.ptr[i] == '\n';
    }
    return count;
}

static bool topic_parse(struct arena *arena, struct slice text, struct topic *out)
{
    struct slice rest = text, head = head_take(&rest, '\n');
    size_t count = lines_count(rest);
    if (!slice_to_int64(head_take(&head, ' '), &out->version) ||
        !slice_to_int64(head_take(&head, ' '), &out->created_ms) ||
        !slice_to_int64(head, &out->updated_ms) || count > TOPIC_SUBSCRIBERS_MAX) {
        return false;
    }
    struct topic_subscriber *subscribers = arena_alloc(arena, (count + 1) * sizeof(*subscribers));
    for (size_t i = 0; i < count; i++) {
        struct slice line = head_take(&rest, '\n');
        subscribers[i].url = head_take(&line, ' ');
        subscribers[i].remark = line;
        if (topic_url_check(subscribers[i].url, NULL) != ERR_OK) {
            return false;
        }
    }
    out->subscribers = subscribers;
    out->subscriber_count = count;
    return true;
}

static int names_compare(struct slice a, struct slice b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len > 0 ? memcmp(a.ptr, b.ptr, len) : 0;
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static int topics_compare(const void *a, const void *b)
{
    const struct topic *x = a, *y = b;
    return names_compare(x->name, y->name);
}

struct topic_book *topic_book_new(const struct slice *fields, size_t count, struct slice *damaged)
{
    struct topic_book *book = mem_new(struct topic_book);
    book->topics = arena_alloc(&book->arena, (count / 2 + 1) * sizeof(*book->topics));
    *damaged = slice_str(NULL);
    for (size_t i = 0; i + 1 < count; i += 2) {
        struct slice field = arena_copy(&book->arena, fields[i]);
        struct slice value = arena_copy(&book->arena, fields[i + 1]);
        struct topic *topic = &book->topics[book->count];
        if (slice_eq_str(field, "version")) {
            book->version = value;
        } else if (!slice_has_prefix(field, field_prefix.ptr)) {
            continue; /* of a newer version */
        } else if (topic_parse(&book->arena, value, topic)) {
            topic->name = slice_make(field.ptr + field_prefix.len, field.len - field_prefix.len);
            book->count++;
        } else {
            *damaged = field;
        }
    }
    if (book->count > 0) {
        qsort(book->topics, book->count, sizeof(*book->topics), topics_compare);
    }
    return book;
}

void topic_book_free(struct topic_book *book)
{
    if (book) {
        arena_fini(&book->arena);
        free(book);
    }
}

struct slice topic_book_version(const struct topic_book *book)
{
    return book->version;
}

size_t topic_book_count(const struct topic_book *book)
{
    return book->count;
}

const struct topic *topic_book_at(const struct topic_book *book, size_t index)
{
    return &book->topics[index];
}

size_t topic_book_after(const struct topic_book *book, struct slice name)
{
    size_t low = 0, high = book->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (names_compare(book->topics[middle].name, name) > 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

const struct topic *topic_book_find(const struct topic_book *book, struct slice name)
{
    size_t after = topic_book_after(book, name);
    bool found = after > 0 && slice_eq(book->topics[after - 1].name, name);
    return found ? &book->topics[after - 1] : NULL;
}

/* ---- what a subscription may be ---- */

enum err topic_name_check(struct slice name, struct reason *reason)
{
    bool good = name.len > 0 && !utf8_has_control(name) &&
                utf8_length(name) <= TOPIC_NAME_CHARS_MAX && !memchr(name.ptr, ' ', name.len) &&
                !memchr(name.ptr, '/', name.len);
    if (good) {
        return ERR_OK;
    }
    char shown[SHOWN_SIZE];
    return name.len == 0
               ? reason_set(reason, ERR_INVALID, "empty topic")
               : reason_set(reason, ERR_INVALID,
                            "topic: '%s' must have 1 to %d characters of UTF-8, no "
                            "space, no '/' and no control character",
                            slice_printable(name, shown, sizeof(shown)), TOPIC_NAME_CHARS_MAX);
}

enum err topic_url_check(struct slice url, struct reason *reason)
{
    return url.len == 0 ? reason_set(reason, ERR_INVALID, "empty url")
                        : txn_url_check(url, "url", reason);
}

enum err topic_remark_check(struct slice remark, struct reason *reason)
{
    if (remark.len <= TOPIC_REMARK_MAX && !utf8_has_control(remark)) {
        return ERR_OK;
    }
    return reason_set(
        reason, ERR_INVALID,
        "remark: has %zu bytes; must be UTF-8 of at most %d without control characters", remark.len,
        TOPIC_REMARK_MAX);
}

/* ---- sending to topics ---- */

static bool is_topic(struct slice url)
{
    return slice_has_prefix(url, url_prefix.ptr);
}

bool topics_are_named(const struct txn_spec *spec)
{
    for (size_t i = 0; i < spec->step_count; i++) {
        if (is_topic(spec->steps[i].urls[OP_ACTION])) {
            return slice_eq_str(spec->trans_type, "msg");
        }
    }
    return false;
}

static enum err topic_get(const struct topic_book *book, struct slice url, const struct topic **out,
                          struct reason *reason)
{
    char shown[SHOWN_SIZE];
    struct slice name = slice_make(url.ptr + url_prefix.len, url.len - url_prefix.len);
    *out = topic_book_find(book, name);
    slice_printable(name, shown, sizeof(shown));
    if (!*out) {
        return reason_set(reason, ERR_NOT_FOUND, "topic not found: %s", shown);
    }
    return (*out)->subscriber_count > 0
               ? ERR_OK
               : reason_set(reason, ERR_NOT_FOUND, "nobody has subscribed to topic: %s", shown);
}

static struct slice id_make(struct arena *arena, size_t step, size_t number)
{
    char text[ID_SIZE];
    int len = number > 0 ? snprintf(text, sizeof(text), "%02zu-%02zu", step + 1, number)
                         : snprintf(text, sizeof(text), "%02zu", step + 1);
    return arena_copy(arena, slice_make(text, (size_t)len));
}

/* The branches of one step, behind those that are there already. */
static enum err step_expand(const struct topic_book *book, const struct txn_step *step,
                            size_t index, struct arena *arena, struct txn_step *out, size_t *count,
                            struct reason *reason)
{
    struct topic_subscriber alone = {.url = step->urls[OP_ACTION]};
    struct topic plain = {.subscribers = &alone, .subscriber_count = 1};
    const struct topic *topic = &plain;
    if (is_topic(alone.url)) {
        enum err err = topic_get(book, alone.url, &topic, reason);
        if (err != ERR_OK) {
            return err;
        }
    }
    if (*count + topic->subscriber_count > TXN_BRANCHES_MAX) {
        return reason_set(reason, ERR_LIMIT,
                          "steps: with all subscribers of its topics the msg has more than %d "
                          "branches",
                          TXN_BRANCHES_MAX);
    }
    for (size_t i = 0; i < topic->subscriber_count; i++) {
        struct txn_step *branch = &out[(*count)++];
        *branch = *step;
        branch->id = id_make(arena, index, topic->subscriber_count > 1 ? i + 1 : 0);
        branch->urls[OP_ACTION] = topic->subscribers[i].url;
    }
    return ERR_OK;
}

enum err topics_expand(const struct topic_book *book, struct txn_spec *spec, struct arena *arena,
                       struct reason *reason)
{
    struct txn_step *out = arena_alloc(arena, TXN_BRANCHES_MAX * sizeof(*out));
    size_t count = 0;
    enum err err = ERR_OK;
    for (size_t i = 0; i < spec->step_count && err == ERR_OK; i++) {
        err = step_expand(book, &spec->steps[i], i, arena, out, &count, reason);
    }
    if (err == ERR_OK) {
        spec->steps = out;
        spec->step_count = count;
    }
    return err;
}
