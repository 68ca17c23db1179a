/* What /proc/self says of the process, under the names that every Prometheus client has for it.  What cannot
 * be read is absent. */
#include "server/metrics_print.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static double open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    double n = -3; /* "." and ".." and the directory itself */

    if (!dir) return NAN; /* to count them takes one */
    while (readdir(dir))  // cppcheck-suppress readdirCalled ; nobody else has this directory
        n++;
    closedir(dir);
    return n;
}

static double max_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit)) return NAN;
    return limit.rlim_cur == RLIM_INFINITY ? INFINITY : (double)limit.rlim_cur;
}

/* Of a process that started so many ticks after boot.  Found once: a clock that is set meanwhile must not
 * look like a restart. */
static double start_time(unsigned long long ticks)
{
    static double start;
    struct timespec wall, boot;

    if (start > 0) return start;
    (void)clock_gettime(CLOCK_REALTIME, &wall);
    (void)clock_gettime(CLOCK_BOOTTIME, &boot);
    start = (double)(wall.tv_sec - boot.tv_sec) + (double)(wall.tv_nsec - boot.tv_nsec) / 1e9 +
            (double)ticks / (double)sysconf(_SC_CLK_TCK);
    return start;
}

static bool read_stat(char *text, size_t size)
{
    FILE *file = fopen("/proc/self/stat", "r");
    size_t n;

    if (!file) return false;
    n = fread(text, 1, size - 1, file);
    fclose(file);
    text[n] = '\0';
    return true;
}

void metrics_look_at_process(void)
{
    static const enum metric from_stat[] = {METRIC_PROCESS_CPU, METRIC_PROCESS_RESIDENT,
                                            METRIC_PROCESS_VIRTUAL, METRIC_PROCESS_THREADS,
                                            METRIC_PROCESS_START};
    unsigned long long user = 0, sys = 0, start = 0, vsize = 0;
    long resident = 0, threads = 0;
    char text[1024] = "";
    const char *after = read_stat(text, sizeof(text)) ? strrchr(text, ')') : NULL; /* behind any name */

    metrics_set(METRIC_PROCESS_FDS, 0, open_descriptors());
    metrics_set(METRIC_PROCESS_MAX_FDS, 0, max_descriptors());
    if (!after ||
        sscanf(after + 1,
               " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d %ld %*d %llu %llu %ld",
               &user, &sys, &threads, &start, &vsize, &resident) != 6) {
        for (size_t i = 0; i < sizeof(from_stat) / sizeof(from_stat[0]); i++)
            metrics_set(from_stat[i], 0, NAN);
        return;
    }
    metrics_set(METRIC_PROCESS_CPU, 0, (double)(user + sys) / (double)sysconf(_SC_CLK_TCK));
    metrics_set(METRIC_PROCESS_RESIDENT, 0, (double)resident * (double)sysconf(_SC_PAGESIZE));
    metrics_set(METRIC_PROCESS_VIRTUAL, 0, (double)vsize);
    metrics_set(METRIC_PROCESS_THREADS, 0, (double)threads);
    metrics_set(METRIC_PROCESS_START, 0, start_time(start));
}
