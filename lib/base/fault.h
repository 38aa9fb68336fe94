/*
 * Named fault points, for tests: where a process can be killed, held up, or made to believe that
 * something went wrong there. Compiled in by the CMake option SAGAD_FAULTS (presets dev and asan)
 * and by nothing else; without it FAULT is false and leaves no trace in the program.
 *
 *   SAGAD_FAULT=NAME:ACTION[:NTH]    at the NTH time (1) that the point is passed, once:
 *     kill     the process ends as by kill -9
 *     delay    it stands still for FAULT_DELAY_MS, longer than the leases of tests
 *     error    FAULT is true: the place goes the way of the error that can happen there
 *
 *   if (FAULT("engine.after_call")) { … }
 */
#ifndef BASE_FAULT_H
#define BASE_FAULT_H

#ifdef SAGAD_FAULTS

#include "base/err.h"

#include <stdbool.h>
#include <stdio.h>

enum { FAULT_DELAY_MS = 1200 };

struct fault_point {
    const char *name;
};

bool fault_pass(const struct fault_point *point);
/* The names of all points of this program, a line each. */
void fault_list(FILE *out);
/* Whether SAGAD_FAULT, if it is set, names a point of this program and an action. */
enum err fault_check(struct reason *reason) MUST_CHECK;

/* The linker gathers the points of a program in a section of their own. */
#define FAULT(text)                                                                                \
    __extension__({                                                                                \
        static const struct fault_point point_ = {text};                                           \
        static const struct fault_point *const listed_                                             \
            __attribute__((section("sagad_faults"), used)) = &point_;                              \
        fault_pass(listed_);                                                                       \
    })

#else

#define FAULT(text) false

#endif

#endif
