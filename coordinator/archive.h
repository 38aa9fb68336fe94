/*
 * Port: what the APIs read from the store beyond the engine's needs: the history of a transaction,
 * pages of transactions, the size of the backlog. Every call completes exactly once, never from
 * inside the call; everything in a result is valid during the callback only.
 */
#ifndef COORDINATOR_ARCHIVE_H
#define COORDINATOR_ARCHIVE_H

#include "coordinator/store.h"

enum { ARCHIVE_PAGE_MAX = 1000, ARCHIVE_HISTORY_MAX = 1000, ARCHIVE_POSITION_MAX = 768 };

struct archive_line {
    int64_t time_ms;
    struct slice op, result;
    int64_t duration_ms;
    struct slice note;
};

struct archive_record {
    enum store_status status;         /* OK, NOT_FOUND, REFUSED, UNKNOWN */
    const char *message;              /* REFUSED, UNKNOWN: why */
    const struct txn *txn;            /* with OK */
    const struct archive_line *lines; /* oldest first; the newest ARCHIVE_HISTORY_MAX */
    size_t line_count;
    int partition;      /* with OK: which keys are its own, see keys.h */
    bool history_short; /* with OK: all of its history is a field of its hash */
};
typedef void (*archive_record_cb)(void *arg, const struct archive_record *record);

/* What to list, newest first: by creation, or by when it was parked. */
struct archive_filter {
    struct slice gid; /* only this one; empty: all */
    bool parked;      /* only what is */
    bool has_status, has_type;
    enum txn_type type;
    enum txn_status status;
    int64_t created_from_ms, created_to_ms; /* both included; 0: no bound */
    int limit;                              /* 1 … ARCHIVE_PAGE_MAX */
    struct slice position;                  /* "" or the next_position of the page before */
};

struct archive_page {
    enum store_status status; /* OK, REFUSED, UNKNOWN */
    const char *message;
    struct txn *const *txns;
    size_t count;
    /* "": that was the last page. Pages with a filter may be short, even empty, before that. */
    struct slice next_position;
};
typedef void (*archive_page_cb)(void *arg, const struct archive_page *page);

struct archive_backlog {
    enum store_status status; /* OK, REFUSED, UNKNOWN */
    int64_t due, overdue, parked;
};
typedef void (*archive_backlog_cb)(void *arg, const struct archive_backlog *backlog);

/* What became of transactions that were due much later. */
struct archive_reset {
    enum store_status status; /* OK, REFUSED, UNKNOWN */
    const char *message;
    int64_t moved;             /* are due now */
    const struct slice *owned; /* gids that somebody owns; they are as they were */
    size_t owned_count;
    bool remaining; /* there are more */
};
typedef void (*archive_reset_cb)(void *arg, const struct archive_reset *reset);

struct archive {
    const struct archive_ops *ops;
};

struct archive_ops {
    /* The transaction with its history. */
    void (*read)(struct archive *archive, struct slice gid, archive_record_cb cb, void *arg);
    /* ERR_INVALID: the position is not one of ours; then no callback comes. */
    enum err (*list)(struct archive *archive, const struct archive_filter *filter,
                     archive_page_cb cb, void *arg);
    void (*backlog)(struct archive *archive, archive_backlog_cb cb, void *arg);
    /* Makes up to `limit` (1 … ARCHIVE_PAGE_MAX) unfinished transactions due now that are due later
     * than `later_ms` from now and that nobody owns. Names up to as many that somebody owns. */
    void (*reset)(struct archive *archive, int64_t later_ms, int limit, archive_reset_cb cb,
                  void *arg);
};

#endif
