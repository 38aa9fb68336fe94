/* How many files, and so connections, this process may have open. */
#ifndef BASE_FILES_H
#define BASE_FILES_H

#include <stdint.h>

/* Raises the limit to `want` as far as it may be raised, never lowers it; returns it. Children
 * inherit it. */
int64_t files_allow(int64_t want);

#endif
