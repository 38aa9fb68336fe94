#include "base/fault.h"

#include "base/log.h"
#include "base/slice.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Made by the linker, when there is a point at all. */
extern const struct fault_point *const __start_sagad_faults[] __attribute__((weak));
extern const struct fault_point *const __stop_sagad_faults[] __attribute__((weak));

enum action { ACTION_NONE, ACTION_KILL, ACTION_DELAY, ACTION_ERROR };

static struct plan {
    struct slice name;
    enum action action;
    int64_t left; /* how often it is passed until it acts */
} plan;

static bool action_parse(struct slice text, enum action *out)
{
    static const char *const names[] = {"", "kill", "delay", "error"};
    for (int i = ACTION_KILL; i <= ACTION_ERROR; i++) {
        if (slice_eq_str(text, names[i])) {
            *out = (enum action)i;
            return true;
        }
    }
    return false;
}

/* The part before the next ':'. */
static struct slice part_take(const char **text)
{
    struct slice part = slice_make(*text, strcspn(*text, ":"));
    *text += part.len + ((*text)[part.len] == ':');
    return part;
}

static bool plan_parse(const char *text, struct plan *out)
{
    *out = (struct plan){.left = 1, .name = part_take(&text)};
    return action_parse(part_take(&text), &out->action) &&
           (*text == '\0' || (slice_to_int64(slice_str(text), &out->left) && out->left > 0));
}

static bool is_point(struct slice name)
{
    for (const struct fault_point *const *at = __start_sagad_faults; at < __stop_sagad_faults;
         at++) {
        if (slice_eq_str(name, (*at)->name)) {
            return true;
        }
    }
    return false;
}

enum err fault_check(struct reason *reason)
{
    const char *text = getenv("SAGAD_FAULT");
    plan = (struct plan){0};
    if (!text || !text[0]) {
        return ERR_OK;
    }
    if (!plan_parse(text, &plan) || !is_point(plan.name)) {
        plan = (struct plan){0};
        return reason_set(
            reason, ERR_INVALID,
            "SAGAD_FAULT = '%.100s': must be NAME:kill|delay|error[:NTH], with a NAME "
            "of --list-faults",
            text);
    }
    return ERR_OK;
}

bool fault_pass(const struct fault_point *point)
{
    if (plan.action == ACTION_NONE || !slice_eq_str(plan.name, point->name) || --plan.left > 0) {
        return false;
    }
    enum action action = plan.action;
    plan.action = ACTION_NONE;
    log_warn("fault", "msg=\"fault point\" name=%s action=%d", point->name, (int)action);
    if (action == ACTION_KILL) {
        kill(getpid(), SIGKILL);
    } else if (action == ACTION_DELAY) {
        poll(NULL, 0, FAULT_DELAY_MS);
    }
    return action == ACTION_ERROR;
}

void fault_list(FILE *out)
{
    for (const struct fault_point *const *at = __start_sagad_faults; at < __stop_sagad_faults;
         at++) {
        fprintf(out, "%s\n", (*at)->name);
    }
}
