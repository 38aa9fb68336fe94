/* What can be said of an outbox without a Redis: its setting and its entries. */
#include "coordinator/outbox_entry.h"
#include "coordinator/outbox_item.h"
#include "coordinator/outbox_place.h"
#include "coordinator/topic_book.h"

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
    assert_int_equal(place.wait_replicas, -1);
    assert_false(place.has_failover);
    assert_int_equal(place.key_count, 1);
    assert_string_equal(place.keys[0], "{ord:0}:outbox");
    outbox_place_fini(&place);
    assert_int_equal(outbox_place_parse("o", "{ord:8..11}:outbox?db=2", &place, &reason), ERR_OK);
    assert_int_equal(place.db, 2);
    assert_int_equal(place.key_count, 4);
    assert_string_equal(place.keys[0], "{ord:8}:outbox");
    assert_string_equal(place.keys[3], "{ord:11}:outbox");
    outbox_place_fini(&place);
    assert_int_equal(outbox_place_parse("o", "{a}?b?wait_replicas=16&db=3", &place, &reason),
                     ERR_OK);
    assert_string_equal(place.keys[0], "{a}?b");
    assert_int_equal(place.wait_replicas, 16);
    assert_int_equal(place.db, 3);
    outbox_place_fini(&place);
}

static void keys_on_another_redis(void **state)
{
    (void)state;
    struct outbox_place place;
    struct reason reason;
    assert_int_equal(outbox_place_parse("o", "redis://or%64er:p%40s%2Fs%25@[::1]:6379/{a}/b?db=0",
                                        &place, &reason),
                     ERR_OK);
    assert_string_equal(place.address, "[::1]:6379");
    assert_string_equal(place.user, "order");
    assert_string_equal(place.password, "p@s/s%");
    assert_int_equal(place.db, 0);
    assert_string_equal(place.keys[0], "{a}/b");
    outbox_place_fini(&place);
    assert_int_equal(outbox_place_parse("o", "redis://10.0.0.7:6379/{k}", &place, &reason), ERR_OK);
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
    assert_int_equal(outbox_place_parse("o", "unix:///r:{k}?db=1", &place, &reason), ERR_OK);
    assert_string_equal(place.address, "unix:/r");
    assert_null(place.user);
    assert_int_equal(place.db, 1);
    outbox_place_fini(&place);
}

static void keys_behind_sentinels_and_on_a_cluster(void **state)
{
    (void)state;
    struct outbox_place place;
    struct reason reason;
    assert_int_equal(outbox_place_parse("o",
                                        "sentinel://or%64er:p%2F@a:26379,b:26379/m/{o:0..1}/x?db=3",
                                        &place, &reason),
                     ERR_OK);
    assert_string_equal(place.address, "sentinel://a:26379,b:26379/m");
    assert_true(place.has_failover);
    assert_string_equal(place.user, "order");
    assert_string_equal(place.password, "p/");
    assert_int_equal(place.db, 3);
    assert_string_equal(place.keys[1], "{o:1}/x");
    outbox_place_fini(&place);
    assert_int_equal(
        outbox_place_parse("o", "cluster://u:p@a:7000,b:7000/{o:0..15}?db=0", &place, &reason),
        ERR_OK);
    assert_string_equal(place.address, "cluster://a:7000,b:7000");
    assert_string_equal(place.user, "u");
    assert_int_equal(place.key_count, 16);
    outbox_place_fini(&place);
}

