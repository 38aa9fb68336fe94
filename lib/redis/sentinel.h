/* Asks sentinels, one after the other, who the master is. */
#ifndef REDIS_SENTINEL_H
#define REDIS_SENTINEL_H

#include "net/loop.h"
#include "redis/where.h"

struct search;

/* `master`: its "host:port", as the first sentinel says that knows one; NULL: none does, and `why`
 * is for the log. */
typedef void (*search_cb)(void *arg, const char *master, const char *why);

/* Begins with the sentinel number `*first` (modulo their count) and leaves there who has answered;
 * each gets `timeout_ms`. The callback comes exactly once, never from inside this call, unless
 * search_cancel was called; the search is gone when it comes. `sentinels` and `first` must live
 * until then. */
struct search *search_start(struct loop *loop, const struct where *sentinels, size_t *first,
                            int64_t timeout_ms, search_cb cb, void *arg);
void search_cancel(struct search *search);

#endif
