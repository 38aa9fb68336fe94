/* What can be said of an outbox without a Redis: its setting and its entries. */
#include "coordinator/outbox_entry.h"
#include "coordinator/outbox_place.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- the setting ---- */

static void keys_on_the_own_redis(void **state)
{
    (void)state;
    struct outbox_place place;
    struct reason reason;
    assert_int_equal(outbox_place_parse("o", "{ord:0}:outbox", &place, &reason), ERR_OK);
    assert_null(place.address);
    assert_int_equal(place.db, -1);
    assert_int_equal(place.key_count, 1);
    assert_string_equal(place.keys[0], "{ord:0}:outbox");
    outbox_place_fini(&place);
    assert_int_equal(outbox_place_parse("o", "{ord:8..11}:outbox?db=2", &place, &reason), ERR_OK);
    assert_int_equal(place.db, 2);
    assert_int_equal(place.key_count, 4);
    assert_string_equal(place.keys[0], "{ord:8}:outbox");
    assert_string_equal(place.keys[3], "{ord:11}:outbox");
    outbox_place_fini(&place);
}

static void keys_on_another_redis(void **state)
{
    (void)state;
    struct outbox_place place;
    struct reason reason;
    assert_int_equal(outbox_place_parse("o", "redis://or%64er:p%40s%2Fs%25@[::1]:6379/a/b?db=0",
                                        &place, &reason),
                     ERR_OK);
    assert_string_equal(place.address, "[::1]:6379");
    assert_string_equal(place.user, "order");
    assert_string_equal(place.password, "p@s/s%");
    assert_int_equal(place.db, 0);
    assert_string_equal(place.keys[0], "a/b");
    outbox_place_fini(&place);
    assert_int_equal(outbox_place_parse("o", "redis://10.0.0.7:6379/k", &place, &reason), ERR_OK);
    assert_null(place.user);
    outbox_place_fini(&place);
    assert_int_equal(outbox_place_parse("o", "unix://u:p%2F@/run/a%3Ab/redis.sock:{ord:0}:outbox",
                                        &place, &reason),
                     ERR_OK);
    assert_string_equal(place.address, "unix:/run/a:b/redis.sock");
    assert_string_equal(place.user, "u");
    assert_string_equal(place.password, "p/");
    assert_string_equal(place.keys[0], "{ord:0}:outbox");
    outbox_place_fini(&place);
    assert_int_equal(outbox_place_parse("o", "unix:///r:k?db=1", &place, &reason), ERR_OK);
    assert_string_equal(place.address, "unix:/r");
    assert_null(place.user);
    assert_int_equal(place.db, 1);
    outbox_place_fini(&place);
}

