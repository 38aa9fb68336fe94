/* Values, names and files; conf_load_test has the other sources. */
#include "base/conf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct settings {
    char *text;
    char *secret;
    bool flag;
    int64_t number;
    int64_t any_number;
    int64_t interval_ms;
    int64_t pause_ms;
    int64_t size;
    char *mode;
    struct conf_map resolver;
};

#define OPTION(option_name, option_type, member, value, ...)                                       \
    {                                                                                              \
        .name = option_name, .type = option_type, .offset = offsetof(struct settings, member),     \
        .default_value = value, __VA_ARGS__                                                        \
    }

static const struct conf_option options[] = {
    OPTION("text", CONF_STRING, text, "hello", .help = "A text."),
    OPTION("secret", CONF_SECRET, secret, "", .help = "A secret."),
    OPTION("flag", CONF_BOOL, flag, "no", .help = "A flag."),
    OPTION("number", CONF_INT, number, "5", .min = -10, .max = 10, .help = "A number."),
    OPTION("any_number", CONF_INT, any_number, "0", .help = "A number."),
    OPTION("interval", CONF_DURATION, interval_ms, "10s", .min = 10, .max = 3600000,
           .help = "An interval."),
    OPTION("pause", CONF_DURATION, pause_ms, "0", .help = "A pause."),
    OPTION("size", CONF_SIZE, size, "64kb", .min = 1024, .max = 1048576, .help = "A size."),
    OPTION("mode", CONF_CHOICE, mode, "fast", .choices = "fast|safe|off", .help = "A mode."),
    OPTION("resolver", CONF_MAP, resolver, NULL, .help = "Names."),
    {.name = NULL},
};
static const struct conf_program program = {
    .name = "prog", .prefix = "PROG", .summary = "a test", .options = options};

static struct settings s;
static struct reason reason;

static int setup(void **state)
{
    (void)state;
    s = (struct settings){0};
    reason.text[0] = '\0';
    conf_defaults(&program, &s);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    conf_fini(&program, &s);
    assert_null(s.text);
    assert_int_equal(s.resolver.count, 0);
    return 0;
}

static enum err parse(const char *text)
{
    return conf_parse(&program, &s, text, strlen(text), &reason);
}

static void parse_ok(const char *text)
{
    if (parse(text) != ERR_OK) {
        fail_msg("'%s' was refused: %s", text, reason.text);
    }
}

static void parse_bad(const char *text, const char *why)
{
    assert_int_equal(parse(text), ERR_INVALID);
    assert_string_equal(reason.text, why);
}

static void defaults_fill_every_option(void **state)
{
    (void)state;
    assert_string_equal(s.text, "hello");
    assert_string_equal(s.secret, "");
    assert_false(s.flag);
    assert_int_equal(s.number, 5);
    assert_int_equal(s.interval_ms, 10000);
    assert_int_equal(s.pause_ms, 0);
    assert_int_equal(s.size, 65536);
    assert_string_equal(s.mode, "fast");
    assert_int_equal(s.resolver.count, 0);
}

static void a_file_sets_values_of_every_type(void **state)
{
    (void)state;
    parse_ok("# a comment\r\n"
             "\n"
             "text = two words = a text   # and a comment\r\n"
             "\tsecret=a#b!\n"
             "flag = yes\n"
             "number = -10\n"
             "interval = 250ms\n"
             "size = 1MB\n"
             "mode = safe\n"
             "resolver.order = host:9002\n"
             "resolver.a-b.c_d = other:1\n"
             "resolver.order = moved:9002");
    assert_string_equal(s.text, "two words = a text");
    assert_string_equal(s.secret, "a#b!");
    assert_true(s.flag);
    assert_int_equal(s.number, -10);
    assert_int_equal(s.interval_ms, 250);
    assert_int_equal(s.size, 1048576);
    assert_string_equal(s.mode, "safe");
    assert_int_equal(s.resolver.count, 2);
    assert_string_equal(conf_map_get(&s.resolver, "order"), "moved:9002");
    assert_string_equal(conf_map_get(&s.resolver, "a-b.c_d"), "other:1");
    assert_null(conf_map_get(&s.resolver, "none"));
}

