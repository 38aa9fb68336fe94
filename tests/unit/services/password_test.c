#include "services/user/password.h"

#include "harness/wait_for.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { MANY = PASSWORD_QUEUE_MAX + 30 };

struct outcome {
    int calls;
    enum err err;
    char hash[PASSWORD_HASH_SIZE];
};

struct world {
    struct loop *loop;
    struct passwords *passwords;
};

static int begin(void **state)
{
    struct world *world = calloc(1, sizeof(*world));
    assert_non_null(world);
    world->loop = loop_new();
    world->passwords = passwords_new(world->loop);
    *state = world;
    return 0;
}

static bool no_child_is_left(void)
{
    errno = 0;
    return waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD;
}

static int end(void **state)
{
    struct world *world = *state;
    if (world->passwords) {
        passwords_free(world->passwords);
    }
    loop_turn(world->loop, 0); /* a signal that is still under way finds nothing freed */
    loop_turn(world->loop, 0);
    loop_free(world->loop);
    free(world);
    assert_true(no_child_is_left());
    return 0;
}

static void on_hash(void *arg, enum err err, const char *hash)
{
    struct outcome *outcome = arg;
    outcome->calls++;
    outcome->err = err;
    assert_true((err == ERR_OK) == (hash != NULL));
    snprintf(outcome->hash, sizeof(outcome->hash), "%s", hash ? hash : "");
}

static struct outcome hash(struct world *world, const char *password, const char *like)
{
    struct outcome outcome = {0};
    if (like) {
        password_hash_like(world->passwords, password, like, on_hash, &outcome);
    } else {
        password_hash(world->passwords, password, on_hash, &outcome);
    }
    assert_int_equal(outcome.calls, 0); /* never from inside the call */
    wait_for(world->loop, outcome.calls > 0);
    assert_int_equal(outcome.calls, 1);
    assert_int_equal(outcome.err, ERR_OK);
    return outcome;
}

static void only_the_same_password_gives_the_same_hash(void **state)
{
    struct outcome first = hash(*state, "correct horse", NULL);
    assert_memory_equal(first.hash, "scrypt$32768$8$1$", 17);
    assert_true(password_equals(hash(*state, "correct horse", first.hash).hash, first.hash));
    assert_false(password_equals(hash(*state, "correct horsf", first.hash).hash, first.hash));
    assert_false(password_equals(hash(*state, "correct hors", first.hash).hash, first.hash));
}

static void every_hash_has_its_own_salt(void **state)
{
    struct outcome a = hash(*state, "same", NULL);
    struct outcome b = hash(*state, "same", NULL);
    assert_string_not_equal(a.hash, b.hash);
}

static void known_vector(void **state)
{
    /* scrypt("pleaseletmein", "SodiumChloride\0\0", N 32768, r 8, p 1, 32), by Python's hashlib */
    const char *like = "scrypt$32768$8$1$U29kaXVtQ2hsb3JpZGUAAA==$";
    struct outcome got = hash(*state, "pleaseletmein", like);
    assert_string_equal(got.hash, "scrypt$32768$8$1$U29kaXVtQ2hsb3JpZGUAAA==$"
                                  "+4qGd0rIAAiptIi3SnWjqH3255JiwaWx7iU06dPmU+0=");
}

static void malformed_stored_hash_never_equals(void **state)
{
    static const char *const stored[] = {
        "",
        "plain text",
        "scrypt$32768$8$1$",
        "scrypt$32768$8$1$$",
        "scrypt$32768$8$1$not base64!$AAAA",
        "scrypt$32768$8$1$AAAA$AAAA",
        "scrypt$16384$8$1$U29kaXVtQ2hsb3JpZGUAAA==$AAAA",
        "scrypt$32768$8$1$U29kaXVtQ2hsb3JpZGUAAA==",
    };
    for (size_t i = 0; i < sizeof(stored) / sizeof(stored[0]); i++) {
        assert_false(password_equals(hash(*state, "x", stored[i]).hash, stored[i]));
    }
}

static void beyond_the_queue_the_answer_is_busy(void **state)
{
    struct world *world = *state;
    struct outcome outcomes[MANY];
    memset(outcomes, 0, sizeof(outcomes));
    for (int i = 0; i < MANY; i++) {
        password_hash(world->passwords, "x", on_hash, &outcomes[i]);
    }
    wait_for(world->loop,
             outcomes[MANY - 1].calls > 0); /* refused in the next turn, not after all the others */
    int busy = 0;
    for (int i = 0; i < MANY; i++) {
        assert_true(outcomes[i].calls <= 1);
        busy += outcomes[i].calls == 1 && outcomes[i].err == ERR_BUSY;
    }
    assert_int_equal(busy, MANY - PASSWORD_QUEUE_MAX);
    passwords_free(world->passwords);
    world->passwords = NULL;
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(outcomes[i].calls, 1);
    }
}

static void freeing_cancels_what_runs_and_what_waits(void **state)
{
    struct world *world = *state;
    struct outcome outcomes[PASSWORD_JOBS_MAX + 3];
    size_t count = sizeof(outcomes) / sizeof(outcomes[0]);
    memset(outcomes, 0, sizeof(outcomes));
    for (size_t i = 0; i < count; i++) {
        password_hash(world->passwords, "x", on_hash, &outcomes[i]);
    }
    loop_turn(world->loop, 0); /* the first ones run now */
    assert_int_equal(waitpid(-1, NULL, WNOHANG), 0);
    passwords_free(world->passwords);
    world->passwords = NULL;
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(outcomes[i].calls, 1);
        assert_int_equal(outcomes[i].err, ERR_CANCELLED);
    }
    assert_true(no_child_is_left());
}

static bool some_child_has_ended(void)
{
    siginfo_t info = {0};
    assert_int_equal(waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT), 0);
    return info.si_pid != 0;
}

/* A child must not keep a socket open that the parent has closed. When it did, the end of the
 * stream could not come before the children have ended. */
static void children_hold_no_descriptors_of_the_parent(void **state)
{
    struct world *world = *state;
    bool seen = false;
    for (int attempt = 0; attempt < 20 && !seen; attempt++) { /* unless the children were faster */
        struct outcome outcomes[2] = {{0}, {0}};
        int ends[2];
        char byte;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
        password_hash(world->passwords, "x", on_hash, &outcomes[0]);
        password_hash(world->passwords, "x", on_hash, &outcomes[1]);
        loop_turn(world->loop, 0);
        close(ends[1]);
        assert_int_equal(read(ends[0], &byte, 1), 0);
        seen = !some_child_has_ended();
        close(ends[0]);
        wait_for(world->loop, outcomes[0].calls > 0);
        wait_for(world->loop, outcomes[1].calls > 0);
    }
    assert_true(seen);
}

static void finished_jobs_leave_no_zombie(void **state)
{
    (void)hash(*state, "x", NULL);
    assert_true(no_child_is_left());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(only_the_same_password_gives_the_same_hash, begin, end),
        cmocka_unit_test_setup_teardown(every_hash_has_its_own_salt, begin, end),
        cmocka_unit_test_setup_teardown(known_vector, begin, end),
        cmocka_unit_test_setup_teardown(malformed_stored_hash_never_equals, begin, end),
        cmocka_unit_test_setup_teardown(beyond_the_queue_the_answer_is_busy, begin, end),
        cmocka_unit_test_setup_teardown(freeing_cancels_what_runs_and_what_waits, begin, end),
        cmocka_unit_test_setup_teardown(children_hold_no_descriptors_of_the_parent, begin, end),
        cmocka_unit_test_setup_teardown(finished_jobs_leave_no_zombie, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
