/* A participant of the chaos runs; desk.c tells what it does. */
#ifndef TESTS_CHAOS_DESK_H
#define TESTS_CHAOS_DESK_H

#include "services/common/service.h"

struct desk_settings {
    struct service_settings common;
    char *order_rpc, *product_rpc; /* "host:port" */
};

struct desk {
    struct service service;
    struct desk_settings settings;
    struct saga_script *sell, *xa_hold, *xa_end;
};

void flow_register(struct desk *desk); /* orders as workflows (flow.c) */

#endif
