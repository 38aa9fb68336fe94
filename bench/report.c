#include "bench/bench.h"

#include "base/mem.h"
#include "wire/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

const char *const bench_error_names[BENCH_ERROR_KINDS] = {"refused", "busy", "unavailable",
                                                          "failed",  "late", "unfinished"};

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Exact, of the sorted latencies; nearest rank. */
static double percentile_ms(const struct bench *bench, double p)
{
    if (bench->latency_count == 0) {
        return 0;
    }
    size_t rank = (size_t)(p * (double)bench->latency_count);
    size_t last = bench->latency_count - 1;
    return (double)bench->latency_us[rank < last ? rank : last] / 1000.0;
}

static double rate(const struct bench *bench)
{
    double seconds = (double)(bench->end_us - bench->begin_us) / 1e6;
    return seconds > 0 ? (double)bench->ended / seconds : 0;
}

static double scripts_per_saga(const struct bench *bench)
{
    bool known = bench->scripts_before >= 0 && bench->scripts_after >= bench->scripts_before;
    return known ? (bench->scripts_after - bench->scripts_before) / (double)bench->total : -1;
}

/* What went wrong for good; what was tried again and ended well is not among it. */
static uint64_t error_count(const struct bench *bench)
{
    return bench->errors[BENCH_REFUSED] + bench->errors[BENCH_FAILED] +
           bench->errors[BENCH_UNFINISHED];
}

bool bench_is_good(const struct bench *bench)
{
    return bench->errors[BENCH_REFUSED] == 0 && bench->errors[BENCH_UNFINISHED] == 0 &&
           bench->succeeded + bench->failed == bench->total &&
           (bench->noop || (bench->books_checked && bench->books_balanced));
}

static void put_known(struct json_writer *w, const char *name, double value)
{
    if (value < 0) {
        json_put_null(w, name);
    } else {
        json_put_double(w, name, value);
    }
}

static void report_json(const struct bench *bench)
{
    struct buf out = {0};
    struct json_writer w;
    json_writer_init(&w, &out);
    json_open_object(&w, NULL);
    json_put_text(&w, "mode", bench_mode_name(bench->mode));
    json_put_int(&w, "sagas", bench->total);
    json_put_int(&w, "concurrency", bench->concurrency);
    json_put_double(&w, "sagas_per_s", rate(bench));
    json_put_double(&w, "p50_ms", percentile_ms(bench, 0.5));
    json_put_double(&w, "p95_ms", percentile_ms(bench, 0.95));
    json_put_double(&w, "p99_ms", percentile_ms(bench, 0.99));
    json_put_double(&w, "p999_ms", percentile_ms(bench, 0.999));
    json_put_int(&w, "errors", (int64_t)error_count(bench));
    json_open_object(&w, "errors_by_kind");
    for (int i = 0; i < BENCH_ERROR_KINDS; i++) {
        json_put_int(&w, bench_error_names[i], (int64_t)bench->errors[i]);
    }
    json_close_object(&w);
    if (bench->books_checked) {
        json_put_bool(&w, "books_balanced", bench->books_balanced);
    } else {
        json_put_null(&w, "books_balanced");
    }
    put_known(&w, "scripts_per_saga", scripts_per_saga(bench));
    put_known(&w, "redis_bytes_per_saga", bench->redis_bytes);
    json_close_object(&w);
    printf("%s\n", out.data);
    buf_fini(&out);
}

static void report_books(const struct bench *bench)
{
    bool colour = isatty(STDOUT_FILENO) == 1;
    const char *mark = bench->books_balanced ? "\033[32m" : "\033[31m";
    printf("books           %s%s%s: ", colour ? mark : "",
           bench->books_balanced ? "balanced" : "NOT BALANCED", colour ? "\033[0m" : "");
    if (bench_is_hosted(bench)) {
        printf("%" PRId64 " branches counted, %" PRId64 " held", bench->counted, bench->held);
    } else {
        printf("stock %" PRId64 " + ordered %" PRId64 ", began with %" PRId64, bench->stock,
               bench->ordered, bench->total);
    }
    printf("; %" PRId64 " transactions succeeded\n", bench->succeeded);
}

static void report_text(const struct bench *bench)
{
    const char *mode = bench_mode_name(bench->mode);
    printf("%.0f %ss/s (%" PRId64 " at concurrency %" PRId64 ", %s%s)\n", rate(bench), mode,
           bench->total, bench->concurrency,
           bench->noop              ? "no-op participants"
           : bench_is_hosted(bench) ? "counters behind barriers"
                                    : "order and product",
           bench->over_http ? " over HTTP" : "");
    printf("latency ms      p50 %.2f   p95 %.2f   p99 %.2f   p99.9 %.2f\n",
           percentile_ms(bench, 0.5), percentile_ms(bench, 0.95), percentile_ms(bench, 0.99),
           percentile_ms(bench, 0.999));
    printf("ended           %" PRId64 " succeed, %" PRId64 " failed\n", bench->succeeded,
           bench->failed);
    for (int i = 0; i < BENCH_ERROR_KINDS; i++) {
        if (bench->errors[i] > 0) {
            printf("  %-13s %" PRIu64 "\n", bench_error_names[i], bench->errors[i]);
        }
    }
    if (scripts_per_saga(bench) >= 0) {
        printf("store           %.2f scripts per %s\n", scripts_per_saga(bench), mode);
    }
    if (bench->redis_bytes >= 0) {
        printf("memory          %.0f bytes of Redis per finished %s\n", bench->redis_bytes, mode);
    }
    if (bench->books_checked) {
        report_books(bench);
    }
}

void bench_report(struct bench *bench)
{
    qsort(bench->latency_us, bench->latency_count, sizeof(int64_t), by_value);
    if (bench->json) {
        report_json(bench);
    } else {
        report_text(bench);
    }
}
