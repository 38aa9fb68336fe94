/* The command line is walked twice: first for what is asked for, then for the values. */
#include "base/conf_internal.h"
#include "base/fault.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum arg_kind {
    ARG_END,
    ARG_WRONG,
    ARG_OPTION,
    ARG_CONFIG,
    ARG_CHECK,
    ARG_HELP,
    ARG_SAMPLE,
    ARG_VERSION,
    ARG_FAULTS
};

struct args {
    const struct conf_program *program;
    int argc;
    char **argv;
    int index;            /* of the next argument */
    struct slice written; /* the name as it was given, for messages */
    char name[CONF_NAME_MAX];
    struct slice value;
};

static enum arg_kind arg_special(const char *name)
{
    static const struct {
        const char *name;
        enum arg_kind kind;
    } all[] = {
        {"config", ARG_CONFIG},      {"check_config", ARG_CHECK}, {"help", ARG_HELP},
        {"help_config", ARG_SAMPLE}, {"version", ARG_VERSION},
#ifdef SAGAD_FAULTS
        {"list_faults", ARG_FAULTS},
#endif
    };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (strcmp(name, all[i].name) == 0) {
            return all[i].kind;
        }
    }
    return ARG_OPTION;
}

static bool is_bool_word(const char *text)
{
    static const struct conf_option option = {.name = "", .type = CONF_BOOL};
    bool value;
    struct slice none = {NULL, 0};
    return text && conf_set(&option, &value, none, slice_str(text), NULL) == ERR_OK;
}

/* The value behind the name: the next argument, unless a bool stands alone. */
static enum arg_kind arg_value(struct args *args, enum arg_kind kind, bool is_bool,
                               struct conf_report *report)
{
    const char *next = args->index < args->argc ? args->argv[args->index] : NULL;
    if (is_bool && !is_bool_word(next)) {
        args->value = slice_str("yes");
        return kind;
    }
    if (!next || strncmp(next, "--", 2) == 0) {
        conf_report(report, "command line: --%.*s needs a value", SLICE_ARG(args->written));
        return ARG_WRONG;
    }
    args->value = slice_str(next);
    args->index++;
    return kind;
}

/* Copies the name without the dashes; '-' becomes '_', but not in a map's key. */
static void arg_name(struct args *args, struct slice text)
{
    size_t n = text.len < CONF_NAME_MAX ? text.len : CONF_NAME_MAX - 1;
    memcpy(args->name, text.ptr, n);
    args->name[n] = '\0';
    for (char *at = args->name; *at && *at != '.'; at++) {
        if (*at == '-') {
            *at = '_';
        }
    }
}

static enum arg_kind arg_option(struct args *args, const char *text, struct conf_report *report)
{
    struct slice key;
    size_t len = strcspn(text, "=");
    args->written = slice_make(text, len);
    arg_name(args, args->written);
    args->value = text[len] == '=' ? slice_str(text + len + 1) : slice_make(NULL, 0);
    enum arg_kind kind = arg_special(args->name);
    const struct conf_option *option = conf_find(args->program, slice_str(args->name), &key);
    if (kind == ARG_OPTION && !option) {
        conf_report_unknown(report, args->program, "command line", "--", args->written);
        return ARG_WRONG;
    }
    if (kind == ARG_OPTION || kind == ARG_CONFIG) {
        bool is_bool = kind == ARG_OPTION && option->type == CONF_BOOL;
        return text[len] == '=' ? kind : arg_value(args, kind, is_bool, report);
    }
    if (text[len] == '=') {
        conf_report(report, "command line: --%.*s takes no value", SLICE_ARG(args->written));
        return ARG_WRONG;
    }
    return kind;
}

static enum arg_kind arg_next(struct args *args, struct conf_report *report)
{
    if (args->index >= args->argc) {
        return ARG_END;
    }
    const char *text = args->argv[args->index++];
    if (strcmp(text, "-h") == 0) {
        return ARG_HELP;
    }
    if (strcmp(text, "-V") == 0) {
        return ARG_VERSION;
    }
    if (strncmp(text, "--", 2) == 0 && text[2]) {
        return arg_option(args, text + 2, report);
    }
    char shown[CONF_NAME_MAX];
    conf_report(report, "command line: unexpected argument '%s'; options begin with --",
                slice_printable(slice_str(text), shown, sizeof(shown)));
    return ARG_WRONG;
}

static void print_special(const struct conf_program *program, enum arg_kind kind)
{
    struct buf out = {0};
#ifdef SAGAD_FAULTS
    if (kind == ARG_FAULTS) {
        fault_list(stdout);
        return;
    }
#endif
    if (kind == ARG_HELP) {
        conf_add_help(&out, program, isatty(STDOUT_FILENO) && !getenv("NO_COLOR"));
    } else if (kind == ARG_SAMPLE) {
        conf_add_sample(&out, program);
    } else {
        buf_printf(&out, "%s %s\n", program->name, conf_version());
    }
    fputs(out.data, stdout);
    buf_fini(&out);
}

static struct args args_begin(const struct conf_program *program, int argc, char **argv)
{
    return (struct args){.program = program, .argc = argc, .argv = argv, .index = 1};
}

enum conf_verdict conf_plan_args(const struct conf_program *program, int argc, char **argv,
                                 struct conf_plan *plan)
{
    struct conf_report report = {.print = true};
    struct args args = args_begin(program, argc, argv);
    enum arg_kind kind;
    while ((kind = arg_next(&args, &report)) != ARG_END && kind != ARG_WRONG) {
        if (kind == ARG_CONFIG) {
            plan->file = args.value.ptr; /* ends where the argument ends */
        } else if (kind == ARG_CHECK) {
            plan->check_only = true;
        } else if (kind != ARG_OPTION) {
            print_special(program, kind);
            return CONF_EXIT_OK;
        }
    }
    return kind == ARG_WRONG ? CONF_USAGE : CONF_RUN;
}

void conf_load_args(const struct conf_program *program, void *settings, int argc, char **argv,
                    struct conf_report *report)
{
    struct args args = args_begin(program, argc, argv);
    enum arg_kind kind;
    while ((kind = arg_next(&args, report)) != ARG_END) {
        if (kind == ARG_OPTION) {
            conf_apply(program, settings, "command line", slice_str(args.name), args.value, report);
        }
    }
}
