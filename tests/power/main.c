/* Power losses and failing calls: the store on a disk in memory.
 *
 *   power [--count N] [--first SEED] [--jobs N]   N crash states, of stories with seeds from SEED
 *   power --seed SEED                             the crash states of one story
 *   power --faults [--every] [--first SEED]       calls of a story's failing, some or every one, once and for
 * ever
 *
 * A story is some dozens of calls of the store; its record is cut at random places, and what the disk might
 * hold then is opened with the store and compared with a model.  Some of these go on, recorded, and are cut
 * again.  Ends with "N passed, M failed"; exit status 0 if none failed. */
#include "faults.h"
#include "losses.h"
#include "workers.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define HANGS_S 120
#define ENOUGH  100 /* failures after which no process is begun again */

static struct shared {
    _Atomic uint64_t next, passed, failed, nested, in_flight;
    uint64_t seed[WORKERS_MAX];
} * shared;
static uint64_t first, stories;

static void work(uint32_t number)
{
    uint64_t *seed = &shared->seed[number];

    for (;;) {
        uint64_t i = shared->next++;
        struct losses losses = {0};

        if (i >= stories) return;
        *seed = first + i;
        alarm(HANGS_S);
        losses_run(*seed, &losses);
        shared->passed += losses.passed;
        shared->failed += losses.failed;
        shared->nested += losses.nested;
        shared->in_flight += losses.in_flight;
        if (losses.failed) {
            printf("---- seed %" PRIu64 ": %s; build/power --seed %" PRIu64 " shows it again ----\n", *seed,
                   losses.problem, *seed);
            fflush(stdout);
        }
    }
}

static bool failed(uint32_t number, int status)
{
    uint64_t seed = shared->seed[number];

    shared->failed++;
    printf("---- seed %" PRIu64 " ended with %s %d; build/power --seed %" PRIu64 " shows it again ----\n",
           seed, WIFSIGNALED(status) ? "signal" : "status",
           WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), seed);
    return shared->failed <= ENOUGH;
}

/* A disk that lies about syncs must be found out, or nothing here can be believed. */
static void find_lies(void)
{
    static const char *const lies[] = {"-wal", ".db", ".new"};

    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        struct losses losses = {0};

        disk_lie = lies[i];
        for (uint64_t seed = 1; seed < 100 && !losses.failed; seed++)
            losses_run(seed, &losses);
        disk_lie = NULL;
        printf("syncs of *%s not done: %s after %" PRIu64 " states: %s\n", lies[i],
               losses.failed ? "found" : "NOT FOUND", losses.passed, losses.failed ? losses.problem : "");
        if (losses.failed)
            shared->passed++;
        else
            shared->failed++;
    }
}

static int end(void)
{
    printf("%" PRIu64 " passed, %" PRIu64 " failed\n", (uint64_t)shared->passed, (uint64_t)shared->failed);
    return shared->failed ? 1 : 0;
}

static int run_losses(uint64_t count, uint32_t jobs)
{
    double begun = workers_clock();

    stories = (count + LOSSES_STATES - 1) / LOSSES_STATES;
    printf("%" PRIu64 " crash states, seed %" PRIu64 " and on\n", stories * LOSSES_STATES, first);
    workers_run(jobs, work, failed);
    printf("%" PRIu64 " stories; %" PRIu64 " states with a commit in flight, %" PRIu64
           " of a crash after a crash; %.0f states/s\n",
           stories, (uint64_t)shared->in_flight, (uint64_t)shared->nested,
           (double)(shared->passed + shared->failed) / (workers_clock() - begun));
    find_lies();
    return end();
}

static int run_one(uint64_t seed)
{
    struct losses losses = {0};

    losses_run(seed, &losses);
    printf("seed %" PRIu64 ": %s\n%" PRIu64 " passed, %" PRIu64 " failed\n", seed,
           losses.failed ? losses.problem : "all is well", losses.passed, losses.failed);
    return losses.failed ? 1 : 0;
}

static int run_faults(bool every)
{
    struct faults faults = {.every = every};

    printf("every call failing, seed %" PRIu64 "\n", first);
    fflush(stdout);
    faults_run(first, &faults);
    shared->passed = faults.passed;
    shared->failed = faults.failed;
    return end();
}

int main(int argc, char **argv)
{
    uint32_t jobs = 0;
    uint64_t count = 100000;
    bool faults = false, every = false;

    first = (uint64_t)time(NULL) * 1000003 + (uint64_t)getpid() * 7919;
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || disk_register()) return 2;
    for (int i = 1; i < argc; i++) {
        uint64_t value = i + 1 < argc ? strtoull(argv[i + 1], NULL, 10) : 0;

        if (!strcmp(argv[i], "--faults")) faults = true;
        if (!strcmp(argv[i], "--every")) every = true;
        if (!strcmp(argv[i], "--seed")) return run_one(value);
        if (!strcmp(argv[i], "--count")) count = value;
        if (!strcmp(argv[i], "--first")) first = value;
        if (!strcmp(argv[i], "--jobs")) jobs = (uint32_t)value;
    }
    return faults ? run_faults(every) : run_losses(count, workers_count(jobs));
}
