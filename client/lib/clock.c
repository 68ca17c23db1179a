/* Clocks, sleeps and the jitter between tries. */
#include "lib/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#define BACKOFF_FIRST_MS 50
#define BACKOFF_MAX_MS   2000

int64_t clock_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void clock_sleep(int64_t ms)
{
    if (ms <= 0) return;
    struct timespec left = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};

    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR) {
    }
}

int64_t clock_backoff(unsigned tries)
{
    uint32_t random = 0;
    int64_t whole = tries < 6 ? (int64_t)BACKOFF_FIRST_MS << tries : BACKOFF_MAX_MS;

    if (whole > BACKOFF_MAX_MS) whole = BACKOFF_MAX_MS;
    if (getrandom(&random, sizeof random, GRND_NONBLOCK) != sizeof random) random = (uint32_t)clock_ms();
    return whole / 2 + random % (whole / 2 + 1);
}