static void wrong_places_are_named_without_their_password(void **state)
{
    (void)state;
    static const struct {
        const char *value, *part;
    } cases[] = {
        {"", "neither an address nor a KEY"},
        {"{a}\nb", "no control characters"},
        {"rediss://u:secret@h:1/{p:0}:outbox", "neither an address nor a KEY"},
        {"redis:/u:secret@h:1/{p:0}:outbox", "neither an address nor a KEY"},
        {"u:secret@10.0.0.7:6379/{p:0}:outbox", "neither an address nor a KEY"},
        {"10.0.0.7:6379/{p:0}:outbox", "neither an address nor a KEY"},
        {"mailbox", "neither an address nor a KEY"},
        {"{}:outbox", "KEY must begin with"},
        {"{ord:0", "KEY must begin with"},
        {"redis://u:secret@h:1/outbox", "KEY must begin with"},
        {"redis://u:secret@h:1//{p:0}:outbox", "KEY must begin with"},
        {"cluster://u:secret@h:1/master/{p:0}:outbox", "KEY must begin with"},
        {"redis://u:secret@h:1", "there is no /KEY"},
        {"redis://u:secret@h:1/", "KEY must begin with"},
        {"redis://u:secret@h/k", "there is no HOST:PORT"},
        {"redis://u:secret@h:0/k", "there is no HOST:PORT"},
        {"redis://u:secret@h:65536/k", "there is no HOST:PORT"},
        {"redis://u:secret@:1/k", "there is no HOST:PORT"},
        {"redis://u:secret%4@h:1/k", "two hex digits"},
        {"redis://u:secret%00@h:1/k", "two hex digits"},
        {"unix://u:secret@run:k", "there is no /PATH:KEY"},
        {"unix://u:secret/run:k", "there is no /PATH:KEY"},
        {"unix:///run", "there is no /PATH:KEY"},
        {"unix:///run:", "KEY must begin with"},
        {"unix://u:secret@/run%4:k", "two hex digits"},
        {"sentinel://u:secret@a:1/m", "there is no /MASTER/KEY"},
        {"sentinel://u:secret@a:1//k", "there is no /MASTER/KEY"},
        {"sentinel://u:secret@a:1,b/m/k", "not every server is HOST:PORT"},
        {"cluster://u:secret@a:1,b:2", "there is no /KEY"},
        {"cluster://u:secret@a,b:2/k", "not every server is HOST:PORT"},
        {"cluster://u:secret@a:1/{k}?db=1", "a cluster has only database 0"},
        {"{k}?db=", "is not db=N"},
        {"{k}?db=1001", "is not db=N"},
        {"{k}?table=1", "is not db=N"},
        {"{k}?db=1&db=2", "is not db=N"},
        {"{k}?db=1&", "is not db=N"},
        {"{k}?wait_replicas=17", "or wait_replicas=N, N from 0 to 16"},
        {"{k}?wait_replicas=-1", "is not db=N"},
        {"cluster://u:secret@a:1/{k}?wait_replicas=1&db=1", "a cluster has only database 0"},
        {"{k}3..2", "a range goes from low to high"},
        {"{k}0..1024", "at most 1024"},
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

/* The fields end with NULL. As the outbox does it with an entry that names no topics. */
static enum err parse(const char *const *texts, struct outbox_entry *entry, struct reason *reason)
{
    struct slice fields[FIELDS_MAX];
    size_t count = 0;
    for (; texts[count]; count++) {
        fields[count] = slice_str(texts[count]);
    }
    enum err err = outbox_entry_parse(fields, count, entry, reason);
    return err || topics_are_named(&entry->spec) ? err : txn_spec_check(&entry->spec, reason);
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

static void an_entry_without_options_has_none(void **state)
{
    (void)state;
    static const struct txn_options none;
    struct outbox_entry entry;
    struct reason reason;
    const char *const fields[] = {HEAD, STEP, NULL};
    assert_int_equal(parse(fields, &entry, &reason), ERR_OK);
    assert_memory_equal(&entry.spec.options, &none, sizeof(none));
}

static void options_stand_between_the_head_and_the_steps(void **state)
{
    (void)state;
    struct outbox_entry entry;
    struct reason reason;
    const char *const fields[] = {"concurrent",
                                  "1",
                                  HEAD,
                                  "delay_ms",
                                  "60000",
                                  "request_timeout_ms",
                                  "2500",
                                  "header:X-Tenant",
                                  "seven",
                                  "retry_interval_ms",
                                  "31622400000",
                                  "header:x-more",
                                  "",
                                  STEP,
                                  NULL};
    assert_int_equal(parse(fields, &entry, &reason), ERR_OK);
    const struct txn_options *options = &entry.spec.options;
    assert_true(options->concurrent);
    assert_int_equal(options->delay_ms, 60000);
    assert_int_equal(options->request_timeout_ms, 2500);
    assert_int_equal(options->retry_interval_ms, TXN_TIME_MAX_MS);
    assert_int_equal(options->header_count, 2);
    assert_true(slice_eq_str(options->headers[0].name, "X-Tenant"));
    assert_true(slice_eq_str(options->headers[0].value, "seven"));
    assert_true(slice_eq_str(options->headers[1].name, "x-more"));
    assert_int_equal(options->headers[1].value.len, 0);
}

static void topics_are_left_to_be_looked_up(void **state)
{
    (void)state;
    struct outbox_entry entry;
    struct reason reason;
    const char *const fields[] = {HEAD, "01.action", "topic://paid", "01.payload", "p", NULL};
    assert_int_equal(parse(fields, &entry, &reason), ERR_OK);
    assert_true(topics_are_named(&entry.spec));
}

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
        {{HEAD, STEP, "delay_ms", "1"}, "field 'delay_ms': unknown or not in its place"},
        {{HEAD, "delay_ms", "1", "delay_ms", "1", STEP}, "field 'delay_ms': given twice"},
        {{HEAD, "delay_ms", "", STEP}, "field 'delay_ms': is '', must be a whole number"},
        {{HEAD, "delay_ms", "-1", STEP}, "field 'delay_ms': is '-1', must be"},
        {{HEAD, "delay_ms", "1.5", STEP}, "field 'delay_ms': is '1.5', must be"},
        {{HEAD, "request_timeout_ms", "31622400001", STEP}, "from 0 to 31622400000"},
        {{HEAD, "retry_interval_ms", "99999999999999999999", STEP}, "from 0 to 31622400000"},
        {{HEAD, "concurrent", "2", STEP}, "field 'concurrent': is '2', must be"},
        {{HEAD, "concurrent", "true", STEP}, "field 'concurrent': is 'true', must be"},
        {{HEAD, "header:", "x", STEP}, "branch_headers: name '' must be"},
        {{HEAD, "header:a b", "x", STEP}, "branch_headers: name 'a b' must be"},
        {{HEAD, "header:a", "x\ny", STEP}, "branch_headers: value of 'a' must be"},
        {{HEAD, "header:a", "x", "header:a", "y", STEP}, "field 'header:a': given twice"},
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

static void so_many_headers_and_no_more(void **state)
{
    (void)state;
    char names[TXN_HEADERS_MAX + 1][16];
    const char *fields[FIELDS_MAX] = {HEAD};
    struct outbox_entry entry;
    struct reason reason;
    size_t at = 4;
    for (size_t i = 0; i <= TXN_HEADERS_MAX; i++) {
        snprintf(names[i], sizeof(names[i]), "header:h%zu", i);
        fields[at++] = names[i];
        fields[at++] = "v";
    }
    const char *const step[] = {STEP};
    memcpy(&fields[at], step, sizeof(step));
    assert_int_equal(parse(fields, &entry, &reason), ERR_LIMIT);
    assert_non_null(strstr(reason.text, "more than 32 headers"));
    memcpy(&fields[at - 2], step, sizeof(step));
    fields[at + 2] = NULL;
    assert_int_equal(parse(fields, &entry, &reason), ERR_OK);
    assert_int_equal(entry.spec.options.header_count, TXN_HEADERS_MAX);
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

/* ---- what becomes of them ---- */

static void an_entry_leaves_its_stream_only_when_it_is_stored_or_hopeless(void **state)
{
    (void)state;
    static const enum err hopeless[] = {ERR_INVALID, ERR_LIMIT, ERR_NOT_FOUND, ERR_CONFLICT};
    assert_int_equal(outbox_fate_of(ERR_OK), OUTBOX_STORED);
    for (int err = ERR_INVALID; err <= ERR_CANCELLED; err++) {
        bool dead = false;
        for (size_t i = 0; i < sizeof(hopeless) / sizeof(hopeless[0]); i++) {
            dead = dead || (enum err)err == hopeless[i];
        }
        enum outbox_fate wanted = dead                   ? OUTBOX_DEAD
                                  : err == ERR_CANCELLED ? OUTBOX_LEFT
                                                         : OUTBOX_REFUSED;
        assert_int_equal(outbox_fate_of((enum err)err), wanted);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_on_the_own_redis),
        cmocka_unit_test(keys_on_another_redis),
        cmocka_unit_test(keys_behind_sentinels_and_on_a_cluster),
        cmocka_unit_test(wrong_places_are_named_without_their_password),
        cmocka_unit_test(an_entry_is_a_submission),
        cmocka_unit_test(an_entry_without_options_has_none),
        cmocka_unit_test(options_stand_between_the_head_and_the_steps),
        cmocka_unit_test(topics_are_left_to_be_looked_up),
        cmocka_unit_test(what_is_wrong_with_an_entry_is_named),
        cmocka_unit_test(so_many_headers_and_no_more),
        cmocka_unit_test(a_hundred_steps_and_no_more),
        cmocka_unit_test(an_entry_leaves_its_stream_only_when_it_is_stored_or_hopeless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
