#include "coordinator/metrics.h"

#include "base/check.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    TYPES = TXN_WORKFLOW + 1,
    STATUSES = TXN_FAILED + 1,
    OPS = 9,
    VERDICTS = CALL_CONFLICT + 1,
    ROUTES = METRICS_ROUTES_MAX + 1, /* the last one: no such path */
};

/* By txn_op_label. */
static const char *const op_labels[OPS] = {"action", "compensate", "try", "confirm", "cancel",
                                           "commit", "rollback",   "msg", "resume"};

struct histogram {
    uint64_t buckets[METRICS_BUCKETS + 1]; /* not cumulative; the last one is +Inf */
    uint64_t sum_us;
};

/* Only 64-bit counters, so that parts can be added up word by word. */
struct part {
    uint64_t txns[TYPES][STATUSES];
    struct histogram txn_us[TYPES];
    uint64_t calls[OPS][VERDICTS];
    struct histogram call_us[OPS];
    uint64_t redis_ok, redis_failed;
    struct histogram redis_us;
    uint64_t http[ROUTES][METRICS_STATUSES];
    struct histogram http_us;
    uint64_t outbox[METRICS_OUTBOX_COUNT];
    uint64_t parked[PARK_CONFLICT + 1];
    uint64_t alerts[METRICS_ALERT_COUNT];
    uint64_t gauges[GAUGE_COUNT];
    uint64_t before[GAUGE_COUNT]; /* of the counters among them: what earlier workers here had */
};

struct metrics {
    struct part *parts; /* shared memory */
    struct part *own;
    int workers;
    char *version;
    const char *const *routes;
    int route_count;
};

static const uint64_t bounds_us[METRICS_BUCKETS] = {
    100,   250,    500,    1000,   2500,    5000,    10000,    25000,
    50000, 100000, 250000, 500000, 1000000, 5000000, 30000000, 300000000};

static const int http_statuses[METRICS_STATUSES - 1] = {200, 400, 401, 404, 405, 409, 413, 425,
                                                        429, 500, 503, 408, 414, 501, 431};