static void wrong_places_are_named_without_their_password(void **state)
{
    (void)state;
    static const struct {
        const char *value, *part;
    } cases[] = {
        {"", "KEY must have 1 to 512 bytes"},
        {"a\nb", "no control characters"},
        {"redis://u:secret@h:1", "there is no /KEY"},
        {"redis://u:secret@h:1/", "KEY must have"},
        {"redis://u:secret@h/k", "there is no HOST:PORT"},
        {"redis://u:secret@h:0/k", "there is no HOST:PORT"},
        {"redis://u:secret@h:65536/k", "there is no HOST:PORT"},
        {"redis://u:secret@:1/k", "there is no HOST:PORT"},
        {"redis://u:secret%4@h:1/k", "two hex digits"},
        {"redis://u:secret%00@h:1/k", "two hex digits"},
        {"unix://u:secret@run:k", "there is no /PATH:KEY"},
        {"unix://u:secret/run:k", "there is no /PATH:KEY"},
        {"unix:///run", "there is no /PATH:KEY"},
        {"unix:///run:", "KEY must have"},
        {"unix://u:secret@/run%4:k", "two hex digits"},
        {"k?db=", "is not db=N"},
        {"k?db=1001", "is not db=N"},
        {"k?table=1", "is not db=N"},
        {"k3..2", "a range goes from low to high"},
        {"k0..1024", "at most 1024"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct outbox_place place;
        struct reason reason;
        enum err err = outbox_place_parse("order", cases[i].value, &place, &reason);
        if (err != ERR_INVALID || !strstr(reason.text, cases[i].part) ||
            !strstr(reason.text, "outbox.order: ") || strstr(reason.text, "secret")) {
            fail_msg("case %zu: '%s', wanted '%s'", i, reason.text, cases[i].part);
        }
    }
}

/* ---- entries ---- */

enum { FIELDS_MAX = 512 };

/* The fields end with NULL. */
static enum err parse(const char *const *texts, struct outbox_entry *entry, struct reason *reason)
{
    struct slice fields[FIELDS_MAX];
    size_t count = 0;
    for (; texts[count]; count++) {
        fields[count] = slice_str(texts[count]);
    }
    return outbox_entry_parse(fields, count, entry, reason);
}

static void an_entry_is_a_submission(void **state)
{
    (void)state;
    struct outbox_entry entry;
    struct reason reason;
    const char *const fields[] = {"trans_type",    "msg",        "gid", "g",         "01.action",
                                  "tcp://a/b.C/D", "01.payload", "one", "02.action", "http://h/x",
                                  "02.payload",    "",           NULL};
    assert_int_equal(parse(fields, &entry, &reason), ERR_OK);
    assert_true(slice_eq_str(entry.spec.gid, "g"));
    assert_false(entry.spec.prepare);
    assert_int_equal(entry.spec.step_count, 2);
    assert_true(slice_eq_str(entry.spec.steps[0].urls[OP_ACTION], "tcp://a/b.C/D"));
    assert_true(slice_eq_str(entry.spec.steps[0].payload, "one"));
    assert_true(slice_eq_str(entry.spec.steps[1].urls[OP_ACTION], "http://h/x"));
    assert_int_equal(entry.spec.steps[1].payload.len, 0);
}

#define HEAD "gid", "g", "trans_type", "msg"
#define STEP "01.action", "tcp://a/b.C/D", "01.payload", ""

static void what_is_wrong_with_an_entry_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *fields[16];
        const char *part;
    } cases[] = {
        {{NULL}, "field 'gid': is missing"},
        {{"gid", "g", STEP}, "field 'trans_type': is missing"},
        {{"trans_type", "msg", STEP}, "field 'gid': is missing"},
        {{"gid", "", "trans_type", "msg", STEP}, "gid"},
        {{HEAD, "gid", "h", STEP}, "field 'gid': given twice"},
        {{"gid", "g", "trans_type", "tcc", STEP}, "is 'tcc', allowed is msg"},
        {{"gid", "g", "trans_type", "msg\n", STEP}, "is 'msg?', allowed is msg"},
        {{HEAD}, "field '01.action': is missing"},
        {{HEAD, "02.action", "tcp://a/b.C/D", "02.payload", ""}, "field '02.action': unknown"},
        {{HEAD, "delay", "1", STEP}, "field 'delay': unknown"},
        {{HEAD, STEP, "more", "1"}, "field 'more': unknown"},
        {{HEAD, "01.action", "tcp://a/b.C/D"}, "field '01.payload': is missing"},
        {{HEAD, "01.action", "tcp://a/b.C/D", "payload", ""}, "field 'payload': unknown"},
        {{HEAD, "01.action", "", "01.payload", ""}, "field '01.action': is empty"},
        {{HEAD, "01.action", "ftp://x", "01.payload", ""}, "action"},
        {{HEAD, STEP, "more"}, "a field has no value"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct outbox_entry entry;
        struct reason reason = {""};
        enum err err = parse(cases[i].fields, &entry, &reason);
        if (err != ERR_INVALID || !strstr(reason.text, cases[i].part)) {
            fail_msg("case %zu: '%s', wanted '%s'", i, reason.text, cases[i].part);
        }
    }
}

static void a_hundred_steps_and_no_more(void **state)
{
    (void)state;
    char names[2][TXN_BRANCHES_MAX + 1][16];
    const char *fields[FIELDS_MAX] = {HEAD};
    struct outbox_entry entry;
    struct reason reason;
    for (size_t i = 0; i <= TXN_BRANCHES_MAX; i++) {
        snprintf(names[0][i], sizeof(names[0][i]), "%02zu.action", i + 1);
        snprintf(names[1][i], sizeof(names[1][i]), "%02zu.payload", i + 1);
        const char *const step[] = {names[0][i], "tcp://a/b.C/D", names[1][i], "x"};
        memcpy(&fields[4 + 4 * i], step, sizeof(step));
    }
    assert_int_equal(parse(fields, &entry, &reason), ERR_LIMIT);
    assert_non_null(strstr(reason.text, "more than 100 steps"));
    fields[4 + 4 * TXN_BRANCHES_MAX] = NULL;
    assert_int_equal(parse(fields, &entry, &reason), ERR_OK);
    assert_int_equal(entry.spec.step_count, TXN_BRANCHES_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_on_the_own_redis),
        cmocka_unit_test(keys_on_another_redis),
        cmocka_unit_test(wrong_places_are_named_without_their_password),
        cmocka_unit_test(an_entry_is_a_submission),
        cmocka_unit_test(what_is_wrong_with_an_entry_is_named),
        cmocka_unit_test(a_hundred_steps_and_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
