/*
 * What every service's main does: settings, the saga (participant and initiator), the HTTP API,
 * signals, clean end. Exit codes: 0 clean, 2 usage, 3 configuration, 4 cannot bind.
 */
#ifndef SERVICES_COMMON_SERVICE_H
#define SERVICES_COMMON_SERVICE_H

#include "saga.h"
#include "services/common/settings.h"
#include "services/common/web.h"

struct service {
    const char *name; /* "orderd" */
    struct saga *saga;
    struct web *web;
    const struct service_settings *settings;
    struct loop_timer drain_timer;
};

/* Fills `service` and serves `routes`; `arg` is given to the handlers. Returns 0 or an exit code,
 * after an error message. RPC handlers are registered by the caller afterwards, before
 * service_run. */
int service_open(struct service *service, const char *name, const struct service_settings *settings,
                 const struct web_route *routes, void *arg) MUST_CHECK;
/* Runs until SIGTERM or SIGINT, lets requests end (10 s at most; a second signal: at once), closes
 * everything. */
void service_run(struct service *service);

/* saga_call_settle for a branch of this service, after the configured fault, if one is set and this
 * is an action that has just committed. */
void service_settle(const struct service *service, struct saga_call *call, const char *method,
                    const struct saga_outcome *outcome, struct saga_bytes payload);

/* A slice as saga_bytes and back: the same thing on both sides of the SDK's border. */
static inline struct saga_bytes service_bytes(struct slice s)
{
    return (struct saga_bytes){s.ptr, s.len};
}
static inline struct slice service_slice(struct saga_bytes b)
{
    return slice_make(b.ptr, b.len);
}

#endif
