/*
 * Assertions. They stay on in release builds and are for bugs only: input from outside is never
 * asserted, it is refused with an error.
 */
#ifndef BASE_CHECK_H
#define BASE_CHECK_H

/* Aborts with file, line and the condition when the condition does not hold. */
#define check(cond) ((cond) ? (void)0 : check_failed(__FILE__, __LINE__, #cond))

/* Marks a place that cannot be reached. */
#define unreachable(why) check_failed(__FILE__, __LINE__, "unreachable: " why)

_Noreturn void check_failed(const char *file, int line, const char *what);

/* The object of which `ptr` is the member `member`. */
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#endif
