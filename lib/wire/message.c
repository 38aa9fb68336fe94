#include "wire/message.h"

static const char *const status_names[] = {NULL,       "prepared", "submitted",
                                           "aborting", "succeed",  "failed"};
static const char *const result_names[] = {NULL,      "SUCCESS", "FAILURE",
                                           "ONGOING", "ERROR",   "CONFLICT"};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

const char *wire_status_name(enum wire_status status)
{
    return (size_t)status < COUNT(status_names) ? status_names[status] : NULL;
}

enum wire_status wire_status_parse(struct slice name)
{
    for (size_t i = 1; i < COUNT(status_names); i++) {
        if (slice_eq_str(name, status_names[i])) {
            return (enum wire_status)i;
        }
    }
    return WIRE_STATUS_UNSPECIFIED;
}

const char *wire_result_name(enum wire_result result)
{
    return (size_t)result < COUNT(result_names) ? result_names[result] : NULL;
}
