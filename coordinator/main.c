#include "base/log.h"
#include "coordinator/daemon.h"
#include "coordinator/sd_notify.h"
#include "coordinator/workers.h"

struct program {
    struct settings settings;
    struct metrics *metrics;
};

static void tell_ready(void *arg)
{
    (void)arg;
    sd_notify_send("READY=1");
}

static void tell_stopping(void *arg)
{
    (void)arg;
    sd_notify_send("STOPPING=1");
}

static void tell_alive(void *arg)
{
    (void)arg;
    sd_notify_send("WATCHDOG=1");
}

static int run_alone(struct program *program)
{
    struct daemon_env env = {.settings = &program->settings,
                             .metrics = program->metrics,
                             .ready = tell_ready,
                             .stopping = tell_stopping};
    return daemon_run(&env);
}

static void worker_is_ready(void *arg)
{
    workers_tell_ready(*(const int *)arg);
}

static int worker_run(void *arg, int index)
{
    struct program *program = arg;
    metrics_attach(program->metrics, index);
    struct daemon_env env = {.settings = &program->settings,
                             .metrics = program->metrics,
                             .index = index,
                             .ready = worker_is_ready,
                             .arg = &index};
    return daemon_run(&env);
}

static int run_crew(struct program *program)
{
    struct workers_conf conf = {.count = (int)program->settings.workers,
                                .run = worker_run,
                                .all_ready = tell_ready,
                                .stopping = tell_stopping,
                                .tick = tell_alive,
                                .tick_ms = sd_notify_watchdog_ms(),
                                .arg = program};
    return workers_run(&conf);
}

static int run(struct program *program)
{
    enum log_level level;
    if (log_level_parse(program->settings.log_level, &level) == ERR_OK) {
        log_set_level(level);
    }
    program->metrics = metrics_new((int)program->settings.workers, conf_version());
    int exit_code = program->settings.workers > 1 ? run_crew(program) : run_alone(program);
    metrics_free(program->metrics);
    return exit_code;
}

int main(int argc, char **argv)
{
    struct program program = {0};
    int exit_code = EXIT_CLEAN;
    switch (settings_load(&program.settings, argc, argv)) {
    case CONF_RUN: exit_code = run(&program); break;
    case CONF_EXIT_OK: break;
    case CONF_USAGE: exit_code = EXIT_USAGE; break;
    case CONF_BAD: exit_code = EXIT_SETTINGS; break;
    }
    settings_fini(&program.settings);
    return exit_code;
}