static void an_empty_value_is_an_empty_text(void **state)
{
    (void)state;
    parse_ok("text =");
    assert_string_equal(s.text, "");
    parse_ok("text = # nothing");
    assert_string_equal(s.text, "");
}

static void bools_have_four_spellings_each(void **state)
{
    (void)state;
    static const char *const yes[] = {"yes", "true", "on", "1", "YES"};
    static const char *const no[] = {"no", "false", "off", "0", "False"};
    char line[64];
    for (size_t i = 0; i < 5; i++) {
        snprintf(line, sizeof(line), "flag = %s", yes[i]);
        parse_ok(line);
        assert_true(s.flag);
        snprintf(line, sizeof(line), "flag = %s", no[i]);
        parse_ok(line);
        assert_false(s.flag);
    }
    parse_bad("flag = maybe", "line 1: flag: 'maybe' is neither yes nor no; allowed: yes or no");
}

static void numbers_are_checked(void **state)
{
    (void)state;
    parse_ok("any_number = 9223372036854775807");
    assert_true(s.any_number == INT64_MAX);
    parse_bad("number = 11", "line 1: number: '11' is out of range; allowed: a number, -10 … 10");
    parse_bad("number = -11", "line 1: number: '-11' is out of range; allowed: a number, -10 … 10");
    parse_bad("number = ten", "line 1: number: 'ten' is not a number; allowed: a number, -10 … 10");
    parse_bad("number = 1s", "line 1: number: '1s' is not a number; allowed: a number, -10 … 10");
    parse_bad("number =", "line 1: number: '' is not a number; allowed: a number, -10 … 10");
    parse_bad("number = -", "line 1: number: '-' is not a number; allowed: a number, -10 … 10");
    parse_bad("any_number = -1",
              "line 1: any_number: '-1' is out of range; allowed: a number, 0 or more");
    parse_bad("any_number = 9223372036854775808",
              "line 1: any_number: '9223372036854775808' is out of range; "
              "allowed: a number, 0 or more");
}

static void durations_need_a_unit(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        int64_t ms;
    } cases[] = {{"pause = 0", 0},       {"pause = 250ms", 250},   {"pause = 3s", 3000},
                 {"pause = 5m", 300000}, {"pause = 2h", 7200000},  {"pause = 7d", 604800000},
                 {"pause = 0s", 0},      {"pause = 1D", 86400000}, {"pause = 007s", 7000}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        parse_ok(cases[i].line);
        assert_int_equal(s.pause_ms, cases[i].ms);
    }
    parse_bad("interval = 10", "line 1: interval: '10' has no unit; allowed: a number with ms, s, "
                               "m, h or d, 10ms … 1h");
    parse_bad("pause = 10",
              "line 1: pause: '10' has no unit; allowed: 0 or a number with ms, s, m, h or d");
    parse_bad("interval = 1w", "line 1: interval: '1w' has an unknown unit; allowed: a number with "
                               "ms, s, m, h or d, 10ms … 1h");
    parse_bad("interval = 2h", "line 1: interval: '2h' is out of range; allowed: a number with ms, "
                               "s, m, h or d, 10ms … 1h");
    assert_int_equal(parse("interval = 9ms"), ERR_INVALID);
    assert_int_equal(parse("interval = 0"), ERR_INVALID);
    assert_int_equal(parse("pause = 1.5s"), ERR_INVALID);
    assert_int_equal(parse("pause = 1 s"), ERR_INVALID);
    assert_int_equal(parse("pause = s"), ERR_INVALID);
    assert_int_equal(parse("pause = -1s"), ERR_INVALID);
    assert_int_equal(parse("pause = 106751991168d"), ERR_INVALID); /* overflows milliseconds */
    assert_int_equal(s.interval_ms, 10000);
}

