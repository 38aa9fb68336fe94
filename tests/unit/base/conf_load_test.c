/* Sources, their precedence, and what is printed. */
#include "base/conf.h"

#include "capture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

struct settings {
    char *redis;
    char *password;
    bool verbose;
    int64_t retry_interval_ms;
    int64_t workers;
    char *durability;
    struct conf_map resolver;
};

#define OPTION(option_name, option_type, member, value, ...)                                       \
    {                                                                                              \
        .name = option_name, .type = option_type, .offset = offsetof(struct settings, member),     \
        .default_value = value, __VA_ARGS__                                                        \
    }

static const struct conf_option options[] = {
    OPTION("redis", CONF_STRING, redis, "127.0.0.1:6379", .group = "Redis",
           .help =
               "Where Redis listens, host:port or unix:/path, in a sentence that is long enough "
               "to need a second line."),
    OPTION("password", CONF_SECRET, password, "", .help = "Its password; empty: none."),
    OPTION("durability", CONF_CHOICE, durability, "everysec", .choices = "none|everysec|always",
           .help = "What must be on disk before a submit is acknowledged."),
    OPTION("verbose", CONF_BOOL, verbose, "no", .group = "Behaviour", .help = "Says more."),
    OPTION("retry_interval", CONF_DURATION, retry_interval_ms, "10s", .min = 10, .max = 3600000,
           .help = "Before the first retry."),
    OPTION("workers", CONF_INT, workers, "1", .min = 1, .max = 64, .help = "Processes."),
    OPTION("resolver", CONF_MAP, resolver, NULL, .help = "Addresses of participants by name."),
    {.name = NULL},
};
static enum err judge(const void *settings, struct reason *reason)
{
    const struct settings *judged = settings;
    return judged->verbose && judged->workers == 64
               ? reason_set(reason, ERR_INVALID, "verbose: not with 64 workers")
               : ERR_OK;
}

static const struct conf_program program = {.name = "sagad",
                                            .prefix = "SAGATEST",
                                            .summary = "coordinator",
                                            .options = options,
                                            .judge = judge};

static struct settings s;
static char path[64];
static struct capture out;
static struct capture err;

static int setup(void **state)
{
    (void)state;
    s = (struct settings){0};
    snprintf(path, sizeof(path), "/tmp/sagad-conf-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    static const char *const variables[] = {
        "SAGATEST_REDIS", "SAGATEST_WORKERS", "SAGATEST_RESOLVER_ORDER",      "SAGATEST_CONFIG",
        "SAGATEST_REDIZ", "SAGATEST_VERBOSE", "SAGATEST_SOMETHING_QUITE_ELSE"};
    for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
        unsetenv(variables[i]);
    }
    conf_fini(&program, &s);
    unlink(path);
    return 0;
}

