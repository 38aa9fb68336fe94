#include "redis/sentinel.h"

#include "base/mem.h"
#include "net/dial.h"
#include "redis/command.h"
#include "redis/link.h"
#include "redis/value.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct search {
    struct loop *loop;
    const struct where *sentinels;
    size_t *first;
    size_t asked;
    int64_t timeout_ms;
    search_cb cb;
    void *arg;
    struct dial *dial;
    struct redis_link *link;
    struct loop_timer timer;
    bool answered; /* `why` is what a sentinel said: worth more than that another one is away */
    struct reason why;
};

static void ask_next(struct search *search);

static const char *present(const struct search *search)
{
    return search->sentinels->hosts[(*search->first + search->asked) % search->sentinels->count];
}

static void hang_up(struct search *search)
{
    loop_timer_clear(&search->timer);
    if (search->dial) {
        dial_cancel(search->dial);
        search->dial = NULL;
    }
    if (search->link) {
        redis_link_close(search->link);
        search->link = NULL;
    }
}

void search_cancel(struct search *search)
{
    hang_up(search);
    loop_defer_free(search->loop, search, free);
}

static void finish(struct search *search, const char *master)
{
    search_cb cb = search->cb;
    void *arg = search->arg;
    search_cancel(search);
    cb(arg, master, search->why.text); /* the text lives until the turn ends */
}

static void refused(struct search *search, bool answered, const char *why)
{
    if (answered || !search->answered) {
        (void)reason_set(&search->why, ERR_UNAVAILABLE, "sentinel %s: %s", present(search), why);
    }
    search->answered = search->answered || answered;
    hang_up(search);
    search->asked++;
    ask_next(search);
}

static void on_timer(void *arg)
{
    refused(arg, false, "no answer in time");
}

static void on_closed(void *arg, const char *why)
{
    struct search *search = arg;
    search->link = NULL;
    refused(search, false, why);
}

static void refused_by_error(struct search *search, struct slice text)
{
    struct reason why;
    bool wants_password = redis_error_is(text, "NOAUTH");
    (void)reason_set(&why, ERR_DENIED, "%.*s%s", SLICE_ARG(text),
                     wants_password ? " (sentinels with a password are not supported: take "
                                      "requirepass out of sentinel.conf)"
                                    : "");
    refused(search, true, why.text);
}

/* ["10.0.0.7", "6379"], or nil. */
static void on_reply(void *arg, const struct redis_value *value)
{
    struct search *search = arg;
    struct reason master;
    if (value->is_error) {
        refused_by_error(search, value->str);
        return;
    }
    struct slice host = value->count == 2 ? value->items[0].str : slice_str(NULL);
    struct slice port = value->count == 2 ? value->items[1].str : slice_str(NULL);
    if (host.len == 0 || port.len == 0) {
        (void)reason_set(&master, ERR_NOT_FOUND,
                         "knows no master '%s': give the name of `sentinel monitor`",
                         search->sentinels->master);
        refused(search, true, master.text);
        return;
    }
    bool v6 = memchr(host.ptr, ':', host.len) != NULL;
    (void)reason_set(&master, ERR_OK, v6 ? "[%.*s]:%.*s" : "%.*s:%.*s", SLICE_ARG(host),
                     SLICE_ARG(port));
    *search->first += search->asked;
    finish(search, master.text);
}

static void on_dialled(void *arg, enum err err, int fd, const char *why)
{
    static const struct redis_link_events events = {.reply = on_reply, .closed = on_closed};
    struct search *search = arg;
    search->dial = NULL;
    if (err != ERR_OK) {
        refused(search, false, why);
        return;
    }
    search->link = redis_link_open(search->loop, fd, &events, search);
    const struct slice words[] = {SLICE_LIT("SENTINEL"), SLICE_LIT("GET-MASTER-ADDR-BY-NAME"),
                                  slice_str(search->sentinels->master)};
    struct buf *out = redis_link_out(search->link);
    command_add_count(out, 3);
    command_add_words(out, words, 3);
}

static void ask_next(struct search *search)
{
    if (search->asked == search->sentinels->count) {
        finish(search, NULL);
        return;
    }
    loop_timer_set(&search->timer, loop_now_ms(search->loop) + search->timeout_ms);
    search->dial =
        dial_start(search->loop, present(search), search->timeout_ms, on_dialled, search);
}

struct search *search_start(struct loop *loop, const struct where *sentinels, size_t *first,
                            int64_t timeout_ms, search_cb cb, void *arg)
{
    struct search *search = mem_new(struct search);
    search->loop = loop;
    search->sentinels = sentinels;
    search->first = first;
    search->timeout_ms = timeout_ms;
    search->cb = cb;
    search->arg = arg;
    loop_timer_init(&search->timer, loop, on_timer, search);
    ask_next(search);
    return search;
}
