/*
 * The topics of messages, as they were at one moment, and what becomes of a msg that is sent to
 * one: pure. They live in the hash saga:topics, field t:NAME; lua/coordinator/topic_change.lua
 * tells its shape.
 *
 * A step of a msg with the action "topic://NAME" becomes one branch for each subscriber, with the
 * payload of the step: "01-01", "01-02", …; with one subscriber "01".
 */
#ifndef COORDINATOR_TOPIC_BOOK_H
#define COORDINATOR_TOPIC_BOOK_H

#include "coordinator/txn.h"

enum {
    TOPICS_MAX = 1000,
    TOPIC_NAME_CHARS_MAX = 128,
    TOPIC_SUBSCRIBERS_MAX = 64,
    TOPIC_REMARK_MAX = 256,             /* bytes */
    TOPICS_BYTES_MAX = 4 * 1024 * 1024, /* of all names' urls and remarks together */
};

struct topic_subscriber {
    struct slice url, remark;
};

struct topic {
    struct slice name;
    int64_t version; /* counts its changes, from 1 */
    int64_t created_ms, updated_ms;
    const struct topic_subscriber *subscribers; /* in the order in which they came */
    size_t subscriber_count;
};

struct topic_book;

/* From the flat name, value, … of the hash; copies. A topic that cannot be read is left out, and
 * `*damaged` is the name of the last such field (in the book). */
struct topic_book *topic_book_new(const struct slice *fields, size_t count, struct slice *damaged);
void topic_book_free(struct topic_book *book); /* NULL: nothing */
struct slice topic_book_version(const struct topic_book *book);
/* Ordered by name. */
size_t topic_book_count(const struct topic_book *book);
const struct topic *topic_book_at(const struct topic_book *book, size_t index);
const struct topic *topic_book_find(const struct topic_book *book, struct slice name); /* or NULL */
/* Index of the first topic whose name comes after this one. */
size_t topic_book_after(const struct topic_book *book, struct slice name);

/* 1 to 128 characters of UTF-8 without spaces, control characters and '/'. */
enum err topic_name_check(struct slice name, struct reason *reason) MUST_CHECK;
/* A url of a branch, not empty. */
enum err topic_url_check(struct slice url, struct reason *reason) MUST_CHECK;
enum err topic_remark_check(struct slice remark, struct reason *reason) MUST_CHECK;

/* Is it a msg with a step to a topic? */
bool topics_are_named(const struct txn_spec *spec);
/* Puts the subscribers in place of the topics; new steps are in the arena, texts point into the
 * book. ERR_NOT_FOUND: there is no such topic, or nobody has subscribed; ERR_LIMIT: more than
 * TXN_BRANCHES_MAX branches. The rest of the spec is not looked at: txn_spec_check follows. */
enum err topics_expand(const struct topic_book *book, struct txn_spec *spec, struct arena *arena,
                       struct reason *reason) MUST_CHECK;

#endif
