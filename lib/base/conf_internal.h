/* Shared by the files of conf only. */
#ifndef BASE_CONF_INTERNAL_H
#define BASE_CONF_INTERNAL_H

#include "base/buf.h"
#include "base/conf.h"
#include "base/slice.h"

/* ---- one value (conf_value.c) ---- */

/* Parses `text` and stores it; `key` is for maps only. The reason names the value (but never a
 * secret) and what is allowed. */
enum err conf_set(const struct conf_option *option, void *settings, struct slice key,
                  struct slice text, struct reason *reason) MUST_CHECK;
void conf_clear(const struct conf_option *option, void *settings); /* frees the value */
/* "a number, 1 … 100"; "" when any text will do. */
void conf_add_allowed(struct buf *out, const struct conf_option *option);
void conf_add_bounds(struct buf *out, const struct conf_option *option); /* "1 … 100" or "" */

/* ---- names and errors (conf.c) ---- */

enum { CONF_NAME_MAX = 96 }; /* bytes with the NUL */

/* Where errors go: printed, all of them, or the first one into a reason. */
struct conf_report {
    bool print;
    int errors;
    struct reason *first; /* or NULL */
};
void conf_report(struct conf_report *report, const char *fmt, ...) PRINTF_LIKE(2, 3);
void conf_report_unknown(struct conf_report *report, const struct conf_program *program,
                         const char *where, const char *dashes, struct slice name);
/* Sets the option `name`; `where` is for errors: "sagad.conf:12". */
void conf_apply(const struct conf_program *program, void *settings, const char *where,
                struct slice name, struct slice value, struct conf_report *report);

/* The option of this name; for "map.key" the map, with `key` set. NULL: none. */
const struct conf_option *conf_find(const struct conf_program *program, struct slice name,
                                    struct slice *key);

/* ---- command line (conf_args.c) ---- */

/* What it asks for, before any value is looked at. */
struct conf_plan {
    const char *file; /* NULL: none */
    bool check_only;
};
enum conf_verdict conf_plan_args(const struct conf_program *program, int argc, char **argv,
                                 struct conf_plan *plan) MUST_CHECK;
void conf_load_args(const struct conf_program *program, void *settings, int argc, char **argv,
                    struct conf_report *report);

/* ---- printing (conf_help.c) ---- */

/* Colours are escape sequences of terminals. */
void conf_add_help(struct buf *out, const struct conf_program *program, bool colours);
/* A complete configuration file in which every option stands commented out, at its default. */
void conf_add_sample(struct buf *out, const struct conf_program *program);

#endif
