#include "coordinator/workers.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    BACKOFF_MIN_MS = 100,
    BACKOFF_MAX_MS = 5000,
    SETTLED_MS = 10000, /* lived so long: the next death starts the back-off anew */
    CODE_OF_KILLED = 1, /* what was in work was not ended, as after a second signal */
};

struct worker {
    pid_t pid; /* 0: not running */
    bool ready;
    int64_t started_ms;
    int64_t restart_at_ms; /* while not running */
    int64_t backoff_ms;
};

struct crew {
    const struct workers_conf *conf;
    struct worker *workers;
    int ready_count; /* how many were ready at least once */
    int signal_fd, pipe_in, pipe_out;
    int64_t tick_at_ms;
    bool stopping;
    int exit_code;
};

static int ready_pipe = -1; /* of this worker; the parent has none */

void workers_tell_ready(int index)
{
    unsigned char byte = (unsigned char)index;
    ssize_t written = ready_pipe >= 0 ? write(ready_pipe, &byte, 1) : 0;
    (void)written;
}

static void signals_block(sigset_t *own)
{
    sigemptyset(own);
    sigaddset(own, SIGTERM);
    sigaddset(own, SIGINT);
    sigaddset(own, SIGHUP);
    sigaddset(own, SIGCHLD);
    sigset_t blocked = *own;
    sigaddset(&blocked, WORKERS_STOP_SIGNAL); /* it must not end one that was just born */
    check(sigprocmask(SIG_BLOCK, &blocked, NULL) == 0);
}

static void worker_signals_set(void)
{
    sigset_t later;
    sigemptyset(&later);
    sigaddset(&later, SIGHUP);
    sigaddset(&later, WORKERS_STOP_SIGNAL);
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    check(sigprocmask(SIG_SETMASK, &later, NULL) == 0);
}

static void worker_main(const struct crew *crew, int index, pid_t parent)
{
    worker_signals_set();
    prctl(PR_SET_PDEATHSIG, WORKERS_STOP_SIGNAL); /* a killed parent leaves nobody behind */
    if (getppid() != parent) {
        _exit(0);
    }
    close(crew->signal_fd);
    close(crew->pipe_in);
    ready_pipe = crew->pipe_out;
    exit(crew->conf->run(crew->conf->arg, index));
}

static void worker_start(struct crew *crew, int index)
{
    struct worker *worker = &crew->workers[index];
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0) {
        worker_main(crew, index, parent);
    }
    worker->started_ms = clock_mono_ms();
    if (pid < 0) {
        log_error("workers", "msg=\"cannot start a worker\" index=%d error=\"%s\"", index,
                  strerror(errno));
        worker->restart_at_ms = worker->started_ms + BACKOFF_MAX_MS;
        return;
    }
    worker->pid = pid;
}

static void crew_signal(const struct crew *crew, int signo)
{
    for (int i = 0; i < crew->conf->count; i++) {
        if (crew->workers[i].pid > 0) {
            kill(crew->workers[i].pid, signo);
        }
    }
}

static void crew_stop(struct crew *crew)
{
    if (!crew->stopping && crew->conf->stopping) {
        crew->conf->stopping(crew->conf->arg);
    }
    crew->stopping = true;
    crew_signal(crew, WORKERS_STOP_SIGNAL);
}

static void worker_ended(struct crew *crew, int index, int status)
{
    struct worker *worker = &crew->workers[index];
    int64_t now = clock_mono_ms();
    worker->pid = 0;
    if (crew->stopping) {
        if (crew->exit_code == 0) {
            crew->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : CODE_OF_KILLED;
        }
        return;
    }
    if (!worker->ready && WIFEXITED(status)) {
        crew->exit_code = WEXITSTATUS(status);
        crew_stop(crew);
        return;
    }
    bool settled = now - worker->started_ms > SETTLED_MS;
    worker->backoff_ms =
        settled || worker->backoff_ms == 0 ? BACKOFF_MIN_MS : worker->backoff_ms * 2;
    if (worker->backoff_ms > BACKOFF_MAX_MS) {
        worker->backoff_ms = BACKOFF_MAX_MS;
    }
    worker->restart_at_ms = now + worker->backoff_ms;
    log_error("workers",
              "msg=\"a worker ended and is started again\" index=%d %s=%d in_ms=%" PRId64, index,
              WIFSIGNALED(status) ? "signal" : "code",
              WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), worker->backoff_ms);
}

