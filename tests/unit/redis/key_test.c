/* Where in a cluster a command goes. */
#include "redis/key.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* As CLUSTER KEYSLOT says. */
static void a_tag_decides_when_there_is_one(void **state)
{
    static const struct {
        const char *key;
        int slot;
    } cases[] = {
        {"foo", 12182},  {"{foo}.a", 12182},      {"a{foo}b{bar}", 12182},
        {"{}foo", 9500}, {"foo{{bar}}zap", 4015}, {"", 0},
        {"{foo", 13308}, {"foo}", 15679},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(key_slot(slice_str(cases[i].key)), cases[i].slot);
    }
    assert_int_equal(key_slot((struct slice){NULL, 0}), 0);
}

/* With the default of 16 partitions, on a cluster that was split evenly. */
static void the_partitions_spread_over_three_masters(void **state)
{
    int counts[3] = {0};
    (void)state;
    for (int p = 0; p < 16; p++) {
        char key[32];
        snprintf(key, sizeof(key), "saga:{%d}:due", p);
        int slot = key_slot(slice_str(key));
        counts[slot <= 5460 ? 0 : slot <= 10922 ? 1 : 2]++;
    }
    assert_int_equal(counts[0], 6);
    assert_int_equal(counts[1], 6);
    assert_int_equal(counts[2], 4);
}

static void the_key_is_found_in_every_command(void **state)
{
    static const struct {
        const char *command, *key;
    } cases[] = {
        {"GET k", "k"},
        {"HSET k f v", "k"},
        {"some.module k", "k"},
        {"PING", NULL},
        {"ping", NULL},
        {"HELLO 2", NULL},
        {"INFO all", NULL},
        {"CONFIG GET x y", NULL},
        {"TIME", NULL},
        {"WAIT 1 0", NULL},
        {"CLUSTER SLOTS", NULL},
        {"MULTI", NULL},
        {"MEMORY USAGE k SAMPLES 0", "k"},
        {"OBJECT ENCODING k", "k"},
        {"XINFO STREAM k", "k"},
        {"XGROUP CREATE k g $", "k"},
        {"EVAL text 2 k l x", "k"},
        {"EVALSHA sha 0 x", NULL},
        {"EVALSHA sha", NULL},
        {"EVALSHA sha many k", NULL},
        {"ZUNION 2 k l", "k"},
        {"XREAD COUNT 1 STREAMS k l 0 0", "k"},
        {"XREADGROUP GROUP g c COUNT 1 BLOCK 5 streams k >", "k"},
        {"XREADGROUP GROUP g c", NULL},
        {"XREAD STREAMS", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct slice words[16], key;
        size_t count = 0;
        for (const char *word = cases[i].command; *word;) {
            size_t len = strcspn(word, " ");
            words[count++] = slice_make(word, len);
            word += len + strspn(word + len, " ");
        }
        bool found = command_key(words, count, &key);
        if (found != (cases[i].key != NULL) || (found && !slice_eq_str(key, cases[i].key))) {
            fail_msg("%s", cases[i].command);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tag_decides_when_there_is_one),
        cmocka_unit_test(the_partitions_spread_over_three_masters),
        cmocka_unit_test(the_key_is_found_in_every_command),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
