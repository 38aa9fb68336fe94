/*
 * A private redis-server for a test: own temporary directory, own unix socket, own TCP port on
 * 127.0.0.1, no persistence unless asked for. The program is $REDIS_SERVER, or redis-server.
 *
 * Everything here blocks, and prints what went wrong and aborts when it fails: a test cannot go on
 * without its server. A server never outlives the test program, however that ends.
 */
#ifndef TEST_REDIS_H
#define TEST_REDIS_H

#include "base/err.h"

#include <stddef.h>
#include <sys/types.h>

struct test_redis;

/* Starts a server and waits until it answers. `extra`: further lines of redis.conf ("appendonly
 * yes\nuser bob on >pw ~* +@all\n"), or NULL; they override the lines of this helper. The default
 * user must stay as it is: test_redis_ask uses it. */
struct test_redis *test_redis_start(const char *extra);
void test_redis_stop(struct test_redis *server); /* ends it, removes its directory; NULL is fine */

/* kill -9; the address stays reserved for test_redis_restart. */
void test_redis_kill(struct test_redis *server);
/* Starts it again on the same addresses and directory (kills it first when it runs), and waits
 * until it answers. */
void test_redis_restart(struct test_redis *server);
/* SIGSTOP and SIGCONT: the connections stay, but nobody answers. */
void test_redis_pause(struct test_redis *server);
void test_redis_resume(struct test_redis *server);

const char *test_redis_unix(const struct test_redis *server); /* "unix:/tmp/…/redis.sock" */
const char *test_redis_tcp(const struct test_redis *server);  /* "127.0.0.1:PORT" */
int test_redis_port(const struct test_redis *server);
pid_t test_redis_pid(const struct test_redis *server);
const char *test_redis_dir(const struct test_redis *server);

/* Runs one command over a connection of its own and returns the reply as text, as redis-cli prints
 * it when its output is no terminal: a line for each element (no line end after the last), "" for
 * nil, the error text ("ERR …") for an error. `fmt` is printf's, then split at spaces; an argument
 * that needs spaces is given to test_redis_askv. The text is valid until the next call. */
const char *test_redis_ask(struct test_redis *server, const char *fmt, ...) PRINTF_LIKE(2, 3);
const char *test_redis_askv(struct test_redis *server, const char *const *argv, size_t argc);

#endif