static void crew_reap(struct crew *crew)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        for (int i = 0; i < crew->conf->count; i++) {
            if (crew->workers[i].pid == pid) {
                worker_ended(crew, i, status);
            }
        }
    }
}

static void on_signal_ready(struct crew *crew)
{
    struct signalfd_siginfo info;
    if (read(crew->signal_fd, &info, sizeof(info)) != (ssize_t)sizeof(info)) {
        return;
    }
    if (info.ssi_signo == SIGCHLD) {
        crew_reap(crew);
    } else if (info.ssi_signo == SIGHUP) {
        crew->conf->reload(crew->conf->arg);
        crew_signal(crew, SIGHUP);
    } else {
        crew_stop(crew);
    }
}

static void on_worker_ready(struct crew *crew)
{
    unsigned char index;
    if (read(crew->pipe_in, &index, 1) != 1 || index >= crew->conf->count) {
        return;
    }
    struct worker *worker = &crew->workers[index];
    if (!worker->ready) {
        worker->ready = true;
        crew->ready_count++;
        if (crew->ready_count == crew->conf->count && crew->conf->all_ready) {
            crew->conf->all_ready(crew->conf->arg);
        }
    }
}

/* Starts those whose time has come; how long until the next one, -1: nobody waits. */
static int crew_restart_due(struct crew *crew)
{
    int64_t now = clock_mono_ms();
    int64_t next = -1;
    for (int i = 0; i < crew->conf->count && !crew->stopping; i++) {
        struct worker *worker = &crew->workers[i];
        if (worker->pid == 0 && worker->restart_at_ms <= now) {
            worker_start(crew, i);
        }
        int64_t left = worker->restart_at_ms - now;
        if (worker->pid == 0 && left > 0 && (next < 0 || left < next)) {
            next = left;
        }
    }
    return (int)next;
}

static bool crew_is_gone(const struct crew *crew)
{
    for (int i = 0; i < crew->conf->count; i++) {
        if (crew->workers[i].pid > 0) {
            return false;
        }
    }
    return true;
}

/* Ticks when it is time; how long poll may wait until the next one. */
static int crew_tick(struct crew *crew, int wait_ms)
{
    const struct workers_conf *conf = crew->conf;
    int64_t now = clock_mono_ms();
    if (conf->tick_ms == 0) {
        return wait_ms;
    }
    if (crew->tick_at_ms <= now) {
        conf->tick(conf->arg);
        crew->tick_at_ms = now + conf->tick_ms;
    }
    int64_t left = crew->tick_at_ms - now;
    return wait_ms < 0 || left < wait_ms ? (int)left : wait_ms;
}

static void crew_loop(struct crew *crew)
{
    while (!crew->stopping || !crew_is_gone(crew)) {
        int wait_ms = crew_tick(crew, crew_restart_due(crew));
        struct pollfd fds[2] = {{.fd = crew->signal_fd, .events = POLLIN},
                                {.fd = crew->pipe_in, .events = POLLIN}};
        if (poll(fds, 2, wait_ms) <= 0) {
            continue;
        }
        /* a worker that became ready and died at once was ready */
        if (fds[1].revents & POLLIN) {
            on_worker_ready(crew);
        } else if (fds[0].revents & POLLIN) {
            on_signal_ready(crew);
        }
    }
}

int workers_run(const struct workers_conf *conf)
{
    struct crew crew = {.conf = conf};
    sigset_t set;
    int pipe_fds[2];
    signals_block(&set);
    crew.workers = mem_zalloc((size_t)conf->count * sizeof(struct worker));
    crew.signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
    check(crew.signal_fd >= 0 && pipe2(pipe_fds, O_CLOEXEC) == 0);
    crew.pipe_in = pipe_fds[0];
    crew.pipe_out = pipe_fds[1];
    crew_loop(&crew);
    close(crew.signal_fd);
    close(crew.pipe_in);
    close(crew.pipe_out);
    free(crew.workers);
    return crew.exit_code;
}
