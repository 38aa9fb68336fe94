#include "coordinator/alerts.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "coordinator/retry.h"
#include "net/http.h"
#include "wire/json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

enum {
    CONNECTIONS = 4,
    CONNECT_MS = 5000,
    IDLE_MS = 60000,
    ANSWER_MAX = 64 * 1024,
    RETRY_MAX_MS = 60000,
    ERROR_MAX = 1024, /* bytes of an error that are sent */
    SHOWN_MAX = 256,  /* and logged */
};

enum alert_state {
    ALERT_DUE,
    ALERT_IN_FLIGHT,
    ALERT_RESTING, /* until its next try */
};

/* What people must know. Parkings and dead letters are told once, whatever happens; a call that is
 * tried again is told of again when it has failed again. */
enum alert_kind { ALERT_ONCE, ALERT_AGAIN, ALERT_KIND_COUNT };

/* One that is not delivered yet. */
struct alert {
    struct alert *prev, *next;
    struct alerts *alerts;
    enum alert_kind kind;
    enum alert_state state;
    struct loop_timer timer;
    struct buf body;
    int tries;
};

struct alerts {
    struct loop *loop;
    struct metrics *metrics;
    struct alerts_conf conf;
    char *webhook;
    struct http_client *client;              /* NULL: no webhook */
    struct alert *waiting[ALERT_KIND_COUNT]; /* the oldest first */
    int waiting_count;                       /* of all kinds and states */
    int in_flight;
    int64_t second_ms; /* the present one, of the log */
    int64_t logged, unlogged;
};

/* What people are told. */
struct news {
    struct slice gid;
    const char *status;
    struct slice branch; /* DTM: the url */
    struct slice branch_id;
    const char *op;
    struct slice error;
    int64_t retry_count;
    const char *reason;
};

/* ---- delivery ---- */

static void send_due(struct alerts *alerts);

static void alert_free(struct alert *alert)
{
    loop_timer_clear(&alert->timer);
    DL_DELETE(alert->alerts->waiting[alert->kind], alert);
    alert->alerts->waiting_count--;
    buf_fini(&alert->body);
    free(alert);
}

static void on_again(void *arg)
{
    struct alert *alert = arg;
    alert->state = ALERT_DUE;
    send_due(alert->alerts);
}

static void alert_failed(struct alert *alert, const char *why, int status)
{
    struct alerts *alerts = alert->alerts;
    if (alert->tries < ALERTS_TRIES) {
        alert->state = ALERT_RESTING;
        int64_t delay_ms =
            retry_delay_ms(alerts->conf.retry_delay_ms, RETRY_MAX_MS, alert->tries - 1, 0);
        loop_timer_set(&alert->timer, loop_now_ms(alerts->loop) + delay_ms);
        return;
    }
    log_error("alerts", "msg=\"an alert was not delivered\" webhook=\"%s\" status=%d error=\"%s\"",
              alerts->webhook, status, why);
    metrics_alert(alerts->metrics, METRICS_ALERT_FAILED);
    alert_free(alert);
}

static void on_answer(void *arg, const struct http_answer *answer)
{
    struct alert *alert = arg;
    if (answer->err == ERR_CANCELLED) { /* the end of alerts: they free what waits */
        return;
    }
    struct alerts *alerts = alert->alerts;
    alerts->in_flight--;
    if (answer->err == ERR_OK && answer->status >= 200 && answer->status < 300) {
        metrics_alert(alerts->metrics, METRICS_ALERT_SENT);
        alert_free(alert);
    } else {
        alert_failed(alert, answer->err ? err_text(answer->err) : "", answer->status);
    }
    send_due(alerts);
}

static void alert_send(struct alert *alert)
{
    struct alerts *alerts = alert->alerts;
    struct reason reason;
    struct http_call call = {
        .method = HTTP_POST,
        .url = alerts->webhook,
        .body = buf_slice(&alert->body),
        .deadline_ms = loop_now_ms(alerts->loop) + alerts->conf.timeout_ms,
    };
    alert->tries++;
    if (http_client_call(alerts->client, &call, on_answer, alert, &reason)) {
        alert_failed(alert, reason.text, 0);
        return;
    }
    alert->state = ALERT_IN_FLIGHT;
    alerts->in_flight++;
}

static struct alert *next_due(const struct alerts *alerts)
{
    for (int kind = 0; kind < ALERT_KIND_COUNT; kind++) {
        struct alert *alert;
        DL_FOREACH(alerts->waiting[kind], alert)
        {
            if (alert->state == ALERT_DUE) {
                return alert;
            }
        }
    }
    return NULL;
}

/* No more than the hook is asked at a time: the order is decided here, and the time of a try does
 * not pass in a line. */
static void send_due(struct alerts *alerts)
{
    struct alert *alert;
    while (alerts->in_flight < CONNECTIONS && (alert = next_due(alerts))) {
        alert_send(alert);
    }
}

static void alert_drop(struct alert *alert)
{
    metrics_alert(alert->alerts->metrics, METRICS_ALERT_DROPPED);
    alert_free(alert);
}

/* The oldest that is told again goes. */
static bool make_room(struct alerts *alerts)
{
    struct alert *alert;
    DL_FOREACH(alerts->waiting[ALERT_AGAIN], alert)
    {
        if (alert->state != ALERT_IN_FLIGHT) {
            alert_drop(alert);
            return true;
        }
    }
    return false;
}

/* ---- what is said ---- */

