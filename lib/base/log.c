#include "base/log.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static enum log_level threshold = LOG_INFO;
static int log_fd = STDERR_FILENO;
static const char *const names[] = {"debug", "info", "warn", "error"};

void log_set_level(enum log_level level)
{
    threshold = level;
}

enum err log_set_file(const char *path, struct reason *reason)
{
    int fd = STDERR_FILENO;
    if (path[0] != '\0') {
        fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    }
    if (fd < 0) {
        return reason_set(reason, ERR_SYSTEM, "log_file = '%.200s': cannot be opened: %s", path,
                          strerror(errno));
    }
    if (log_fd != STDERR_FILENO) {
        close(log_fd);
    }
    log_fd = fd;
    return ERR_OK;
}

enum err log_level_parse(const char *text, enum log_level *out)
{
    for (int i = LOG_DEBUG; i <= LOG_ERROR; i++) {
        if (strcmp(text, names[i]) == 0) {
            *out = (enum log_level)i;
            return ERR_OK;
        }
    }
    return ERR_INVALID;
}

int log_is_on(enum log_level level)
{
    return level >= threshold;
}

const char *log_text(struct slice text, char *out, size_t size)
{
    slice_printable(text, out, size);
    for (char *at = strchr(out, '"'); at; at = strchr(at, '"')) {
        *at = '\'';
    }
    return out;
}

void log_line(enum log_level level, const char *mod, const char *fmt, ...)
{
    if (!log_is_on(level)) {
        return;
    }
    char line[2048];
    char when[CLOCK_TEXT_SIZE];
    int head = snprintf(line, sizeof(line), "ts=%s level=%s mod=%s ",
                        clock_format(clock_wall_ms(), when), names[level], mod);
    size_t used = (size_t)head;
    va_list args;
    va_start(args, fmt);
    int body = vsnprintf(line + used, sizeof(line) - used - 1, fmt, args);
    va_end(args);
    size_t room = sizeof(line) - used - 2;
    used += body < 0 ? 0 : (size_t)body < room ? (size_t)body : room;
    for (size_t i = 0; i < used; i++) {
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7F) {
            line[i] = '?';
        }
    }
    line[used++] = '\n';
    ssize_t written = write(log_fd, line, used); /* one call: lines never mix */
    (void)written;
}
