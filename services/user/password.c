#include "services/user/password.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utlist.h>

enum { COST_N = 32768, COST_R = 8, COST_P = 1, SALT_SIZE = 16, KEY_SIZE = 32, PASSWORD_MAX = 512 };

struct job {
    struct job *prev, *next;
    char password[PASSWORD_MAX];
    unsigned char salt[SALT_SIZE];
    pid_t pid;
    int result; /* read end of the child's pipe */
    password_cb cb;
    void *arg;
};

struct passwords {
    struct loop *loop;
    struct job *waiting;
    struct job *running;
    int waiting_count, running_count;
    struct job *refused; /* completed in the next step: never from inside the call */
    struct loop_task step_task;
    struct loop_task free_task;
};

static void job_complete(struct job *job, enum err err, const char *hash)
{
    OPENSSL_cleanse(job->password, sizeof(job->password));
    job->cb(job->arg, err, hash);
    free(job);
}

/* In the child: nothing of the parent's loop may be touched. Its descriptors are closed first: a
 * child must not keep a port or a connection of a parent that was killed, nor write the parent's
 * signal pipe when a signal comes to the whole group. */
static _Noreturn void child_compute(const struct job *job, int out)
{
    if (out > 3) {
        (void)close_range(3, (unsigned)out - 1, 0);
    }
    (void)close_range((unsigned)out + 1, ~0U, 0);
    unsigned char key[KEY_SIZE];
    int ok = EVP_PBE_scrypt(job->password, strlen(job->password), job->salt, SALT_SIZE, COST_N,
                            COST_R, COST_P, 64 * 1024 * 1024, key, sizeof(key));
    bool written = ok == 1 && write(out, key, sizeof(key)) == (ssize_t)sizeof(key);
    _exit(written ? 0 : 1);
}

static enum err job_start(struct job *job)
{
    int ends[2];
    if (pipe(ends) != 0) {
        return ERR_SYSTEM;
    }
    job->pid = fork();
    if (job->pid == 0) {
        child_compute(job, ends[1]);
    }
    close(ends[1]);
    job->result = ends[0];
    if (job->pid < 0) {
        close(ends[0]);
        return ERR_SYSTEM;
    }
    return ERR_OK;
}

static void start_waiting(struct passwords *passwords)
{
    while (passwords->waiting && passwords->running_count < PASSWORD_JOBS_MAX) {
        struct job *job = passwords->waiting;
        DL_DELETE(passwords->waiting, job);
        passwords->waiting_count--;
        if (job_start(job) != ERR_OK) {
            log_error("password", "msg=\"cannot start a process to hash a password\"");
            job_complete(job, ERR_SYSTEM, NULL);
            continue;
        }
        DL_APPEND(passwords->running, job);
        passwords->running_count++;
    }
}

static void format_hash(const struct job *job, const unsigned char *key, char *out)
{
    struct buf text = {0};
    buf_printf(&text, "scrypt$%d$%d$%d$", COST_N, COST_R, COST_P);
    buf_add_base64(&text, slice_make(job->salt, SALT_SIZE));
    buf_add_str(&text, "$");
    buf_add_base64(&text, slice_make(key, KEY_SIZE));
    check(text.len < PASSWORD_HASH_SIZE);
    memcpy(out, text.data, text.len + 1);
    buf_fini(&text);
}

static void job_end(struct passwords *passwords, struct job *job)
{
    unsigned char key[KEY_SIZE];
    char hash[PASSWORD_HASH_SIZE];
    bool ok = read(job->result, key, sizeof(key)) == (ssize_t)sizeof(key);
    close(job->result);
    DL_DELETE(passwords->running, job);
    passwords->running_count--;
    if (ok) {
        format_hash(job, key, hash);
    }
    job_complete(job, ok ? ERR_OK : ERR_SYSTEM, ok ? hash : NULL);
}

