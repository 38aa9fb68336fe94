#include "base/clock.h"
#include "base/files.h"
#include "base/log.h"
#include "coordinator/daemon.h"
#include "coordinator/sd_notify.h"
#include "coordinator/workers.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>

enum { FILES_OWN = 100 }; /* Redis, outboxes, timers, the log */

struct program {
    struct settings settings;
    struct metrics *metrics;
    int64_t connections_max;
    int argc;
    char **argv;
    int index;     /* of this worker */
    bool is_ready; /* the service manager was told so */
};

static void tell_ready(void *arg)
{
    ((struct program *)arg)->is_ready = true;
    sd_notify_send("READY=1");
}

static void tell_stopping(void *arg)
{
    ((struct program *)arg)->is_ready = false;
    sd_notify_send("STOPPING=1");
}

static void tell_alive(void *arg)
{
    (void)arg;
    sd_notify_send("WATCHDOG=1");
}

static enum err log_begin(const struct settings *settings, struct reason *reason)
{
    enum log_level level;
    enum err err = log_set_file(settings->log_file, reason);
    if (err == ERR_OK && log_level_parse(settings->log_level, &level) == ERR_OK) {
        log_set_level(level);
    }
    return err;
}

static int64_t files_wanted(const struct settings *settings)
{
    return 2 * settings->connections_max + settings->calls_max + FILES_OWN;
}

/* New settings, and the log opened anew: that too when the settings are wrong, since somebody may
 * have moved it away. */
static enum err reload(struct program *program)
{
    struct reason reason;
    enum err err = settings_reload(&program->settings, program->argc, program->argv, &reason);
    if (err != ERR_OK) {
        log_error("main", "msg=\"the new settings are wrong, the old ones stay\" error=\"%s\"",
                  reason.text);
    }
    enum err log_err = log_begin(&program->settings, &reason);
    if (log_err != ERR_OK) {
        log_error("main", "msg=\"%s\"", reason.text);
    }
    if (err == ERR_OK) {
        (void)files_allow(files_wanted(&program->settings));
        log_info("main", "msg=reloaded worker=%d", program->index);
    }
    return err;
}

static enum err reload_worker(void *arg)
{
    return reload(arg);
}

/* The service manager wants to know when it begins and that it is over. While Redis is waited for
 * it must not: READY=1 would end the start. */
static enum err reload_main(void *arg)
{
    struct program *program = arg;
    char text[64];
    if (!program->is_ready) {
        return reload(program);
    }
    snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%" PRId64, clock_mono_us());
    sd_notify_send(text);
    enum err err = reload(program);
    sd_notify_send("READY=1");
    return err;
}

static void reload_parent(void *arg)
{
    (void)reload_main(arg); /* for the workers that it starts from now on */
}

static int run_alone(struct program *program)
{
    struct daemon_env env = {.settings = &program->settings,
                             .metrics = program->metrics,
                             .connections_max = program->connections_max,
                             .ready = tell_ready,
                             .stopping = tell_stopping,
                             .reload = reload_main,
                             .arg = program};
    return daemon_run(&env);
}

static void worker_is_ready(void *arg)
{
    workers_tell_ready(((const struct program *)arg)->index);
}

static int worker_run(void *arg, int index)
{
    struct program *program = arg;
    metrics_attach(program->metrics, index);
    program->index = index;
    struct daemon_env env = {.settings = &program->settings,
                             .metrics = program->metrics,
                             .connections_max = program->connections_max,
                             .index = index,
                             .stop_signal = WORKERS_STOP_SIGNAL,
                             .ready = worker_is_ready,
                             .reload = reload_worker,
                             .arg = program};
    return daemon_run(&env);
}

static int run_crew(struct program *program)
{
    struct workers_conf conf = {.count = (int)program->settings.workers,
                                .run = worker_run,
                                .all_ready = tell_ready,
                                .stopping = tell_stopping,
                                .reload = reload_parent,
                                .tick = tell_alive,
                                .tick_ms = sd_notify_watchdog_ms(),
                                .arg = program};
    return workers_run(&conf);
}

/* Clients must never take the descriptors that calls of participants and Redis need. */
static int64_t connections_allowed(const struct settings *settings)
{
    int64_t want = files_wanted(settings);
    int64_t files = files_allow(want);
    int64_t room = (files - files / 4) / 2; /* for each of the two APIs */
    if (files >= want || settings->connections_max <= room) {
        return settings->connections_max;
    }
    log_warn("main",
             "msg=\"ulimit -n is too low for connections_max\" files=%" PRId64
             " connections_max=%" PRId64 " uses=%" PRId64,
             files, settings->connections_max, room);
    return room > 0 ? room : 1;
}

static int run(struct program *program)
{
    struct reason reason;
    if (log_begin(&program->settings, &reason) != ERR_OK) {
        log_error("main", "msg=\"%s\"", reason.text);
        return EXIT_SETTINGS;
    }
    program->connections_max = connections_allowed(&program->settings);
    program->metrics = metrics_new((int)program->settings.workers, conf_version());
    int exit_code = program->settings.workers > 1 ? run_crew(program) : run_alone(program);
    metrics_free(program->metrics);
    return exit_code;
}

/* Who takes it unblocks it: before that it would end the process. */
static void hangup_block(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
}

int main(int argc, char **argv)
{
    struct program program = {.argc = argc, .argv = argv};
    int exit_code = EXIT_CLEAN;
    hangup_block();
    switch (settings_load(&program.settings, argc, argv)) {
    case CONF_RUN: exit_code = run(&program); break;
    case CONF_EXIT_OK: break;
    case CONF_USAGE: exit_code = EXIT_USAGE; break;
    case CONF_BAD: exit_code = EXIT_SETTINGS; break;
    }
    settings_fini(&program.settings);
    return exit_code;
}
