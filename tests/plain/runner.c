/* Runs the unit tests in one process, without a fork: unit-plain [--list] [--filter SUITE/NAME]... [--not
 * SUITE/NAME]... [--part I/N].  Patterns are the shell's; a part is every Nth of the tests, from the Ith (1
 * to N).
 *
 * A failed assertion jumps out of its test.  Under AddressSanitizer what a test leaks is looked for after it,
 * and fails it.  The last line is "N passed, M failed"; the exit status is 0 if nothing failed. */
#include "criterion/criterion.h"

#include <fnmatch.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <unistd.h>

#define TIMEOUT_S 120
/* Sanitizers are slow, and so are machines that do other things at the same time. */
#define PATIENCE 10

enum { END_FAILED = 1, END_SKIPPED };

static struct plain_test *tests, *current;
static char **environment; /* as it was */
static pthread_t main_thread;
static jmp_buf end_of_test;
static bool failed;

/* Leak sanitizer's, where there is one. */
int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

/* By suite and name: constructors run in the linker's order. */
static int compare(const struct plain_test *a, const struct plain_test *b)
{
    int order = strcmp(a->suite, b->suite);

    return order ? order : strcmp(a->name ? a->name : "", b->name ? b->name : "");
}

void plain_register(struct plain_test *test)
{
    struct plain_test **at = &tests;

    while (*at && compare(*at, test) < 0)
        at = &(*at)->next;
    test->next = *at;
    *at = test;
}

static void say(const char *word, const char *format, va_list args)
{
    fprintf(stderr, "%s/%s: %s", current->suite, current->name, word);
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
}

void plain_failed(bool fatal, const char *file, int line, const char *check, const char *format, ...)
{
    char word[512];
    va_list args;

    snprintf(word, sizeof(word), "%s:%d: %s:", file, line, check);
    va_start(args, format);
    say(word, format, args);
    va_end(args);
    failed = true;
    if (fatal && !pthread_equal(pthread_self(), main_thread)) abort();
    if (fatal) longjmp(end_of_test, END_FAILED);
}

void plain_skip(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say("skipped", format, args);
    va_end(args);
    longjmp(end_of_test, END_SKIPPED);
}

static void on_alarm(int signal)
{
    static const char text[] = ": took too long\n";

    (void)signal;
    (void)!write(STDERR_FILENO, current->name, strlen(current->name));
    (void)!write(STDERR_FILENO, text, sizeof(text) - 1);
    _exit(1);
}

static const struct plain_options *suite_of(const struct plain_test *test)
{
    static const struct plain_options none;

    for (const struct plain_test *t = tests; t; t = t->next) {
        if (!t->run && !strcmp(t->suite, test->suite)) return &t->options;
    }
    return &none;
}

/* 0, or how the function ended early; it may be NULL. */
static int attempt(void (*function)(void))
{
    int end = setjmp(end_of_test);

    if (!end && function) function();
    return end;
}

/* false: it was skipped. */
static bool run(const struct plain_test *test)
{
    const struct plain_options *suite = suite_of(test), *own = &test->options;
    double timeout = own->timeout > 0 ? own->timeout : suite->timeout > 0 ? suite->timeout : TIMEOUT_S;

    alarm((unsigned)(timeout * PATIENCE) + 1);
    int end = attempt(own->init ? own->init : suite->init);
    if (!end) end = attempt(test->run);
    (void)attempt(own->fini ? own->fini : suite->fini);
    alarm(0);
    if (!failed && __lsan_do_recoverable_leak_check && __lsan_do_recoverable_leak_check()) {
        fprintf(stderr, "%s/%s: leaks, see above\n", test->suite, test->name);
        failed = true;
    }
    return end != END_SKIPPED || failed;
}

static void keep_environment(void)
{
    size_t n = 0;

    while (environ[n])
        n++;
    environment = calloc(n + 1, sizeof(*environment));
    for (size_t i = 0; environment && i < n; i++)
        environment[i] = strdup(environ[i]);
}

static void reset_environment(void)
{
    (void)clearenv();
    for (char **at = environment; at && *at; at++)
        (void)putenv(*at);
}

static bool wanted(const struct plain_test *test, char **filters)
{
    char name[256];
    bool any = false, wants = false;

    if (!test->run || test->options.disabled) return false;
    snprintf(name, sizeof(name), "%s/%s", test->suite, test->name);
    for (; filters[0] && filters[1]; filters++) {
        bool matches = !fnmatch(filters[1], name, 0);

        if (!strcmp(*filters, "--not") && matches) return false;
        if (strcmp(*filters, "--filter") != 0) continue;
        any = true;
        wants = wants || matches;
    }
    return wants || !any;
}

/* Of several processes that share the tests; *seen counts those that all of them together run. */
static bool in_part(char **arguments, unsigned *seen)
{
    unsigned i = 1, n = 1;

    for (; arguments[0] && arguments[1]; arguments++) {
        if (!strcmp(*arguments, "--part") && (sscanf(arguments[1], "%u/%u", &i, &n) != 2 || !i || i > n)) {
            fprintf(stderr, "--part %s: has to be I/N, from 1/N to N/N\n", arguments[1]);
            exit(2);
        }
    }
    return (*seen)++ % n == i - 1;
}

int main(int argc, char **argv)
{
    bool list = argc > 1 && !strcmp(argv[1], "--list");
    unsigned n_passed = 0, n_failed = 0, n_skipped = 0, seen = 0;

    main_thread = pthread_self();
    keep_environment();
    (void)signal(SIGALRM, on_alarm);
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    for (current = tests; current; current = current->next) {
        if (!wanted(current, argv + 1) || !in_part(argv + 1, &seen)) continue;
        if (list) {
            printf("%s/%s\n", current->suite, current->name);
            continue;
        }
        failed = false;
        reset_environment();
        if (!run(current))
            n_skipped++;
        else if (failed)
            n_failed++;
        else
            n_passed++;
    }
    if (list) return 0;
    if (n_skipped) printf("%u skipped\n", n_skipped);
    printf("%u passed, %u failed\n", n_passed, n_failed);
    return n_failed || !(n_passed + n_skipped);
}
