#include "base/conf.h"

#include "base/check.h"
#include "base/conf_internal.h"
#include "base/fault.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILE_MAX_SIZE = 1024 * 1024 };

void conf_report(struct conf_report *report, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (report->print) {
        fprintf(stderr, "%s\n", text);
    } else if (report->errors == 0) {
        (void)reason_set(report->first, ERR_INVALID, "%s", text);
    }
    report->errors++;
}

const char *conf_version(void)
{
    return SAGAD_VERSION;
}

/* ---- names ---- */

const struct conf_option *conf_find(const struct conf_program *program, struct slice name,
                                    struct slice *key)
{
    *key = slice_make(NULL, 0);
    for (const struct conf_option *option = program->options; option->name; option++) {
        size_t len = strlen(option->name);
        if (slice_eq_str(name, option->name)) {
            return option;
        }
        if (option->type == CONF_MAP && slice_has_prefix(name, option->name) &&
            name.ptr[len] == '.') {
            *key = slice_make(name.ptr + len + 1, name.len - len - 1);
            return option;
        }
    }
    return NULL;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Insertions, deletions and replacements that make one name the other (Levenshtein 1965). */
static size_t distance(struct slice a, const char *b)
{
    size_t row[CONF_NAME_MAX + 1];
    size_t b_len = strlen(b);
    check(b_len <= CONF_NAME_MAX);
    for (size_t k = 0; k <= b_len; k++) {
        row[k] = k;
    }
    for (size_t i = 0; i < a.len; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t k = 0; k < b_len; k++) {
            size_t replaced = diagonal + (a.ptr[i] != b[k]);
            diagonal = row[k + 1];
            row[k + 1] = least(replaced, least(row[k], row[k + 1]) + 1);
        }
    }
    return row[b_len];
}

/* The option that was probably meant, or NULL. */
static const char *nearest(const struct conf_program *program, struct slice name)
{
    const char *dot = name.len > 0 ? memchr(name.ptr, '.', name.len) : NULL;
    struct slice stem = dot ? slice_make(name.ptr, (size_t)(dot - name.ptr)) : name;
    const char *best = NULL;
    size_t best_distance = stem.len / 3 + 1;
    for (const struct conf_option *option = program->options; option->name; option++) {
        size_t d = stem.len <= CONF_NAME_MAX ? distance(stem, option->name) : SIZE_MAX;
        if (d <= best_distance && (!best || d < best_distance)) {
            best = option->name;
            best_distance = d;
        }
    }
    return best;
}

void conf_report_unknown(struct conf_report *report, const struct conf_program *program,
                         const char *where, const char *dashes, struct slice name)
{
    char shown[CONF_NAME_MAX];
    const char *meant = nearest(program, name);
    slice_printable(name, shown, sizeof(shown));
    if (meant) {
        conf_report(report, "%s: unknown option '%s%s'; did you mean '%s%s'?", where, dashes, shown,
                    dashes, meant);
    } else {
        conf_report(report, "%s: unknown option '%s%s'; %s --help lists all", where, dashes, shown,
                    program->name);
    }
}

void conf_apply(const struct conf_program *program, void *settings, const char *where,
                struct slice name, struct slice value, struct conf_report *report)
{
    struct slice key;
    struct reason reason;
    const struct conf_option *option = conf_find(program, name, &key);
    if (!option) {
        conf_report_unknown(report, program, where, "", name);
    } else if (conf_set(option, settings, key, value, &reason) != ERR_OK) {
        conf_report(report, "%s: %s: %s", where, option->name, reason.text);
    }
}

/* ---- defaults ---- */

void conf_defaults(const struct conf_program *program, void *settings)
{
    struct slice none = {NULL, 0};
    for (const struct conf_option *option = program->options; option->name; option++) {
        check(strlen(option->name) < CONF_NAME_MAX);
        if (option->type == CONF_MAP) {
            conf_clear(option, settings);
            continue;
        }
        struct reason reason;
        if (conf_set(option, settings, none, slice_str(option->default_value), &reason) != ERR_OK) {
            fprintf(stderr, "default of %s: %s\n", option->name, reason.text);
            unreachable("an option's default is not valid");
        }
    }
}

