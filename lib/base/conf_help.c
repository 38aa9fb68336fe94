#include "base/conf_internal.h"

#include <string.h>

enum { LINE_WIDTH = 80, SAMPLE_WIDTH = 100, LEFT_MAX = 30 };

static const char *placeholder(const struct conf_option *option)
{
    switch (option->type) {
    case CONF_STRING:
    case CONF_MAP: return "TEXT";
    case CONF_SECRET: return "SECRET";
    case CONF_BOOL: return "yes|no";
    case CONF_INT: return "NUMBER";
    case CONF_DURATION: return "TIME";
    case CONF_SIZE: return "SIZE";
    case CONF_CHOICE: return option->choices;
    }
    return "";
}

/* Columns of a UTF-8 text. */
static size_t width(const char *text, size_t n)
{
    return utf8_length(slice_make(text, n));
}

/* Adds words; lines after the first begin with `indent`. `column` is where the text begins. */
static void add_wrapped(struct buf *out, const char *text, const char *indent, size_t column,
                        size_t line_width)
{
    size_t start = column;
    while (*text) {
        size_t n = strcspn(text, " ");
        if (column > start && column + 1 + width(text, n) > line_width) {
            buf_add_str(out, "\n");
            buf_add_str(out, indent);
            column = start;
        } else if (column > start) {
            buf_add_str(out, " ");
            column++;
        }
        buf_add(out, text, n);
        column += width(text, n);
        text += n;
        text += strspn(text, " ");
    }
    buf_add_str(out, "\n");
}

/* "Help sentence. (1 … 9; default 3)" */
static void add_description(struct buf *out, const struct conf_option *option)
{
    buf_add_str(out, option->help ? option->help : "");
    struct buf detail = {0};
    conf_add_bounds(&detail, option);
    if (option->default_value && option->default_value[0] && option->type != CONF_SECRET) {
        buf_printf(&detail, "%sdefault %s", detail.len > 0 ? "; " : "", option->default_value);
    }
    if (detail.len > 0) {
        buf_printf(out, " (%s)", detail.data);
    }
    buf_fini(&detail);
}

struct style {
    const char *heading, *name, *end;
};

static void add_row(struct buf *out, const struct style *style, const char *name, const char *value,
                    const char *text)
{
    char indent[LEFT_MAX + 1];
    memset(indent, ' ', LEFT_MAX);
    indent[LEFT_MAX] = '\0';
    size_t used = 2 + 2 + strlen(name) + 1 + strlen(value);
    buf_printf(out, "  %s--%s%s %s", style->name, name, style->end, value);
    if (used + 2 > LEFT_MAX) {
        buf_printf(out, "\n%s", indent);
    } else {
        buf_add(out, indent, LEFT_MAX - used);
    }
    add_wrapped(out, text, indent, LEFT_MAX, LINE_WIDTH);
}

static void add_option_row(struct buf *out, const struct style *style,
                           const struct conf_option *option)
{
    struct buf name = {0};
    struct buf text = {0};
    buf_printf(&name, "%s%s", option->name, option->type == CONF_MAP ? ".KEY" : "");
    add_description(&text, option);
    add_row(out, style, name.data, placeholder(option), text.data);
    buf_fini(&name);
    buf_fini(&text);
}

static void add_general(struct buf *out, const struct conf_program *program,
                        const struct style *style)
{
    buf_printf(out, "\n%sGeneral%s\n", style->heading, style->end);
    add_row(out, style, "config", "FILE", "Read settings from this file.");
    add_row(out, style, "check-config", "", "Check all settings and exit.");
    add_row(out, style, "help-config", "", "Print a sample configuration file with all options.");
    add_row(out, style, "help", "", "Print this text.");
    add_row(out, style, "version", "", "Print the version.");
    buf_printf(out,
               "\nTIME is a number with ms, s, m, h or d; SIZE is in bytes or with kb, mb, gb.\n"
               "Every option may also stand in the file (name = value) or in the environment\n"
               "(%s_NAME). The command line wins over the environment, that over the file.\n",
               program->prefix);
}

void conf_add_help(struct buf *out, const struct conf_program *program, bool colours)
{
    static const struct style plain = {"", "", ""};
    static const struct style coloured = {"\033[1m", "\033[36m", "\033[0m"};
    const struct style *style = colours ? &coloured : &plain;
    buf_printf(out, "%s - %s\n\n%sUsage%s\n  %s [--config FILE] [--OPTION VALUE]...\n",
               program->name, program->summary, style->heading, style->end, program->name);
    const struct conf_option *option = program->options;
    for (; option->name; option++) {
        bool first = option == program->options;
        if (option->group || first) {
            buf_printf(out, "\n%s%s%s\n", style->heading, option->group ? option->group : "Options",
                       style->end);
        }
        add_option_row(out, style, option);
    }
    add_general(out, program, style);
}

static void add_sample_option(struct buf *out, const struct conf_option *option)
{
    struct buf text = {0};
    if (option->type == CONF_MAP) {
        buf_printf(&text, "%s (one line for each key)", option->help ? option->help : "");
    } else {
        buf_add_str(&text, option->help ? option->help : "");
    }
    struct buf allowed = {0};
    conf_add_allowed(&allowed, option);
    if (allowed.len > 0) {
        buf_printf(&text, " Allowed: %s.", allowed.data);
    }
    buf_add_str(out, "\n# ");
    add_wrapped(out, text.data, "# ", 2, SAMPLE_WIDTH);
    const char *value = option->default_value ? option->default_value : "";
    buf_printf(out, "#%s%s =%s%s\n", option->name, option->type == CONF_MAP ? ".KEY" : "",
               value[0] ? " " : "", value);
    buf_fini(&text);
    buf_fini(&allowed);
}

void conf_add_sample(struct buf *out, const struct conf_program *program)
{
    buf_printf(
        out,
        "# Configuration of %s: %s\n#\n"
        "# Every option stands here, commented out, with its default. Environment variables\n"
        "# (%s_NAME) and the command line (--name) win over this file.\n",
        program->name, program->summary, program->prefix);
    for (const struct conf_option *option = program->options; option->name; option++) {
        if (option->group) {
            buf_printf(out, "\n# ---- %s ----\n", option->group);
        }
        add_sample_option(out, option);
    }
}
