/*
 * What a service counts, as Prometheus text (format 0.0.4) at GET /api/metrics:
 *
 *   mall_http_requests_total{service,path,status}    answered requests; path "other": no such path
 *   mall_branch_calls_total{service,method,verdict}  branch calls, by what the barrier said
 *   mall_alerts_total{service}                       compensations that a person should look at
 *
 * Every label has a small fixed set of values, so no input can make them grow.
 */
#ifndef SERVICES_COMMON_COUNTERS_H
#define SERVICES_COMMON_COUNTERS_H

#include "base/buf.h"
#include "saga.h"

struct counters;

struct counters *counters_new(const char *service); /* the name must outlive it */
void counters_free(struct counters *counters);

/* `path` is a route's own text (it is kept, not copied), or NULL: no such path. */
void counters_request(struct counters *counters, const char *path, int status);
/* `method` is kept, not copied. */
void counters_call(struct counters *counters, const char *method, enum saga_verdict verdict);
void counters_alert(struct counters *counters);

void counters_render(const struct counters *counters, struct buf *out);

#endif
