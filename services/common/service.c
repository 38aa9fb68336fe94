#include "services/common/service.h"

#include "base/log.h"
#include "base/mem.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    EXIT_USAGE = 2,
    EXIT_CONFIG = 3,
    EXIT_BIND = 4,
    DRAIN_MS = 10000,
    DRAIN_LOOK_MS = 20,
    CLOSE_MS = 2000
};

static const char *or_null(const char *text)
{
    return text && text[0] ? text : NULL;
}

static struct saga *open_saga(struct loop *loop, const char *name,
                              const struct service_settings *settings)
{
    char error[256];
    char service[32];
    snprintf(service, sizeof(service), "%.*s", (int)strlen(name) - 1, name);
    struct saga_advert advert = {
        .service = service,
        .address = settings->advertise,
        .redis = or_null(settings->registry),
        .redis_user = or_null(settings->registry_user),
        .redis_password = or_null(settings->registry_password),
        .redis_db = (int)settings->registry_db,
        .lease_ms = settings->registry_lease_ms,
    };
    struct saga_conf conf = {
        .program = name,
        .listen = settings->listen_rpc,
        .token = or_null(settings->token),
        .redis = settings->redis,
        .redis_user = or_null(settings->redis_user),
        .redis_password = or_null(settings->redis_password),
        .redis_db = (int)settings->redis_db,
        .wait_replicas = (int)settings->wait_replicas,
        .wait_timeout_ms = settings->wait_timeout_ms,
        .barrier_ttl_ms = settings->barrier_ttl_ms,
        .coordinator = or_null(settings->coordinator),
        .timeout_ms = settings->timeout_ms,
        .advert = or_null(settings->advertise) ? &advert : NULL,
        .loop = loop,
    };
    struct saga *saga = saga_open(&conf, error, sizeof(error));
    if (!saga) {
        fprintf(stderr, "%s: %s\n", name, error);
    }
    return saga;
}

static int exit_code(enum conf_verdict verdict)
{
    switch (verdict) {
    case CONF_RUN:
    case CONF_EXIT_OK: return 0;
    case CONF_USAGE: return EXIT_USAGE;
    case CONF_BAD: return EXIT_CONFIG;
    }
    return EXIT_CONFIG;
}

static struct web *open_web(const struct service_program *program)
{
    const struct service_settings *settings = program->settings;
    struct reason reason;
    struct web_conf web = {
        .listen = settings->listen_http,
        .body_max = (size_t)settings->body_max,
        .jwt_secret = service_settings_secret(settings),
        .routes = program->routes,
        .counters = program->service->counters,
        .arg = program->arg,
    };
    struct web *opened = web_open(program->service->loop, &web, &reason);
    if (!opened) {
        fprintf(stderr, "%s: listen_http: %s\n", program->conf->name, reason.text);
    }
    return opened;
}

/* What the saga still owes completes first, as cancelled: handlers then answer their web requests,
 * so the web side must live until the end of that turn. */
static void close_all(struct service *service)
{
    service_delays_close(service);
    if (service->saga) {
        saga_close(service->saga);
    }
    loop_turn(service->loop, 0);
    if (service->web) {
        web_close(service->web);
        loop_turn(service->loop, 0);
    }
    loop_free(service->loop);
    counters_free(service->counters);
}

static int open_all(const struct service_program *program)
{
    struct service *service = program->service;
    *service = (struct service){.program = program,
                                .name = program->conf->name,
                                .loop = loop_new(),
                                .counters = counters_new(program->conf->name),
                                .settings = program->settings,
                                .jwt_secret = service_settings_secret(program->settings)};
    service->saga = open_saga(service->loop, service->name, program->settings);
    service->web = service->saga ? open_web(program) : NULL;
    if (!service->web) {
        close_all(service);
        return EXIT_BIND;
    }
    return 0;
}

/* Until Redis has answered no method is registered, and the coordinator calls another instance. */
static void on_start(struct service *service, bool good)
{
    if (!good) {
        service->exit_code = EXIT_CONFIG;
        saga_stop(service->saga);
        return;
    }
    service->serving = true;
    service->program->opened(service->program->arg);
    web_hold(service->web, NULL);
    log_info("service", "msg=\"ready\" program=%s http=%d rpc=%d", service->name,
             web_port(service->web), saga_port(service->saga));
}

/* Requests in flight end first; looked at now and then, because they end anywhere. Those that wait
 * for longer than we do, an order for its saga, are answered 503 when all is closed. */
