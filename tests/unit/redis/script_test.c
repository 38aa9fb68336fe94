/* The SHA-1 that the build gives to each embedded script is the one that Redis knows it by. */
#include "fixture.h"

#include "base/log.h"
#include "harness/test_redis.h"

#include "coordinator_scripts.h"
#include "service_scripts.h"

static void check_scripts(struct fixture *f, const struct redis_script *const *scripts)
{
    assert_non_null(scripts[0]);
    for (size_t i = 0; scripts[i]; i++) {
        struct answer answer = {0};
        struct slice words[] = {
            SLICE_LIT("SCRIPT"),
            SLICE_LIT("LOAD"),
            {scripts[i]->text, scripts[i]->len},
        };
        redis_command(f->redis, in_ms(f, 10000), words, 3, on_answer, &answer);
        wait_for(f->loop, answer.count);
        if (answer.err != ERR_OK || strcmp(answer.text, scripts[i]->sha1) != 0) {
            fail_msg("%s: built with %s, Redis says %s", scripts[i]->name, scripts[i]->sha1,
                     answer.text);
        }
    }
}

static void redis_gives_every_embedded_script_the_same_sha1(void **state)
{
    struct test_redis *server = test_redis_start(NULL);
    struct fixture f;
    (void)state;
    fixture_init(&f, test_redis_unix(server));
    fixture_open(&f);
    check_scripts(&f, coordinator_scripts_all);
    check_scripts(&f, service_scripts_all);
    fixture_fini(&f);
    test_redis_stop(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(redis_gives_every_embedded_script_the_same_sha1),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
