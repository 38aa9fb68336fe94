#include "cli/cli.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DATA_SHOWN_MAX = 200 }; /* bytes of a result */
enum { GREEN = 32, RED = 31, YELLOW = 33, GREY = 90 };

static int colour_of(struct slice status)
{
    if (slice_eq_str(status, "succeed") || slice_eq_str(status, "SUCCESS")) {
        return GREEN;
    }
    if (slice_eq_str(status, "failed") || slice_eq_str(status, "FAILURE") ||
        slice_eq_str(status, "aborting") || slice_eq_str(status, "ERROR")) {
        return RED;
    }
    return slice_eq_str(status, "prepared") ? GREY : YELLOW;
}

const char *cli_paint_status(const struct cli *cli, struct slice status, char out[64])
{
    char text[24];
    slice_printable(status, text, sizeof(text));
    if (cli->colour) {
        snprintf(out, 64, "\033[%dm%-9s\033[0m", colour_of(status), text);
    } else {
        snprintf(out, 64, "%-9s", text);
    }
    return out;
}

void cli_print_text(struct slice text)
{
    char *copy = mem_alloc(text.len + 1);
    fputs(slice_printable(text, copy, text.len + 1), stdout);
    free(copy);
}

static void print_line(const char *name, struct slice value)
{
    if (value.len > 0) {
        printf("%-10s ", name);
        cli_print_text(value);
        putchar('\n');
    }
}

/* "since 2026-01-31T12:00:00.000Z, attempts 01.compensate" */
static void print_parked(const struct json *parked)
{
    printf("since ");
    cli_print_text(json_string(json_get(parked, "since")));
    printf(", ");
    cli_print_text(json_string(json_get(parked, "reason")));
    const struct json *ops = json_get(parked, "ops");
    for (const struct json *op = json_first(ops); op; op = json_next(op)) {
        putchar(' ');
        cli_print_text(json_string(op));
    }
}

static void view_parked(const struct json *parked)
{
    if (parked) {
        printf("%-10s ", "parked");
        print_parked(parked);
        putchar('\n');
    }
}

void cli_view_parked(const struct json *document)
{
    const struct json *txn = json_get(document, "transaction");
    struct slice gid = json_string(json_get(txn, "gid"));
    printf("parked: ");
    print_parked(json_get(txn, "parked"));
    printf("; nobody tries it any more. sagactl get ");
    cli_print_text(gid);
    printf(" tells why; then: sagactl retry, resolve, abort or force-stop\n");
}

/* What a participant or a workflow answered, as far as it is text. */
static void print_base64(const char *before, struct slice base64)
{
    struct buf data = {0};
    if (base64.len > 0 && buf_add_base64_decoded(&data, base64) == ERR_OK) {
        bool cut = data.len > DATA_SHOWN_MAX;
        fputs(before, stdout);
        cli_print_text(slice_make(data.data, cut ? DATA_SHOWN_MAX : data.len));
        fputs(cut ? "…" : "", stdout);
    }
    buf_fini(&data);
}

/* Those of a workflow are its steps: no urls, but what came of them. */
static void view_branches(const struct cli *cli, const struct json *branches, bool of_workflow)
{
    char painted[64];
    if (json_count(branches) > 0) {
        printf("\n%s\n", of_workflow ? "steps" : "branches");
    }
    for (const struct json *branch = json_first(branches); branch; branch = json_next(branch)) {
        struct slice id = json_string(json_get(branch, "branch_id"));
        struct slice op = json_string(json_get(branch, "op"));
        printf("  %.*s  %-10.*s  %s  ", SLICE_ARG(id), SLICE_ARG(op),
               cli_paint_status(cli, json_string(json_get(branch, "status")), painted));
        cli_print_text(json_string(json_get(branch, "url")));
        print_base64(of_workflow ? "" : "  → ",
                     json_string(json_get(branch, of_workflow ? "bin_data" : "result")));
        putchar('\n');
    }
}

void cli_view_transaction(const struct cli *cli, const struct json *document)
{
    char painted[64];
    const struct json *txn = json_get(document, "transaction");
    struct slice type = json_string(json_get(txn, "trans_type"));
    struct slice result = json_string(json_get(txn, "result"));
    bool of_workflow = slice_eq_str(type, "workflow");
    print_line("gid", json_string(json_get(txn, "gid")));
    print_line("type", type);
    printf("%-10s %s\n", "status",
           cli_paint_status(cli, json_string(json_get(txn, "status")), painted));
    view_parked(json_get(txn, "parked"));
    print_line("workflow", json_string(json_get(txn, "workflow")));
    print_line(of_workflow ? "resume" : "check", json_string(json_get(txn, "query_prepared")));
    print_line("reason", json_string(json_get(txn, "rollback_reason")));
    if (result.len > 0) {
        print_base64("result     ", result);
        putchar('\n');
    }
    print_line("created", json_string(json_get(txn, "create_time")));
    print_line("updated", json_string(json_get(txn, "update_time")));
    print_line("next", json_string(json_get(txn, "next_cron_time")));
    view_branches(cli, json_get(document, "branches"), of_workflow);
    if (json_count(json_get(document, "history")) > 0) {
        printf("\nhistory\n");
        cli_view_history(cli, document, 0);
    }
}