static void on_child(void *arg)
{
    struct passwords *passwords = arg;
    struct job *job;
    struct job *next;
    DL_FOREACH_SAFE(passwords->running, job, next)
    {
        if (waitpid(job->pid, NULL, WNOHANG) == job->pid) {
            job_end(passwords, job);
        }
    }
    start_waiting(passwords);
}

static void step(void *arg)
{
    struct passwords *passwords = arg;
    while (passwords->refused) {
        struct job *job = passwords->refused;
        DL_DELETE(passwords->refused, job);
        job_complete(job, ERR_BUSY, NULL);
    }
    start_waiting(passwords);
}

static void job_add(struct passwords *passwords, struct job *job)
{
    if (passwords->waiting_count < PASSWORD_QUEUE_MAX) {
        DL_APPEND(passwords->waiting, job);
        passwords->waiting_count++;
    } else {
        DL_APPEND(passwords->refused, job);
    }
    loop_defer(passwords->loop, &passwords->step_task, step, passwords);
}

static struct job *job_new(const char *password, password_cb cb, void *arg)
{
    struct job *job = mem_new(struct job);
    snprintf(job->password, sizeof(job->password), "%s", password);
    job->cb = cb;
    job->arg = arg;
    return job;
}

struct passwords *passwords_new(struct loop *loop)
{
    struct passwords *passwords = mem_new(struct passwords);
    passwords->loop = loop;
    loop_on_signal(loop, SIGCHLD, on_child, passwords);
    return passwords;
}

static void cancel_all(struct job **list)
{
    while (*list) {
        struct job *job = *list;
        DL_DELETE(*list, job);
        job_complete(job, ERR_CANCELLED, NULL);
    }
}

static void free_late(void *arg)
{
    free(arg);
}

void passwords_free(struct passwords *passwords)
{
    struct job *job;
    DL_FOREACH(passwords->running, job)
    {
        kill(job->pid, SIGKILL);
        waitpid(job->pid, NULL, 0);
        close(job->result);
    }
    cancel_all(&passwords->running);
    cancel_all(&passwords->waiting);
    cancel_all(&passwords->refused);
    loop_undefer(passwords->loop, &passwords->step_task);
    /* The loop still knows the signal, and the children that were killed here still send it. */
    loop_at_free(passwords->loop, &passwords->free_task, free_late, passwords);
}

void password_hash(struct passwords *passwords, const char *password, password_cb cb, void *arg)
{
    struct job *job = job_new(password, cb, arg);
    rng_secret(job->salt, sizeof(job->salt));
    job_add(passwords, job);
}

/* The salt of "scrypt$N$r$p$salt$key"; false when it is not of that form or has other costs. */
static bool read_salt(const char *hash, unsigned char salt[SALT_SIZE])
{
    char head[32];
    int len = snprintf(head, sizeof(head), "scrypt$%d$%d$%d$", COST_N, COST_R, COST_P);
    struct slice text = slice_str(hash);
    if (!slice_has_prefix(text, head)) {
        return false;
    }
    const char *begin = hash + len;
    const char *end = strchr(begin, '$');
    struct buf decoded = {0};
    bool ok =
        end &&
        buf_add_base64_decoded(&decoded, slice_make(begin, (size_t)(end - begin))) == ERR_OK &&
        decoded.len == SALT_SIZE;
    if (ok) {
        memcpy(salt, decoded.data, SALT_SIZE);
    }
    buf_fini(&decoded);
    return ok;
}

void password_hash_like(struct passwords *passwords, const char *password, const char *like,
                        password_cb cb, void *arg)
{
    struct job *job = job_new(password, cb, arg);
    if (!read_salt(like, job->salt)) {
        rng_secret(job->salt, sizeof(job->salt));
    }
    job_add(passwords, job);
}

bool password_equals(const char *a, const char *b)
{
    return slice_eq_secret(slice_str(a), slice_str(b));
}
