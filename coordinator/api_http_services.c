#include "coordinator/api_http_call.h"

/* The overview of the participants: what this coordinator knows, and how it goes with it. */
struct services_view {
    struct json_writer writer;
    const struct api_env *env;
};

static const char *source_name(enum directory_source source)
{
    switch (source) {
    case DIRECTORY_MAP: return "map";
    case DIRECTORY_REGISTERED: return "registered";
    case DIRECTORY_ADDRESS: return "dns";
    }
    return "dns";
}

static void put_instance(struct services_view *view, const struct service *service,
                         const struct instance *instance)
{
    struct json_writer *w = &view->writer;
    struct caller_net_instance seen;
    bool known = caller_net_instance(view->env->caller, service->scheme, instance->address, &seen);
    json_open_object(w, NULL);
    json_put_text(w, "address", instance->address);
    json_put_text(w, "configured", instance->host);
    json_put_text(w, "state", !known ? "unused" : seen.resting ? "resting" : "ready");
    json_put_int(w, "calls_in_flight", seen.in_flight);
    json_put_int(w, "calls_waiting", seen.waiting);
    if (service->source == DIRECTORY_REGISTERED) {
        int64_t left_ms = instance->lease_ends_ms - loop_now_ms(view->env->loop);
        json_put_int(w, "lease_left_ms", left_ms > 0 ? left_ms : 0);
    }
    json_close_object(w);
}

static void put_service(void *arg, const struct service *service)
{
    struct services_view *view = arg;
    struct json_writer *w = &view->writer;
    json_open_object(w, NULL);
    json_put_string(w, "name", service->name);
    json_put_text(w, "scheme", service->scheme == BRANCH_TCP ? "tcp" : "http");
    json_put_text(w, "source", source_name(service->source));
    json_open_array(w, "instances");
    for (size_t i = 0; i < service->count; i++) {
        put_instance(view, service, &service->instances[i]);
    }
    json_close_array(w);
    json_close_object(w);
}

void api_handle_services(struct api_call *call)
{
    struct buf body = {0};
    struct services_view view = {.env = &call->api->env};
    json_writer_init(&view.writer, &body);
    json_open_object(&view.writer, NULL);
    json_open_array(&view.writer, "services");
    if (view.env->caller) {
        directory_each(caller_net_directory(view.env->caller), put_service, &view);
    }
    json_close_array(&view.writer);
    json_close_object(&view.writer);
    api_reply_json(call, buf_slice(&body));
    buf_fini(&body);
}
