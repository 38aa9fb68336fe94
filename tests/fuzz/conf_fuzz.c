/* Configuration files: whatever is in them, every value stays within what its option allows. */
#include "fuzz.h"

#include "base/check.h"
#include "base/conf.h"
#include "base/slice.h"

#include <string.h>

struct settings {
    char *text;
    char *secret;
    bool flag;
    int64_t number;
    int64_t time_ms;
    int64_t any_time_ms;
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
    OPTION("text", CONF_STRING, text, "hello", .help = ""),
    OPTION("secret", CONF_SECRET, secret, "", .help = ""),
    OPTION("flag", CONF_BOOL, flag, "no", .help = ""),
    OPTION("number", CONF_INT, number, "5", .min = -10, .max = 10),
    OPTION("time", CONF_DURATION, time_ms, "1s", .min = 10, .max = 3600000),
    OPTION("any_time", CONF_DURATION, any_time_ms, "0", .help = ""),
    OPTION("size", CONF_SIZE, size, "1kb", .min = 1, .max = 1 << 30),
    OPTION("mode", CONF_CHOICE, mode, "a", .choices = "a|bb|ccc"),
    OPTION("resolver", CONF_MAP, resolver, NULL, .help = ""),
    {.name = NULL},
};
static const struct conf_program program = {
    .name = "fuzz", .prefix = "FUZZ", .summary = "", .options = options};

static void check_text(const char *text)
{
    check(text && !utf8_has_control(slice_str(text)));
}

static void check_settings(const struct settings *s)
{
    check_text(s->text);
    check_text(s->secret);
    check(s->number >= -10 && s->number <= 10);
    check(s->time_ms >= 10 && s->time_ms <= 3600000);
    check(s->any_time_ms >= 0);
    check(s->size >= 1 && s->size <= 1 << 30);
    check(strcmp(s->mode, "a") == 0 || strcmp(s->mode, "bb") == 0 || strcmp(s->mode, "ccc") == 0);
    for (size_t i = 0; i < s->resolver.count; i++) {
        check_text(s->resolver.entries[i].value);
        check(conf_map_get(&s->resolver, s->resolver.entries[i].key) ==
              s->resolver.entries[i].value); /* each key once */
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct settings settings = {0};
    struct reason reason = {""};
    conf_defaults(&program, &settings);
    enum err err = conf_parse(&program, &settings, (const char *)data, size, &reason);
    check(err == ERR_OK || err == ERR_INVALID);
    check((err == ERR_OK) == (reason.text[0] == '\0'));
    check(memchr(reason.text, '\0', sizeof(reason.text)));
    check_settings(&settings);
    conf_fini(&program, &settings);
    return 0;
}