void conf_fini(const struct conf_program *program, void *settings)
{
    for (const struct conf_option *option = program->options; option->name; option++) {
        conf_clear(option, settings);
    }
}

/* ---- file ---- */

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static struct slice trim(struct slice s)
{
    while (s.len > 0 && is_space(s.ptr[0])) {
        s = slice_make(s.ptr + 1, s.len - 1);
    }
    while (s.len > 0 && is_space(s.ptr[s.len - 1])) {
        s.len--;
    }
    return s;
}

static struct slice without_comment(struct slice line)
{
    for (size_t i = 0; i < line.len; i++) {
        if (line.ptr[i] == '#' && (i == 0 || is_space(line.ptr[i - 1]))) {
            line.len = i;
        }
    }
    return line;
}

static void parse_line(const struct conf_program *program, void *settings, const char *where,
                       struct slice line, struct conf_report *report)
{
    line = trim(without_comment(line));
    if (line.len == 0) {
        return;
    }
    const char *equals = memchr(line.ptr, '=', line.len);
    if (!equals) { /* the line is not shown: it may be a secret */
        conf_report(report, "%s: no '=' in this line; allowed: name = value", where);
        return;
    }
    size_t at = (size_t)(equals - line.ptr);
    conf_apply(program, settings, where, trim(slice_make(line.ptr, at)),
               trim(slice_make(equals + 1, line.len - at - 1)), report);
}

/* Goes on after an error only when all errors are wanted. */
static void parse_text(const struct conf_program *program, void *settings, const char *source,
                       struct slice text, struct conf_report *report)
{
    for (int number = 1; text.len > 0 && (report->print || report->errors == 0); number++) {
        const char *end = memchr(text.ptr, '\n', text.len);
        size_t len = end ? (size_t)(end - text.ptr) : text.len;
        char where[160];
        snprintf(where, sizeof(where), "%.140s%d", source, number);
        parse_line(program, settings, where, slice_make(text.ptr, len), report);
        len += end ? 1 : 0;
        text = slice_make(text.ptr + len, text.len - len);
    }
}

enum err conf_parse(const struct conf_program *program, void *settings, const char *text,
                    size_t len, struct reason *reason)
{
    struct conf_report report = {.first = reason};
    parse_text(program, settings, "line ", slice_make(text, len), &report);
    return report.errors == 0 ? ERR_OK : ERR_INVALID;
}

static enum err read_file(const char *path, struct buf *out, struct conf_report *report)
{
    errno = 0;
    FILE *file = fopen(path, "re");
    if (file) {
        size_t n = fread(buf_reserve(out, FILE_MAX_SIZE + 1), 1, FILE_MAX_SIZE + 1, file);
        buf_grow(out, n);
        fclose(file);
    }
    if (!file || (out->len == 0 && errno != 0)) {
        conf_report(report, "%s: cannot be read: %s", path, strerror(errno));
        return ERR_SYSTEM;
    }
    if (out->len > FILE_MAX_SIZE) {
        conf_report(report, "%s: larger than %d bytes", path, FILE_MAX_SIZE);
        return ERR_LIMIT;
    }
    return ERR_OK;
}

static void load_file(const struct conf_program *program, void *settings, const char *path,
                      struct conf_report *report)
{
    struct buf text = {0};
    if (read_file(path, &text, report) == ERR_OK) {
        char source[140];
        snprintf(source, sizeof(source), "%.137s:", path);
        parse_text(program, settings, source, buf_slice(&text), report);
    }
    buf_fini(&text);
}

/* ---- environment ---- */

/* SAGAD_RESOLVER_ORDER → "resolver.order" when resolver is a map, else "resolver_order". */
static void env_option_name(const struct conf_program *program, struct slice variable,
                            char out[CONF_NAME_MAX])
{
    size_t n = least(variable.len, CONF_NAME_MAX - 1);
    for (size_t i = 0; i < n; i++) {
        out[i] = (char)tolower((unsigned char)variable.ptr[i]);
    }
    out[n] = '\0';
    struct slice key;
    if (conf_find(program, slice_str(out), &key)) {
        return;
    }
    for (const struct conf_option *option = program->options; option->name; option++) {
        size_t len = strlen(option->name);
        if (option->type == CONF_MAP && strncmp(out, option->name, len) == 0 && out[len] == '_') {
            out[len] = '.';
            return;
        }
    }
}