static void drain_look(void *arg)
{
    struct service *service = arg;
    int64_t now_ms = loop_now_ms(service->loop);
    bool all_ended = web_in_flight(service->web) == 0 && service->withdrawn;
    if (all_ended || now_ms >= service->drain_end_ms) {
        saga_stop(service->saga);
    } else {
        loop_timer_set(&service->drain_timer, now_ms + DRAIN_LOOK_MS);
    }
}

static void on_withdrawn(void *arg)
{
    ((struct service *)arg)->withdrawn = true;
}

static void on_signal(void *arg)
{
    struct service *service = arg;
    if (loop_timer_is_armed(&service->drain_timer)) {
        saga_stop(service->saga);
        return;
    }
    log_info("service", "msg=\"stopping\" program=%s", service->name);
    saga_withdraw(service->saga, on_withdrawn, service);
    web_drain(service->web);
    alarm((DRAIN_MS + CLOSE_MS) / 1000); /* the kernel ends us should closing never end */
    service->drain_end_ms = loop_now_ms(service->loop) + DRAIN_MS;
    loop_timer_set(&service->drain_timer, loop_now_ms(service->loop) + DRAIN_LOOK_MS);
}

static int serve(const struct service_program *program)
{
    struct service *service = program->service;
    loop_timer_init(&service->drain_timer, service->loop, drain_look, service);
    loop_on_signal(service->loop, SIGTERM, on_signal, service);
    loop_on_signal(service->loop, SIGINT, on_signal, service);
    web_hold(service->web, "the service is waiting for Redis");
    struct service_start *start = service_start_new(service, program->meta_key, on_start);
    saga_run(service->saga);
    service_start_stop(start);
    loop_timer_clear(&service->drain_timer);
    if (service->serving && program->closing) {
        program->closing(program->arg);
    }
    int code = service->exit_code;
    close_all(service);
    service_start_free(start);
    return code;
}

static void open_scripts(const struct service_program *program)
{
    for (size_t i = 0; i < program->script_count; i++) {
        const struct service_script *script = &program->scripts[i];
        const struct redis_script *source = script->source;
        struct saga_script *(*const make[])(const char *, const char *, size_t) = {
            saga_script_new_plain, saga_script_new, saga_script_new_plain_outbox,
            saga_script_new_outbox};
        *script->slot = make[script->parts](source->name, source->text, source->len);
    }
}

static void close_scripts(const struct service_program *program)
{
    for (size_t i = 0; i < program->script_count; i++) {
        saga_script_free(*program->scripts[i].slot);
    }
}

static int run(const struct service_program *program)
{
    enum log_level level = LOG_INFO;
    if (log_level_parse(program->settings->log_level, &level) == ERR_OK) {
        log_set_level(level);
    }
    open_scripts(program);
    int code = open_all(program);
    if (code == 0) {
        code = serve(program);
    }
    close_scripts(program);
    return code;
}

int service_main(const struct service_program *program, int argc, char **argv)
{
    enum conf_verdict verdict = conf_load(program->conf, program->settings, argc, argv);
    int code = verdict == CONF_RUN ? run(program) : exit_code(verdict);
    conf_fini(program->conf, program->settings);
    return code;
}

/* ---- how a transaction ended, for HTTP clients ---- */

int service_http_status(const char *status)
{
    if (strcmp(status, "succeed") == 0) {
        return 200;
    }
    return strcmp(status, "failed") == 0 ? 409 : 202;
}

/* The coordinator wraps what the participant said: "url:U return failed: TEXT FAILURE". */
struct slice service_unwrap_reason(struct slice reason)
{
    static const char mark[] = " return failed: ";
    static const char tail[] = " FAILURE";
    const char *at = reason.len ? memmem(reason.ptr, reason.len, mark, sizeof(mark) - 1) : NULL;
    if (at) {
        at += sizeof(mark) - 1;
        reason = slice_make(at, reason.len - (size_t)(at - reason.ptr));
    }
    size_t n = sizeof(tail) - 1;
    if (reason.len > n && memcmp(reason.ptr + reason.len - n, tail, n) == 0) {
        reason.len -= n;
    }
    return reason;
}

void service_put_failure(struct json_writer *w, struct slice rollback_reason, const char *fallback)
{
    char code[WEB_CODE_SIZE];
    struct slice text = web_split_reason(service_unwrap_reason(rollback_reason), fallback, code);
    json_put_text(w, "code", code);
    json_put_string(w, "message", text);
}
