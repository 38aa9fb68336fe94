#include "base/err.h"

#include "base/slice.h"

#include <stdarg.h>
#include <stdio.h>

const char *err_text(enum err err)
{
    switch (err) {
#define X(name, text)                                                                              \
    case ERR_##name: return text;
        ERR_LIST(X)
#undef X
    }
    return "unknown error";
}

enum err reason_set(struct reason *reason, enum err err, const char *fmt, ...)
{
    if (reason) {
        va_list args;
        va_start(args, fmt);
        vsnprintf(reason->text, sizeof(reason->text), fmt, args);
        va_end(args);
        utf8_mend(reason->text); /* printf cuts within a letter */
    }
    return err;
}