/* Platforms put variables of their own beside ours (Kubernetes: SAGAD_SERVICE_HOST), so an unknown
 * one is no error; but a slip of the pen is worth a word. */
static void load_variable(const struct conf_program *program, void *settings, const char *variable,
                          struct conf_report *report)
{
    size_t prefix = strlen(program->prefix) + 1;
    struct slice name = slice_make(variable, strcspn(variable, "="));
    struct slice value = slice_str(variable + name.len + (variable[name.len] == '='));
    char option_name[CONF_NAME_MAX];
    char where[CONF_NAME_MAX + 32];
    struct slice key;
    env_option_name(program, slice_make(variable + prefix, name.len - prefix), option_name);
    snprintf(where, sizeof(where), "environment %.*s", (int)least(name.len, CONF_NAME_MAX),
             variable);
    const char *meant = nearest(program, slice_str(option_name));
    if (value.len == 0 || strcmp(option_name, "config") == 0) {
        return;
    }
    if (conf_find(program, slice_str(option_name), &key)) {
        conf_apply(program, settings, where, slice_str(option_name), value, report);
    } else if (meant) {
        fprintf(stderr, "%s: no such option, ignored; did you mean '%s'?\n", where, meant);
    }
}

static void load_environment(const struct conf_program *program, void *settings,
                             struct conf_report *report)
{
    size_t prefix = strlen(program->prefix);
    for (char **variable = environ; *variable; variable++) {
        if (strncmp(*variable, program->prefix, prefix) == 0 && (*variable)[prefix] == '_') {
            load_variable(program, settings, *variable, report);
        }
    }
}

/* ---- all together ---- */

struct conf_args {
    int argc;
    char **argv;
};

static const char *file_from_environment(const struct conf_program *program)
{
    char name[CONF_NAME_MAX];
    snprintf(name, sizeof(name), "%s_CONFIG", program->prefix);
    const char *path = getenv(name);
    return path && path[0] ? path : NULL;
}

/* All sources but the command line's own questions, then the whole of it. */
static void load_all(const struct conf_program *program, void *settings, const char *file,
                     const struct conf_args *args, struct conf_report *report)
{
    struct reason reason;
    conf_defaults(program, settings);
    if (file) {
        load_file(program, settings, file, report);
    }
    load_environment(program, settings, report);
    conf_load_args(program, settings, args->argc, args->argv, report);
    if (report->errors == 0 && program->judge && program->judge(settings, &reason)) {
        conf_report(report, "%s: %s", program->name, reason.text);
    }
}

enum err conf_load_again(const struct conf_program *program, void *settings, int argc, char **argv,
                         struct reason *reason)
{
    struct conf_plan plan = {.file = file_from_environment(program)};
    struct conf_report report = {.first = reason};
    const struct conf_args args = {argc, argv};
    if (conf_plan_args(program, argc, argv, &plan) != CONF_RUN) {
        return reason_set(reason, ERR_INVALID, "the command line has changed");
    }
    load_all(program, settings, plan.file, &args, &report);
    return report.errors == 0 ? ERR_OK : ERR_INVALID;
}

enum conf_verdict conf_load(const struct conf_program *program, void *settings, int argc,
                            char **argv)
{
    struct conf_plan plan = {.file = file_from_environment(program)};
    enum conf_verdict verdict = conf_plan_args(program, argc, argv, &plan);
    if (verdict != CONF_RUN) {
        return verdict;
    }
    struct conf_report report = {.print = true};
    const struct conf_args args = {argc, argv};
    load_all(program, settings, plan.file, &args, &report);
#ifdef SAGAD_FAULTS
    struct reason fault;
    if (fault_check(&fault) != ERR_OK) {
        conf_report(&report, "%s", fault.text);
    }
#endif
    if (report.errors > 0) {
        return CONF_BAD;
    }
    if (plan.check_only) {
        printf("%s: configuration is valid\n", program->name);
        return CONF_EXIT_OK;
    }
    return CONF_RUN;
}
