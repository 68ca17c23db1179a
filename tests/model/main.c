/* The model check: runs many schedules in a few processes.
 *
 *   model [--count N] [--first SEED] [--jobs N]    N schedules, seeds from SEED (a random one if not given)
 *   model --seed SEED                              one schedule, every step printed
 *
 * A schedule that differs, crashes or hangs is run again with every step printed, and the others go on.  Ends
 * with "N passed, M failed"; exit status 0 if none failed. */
#include "schedule.h"
#include "workers.h"
#include "world.h"

#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define HANGS_S  120 /* one schedule takes milliseconds */
#define FAILURES 5   /* failures that are told in full */
#define ENOUGH   100 /* failures after which none is looked for */

static struct shared {
    _Atomic uint64_t next, passed, failed;
    struct worker {
        uint64_t seed;
        struct tally tally;
    } workers[WORKERS_MAX];
} * shared;
static uint64_t first, count = 100000;
static char base[64]; /* with a directory for each process */

static void make_base(void)
{
    snprintf(base, sizeof(base), "%s/greedylrd-model-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
    if (mkdtemp(base)) return;
    perror(base);
    exit(2);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

static void remove_base(void)
{
    (void)nftw(base, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void prepare(void)
{
    char dir[96];

    snprintf(dir, sizeof(dir), "%s/%ld", base, (long)getpid());
    if (mkdir(dir, 0700)) {
        perror(dir);
        exit(2);
    }
    world_prepare(dir);
}

/* Takes schedules until there are none, or one fails. */
static void work(uint32_t number)
{
    struct worker *worker = &shared->workers[number];

    prepare();
    for (;;) {
        uint64_t i = shared->next++;

        if (i >= count) return;
        worker->seed = first + i;
        alarm(HANGS_S);
        if (!schedule_run(worker->seed, false, &worker->tally)) _exit(1);
        shared->passed++;
    }
}

static int trace(uint64_t seed)
{
    struct tally tally = {0};

    alarm(HANGS_S);
    prepare();
    bool passed = schedule_run(seed, true, &tally);
    printf("seed %" PRIu64 " %s\n", seed, passed ? "passed" : "failed");
    return passed ? 0 : 1;
}

/* The schedule once more, in a process of its own. */
static void tell(uint64_t seed)
{
    int status;
    pid_t pid;

    printf("---- seed %" PRIu64 " failed; make model SEED=%" PRIu64 " shows it again ----\n", seed, seed);
    fflush(stdout);
    if (shared->failed > FAILURES) return;
    pid = fork();
    if (!pid) _exit(trace(seed));
    if (pid > 0 && waitpid(pid, &status, 0) == pid && WIFSIGNALED(status))
        printf("ended by signal %d (%s)\n", WTERMSIG(status), strsignal(WTERMSIG(status)));
    fflush(stdout);
}

static bool failed(uint32_t number, int status)
{
    shared->failed++;
    tell(shared->workers[number].seed);
    return shared->failed < ENOUGH;
}

static void account(uint32_t jobs, double seconds)
{
    struct tally t = {0};

    for (uint32_t i = 0; i < jobs; i++) {
        const struct tally *w = &shared->workers[i].tally;

        t.steps += w->steps;
        t.calls += w->calls;
        t.answers += w->answers;
        t.changes += w->changes;
        t.crashes += w->crashes;
        t.restarts += w->restarts;
        t.failures += w->failures;
        t.rewinds += w->rewinds;
        t.rounds += w->rounds;
    }
    printf("%" PRIu64 " steps, %" PRIu64 " calls (%" PRIu64 " rewinds; %" PRIu64 " reports had to wait), "
           "%" PRIu64 " answers compared, %" PRIu64 " changes, %" PRIu64 " kills, %" PRIu64 " stops, %" PRIu64
           " failed commits; %.0f schedules/s\n",
           t.steps, t.calls, t.rewinds, t.rounds, t.answers, t.changes, t.crashes, t.restarts, t.failures,
           (double)(shared->passed + shared->failed) / seconds);
    printf("%" PRIu64 " passed, %" PRIu64 " failed\n", (uint64_t)shared->passed, (uint64_t)shared->failed);
}

int main(int argc, char **argv)
{
    uint32_t jobs = 0;
    double begun = workers_clock();

    first = (uint64_t)time(NULL) * 1000003 + (uint64_t)getpid() * 7919;
    make_base();
    for (int i = 1; i + 1 < argc; i += 2) {
        uint64_t value = strtoull(argv[i + 1], NULL, 10);

        if (!strcmp(argv[i], "--seed")) {
            int rc = trace(value);
            remove_base();
            return rc;
        }
        if (!strcmp(argv[i], "--count")) count = value;
        if (!strcmp(argv[i], "--first")) first = value;
        if (!strcmp(argv[i], "--jobs")) jobs = (uint32_t)value;
    }
    jobs = workers_count(jobs);
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        perror("mmap");
        return 2;
    }
    printf("%" PRIu64 " schedules, seed %" PRIu64 " and on\n", count, first);
    workers_run(jobs, work, failed);
    remove_base();
    account(jobs, workers_clock() - begun);
    return shared->failed ? 1 : 0;
}