static void sizes_are_powers_of_1024(void **state)
{
    (void)state;
    parse_ok("size = 1024");
    assert_int_equal(s.size, 1024);
    parse_ok("size = 2KB");
    assert_int_equal(s.size, 2048);
    parse_bad("size = 2mb", "line 1: size: '2mb' is out of range; allowed: bytes, or a number with "
                            "kb, mb or gb, 1kb … 1mb");
    parse_bad("size = 2k", "line 1: size: '2k' has an unknown unit; allowed: bytes, or a number "
                           "with kb, mb or gb, 1kb … 1mb");
    assert_int_equal(parse("size = 9007199254740993gb"), ERR_INVALID);
}

static void choices_are_listed(void **state)
{
    (void)state;
    parse_bad("mode = slow", "line 1: mode: 'slow' is not a choice; allowed: fast, safe, off");
    parse_bad("mode = fast|safe",
              "line 1: mode: 'fast|safe' is not a choice; allowed: fast, safe, off");
    parse_bad("mode =", "line 1: mode: '' is not a choice; allowed: fast, safe, off");
    assert_string_equal(s.mode, "fast");
}

static void errors_name_the_line(void **state)
{
    (void)state;
    parse_bad("# one\ntext = a\n\nnumber = x\nflag = x\n",
              "line 4: number: 'x' is not a number; allowed: a number, -10 … 10");
    assert_string_equal(s.text, "a"); /* before the error */
    parse_bad("text", "line 1: no '=' in this line; allowed: name = value");
    parse_bad("resolver = x",
              "line 1: resolver: '' is not a key; allowed: letters, digits, '.', '_' and '-'");
    parse_bad("resolver.a b = x",
              "line 1: resolver: 'a b' is not a key; allowed: letters, digits, '.', '_' and '-'");
}

static void an_unknown_option_suggests_the_nearest(void **state)
{
    (void)state;
    parse_bad("intervall = 3s", "line 1: unknown option 'intervall'; did you mean 'interval'?");
    parse_bad("modus = fast", "line 1: unknown option 'modus'; did you mean 'mode'?");
    parse_bad("resolvr.order = x",
              "line 1: unknown option 'resolvr.order'; did you mean 'resolver'?");
    parse_bad("quite_different = 1",
              "line 1: unknown option 'quite_different'; prog --help lists all");
    parse_bad("= 1", "line 1: unknown option ''; prog --help lists all");
    parse_bad("text.key = 1", "line 1: unknown option 'text.key'; did you mean 'text'?");
}

static void control_characters_are_refused(void **state)
{
    (void)state;
    parse_bad("text = a\x01z", "line 1: text: the value has control characters or is not UTF-8");
    assert_int_equal(conf_parse(&program, &s, "text = a\0b", 10, &reason), ERR_INVALID);
    assert_int_equal(conf_parse(&program, &s, "resolver.a\0 = b", 16, &reason), ERR_INVALID);
    assert_int_equal(s.resolver.count, 0);
    assert_int_equal(parse("text = \xFF"), ERR_INVALID);
    parse_ok("text = 订单");
}

static void secrets_are_never_shown(void **state)
{
    (void)state;
    assert_int_equal(parse("secret = hunter2\x01"), ERR_INVALID);
    assert_null(strstr(reason.text, "hunter2"));
    assert_int_equal(parse("secret hunter2"), ERR_INVALID);
    assert_null(strstr(reason.text, "hunter2"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(defaults_fill_every_option),
        TEST(a_file_sets_values_of_every_type),
        TEST(an_empty_value_is_an_empty_text),
        TEST(bools_have_four_spellings_each),
        TEST(numbers_are_checked),
        TEST(durations_need_a_unit),
        TEST(sizes_are_powers_of_1024),
        TEST(choices_are_listed),
        TEST(errors_name_the_line),
        TEST(an_unknown_option_suggests_the_nearest),
        TEST(control_characters_are_refused),
        TEST(secrets_are_never_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
