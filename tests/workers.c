/* What the processes share is theirs: memory that was mapped before they began. */
#include "workers.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

uint32_t workers_count(uint32_t wanted)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);

    if (wanted && wanted <= WORKERS_MAX) return wanted;
    return processors > 0 && processors <= WORKERS_MAX ? (uint32_t)processors : 2;
}

static pid_t start(uint32_t i, void (*work)(uint32_t i))
{
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (pid < 0) {
        perror("fork");
        exit(2);
    }
    if (pid) return pid;
    work(i);
    fflush(stdout);
    _exit(0);
}

void workers_run(uint32_t count, void (*work)(uint32_t i), bool (*failed)(uint32_t i, int status))
{
    pid_t pids[WORKERS_MAX] = {0};
    uint32_t alive = 0;
    int status;

    for (; alive < count; alive++)
        pids[alive] = start(alive, work);
    while (alive) {
        pid_t pid = wait(&status);
        uint32_t i = 0;

        while (i < count && pids[i] != pid)
            i++;
        if (i == count) continue;
        alive--;
        if ((WIFEXITED(status) && !WEXITSTATUS(status)) || !failed(i, status)) continue;
        pids[i] = start(i, work);
        alive++;
    }
}

double workers_clock(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}