/* "12:30:59.123" of an RFC 3339 time. */
static struct slice clock_part(struct slice time)
{
    return time.len >= 24 ? slice_make(time.ptr + 11, 12) : time;
}

static void view_entry(const struct cli *cli, const struct json *entry)
{
    char painted[64];
    struct slice op = json_string(json_get(entry, "op"));
    struct slice result = json_string(json_get(entry, "result"));
    struct slice note = json_string(json_get(entry, "note"));
    int64_t duration = 0;
    printf("  %.*s  ", SLICE_ARG(clock_part(json_string(json_get(entry, "time")))));
    if (result.len == 0) { /* a transition of the whole */
        printf("%s", cli_paint_status(cli, op, painted));
    } else {
        if (json_read_int(entry, "duration_ms", 0, INT64_MAX / 2, &duration, NULL) != ERR_OK) {
            duration = 0;
        }
        printf("  %-14.*s %s %5lld ms", SLICE_ARG(op), cli_paint_status(cli, result, painted),
               (long long)duration);
    }
    if (note.len > 0) {
        printf("  ");
        cli_print_text(note);
    }
    putchar('\n');
}

size_t cli_view_history(const struct cli *cli, const struct json *document, size_t from)
{
    size_t at = 0;
    const struct json *history = json_get(document, "history");
    for (const struct json *entry = json_first(history); entry; entry = json_next(entry)) {
        if (at++ >= from) {
            view_entry(cli, entry);
        }
    }
    fflush(stdout);
    return at;
}

/* Padded to the width. */
static void print_cell(struct slice text, size_t width)
{
    char shown[256];
    printf("%-*s  ", (int)width, slice_printable(text, shown, sizeof(shown)));
}

static int64_t int_of(const struct json *object, const char *name)
{
    int64_t value = 0;
    return json_read_int(object, name, 0, INT64_MAX / 2, &value, NULL) == ERR_OK ? value : 0;
}

static void view_instance(const struct json *service, const struct json *instance)
{
    print_cell(json_string(json_get(service, "name")), 16);
    print_cell(json_string(json_get(service, "source")), 10);
    printf("%.*s://", SLICE_ARG(json_string(json_get(service, "scheme"))));
    print_cell(json_string(json_get(instance, "address")), 26);
    print_cell(json_string(json_get(instance, "state")), 8);
    printf("%9lld %8lld", (long long)int_of(instance, "calls_in_flight"),
           (long long)int_of(instance, "calls_waiting"));
    if (json_get(instance, "lease_left_ms")) {
        printf("  %.1f s", (double)int_of(instance, "lease_left_ms") / 1000.0);
    }
    putchar('\n');
}

void cli_view_services(const struct json *document)
{
    printf("%-16s  %-10s  %-32s  %-8s  in flight  waiting  lease\n", "service", "source",
           "instance", "state");
    const struct json *list = json_get(document, "services");
    for (const struct json *service = json_first(list); service; service = json_next(service)) {
        const struct json *instances = json_get(service, "instances");
        for (const struct json *at = json_first(instances); at; at = json_next(at)) {
            view_instance(service, at);
        }
    }
}

void cli_view_list(const struct cli *cli, const struct json *document)
{
    char painted[64];
    const struct json *list = json_get(document, "transactions");
    printf("%-24s  %-8s  %-9s  gid\n", "created", "type", "status");
    for (const struct json *txn = json_first(list); txn; txn = json_next(txn)) {
        struct slice created = json_string(json_get(txn, "create_time"));
        struct slice type = json_string(json_get(txn, "trans_type"));
        printf("%-24.*s  %-8.*s  %s  ", SLICE_ARG(created), SLICE_ARG(type),
               cli_paint_status(cli, json_string(json_get(txn, "status")), painted));
        cli_print_text(json_string(json_get(txn, "gid")));
        printf("%s\n", json_get(txn, "parked") ? "  parked" : "");
    }
    struct slice next = json_string(json_get(document, "next_position"));
    if (next.len > 0) {
        printf("… more: --limit N\n");
    }
}
