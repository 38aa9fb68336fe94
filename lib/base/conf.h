/*
 * Settings: one table of options gives the defaults, the parser, the checks, `--help` and
 * `--help-config`. Sources, later ones win: default, configuration file, environment, command line.
 *
 *   file          `name = value`, a line each; `#` begins a comment at the start of a line or after
 *                 white space; `map` options are given once per entry: `resolver.order = host:9002`
 *   environment   PREFIX_NAME in capitals, '-' and '.' as '_' (SAGAD_REDIS); an empty value counts
 *                 as not given; keys of maps are taken in lower case
 *   command line  --name value or --name=value; a bool may stand alone; '-' for '_' is understood
 */
#ifndef BASE_CONF_H
#define BASE_CONF_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum conf_type {
    CONF_STRING,   /* char * (heap) */
    CONF_SECRET,   /* char * (heap); never printed */
    CONF_BOOL,     /* bool: yes/no, true/false, on/off, 1/0 */
    CONF_INT,      /* int64_t */
    CONF_DURATION, /* int64_t milliseconds: 250ms, 3s, 5m, 2h, 7d; a unit is required unless 0 */
    CONF_SIZE,     /* int64_t bytes: 512, 64kb, 1mb, 2gb (powers of 1024) */
    CONF_CHOICE,   /* char * (heap), one of `choices` */
    CONF_MAP,      /* struct conf_map: name.KEY = VALUE */
};

struct conf_map_entry {
    char *key;
    char *value;
};
struct conf_map {
    struct conf_map_entry *entries;
    size_t count;
};

struct conf_option {
    const char *name; /* lower case, words joined by '_' */
    enum conf_type type;
    size_t offset;             /* of the value in the settings struct */
    const char *default_value; /* as it would stand in the file; NULL for an empty map */
    int64_t min, max;          /* INT, DURATION, SIZE; max 0: no upper limit */
    const char *choices;       /* CHOICE: "a|b|c" */
    const char *help;          /* one sentence; a default in words need not be repeated */
    const char *group;         /* heading in --help; NULL: the one before goes on */
};

struct conf_program {
    const char *name;                  /* "sagad" */
    const char *prefix;                /* of environment variables: "SAGAD" */
    const char *summary;               /* first line of --help */
    const struct conf_option *options; /* ends with name NULL */
    /* What no option can tell by itself, once all have a value; NULL: nothing. The reason begins
     * with the option. */
    enum err (*judge)(const void *settings, struct reason *reason);
};

enum conf_verdict {
    CONF_RUN,     /* go on */
    CONF_EXIT_OK, /* --help, --help-config, --version, --check-config: done, exit 0 */
    CONF_USAGE,   /* wrong command line: exit 2 */
    CONF_BAD,     /* wrong value or file: exit 3 */
};

/* Of the project, "1.2.3". */
const char *conf_version(void);

/*
 * Fills `settings` (zeroed by the caller) from all sources. `--config FILE` (or PREFIX_CONFIG)
 * names the file.
 * Every error is printed to standard error with its source, the option, the value and what is
 * allowed. Strings belong to the settings until conf_fini.
 */
enum conf_verdict conf_load(const struct conf_program *program, void *settings, int argc,
                            char **argv) MUST_CHECK;
void conf_fini(const struct conf_program *program, void *settings);

/* The same once more while the program runs, from the same sources. Nothing is printed: the reason
 * tells the first error. `settings` are to be freed with conf_fini in any case. */
enum err conf_load_again(const struct conf_program *program, void *settings, int argc, char **argv,
                         struct reason *reason) MUST_CHECK;
/* Takes the values of the options in `names` (NULL behind the last) over from `fresh`; those that
 * it replaces go with `fresh`. Tells every option that differs, and whether it was taken. */
typedef void (*conf_differs_cb)(void *arg, const char *name, bool taken);
void conf_take_over(const struct conf_program *program, void *settings, void *fresh,
                    const char *const *names, conf_differs_cb differs, void *arg);

/* Parses the text of a configuration file into settings, which hold the defaults at least (later
 * values win); for tests, fuzzing and reload. On error nothing further is read and `reason` names
 * line and option. */
enum err conf_parse(const struct conf_program *program, void *settings, const char *text,
                    size_t len, struct reason *reason) MUST_CHECK;
/* The defaults alone. */
void conf_defaults(const struct conf_program *program, void *settings);

/* Value for KEY, or NULL. */
const char *conf_map_get(const struct conf_map *map, const char *key);

#endif
