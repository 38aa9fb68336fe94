#include "harness/test_redis.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "harness/test_port.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <hiredis/hiredis.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { START_MS = 20000, STARTS_MAX = 5, POLL_MS = 2, ARGS_MAX = 64 };

struct test_redis {
    char dir[64];
    char unix_address[96];
    char tcp_address[32];
    struct test_port port;
    pid_t pid; /* 0: not running */
    char *extra;
    redisContext *client;
    struct buf reply;
};

static _Noreturn void give_up(const struct test_redis *server, const char *what)
{
    char line[512];
    fprintf(stderr, "test_redis: %s (%s)\n", what, strerror(errno));
    snprintf(line, sizeof(line), "%s/redis.log", server->dir);
    FILE *log = fopen(line, "r");
    while (log && fgets(line, sizeof(line), log)) {
        fputs(line, stderr);
    }
    abort();
}

static void conf_write(const struct test_redis *server)
{
    char path[96];
    snprintf(path, sizeof(path), "%s/redis.conf", server->dir);
    FILE *file = fopen(path, "w");
    if (!file) {
        give_up(server, "cannot write redis.conf");
    }
    fprintf(file,
            "bind 127.0.0.1\nport %d\nunixsocket %s\ndir %s\nlogfile %s/redis.log\n"
            "daemonize no\nsave \"\"\nappendonly no\n%s\n",
            server->port.number, server->unix_address + strlen("unix:"), server->dir, server->dir,
            server->extra);
    if (fclose(file)) {
        give_up(server, "cannot write redis.conf");
    }
}

