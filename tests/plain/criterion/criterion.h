/* The names of Criterion that the unit tests use, for a runner without its fork for each test.
 *
 * Criterion aborts under ThreadSanitizer, and leaks of its forked children go unreported.  The same tests,
 * compiled with this directory in front, run one after the other in one process (runner.c). */
#ifndef GREEDYLRD_PLAIN_CRITERION_H
#define GREEDYLRD_PLAIN_CRITERION_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct plain_options {
    const char *description;
    void (*init)(void), (*fini)(void);
    double timeout; /* seconds; 0: the runner's */
    bool disabled;
};

struct plain_test {
    const char *suite, *name;
    void (*run)(void); /* NULL: the options are the suite's */
    struct plain_options options;
    struct plain_test *next;
};

void plain_register(struct plain_test *test);
/* Says what failed; ends the test if it is fatal. */
void plain_failed(bool fatal, const char *file, int line, const char *check, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
void plain_skip(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

#define PLAIN_REGISTER(id, suite_, name_, run_, ...)                                                         \
    static struct plain_test id##_test = {                                                                   \
        .suite = #suite_, .name = (name_), .run = (run_), .options = {__VA_ARGS__}};                         \
    __attribute__((constructor)) static void id##_register(void)                                             \
    {                                                                                                        \
        plain_register(&id##_test);                                                                          \
    }

#define Test(suite, name, ...)                                                                               \
    static void suite##_##name##_run(void);                                                                  \
    PLAIN_REGISTER(suite##_##name, suite, #name, suite##_##name##_run, .description = NULL, ##__VA_ARGS__)   \
    static void suite##_##name##_run(void)
#define TestSuite(suite, ...)                                                                                \
    PLAIN_REGISTER(suite##_suite, suite, NULL, NULL, .description = NULL, ##__VA_ARGS__)                     \
    struct plain_test

/* The message is optional and begins with a literal. */
#define PLAIN_CHECK(fatal, ok, text, ...)                                                                    \
    do {                                                                                                     \
        if (!(ok)) plain_failed(fatal, __FILE__, __LINE__, text, " " __VA_ARGS__);                           \
    } while (0)
#define PLAIN_STR(a, b) (strcmp((a), (b)))

#define cr_assert(x, ...)              PLAIN_CHECK(true, x, #x, ##__VA_ARGS__)
#define cr_assert_eq(a, b, ...)        PLAIN_CHECK(true, (a) == (b), #a " == " #b, ##__VA_ARGS__)
#define cr_assert_neq(a, b, ...)       PLAIN_CHECK(true, (a) != (b), #a " != " #b, ##__VA_ARGS__)
#define cr_assert_lt(a, b, ...)        PLAIN_CHECK(true, (a) < (b), #a " < " #b, ##__VA_ARGS__)
#define cr_assert_leq(a, b, ...)       PLAIN_CHECK(true, (a) <= (b), #a " <= " #b, ##__VA_ARGS__)
#define cr_assert_gt(a, b, ...)        PLAIN_CHECK(true, (a) > (b), #a " > " #b, ##__VA_ARGS__)
#define cr_assert_geq(a, b, ...)       PLAIN_CHECK(true, (a) >= (b), #a " >= " #b, ##__VA_ARGS__)
#define cr_assert_not(x, ...)          PLAIN_CHECK(true, !(x), "!" #x, ##__VA_ARGS__)
#define cr_assert_null(x, ...)         PLAIN_CHECK(true, (x) == NULL, #x " is NULL", ##__VA_ARGS__)
#define cr_assert_not_null(x, ...)     PLAIN_CHECK(true, (x) != NULL, #x " is not NULL", ##__VA_ARGS__)
#define cr_assert_str_eq(a, b, ...)    PLAIN_CHECK(true, PLAIN_STR(a, b) == 0, #a " is " #b, ##__VA_ARGS__)
#define cr_assert_str_neq(a, b, ...)   PLAIN_CHECK(true, PLAIN_STR(a, b) != 0, #a " is not " #b, ##__VA_ARGS__)
#define cr_assert_float_eq(a, b, e, ...)                                                                     \
    PLAIN_CHECK(true, fabs((a) - (b)) <= (e), #a " is about " #b, ##__VA_ARGS__)
#define cr_assert_fail(...)            PLAIN_CHECK(true, false, "fail", ##__VA_ARGS__)

#define cr_expect(x, ...)              PLAIN_CHECK(false, x, #x, ##__VA_ARGS__)
#define cr_expect_eq(a, b, ...)        PLAIN_CHECK(false, (a) == (b), #a " == " #b, ##__VA_ARGS__)
#define cr_expect_neq(a, b, ...)       PLAIN_CHECK(false, (a) != (b), #a " != " #b, ##__VA_ARGS__)
#define cr_expect_lt(a, b, ...)        PLAIN_CHECK(false, (a) < (b), #a " < " #b, ##__VA_ARGS__)
#define cr_expect_leq(a, b, ...)       PLAIN_CHECK(false, (a) <= (b), #a " <= " #b, ##__VA_ARGS__)
#define cr_expect_gt(a, b, ...)        PLAIN_CHECK(false, (a) > (b), #a " > " #b, ##__VA_ARGS__)
#define cr_expect_geq(a, b, ...)       PLAIN_CHECK(false, (a) >= (b), #a " >= " #b, ##__VA_ARGS__)
#define cr_expect_not(x, ...)          PLAIN_CHECK(false, !(x), "!" #x, ##__VA_ARGS__)
#define cr_expect_null(x, ...)         PLAIN_CHECK(false, (x) == NULL, #x " is NULL", ##__VA_ARGS__)
#define cr_expect_not_null(x, ...)     PLAIN_CHECK(false, (x) != NULL, #x " is not NULL", ##__VA_ARGS__)
#define cr_expect_str_eq(a, b, ...)    PLAIN_CHECK(false, PLAIN_STR(a, b) == 0, #a " is " #b, ##__VA_ARGS__)
#define cr_expect_str_neq(a, b, ...)   PLAIN_CHECK(false, PLAIN_STR(a, b) != 0, #a " is not " #b, ##__VA_ARGS__)
#define cr_expect_float_eq(a, b, e, ...)                                                                     \
    PLAIN_CHECK(false, fabs((a) - (b)) <= (e), #a " is about " #b, ##__VA_ARGS__)

#define cr_skip_test(...)              plain_skip(" " __VA_ARGS__)
#define cr_skip(...)                   plain_skip(" " __VA_ARGS__)

#endif