/* The first fields are DTM's. */
static void body_build(struct buf *out, const struct news *news)
{
    char now[CLOCK_TEXT_SIZE];
    struct json_writer w;
    size_t error_len = news->error.len < ERROR_MAX ? news->error.len : ERROR_MAX;
    json_writer_init(&w, out);
    json_open_object(&w, NULL);
    json_put_string(&w, "gid", news->gid);
    json_put_text(&w, "status", news->status);
    json_put_string(&w, "branch", news->branch);
    json_put_string(&w, "error", slice_make(news->error.ptr, error_len));
    json_put_int(&w, "retry_count", news->retry_count);
    json_put_text(&w, "reason", news->reason);
    json_put_string(&w, "branch_id", news->branch_id);
    json_put_text(&w, "op", news->op);
    json_put_text(&w, "time", clock_format(clock_wall_ms(), now));
    json_close_object(&w);
}

static void deliver(struct alerts *alerts, const struct news *news, enum alert_kind kind)
{
    if (!alerts->client) {
        return;
    }
    bool is_full = alerts->waiting_count == ALERTS_WAITING_MAX;
    if (is_full && (kind == ALERT_AGAIN || !make_room(alerts))) {
        metrics_alert(alerts->metrics, METRICS_ALERT_DROPPED);
        return;
    }
    struct alert *alert = mem_new(struct alert);
    alert->alerts = alerts;
    alert->kind = kind;
    alert->state = ALERT_DUE;
    loop_timer_init(&alert->timer, alerts->loop, on_again, alert);
    body_build(&alert->body, news);
    DL_APPEND(alerts->waiting[kind], alert);
    alerts->waiting_count++;
    send_due(alerts);
}

static void write_line(const struct news *news, const char *what)
{
    char gid[SHOWN_MAX], branch[SHOWN_MAX], error[SHOWN_MAX];
    log_warn("alerts",
             "msg=\"%s\" alert=1 gid=\"%s\" status=%s op=%.*s.%s branch=\"%s\" reason=%s "
             "attempts=%" PRId64 " error=\"%s\"",
             what, log_text(news->gid, gid, sizeof(gid)), news->status, SLICE_ARG(news->branch_id),
             news->op, log_text(news->branch, branch, sizeof(branch)), news->reason,
             news->retry_count, log_text(news->error, error, sizeof(error)));
}

/* An outage makes one such line for each transaction and attempt. */
static bool may_log(struct alerts *alerts)
{
    int64_t now_ms = loop_now_ms(alerts->loop);
    if (now_ms - alerts->second_ms >= 1000) {
        if (alerts->unlogged > 0) {
            log_warn("alerts", "msg=\"more calls have failed repeatedly\" count=%" PRId64,
                     alerts->unlogged);
        }
        alerts->second_ms = now_ms;
        alerts->logged = alerts->unlogged = 0;
    }
    bool may = alerts->logged < ALERTS_LOGGED_MAX;
    alerts->logged += may;
    alerts->unlogged += !may;
    return may;
}

void alerts_troubled(struct alerts *alerts, const struct engine_trouble *trouble)
{
    const struct txn *txn = trouble->txn;
    struct news news = {
        .gid = txn->gid,
        .status = txn_status_name(txn->status),
        .branch = trouble->branch->ops[trouble->op].url,
        .branch_id = trouble->branch->id,
        .op = txn_op_label(txn, trouble->branch, trouble->op),
        .error = trouble->error,
        .retry_count = trouble->attempts,
        .reason = trouble->parked ? txn_park_name(trouble->parked) : "retry",
    };
    if (trouble->parked) {
        metrics_parked(alerts->metrics, trouble->parked);
        write_line(&news, "a transaction is parked");
        deliver(alerts, &news, ALERT_ONCE);
    } else if (alerts->conf.retry_limit > 0 && trouble->attempts >= alerts->conf.retry_limit) {
        if (may_log(alerts)) {
            write_line(&news, "a call has failed repeatedly");
        }
        deliver(alerts, &news, ALERT_AGAIN);
    }
}

/* It has its line in the log already. */
void alerts_dead_letter(struct alerts *alerts, const char *key, const char *id, const char *why)
{
    struct news news = {
        .status = "dead",
        .branch = slice_str(key),
        .branch_id = slice_str(id),
        .op = "outbox",
        .error = slice_str(why),
        .reason = "dead_letter",
    };
    deliver(alerts, &news, ALERT_ONCE);
}

/* ---- life ---- */

struct alerts *alerts_new(struct loop *loop, const struct alerts_conf *conf,
                          struct metrics *metrics)
{
    struct alerts *alerts = mem_new(struct alerts);
    struct http_client_conf client = {
        .per_host_max = CONNECTIONS,
        .waiting_max = CONNECTIONS,
        .connect_timeout_ms = CONNECT_MS,
        .idle_ms = IDLE_MS,
        .body_max = ANSWER_MAX,
    };
    alerts->loop = loop;
    alerts->conf = *conf;
    alerts->metrics = metrics;
    alerts->webhook = mem_strdup(conf->webhook);
    alerts->second_ms = INT64_MIN / 2;
    if (alerts->webhook[0] != '\0') {
        alerts->client = http_client_new(loop, &client);
    }
    return alerts;
}

void alerts_free(struct alerts *alerts)
{
    if (!alerts) {
        return;
    }
    if (alerts->client) {
        http_client_free(alerts->client);
    }
    for (int kind = 0; kind < ALERT_KIND_COUNT; kind++) {
        while (alerts->waiting[kind]) {
            alert_drop(alerts->waiting[kind]);
        }
    }
    free(alerts->webhook);
    free(alerts);
}