static void write_file(const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

/* Loads with these arguments (ended by NULL); output is in `out` and `err`. */
static enum conf_verdict load(const char *first, ...)
{
    static char args[16][128];
    char *argv[17];
    int argc = 0;
    va_list list;
    va_start(list, first);
    snprintf(args[argc], sizeof(args[0]), "sagad");
    argv[argc] = args[argc];
    argc++;
    for (const char *arg = first; arg; arg = va_arg(list, const char *)) {
        snprintf(args[argc], sizeof(args[0]), "%s", arg);
        argv[argc] = args[argc];
        argc++;
    }
    va_end(list);
    argv[argc] = NULL;
    conf_fini(&program, &s);
    s = (struct settings){0};
    capture_begin(&out, STDOUT_FILENO);
    capture_begin(&err, STDERR_FILENO);
    enum conf_verdict verdict = conf_load(&program, &s, argc, argv);
    capture_end(&err);
    capture_end(&out);
    return verdict;
}

static void expect_error(enum conf_verdict got, enum conf_verdict want, const char *text)
{
    assert_int_equal(got, want);
    assert_string_equal(err.text, text);
    assert_string_equal(out.text, "");
}

static void later_sources_win(void **state)
{
    (void)state;
    assert_int_equal(load(NULL), CONF_RUN);
    assert_string_equal(s.redis, "127.0.0.1:6379");
    assert_int_equal(s.workers, 1);

    write_file("redis = file:1\nworkers = 2\nretry_interval = 2s\nresolver.order = file:2\n");
    assert_int_equal(load("--config", path, NULL), CONF_RUN);
    assert_string_equal(s.redis, "file:1");
    assert_int_equal(s.workers, 2);

    setenv("SAGATEST_REDIS", "env:1", 1);
    setenv("SAGATEST_WORKERS", "3", 1);
    setenv("SAGATEST_RESOLVER_ORDER", "env:2", 1);
    assert_int_equal(load("--config", path, NULL), CONF_RUN);
    assert_string_equal(s.redis, "env:1");
    assert_int_equal(s.workers, 3);
    assert_string_equal(conf_map_get(&s.resolver, "order"), "env:2");
    assert_int_equal(s.retry_interval_ms, 2000);

    assert_int_equal(load("--workers=4", "--config", path, "--resolver.order", "arg:2", NULL),
                     CONF_RUN);
    assert_string_equal(s.redis, "env:1");
    assert_int_equal(s.workers, 4);
    assert_string_equal(conf_map_get(&s.resolver, "order"), "arg:2");
    assert_int_equal(s.resolver.count, 1);
    assert_string_equal(err.text, "");
    assert_string_equal(out.text, "");
}

static void the_file_may_be_named_by_the_environment(void **state)
{
    (void)state;
    write_file("workers = 7\n");
    setenv("SAGATEST_CONFIG", path, 1);
    assert_int_equal(load(NULL), CONF_RUN);
    assert_int_equal(s.workers, 7);
}

static void an_empty_variable_counts_as_not_given(void **state)
{
    (void)state;
    setenv("SAGATEST_WORKERS", "", 1);
    assert_int_equal(load(NULL), CONF_RUN);
    assert_int_equal(s.workers, 1);
}

static void an_unknown_variable_is_no_error_but_a_slip_gets_a_hint(void **state)
{
    (void)state;
    setenv("SAGATEST_SOMETHING_QUITE_ELSE", "tcp://10.0.0.1", 1);
    assert_int_equal(load(NULL), CONF_RUN);
    assert_string_equal(err.text, "");
    setenv("SAGATEST_REDIZ", "x", 1);
    assert_int_equal(load(NULL), CONF_RUN);
    assert_string_equal(err.text, "environment SAGATEST_REDIZ: no such option, ignored; did you "
                                  "mean 'redis'?\n");
}

static void a_bool_may_stand_alone(void **state)
{
    (void)state;
    assert_int_equal(load("--verbose", "--workers", "2", NULL), CONF_RUN);
    assert_true(s.verbose);
    assert_int_equal(load("--verbose", "no", NULL), CONF_RUN);
    assert_false(s.verbose);
    assert_int_equal(load("--verbose=on", NULL), CONF_RUN);
    assert_true(s.verbose);
    assert_int_equal(load("--retry-interval", "1s", "--verbose", NULL), CONF_RUN);
    assert_int_equal(s.retry_interval_ms, 1000);
}

static void a_wrong_value_names_source_option_value_and_what_is_allowed(void **state)
{
    (void)state;
    char want[512];
    write_file("workers = 2\n\nretry_interval = 10\n");
    snprintf(want, sizeof(want),
             "%s:3: retry_interval: '10' has no unit; allowed: a number with ms, s, m, h or d, "
             "10ms … 1h\n",
             path);
    expect_error(load("--config", path, NULL), CONF_BAD, want);

    setenv("SAGATEST_WORKERS", "many", 1);
    expect_error(load(NULL), CONF_BAD,
                 "environment SAGATEST_WORKERS: workers: 'many' is not a number; allowed: a "
                 "number, 1 … 64\n");
    unsetenv("SAGATEST_WORKERS");
    expect_error(load("--workers", "65", NULL), CONF_BAD,
                 "command line: workers: '65' is out of range; allowed: a number, 1 … 64\n");
}

static void all_errors_are_told_at_once(void **state)
{
    (void)state;
    write_file("workers = x\nredys = y\n");
    assert_int_equal(load("--config", path, "--durability", "never", NULL), CONF_BAD);
    assert_non_null(strstr(err.text, ":1: workers: 'x' is not a number"));
    assert_non_null(strstr(err.text, ":2: unknown option 'redys'; did you mean 'redis'?"));
    assert_non_null(strstr(err.text, "durability: 'never' is not a choice; allowed: none, "
                                     "everysec, always"));
}

static void a_wrong_command_line_is_a_usage_error(void **state)
{
    (void)state;
    expect_error(load("--workres", "2", NULL), CONF_USAGE,
                 "command line: unknown option '--workres'; did you mean '--workers'?\n");
    expect_error(load("--workers", NULL), CONF_USAGE, "command line: --workers needs a value\n");
    expect_error(load("--workers", "--verbose", NULL), CONF_USAGE,
                 "command line: --workers needs a value\n");
    expect_error(load("--help=x", NULL), CONF_USAGE, "command line: --help takes no value\n");
    expect_error(load("start", NULL), CONF_USAGE,
                 "command line: unexpected argument 'start'; options begin with --\n");
    expect_error(load("--", NULL), CONF_USAGE,
                 "command line: unexpected argument '--'; options begin with --\n");
}

static void an_option_is_named_as_it_was_written(void **state)
{
    (void)state;
    expect_error(load("--quite-different", "2", NULL), CONF_USAGE,
                 "command line: unknown option '--quite-different'; sagad --help lists all\n");
    expect_error(load("--retry-intervl", "2s", NULL), CONF_USAGE,
                 "command line: unknown option '--retry-intervl'; did you mean "
                 "'--retry_interval'?\n");
    expect_error(load("--retry-interval", NULL), CONF_USAGE,
                 "command line: --retry-interval needs a value\n");
    expect_error(load("--check-config=x", NULL), CONF_USAGE,
                 "command line: --check-config takes no value\n");
}

static void a_file_that_cannot_be_read_is_an_error(void **state)
{
    (void)state;
    expect_error(load("--config", "/nonexistent/x.conf", NULL), CONF_BAD,
                 "/nonexistent/x.conf: cannot be read: No such file or directory\n");
    expect_error(load("--config", "/tmp", NULL), CONF_BAD,
                 "/tmp: cannot be read: Is a directory\n");
}

static void check_config_checks_and_says_so(void **state)
{
    (void)state;
    assert_int_equal(load("--check-config", "--workers", "3", NULL), CONF_EXIT_OK);
    assert_string_equal(out.text, "sagad: configuration is valid\n");
    assert_int_equal(load("--check-config", "--workers", "0", NULL), CONF_BAD);
    assert_string_equal(out.text, "");
}

static void the_program_judges_the_whole_and_check_config_looks_at_it(void **state)
{
    (void)state;
    static const char refusal[] = "sagad: verbose: not with 64 workers\n";
    expect_error(load("--verbose", "--workers", "64", NULL), CONF_BAD, refusal);
    expect_error(load("--check-config", "--verbose", "--workers", "64", NULL), CONF_BAD, refusal);
    assert_int_equal(load("--verbose", NULL), CONF_RUN);
}

static void version_is_the_project_s(void **state)
{
    (void)state;
    char want[64];
    snprintf(want, sizeof(want), "sagad %s\n", conf_version());
    assert_int_equal(load("--version", NULL), CONF_EXIT_OK);
    assert_string_equal(out.text, want);
    assert_true(strchr(conf_version(), '.') != NULL);
    assert_int_equal(load("-V", NULL), CONF_EXIT_OK);
    assert_string_equal(out.text, want);
}

static void help_lists_all_options_in_groups_and_80_columns(void **state)
{
    (void)state;
    assert_int_equal(load("--help", NULL), CONF_EXIT_OK);
    for (const struct conf_option *option = options; option->name; option++) {
        char row[64];
        snprintf(row, sizeof(row), "\n  --%s", option->name);
        assert_non_null(strstr(out.text, row));
    }
    assert_non_null(strstr(out.text, "\nRedis\n"));
    assert_non_null(strstr(out.text, "\nBehaviour\n"));
    assert_non_null(strstr(out.text, "--resolver.KEY TEXT"));
    assert_non_null(strstr(out.text, "none|everysec|always"));
    assert_non_null(strstr(out.text, "10ms … 1h; default 10s)"));
    assert_null(strchr(out.text, '\033')); /* not a terminal */
    for (const char *line = out.text; *line; line += strcspn(line, "\n") + 1) {
        assert_in_range(strcspn(line, "\n"), 0, 82); /* bytes; '…' has three */
    }
}

/* Uncommenting every option of the sample must give the defaults again. */
static void the_sample_file_is_complete_and_parses(void **state)
{
    (void)state;
    assert_int_equal(load("--help-config", NULL), CONF_EXIT_OK);
    char *sample = strdup(out.text);
    char *to = sample;
    int count = 0;
    bool at_start = true;
    for (const char *from = out.text; *from; from++) {
        bool is_option = at_start && *from == '#' && from[1] != ' ' && from[1] != '\n';
        at_start = *from == '\n';
        count += is_option;
        if (!is_option) {
            *to++ = *from;
        }
    }
    *to = '\0';
    assert_int_equal(count, 7);
    write_file(sample);
    free(sample);
    assert_int_equal(load("--config", path, NULL), CONF_RUN);
    assert_string_equal(err.text, "");
    assert_string_equal(s.redis, "127.0.0.1:6379");
    assert_string_equal(s.durability, "everysec");
    assert_int_equal(s.retry_interval_ms, 10000);
    assert_string_equal(conf_map_get(&s.resolver, "KEY"), "");
}

static void secrets_are_never_printed(void **state)
{
    (void)state;
    write_file("password = hunter2\nworkers = x\n");
    assert_int_equal(load("--config", path, "--password=hunter2\x01", NULL), CONF_BAD);
    assert_null(strstr(err.text, "hunter2"));
    assert_int_equal(load("--password", "hunter2", "--help", NULL), CONF_EXIT_OK);
    assert_null(strstr(out.text, "hunter2"));
}

/* The options that differ, "name " or "name! " when it was not taken. */
static void note_difference(void *arg, const char *name, bool taken)
{
    char *text = arg;
    snprintf(text + strlen(text), 200 - strlen(text), "%s%s ", name, taken ? "" : "!");
}

static void some_options_are_taken_over_later(void **state)
{
    static const char *const names[] = {"redis", "verbose", "retry_interval", "resolver", NULL};
    char *argv[] = {(char *)(uintptr_t) "sagad", (char *)(uintptr_t) "--config", path, NULL};
    char differs[200] = "";
    struct settings fresh = {0};
    struct reason reason;
    (void)state;
    write_file("redis = a:1\nworkers = 2\nresolver.x = h:1\n");
    assert_int_equal(load("--config", path, NULL), CONF_RUN);
    write_file("redis = b:2\nworkers = 3\nretry_interval = 1s\nresolver.y = h:1\nverbose = yes\n");
    assert_int_equal(conf_load_again(&program, &fresh, 3, argv, &reason), ERR_OK);
    conf_take_over(&program, &s, &fresh, names, note_difference, differs);
    assert_string_equal(differs, "redis verbose retry_interval workers! resolver ");
    assert_string_equal(s.redis, "b:2");
    assert_true(s.verbose);
    assert_int_equal(s.retry_interval_ms, 1000);
    assert_int_equal(s.workers, 2);
    assert_null(conf_map_get(&s.resolver, "x"));
    assert_string_equal(conf_map_get(&s.resolver, "y"), "h:1");
    differs[0] = '\0';
    conf_fini(&program, &fresh);
    write_file("redis = b:2\nworkers = many\n");
    assert_int_equal(conf_load_again(&program, &fresh, 3, argv, &reason), ERR_INVALID);
    assert_non_null(strstr(reason.text, ":2: workers: 'many'"));
    write_file("verbose = yes\nworkers = 64\n");
    conf_fini(&program, &fresh);
    assert_int_equal(conf_load_again(&program, &fresh, 3, argv, &reason), ERR_INVALID);
    assert_non_null(strstr(reason.text, "not with 64 workers"));
    conf_fini(&program, &fresh);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(later_sources_win),
        TEST(the_file_may_be_named_by_the_environment),
        TEST(an_empty_variable_counts_as_not_given),
        TEST(an_unknown_variable_is_no_error_but_a_slip_gets_a_hint),
        TEST(a_bool_may_stand_alone),
        TEST(a_wrong_value_names_source_option_value_and_what_is_allowed),
        TEST(all_errors_are_told_at_once),
        TEST(a_wrong_command_line_is_a_usage_error),
        TEST(an_option_is_named_as_it_was_written),
        TEST(a_file_that_cannot_be_read_is_an_error),
        TEST(check_config_checks_and_says_so),
        TEST(the_program_judges_the_whole_and_check_config_looks_at_it),
        TEST(version_is_the_project_s),
        TEST(help_lists_all_options_in_groups_and_80_columns),
        TEST(the_sample_file_is_complete_and_parses),
        TEST(secrets_are_never_printed),
        TEST(some_options_are_taken_over_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
