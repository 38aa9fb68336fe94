#include "base/log.h"

#include "capture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct capture capture;

static int lines_of(const char *text)
{
    int count = 0;
    for (; *text; text++) {
        count += *text == '\n';
    }
    return count;
}

static void a_line_has_time_level_module_and_text(void **state)
{
    (void)state;
    capture_begin(&capture, STDERR_FILENO);
    log_info("engine", "msg=\"started\" n=%d", 3);
    const char *text = capture_end(&capture);
    char *rest = strstr(text, "Z level=info mod=engine msg=\"started\" n=3\n");
    assert_non_null(rest);
    assert_int_equal(strncmp(text, "ts=20", 5), 0);
    assert_int_equal(rest - text, strlen("ts=2026-01-31T23:59:59.123"));
}

static void nobody_can_forge_a_line(void **state)
{
    (void)state;
    capture_begin(&capture, STDERR_FILENO);
    log_error("api", "msg=\"bad gid\" gid=%s", "a\nts=1 level=error\r\t\x1B[31m\x7F");
    const char *text = capture_end(&capture);
    assert_int_equal(lines_of(text), 1);
    assert_non_null(strstr(text, "gid=a?ts=1 level=error???[31m?\n"));
}

static void a_text_of_others_cannot_end_its_field(void **state)
{
    (void)state;
    char out[32];
    assert_string_equal(log_text(slice_str("a\" alert=1\n b=\"c"), out, sizeof(out)),
                        "a' alert=1? b='c");
    assert_string_equal(log_text(slice_str("\"\"\"\""), out, 3), "''");
}

static void a_line_that_is_too_long_is_cut_but_ends(void **state)
{
    (void)state;
    char *huge = malloc(10000);
    memset(huge, 'x', 9999);
    huge[9999] = '\0';
    capture_begin(&capture, STDERR_FILENO);
    log_warn("api", "msg=\"%s\"", huge);
    const char *text = capture_end(&capture);
    free(huge);
    assert_int_equal(lines_of(text), 1);
    assert_int_equal(text[strlen(text) - 1], '\n');
    assert_in_range(strlen(text), 1000, 2048);
}

static int evaluated;

static int count_evaluation(void)
{
    return ++evaluated;
}

static void lines_below_the_level_are_not_written_nor_evaluated(void **state)
{
    (void)state;
    evaluated = 0;
    capture_begin(&capture, STDERR_FILENO);
    log_debug("x", "n=%d", count_evaluation());
    log_set_level(LOG_ERROR);
    log_info("x", "n=%d", count_evaluation());
    log_warn("x", "msg=\"hidden\"");
    log_set_level(LOG_DEBUG);
    log_debug("x", "n=%d", count_evaluation());
    log_set_level(LOG_INFO);
    const char *text = capture_end(&capture);
    assert_int_equal(lines_of(text), 1);
    assert_int_equal(evaluated, 1);
    assert_non_null(strstr(text, "level=debug mod=x n=1"));
}

static void levels_have_names(void **state)
{
    (void)state;
    enum log_level level = LOG_INFO;
    assert_int_equal(log_level_parse("warn", &level), ERR_OK);
    assert_int_equal(level, LOG_WARN);
    assert_int_equal(log_level_parse("WARN", &level), ERR_INVALID);
    assert_int_equal(log_level_parse("", &level), ERR_INVALID);
    assert_int_equal(level, LOG_WARN);
}

static int lines_in(const char *path)
{
    char text[4096] = "";
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t n = fread(text, 1, sizeof(text) - 1, file);
    text[n] = '\0';
    fclose(file);
    return lines_of(text);
}

static void a_file_is_appended_to_and_opened_anew(void **state)
{
    char dir[] = "/tmp/sagad-log-XXXXXX", path[64], moved[64];
    struct reason reason;
    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/log", dir);
    snprintf(moved, sizeof(moved), "%s/log.1", dir);
    assert_int_equal(log_set_file(path, &reason), ERR_OK);
    log_warn("x", "n=1");
    assert_int_equal(log_set_file(path, &reason), ERR_OK); /* what is there stays */
    log_warn("x", "n=2");
    assert_int_equal(rename(path, moved), 0);
    log_warn("x", "n=3"); /* into the file that was moved */
    assert_int_equal(log_set_file("/nonexistent/log", &reason), ERR_SYSTEM);
    assert_non_null(strstr(reason.text, "log_file = '/nonexistent/log'"));
    log_warn("x", "n=4"); /* likewise: a wrong path changes nothing */
    assert_int_equal(log_set_file(path, &reason), ERR_OK);
    log_warn("x", "n=5");
    assert_int_equal(log_set_file("", &reason), ERR_OK);
    capture_begin(&capture, STDERR_FILENO);
    log_warn("x", "n=6");
    assert_int_equal(lines_of(capture_end(&capture)), 1);
    assert_int_equal(lines_in(moved), 4);
    assert_int_equal(lines_in(path), 1);
    unlink(path);
    unlink(moved);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_has_time_level_module_and_text),
        cmocka_unit_test(nobody_can_forge_a_line),
        cmocka_unit_test(a_text_of_others_cannot_end_its_field),
        cmocka_unit_test(a_line_that_is_too_long_is_cut_but_ends),
        cmocka_unit_test(lines_below_the_level_are_not_written_nor_evaluated),
        cmocka_unit_test(levels_have_names),
        cmocka_unit_test(a_file_is_appended_to_and_opened_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