struct metrics *metrics_new(int workers, const char *version)
{
    struct metrics *metrics = mem_new(struct metrics);
    void *memory = mmap(NULL, (size_t)workers * sizeof(struct part), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    check(memory != MAP_FAILED);
    metrics->parts = memory;
    metrics->own = metrics->parts;
    metrics->workers = workers;
    metrics->version = mem_strdup(version);
    return metrics;
}

void metrics_attach(struct metrics *metrics, int worker)
{
    check(worker >= 0 && worker < metrics->workers);
    struct part *own = metrics->own = &metrics->parts[worker];
    /* gauges of a worker that died at this place are not true any more; its counters stay */
    for (int i = GAUGE_CALLS_MOVED; i < GAUGE_COUNT; i++) {
        own->before[i] += own->gauges[i];
    }
    memset(own->gauges, 0, sizeof(own->gauges));
}

void metrics_free(struct metrics *metrics)
{
    munmap(metrics->parts, (size_t)metrics->workers * sizeof(struct part));
    free(metrics->version);
    free(metrics);
}

void metrics_set_routes(struct metrics *metrics, const char *const *routes, int count)
{
    check(count <= METRICS_ROUTES_MAX);
    metrics->routes = routes;
    metrics->route_count = count;
}

/* ---- counting ---- */

static void histogram_add(struct histogram *histogram, int64_t value_us)
{
    uint64_t value = value_us > 0 ? (uint64_t)value_us : 0;
    int i = 0;
    while (i < METRICS_BUCKETS && value > bounds_us[i]) {
        i++;
    }
    histogram->buckets[i]++;
    histogram->sum_us += value;
}

void metrics_submitted(struct metrics *metrics, enum txn_type type)
{
    metrics->own->txns[type][TXN_SUBMITTED]++;
}

void metrics_finished(struct metrics *metrics, enum txn_type type, enum txn_status status,
                      int64_t duration_ms)
{
    metrics->own->txns[type][status]++;
    histogram_add(&metrics->own->txn_us[type], duration_ms * 1000);
}

void metrics_called(struct metrics *metrics, const char *label, enum call_verdict verdict,
                    int64_t duration_us)
{
    size_t op = 0;
    while (op < OPS - 1 && strcmp(op_labels[op], label) != 0) {
        op++;
    }
    metrics->own->calls[op][verdict]++;
    histogram_add(&metrics->own->call_us[op], duration_us);
}

void metrics_redis(struct metrics *metrics, bool ok, int64_t duration_us)
{
    if (ok) {
        metrics->own->redis_ok++;
    } else {
        metrics->own->redis_failed++;
    }
    histogram_add(&metrics->own->redis_us, duration_us);
}

static int status_index(int status)
{
    int i = 0;
    while (i < METRICS_STATUSES - 1 && http_statuses[i] != status) {
        i++;
    }
    return i;
}

void metrics_http(struct metrics *metrics, int route, int status, int64_t duration_us)
{
    int place = route >= 0 && route < METRICS_ROUTES_MAX ? route : METRICS_ROUTES_MAX;
    metrics->own->http[place][status_index(status)]++;
    histogram_add(&metrics->own->http_us, duration_us);
}

void metrics_outbox(struct metrics *metrics, enum metrics_outbox what, int64_t count)
{
    metrics->own->outbox[what] += count > 0 ? (uint64_t)count : 0;
}

void metrics_parked(struct metrics *metrics, enum txn_park why)
{
    metrics->own->parked[why]++;
}

void metrics_alert(struct metrics *metrics, enum metrics_alert what)
{
    metrics->own->alerts[what]++;
}

void metrics_set(struct metrics *metrics, enum metrics_gauge gauge, int64_t value)
{
    metrics->own->gauges[gauge] = (uint64_t)value;
}

/* ---- rendering ---- */

static void put_head(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_gauge(struct buf *out, const char *name, const char *help, int64_t value)
{
    put_head(out, name, "gauge", help);
    buf_printf(out, "%s %" PRId64 "\n", name, value);
}

static void put_counter(struct buf *out, const char *name, const char *help, uint64_t value)
{
    put_head(out, name, "counter", help);
    buf_printf(out, "%s %" PRIu64 "\n", name, value);
}

static void put_seconds(struct buf *out, uint64_t us)
{
    buf_printf(out, "%" PRIu64 ".%06" PRIu64, us / 1000000, us % 1000000);
}

/* `label` is "" or name="value". */
static void put_histogram(struct buf *out, const char *name, const char *label,
                          const struct histogram *histogram)
{
    const char *comma = label[0] ? "," : "";
    uint64_t count = 0;
    for (int i = 0; i < METRICS_BUCKETS; i++) {
        count += histogram->buckets[i];
        buf_printf(out, "%s_bucket{%s%sle=\"", name, label, comma);
        put_seconds(out, bounds_us[i]);
        buf_printf(out, "\"} %" PRIu64 "\n", count);
    }
    count += histogram->buckets[METRICS_BUCKETS];
    buf_printf(out, "%s_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n", name, label, comma, count);
    const char *open = label[0] ? "{" : "";
    const char *close = label[0] ? "}" : "";
    buf_printf(out, "%s_sum%s%s%s ", name, open, label, close);
    put_seconds(out, histogram->sum_us);
    buf_printf(out, "\n%s_count%s%s%s %" PRIu64 "\n", name, open, label, close, count);
}

static void render_txns(const struct part *sum, struct buf *out)
{
    put_head(out, "sagad_transactions_total", "counter",
             "Global transactions that entered a status.");
    for (int type = 0; type < TYPES; type++) {
        static const enum txn_status shown[] = {TXN_SUBMITTED, TXN_SUCCEED, TXN_FAILED};
        for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++) {
            buf_printf(out, "sagad_transactions_total{type=\"%s\",status=\"%s\"} %" PRIu64 "\n",
                       txn_type_name((enum txn_type)type), txn_status_name(shown[i]),
                       sum->txns[type][shown[i]]);
        }
    }
    put_head(out, "sagad_transaction_duration_seconds", "histogram",
             "From the prepare, or the submit of one that was not prepared, to the end.");
    for (int type = 0; type < TYPES; type++) {
        struct buf label = {0};
        buf_printf(&label, "type=\"%s\"", txn_type_name((enum txn_type)type));
        put_histogram(out, "sagad_transaction_duration_seconds", label.data, &sum->txn_us[type]);
        buf_fini(&label);
    }
}

static void render_calls(const struct part *sum, struct buf *out)
{
    put_head(out, "sagad_branch_calls_total", "counter", "Branch calls by their result.");
    for (int op = 0; op < OPS; op++) {
        for (int verdict = 0; verdict < VERDICTS; verdict++) {
            buf_printf(out, "sagad_branch_calls_total{op=\"%s\",result=\"%s\"} %" PRIu64 "\n",
                       op_labels[op], call_verdict_name((enum call_verdict)verdict),
                       sum->calls[op][verdict]);
        }
    }
    put_head(out, "sagad_branch_call_duration_seconds", "histogram",
             "Branch calls, with the time in line.");
    for (int op = 0; op < OPS; op++) {
        struct buf label = {0};
        buf_printf(&label, "op=\"%s\"", op_labels[op]);
        put_histogram(out, "sagad_branch_call_duration_seconds", label.data, &sum->call_us[op]);
        buf_fini(&label);
    }
}

static void render_redis(const struct part *sum, struct buf *out)
{
    put_head(out, "sagad_redis_commands_total", "counter",
             "Commands (round trips) to Redis; error: without a usable reply.");
    buf_printf(out, "sagad_redis_commands_total{result=\"ok\"} %" PRIu64 "\n", sum->redis_ok);
    buf_printf(out, "sagad_redis_commands_total{result=\"error\"} %" PRIu64 "\n",
               sum->redis_failed);
    put_head(out, "sagad_redis_round_trip_seconds", "histogram",
             "From queueing a command to its reply.");
    put_histogram(out, "sagad_redis_round_trip_seconds", "", &sum->redis_us);
}

static void render_http(const struct metrics *metrics, const struct part *sum, struct buf *out)
{
    put_head(out, "sagad_http_requests_total", "counter",
             "Requests to the HTTP API by path and status.");
    for (int route = 0; route < ROUTES; route++) {
        const char *path = route < metrics->route_count ? metrics->routes[route] : "other";
        for (int i = 0; i < METRICS_STATUSES; i++) {
            uint64_t count = sum->http[route][i];
            if (count == 0) {
                continue;
            }
            buf_printf(out, "sagad_http_requests_total{path=\"%s\",status=\"", path);
            if (i < METRICS_STATUSES - 1) {
                buf_printf(out, "%d", http_statuses[i]);
            } else {
                buf_add_str(out, "other");
            }
            buf_printf(out, "\"} %" PRIu64 "\n", count);
        }
    }
    put_head(out, "sagad_http_request_duration_seconds", "histogram",
             "Requests to the HTTP API, with the time a client chose to wait for the result.");
    put_histogram(out, "sagad_http_request_duration_seconds", "", &sum->http_us);
}

static void render_outbox(const struct part *sum, struct buf *out)
{
    static const struct {
        const char *name, *help;
    } counters[METRICS_OUTBOX_COUNT] = {
        [METRICS_OUTBOX_CONSUMED] = {"sagad_outbox_consumed_total",
                                     "Entries of outbox streams that became messages."},
        [METRICS_OUTBOX_DEAD] = {"sagad_outbox_dead_total",
                                 "Entries that were moved to a dead-letter stream."},
    };
    for (int i = 0; i < METRICS_OUTBOX_COUNT; i++) {
        put_head(out, counters[i].name, "counter", counters[i].help);
        buf_printf(out, "%s %" PRIu64 "\n", counters[i].name, sum->outbox[i]);
    }
}

static void render_trouble(const struct part *sum, struct buf *out)
{
    static const char *const results[METRICS_ALERT_COUNT] = {
        [METRICS_ALERT_SENT] = "sent",
        [METRICS_ALERT_FAILED] = "failed",
        [METRICS_ALERT_DROPPED] = "dropped",
    };
    put_head(out, "sagad_parkings_total", "counter",
             "Transactions that were parked: they wait for an operator.");
    for (int why = PARK_ATTEMPTS; why <= PARK_CONFLICT; why++) {
        buf_printf(out, "sagad_parkings_total{reason=\"%s\"} %" PRIu64 "\n",
                   txn_park_name((enum txn_park)why), sum->parked[why]);
    }
    put_head(out, "sagad_alerts_total", "counter",
             "Alerts for the webhook, by what became of them.");
    for (int i = 0; i < METRICS_ALERT_COUNT; i++) {
        buf_printf(out, "sagad_alerts_total{result=\"%s\"} %" PRIu64 "\n", results[i],
                   sum->alerts[i]);
    }
}

static void render_gauges(const struct part *sum, struct buf *out)
{
    static const struct {
        const char *name, *help;
    } gauges[GAUGE_CALLS_MOVED] = {
        [GAUGE_LIVE] = {"sagad_live_transactions", "Transactions in memory, owned by this sagad."},
        [GAUGE_CALLS_INFLIGHT] = {"sagad_branch_calls_in_flight", "Branch calls in flight."},
        [GAUGE_CALLS_WAITING] = {"sagad_branch_calls_waiting",
                                 "Branch calls in line for a slot of their participant."},
        [GAUGE_PARTICIPANTS] = {"sagad_participants", "Addresses called recently."},
        [GAUGE_SERVICES] = {"sagad_services", "Services that are known by name."},
        [GAUGE_INSTANCES] = {"sagad_service_instances", "Instances of these services."},
        [GAUGE_INSTANCES_RESTING] = {"sagad_service_instances_resting",
                                     "Addresses that get no calls for now, because they failed."},
        [GAUGE_REDIS_UP] = {"sagad_redis_connections", "Open connections to Redis."},
        [GAUGE_OUTBOX_ENTRIES] = {"sagad_outbox_entries",
                                  "Entries of the outbox streams that are not yet messages."},
        [GAUGE_OUTBOX_PENDING] = {"sagad_outbox_pending",
                                  "Of these, those that a coordinator has read."},
        [GAUGE_OUTBOX_OLDEST_S] = {"sagad_outbox_oldest_seconds", "Age of the oldest of them."},
        [GAUGE_CONNECTIONS] = {"sagad_connections", "Connections of clients to both APIs."},
    };
    put_counter(out, "sagad_branch_calls_moved_total",
                "Branch calls that went on to another instance of their service.",
                sum->before[GAUGE_CALLS_MOVED] + sum->gauges[GAUGE_CALLS_MOVED]);
    put_counter(out, "sagad_connections_refused_total",
                "Connections over connections_max or connections_per_client.",
                sum->before[GAUGE_CONNECTIONS_REFUSED] + sum->gauges[GAUGE_CONNECTIONS_REFUSED]);
    for (int i = 0; i < GAUGE_CALLS_MOVED; i++) {
        put_gauge(out, gauges[i].name, gauges[i].help, (int64_t)sum->gauges[i]);
    }
}

static struct part *parts_sum(const struct metrics *metrics)
{
    _Static_assert(sizeof(struct part) % sizeof(uint64_t) == 0, "words only");
    struct part *sum = mem_new(struct part);
    uint64_t *to = (uint64_t *)(void *)sum;
    for (int worker = 0; worker < metrics->workers; worker++) {
        const uint64_t *from = (const uint64_t *)(const void *)&metrics->parts[worker];
        for (size_t i = 0; i < sizeof(struct part) / sizeof(uint64_t); i++) {
            to[i] += from[i];
        }
    }
    return sum;
}

void metrics_render(const struct metrics *metrics, const struct metrics_backlog *backlog,
                    struct buf *out)
{
    struct part *sum = parts_sum(metrics);
    put_head(out, "sagad_build_info", "gauge", "Always 1.");
    buf_printf(out, "sagad_build_info{version=\"%s\"} 1\n", metrics->version);
    put_gauge(out, "sagad_workers", "Worker processes.", metrics->workers);
    render_txns(sum, out);
    render_calls(sum, out);
    render_gauges(sum, out);
    render_outbox(sum, out);
    render_trouble(sum, out);
    if (backlog->known) {
        put_gauge(out, "sagad_due_transactions", "Unfinished transactions in the store.",
                  backlog->due);
        put_gauge(out, "sagad_overdue_transactions",
                  "Of these, those whose due time has passed: nobody works on them.",
                  backlog->overdue);
        put_gauge(
            out, "sagad_parked_transactions",
            "Transactions that wait for a person: parked, or with a record that cannot be read.",
            backlog->parked);
    }
    render_redis(sum, out);
    render_http(metrics, sum, out);
    free(sum);
}