static void child_run(const struct test_redis *server, pid_t parent)
{
    const char *program = getenv("REDIS_SERVER");
    int null = open("/dev/null", O_RDWR);
    /* The server dies with the test, even when that aborts. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent || chdir(server->dir)) {
        _exit(126);
    }
    dup2(null, STDIN_FILENO);
    dup2(null, STDOUT_FILENO);
    execlp(program ? program : "redis-server", "redis-server", "redis.conf", (char *)NULL);
    _exit(127);
}

static void client_drop(struct test_redis *server)
{
    if (server->client) {
        redisFree(server->client);
        server->client = NULL;
    }
}

static bool client_connect(struct test_redis *server)
{
    struct timeval limit = {.tv_sec = START_MS / 1000};
    client_drop(server);
    redisContext *client =
        redisConnectUnixWithTimeout(server->unix_address + strlen("unix:"), limit);
    if (client->err) {
        redisFree(client);
        return false;
    }
    redisSetTimeout(client, limit);
    server->client = client;
    return true;
}

static bool server_answers(struct test_redis *server)
{
    if (!client_connect(server)) {
        return false;
    }
    redisReply *reply = redisCommand(server->client, "PING");
    bool ok = reply && !(reply->type == REDIS_REPLY_ERROR && !strncmp(reply->str, "LOADING", 7));
    freeReplyObject(reply);
    return ok;
}

/* True when it answers; false when it ended, e.g. because somebody took the port. */
static bool server_launch(struct test_redis *server)
{
    int64_t give_up_ms = clock_mono_ms() + START_MS;
    pid_t parent = getpid();
    conf_write(server);
    server->pid = fork();
    if (server->pid == 0) {
        child_run(server, parent);
    }
    if (server->pid < 0) {
        give_up(server, "cannot fork");
    }
    while (!server_answers(server)) {
        if (waitpid(server->pid, NULL, WNOHANG) == server->pid) {
            server->pid = 0;
            return false;
        }
        if (clock_mono_ms() > give_up_ms) {
            give_up(server, "redis-server does not answer");
        }
        poll(NULL, 0, POLL_MS);
    }
    return true;
}

struct test_redis *test_redis_start(const char *extra)
{
    struct test_redis *server = mem_new(struct test_redis);
    server->extra = mem_strdup(extra);
    snprintf(server->dir, sizeof(server->dir), "/tmp/test_redis_XXXXXX");
    if (!mkdtemp(server->dir)) {
        give_up(server, "mkdtemp");
    }
    snprintf(server->unix_address, sizeof(server->unix_address), "unix:%s/redis.sock", server->dir);
    for (int i = 0; i < STARTS_MAX; i++) {
        test_port_take(&server->port);
        snprintf(server->tcp_address, sizeof(server->tcp_address), "127.0.0.1:%d",
                 server->port.number);
        if (server_launch(server)) {
            return server;
        }
        test_port_release(&server->port);
    }
    give_up(server, "redis-server ends at once");
}

void test_redis_kill(struct test_redis *server)
{
    client_drop(server);
    if (server->pid) {
        kill(server->pid, SIGKILL);
        waitpid(server->pid, NULL, 0);
        server->pid = 0;
    }
}

void test_redis_restart(struct test_redis *server)
{
    test_redis_kill(server);
    for (int i = 0; i < STARTS_MAX; i++) {
        if (server_launch(server)) {
            return;
        }
    }
    give_up(server, "redis-server does not start again");
}

void test_redis_pause(struct test_redis *server)
{
    kill(server->pid, SIGSTOP);
}

void test_redis_resume(struct test_redis *server)
{
    kill(server->pid, SIGCONT);
}

static int entry_remove(const char *path, const struct stat *info, int flag, struct FTW *ftw)
{
    (void)info, (void)flag, (void)ftw;
    return remove(path);
}

void test_redis_stop(struct test_redis *server)
{
    if (!server) {
        return;
    }
    test_redis_kill(server);
    nftw(server->dir, entry_remove, 8, FTW_DEPTH | FTW_PHYS);
    test_port_release(&server->port);
    buf_fini(&server->reply);
    free(server->extra);
    free(server);
}

const char *test_redis_unix(const struct test_redis *server)
{
    return server->unix_address;
}

const char *test_redis_tcp(const struct test_redis *server)
{
    return server->tcp_address;
}

int test_redis_port(const struct test_redis *server)
{
    return server->port.number;
}

pid_t test_redis_pid(const struct test_redis *server)
{
    return server->pid;
}

const char *test_redis_dir(const struct test_redis *server)
{
    return server->dir;
}

static void reply_print(struct buf *out, const redisReply *reply)
{
    if (reply->type == REDIS_REPLY_INTEGER) {
        buf_printf(out, "%lld", reply->integer);
    } else if (reply->type == REDIS_REPLY_ARRAY) {
        for (size_t i = 0; i < reply->elements; i++) {
            if (i > 0) {
                buf_add_str(out, "\n");
            }
            reply_print(out, reply->element[i]);
        }
    } else if (reply->type != REDIS_REPLY_NIL) {
        buf_add(out, reply->str, (size_t)reply->len);
    }
}

const char *test_redis_askv(struct test_redis *server, const char *const *argv, size_t argc)
{
    const char *args[ARGS_MAX];
    if (argc > ARGS_MAX || (!server->client && !client_connect(server))) {
        give_up(server, "cannot ask");
    }
    memcpy(args, argv, argc * sizeof(*argv));
    redisReply *reply = redisCommandArgv(server->client, (int)argc, args, NULL);
    if (!reply) {
        give_up(server, server->client->errstr);
    }
    buf_clear(&server->reply);
    buf_add_str(&server->reply, "");
    reply_print(&server->reply, reply);
    freeReplyObject(reply);
    return server->reply.data ? server->reply.data : "";
}

const char *test_redis_ask(struct test_redis *server, const char *fmt, ...)
{
    char *text = NULL;
    const char *argv[ARGS_MAX];
    size_t argc = 0;
    va_list ap;
    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) < 0) {
        give_up(server, "out of memory");
    }
    va_end(ap);
    char *rest = text;
    for (char *word = strsep(&rest, " "); word && argc < ARGS_MAX; word = strsep(&rest, " ")) {
        if (*word) {
            argv[argc++] = word;
        }
    }
    const char *reply = test_redis_askv(server, argv, argc);
    free(text);
    return reply;
}
