#include "services/common/counters.h"

#include "base/check.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { NAMES_MAX = 16, VERDICTS = SAGA_BROKEN + 1 };

/* Answers that a service gives; anything else is counted under the last, "other". */
static const int statuses[] = {200, 202, 400, 401, 403, 404, 405, 409, 500, 503};
enum { STATUSES = sizeof(statuses) / sizeof(statuses[0]) + 1 };

struct counters {
    const char *service;
    const char *paths[NAMES_MAX];
    uint64_t requests[NAMES_MAX][STATUSES];
    const char *methods[NAMES_MAX];
    uint64_t calls[NAMES_MAX][VERDICTS];
    uint64_t alerts;
};

struct counters *counters_new(const char *service)
{
    struct counters *counters = mem_new(struct counters);
    counters->service = service;
    return counters;
}

void counters_free(struct counters *counters)
{
    free(counters);
}

/* The place of the name; a new one is put behind the others. */
static size_t find(const char *names[NAMES_MAX], const char *name)
{
    size_t i = 0;
    while (i < NAMES_MAX && names[i] && names[i] != name && strcmp(names[i], name) != 0) {
        i++;
    }
    check(i < NAMES_MAX); /* names come from the service's tables, never from input */
    names[i] = name;
    return i;
}

void counters_request(struct counters *counters, const char *path, int status)
{
    size_t at = 0;
    while (at < STATUSES - 1 && statuses[at] != status) {
        at++;
    }
    counters->requests[find(counters->paths, path ? path : "other")][at]++;
}

void counters_call(struct counters *counters, const char *method, enum saga_verdict verdict)
{
    counters->calls[find(counters->methods, method)][verdict]++;
}

void counters_alert(struct counters *counters)
{
    counters->alerts++;
}

static const char *verdict_text(enum saga_verdict verdict)
{
    switch (verdict) {
    case SAGA_OK: return "OK";
    case SAGA_DUP: return "DUP";
    case SAGA_NULL: return "NULL";
    case SAGA_FAIL: return "FAIL";
    case SAGA_VOID: return "VOID";
    case SAGA_CONFLICT: return "CONFLICT";
    case SAGA_LATE: return "LATE";
    case SAGA_BROKEN: return "BROKEN";
    }
    return "other";
}

static void render_requests(const struct counters *counters, struct buf *out)
{
    buf_add_str(out, "# HELP mall_http_requests_total Answered HTTP requests.\n"
                     "# TYPE mall_http_requests_total counter\n");
    for (size_t i = 0; i < NAMES_MAX && counters->paths[i]; i++) {
        for (size_t at = 0; at < STATUSES; at++) {
            if (counters->requests[i][at] == 0) {
                continue;
            }
            buf_printf(out, "mall_http_requests_total{service=\"%s\",path=\"%s\",status=\"",
                       counters->service, counters->paths[i]);
            if (at < STATUSES - 1) {
                buf_printf(out, "%d", statuses[at]);
            } else {
                buf_add_str(out, "other");
            }
            buf_printf(out, "\"} %" PRIu64 "\n", counters->requests[i][at]);
        }
    }
}

static void render_calls(const struct counters *counters, struct buf *out)
{
    buf_add_str(out, "# HELP mall_branch_calls_total Branch calls by what the barrier said.\n"
                     "# TYPE mall_branch_calls_total counter\n");
    for (size_t i = 0; i < NAMES_MAX && counters->methods[i]; i++) {
        for (int verdict = 0; verdict < VERDICTS; verdict++) {
            if (counters->calls[i][verdict] > 0) {
                buf_printf(out,
                           "mall_branch_calls_total{service=\"%s\",method=\"%s\",verdict=\"%s\"} "
                           "%" PRIu64 "\n",
                           counters->service, counters->methods[i],
                           verdict_text((enum saga_verdict)verdict), counters->calls[i][verdict]);
            }
        }
    }
}

void counters_render(const struct counters *counters, struct buf *out)
{
    render_requests(counters, out);
    render_calls(counters, out);
    buf_printf(out,
               "# HELP mall_alerts_total Compensations that a person should look at.\n"
               "# TYPE mall_alerts_total counter\n"
               "mall_alerts_total{service=\"%s\"} %" PRIu64 "\n",
               counters->service, counters->alerts);
}
