/* The ceiling of memory: --max-memory.
 *
 * Every limit bounds one thing; this one bounds their sum, so that the daemon refuses work before the kernel
 * ends it.  Beyond the ceiling jobs that are wholly in the store leave memory, what is free goes back to the
 * kernel, and where that does not help new load is refused until a tenth of the ceiling is free again, or
 * less for two seconds: no more can be had where the ceiling is close to what the daemon needs.  What
 * is under way goes on: reads, reports to jobs that exist, repeated requests, rounds that wait. */
#include "server/service_impl.h"

#include "server/log.h"
#include "server/metrics.h"

#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

/* Giving back what is free looks at all of the heap: so seldom while there is nothing to forget. */
#define TRIM_LOOKS 8
/* Below the ceiling for so many looks is as good as well below it. */
#define CALM_LOOKS 8

void memory_start(struct service *service)
{
    service->memory.fd = service->options.max_memory ? open("/proc/self/statm", O_RDONLY | O_CLOEXEC) : -1;
}

void memory_end(struct service *service)
{
    if (service->memory.fd >= 0) close(service->memory.fd);
}

/* Bytes; 0: not known. */
static uint64_t resident(const struct service *service)
{
    unsigned long long size, pages;
    char text[128];
    ssize_t n = pread(service->memory.fd, text, sizeof(text) - 1, 0);

    if (n <= 0) return 0;
    text[n] = '\0';
    if (sscanf(text, "%llu %llu", &size, &pages) != 2) return 0;
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void turn(struct service *service, bool shedding, uint64_t bytes)
{
    service->memory.shedding = shedding;
    log_event(LOG_WARNING, shedding ? "memory_high" : "memory_normal",
              (struct log_field[]){
                  log_u64("resident", bytes), log_u64("max_memory", service->options.max_memory),
                  log_str("note", shedding ? "new load is refused; raise --max-memory, or lower what it holds"
                                           : "all is served again"),
                  log_end()});
}

void memory_look(struct service *service)
{
    uint64_t ceiling = service->options.max_memory, low = ceiling - ceiling / 10, bytes;
    bool shedding = service->memory.shedding;

    if (service->memory.fd < 0) return;
    bytes = resident(service);
    if (bytes > (shedding ? low : ceiling)) {
        uint32_t some = jobs_count(service->jobs) / 4 + 1;
        if (jobs_forget(service->jobs, some) || service->memory.looked++ % TRIM_LOOKS == 0)
            (void)malloc_trim(0);
        bytes = resident(service);
    } else {
        service->memory.looked = 0;
    }
    service->memory.calm = bytes > ceiling ? 0 : service->memory.calm + 1;
    if (!shedding && bytes > ceiling) turn(service, true, bytes);
    if (shedding && (bytes <= low || service->memory.calm >= CALM_LOOKS)) turn(service, false, bytes);
}

bool service_is_shedding(const struct service *service)
{
    return service->memory.shedding;
}

int service_check_load(const struct service *service, struct error *err)
{
    if (!service->memory.shedding) return 0;
    return error_limit(
        err, LIMIT_MEMORY, ST_OVERLOADED,
        "the daemon has more memory in use than --max-memory allows; repeat the request later");
}

int service_check_ranks(const struct service *service, const struct job_spec *spec, struct error *err)
{
    if (spec->ranks.world_size <= service->options.max_ranks) return 0;
    return error_limit(err, LIMIT_RANKS, ST_FIELD_INVALID,
                       "ranks.world_size: must be at most %u, got %u; raise --max-ranks",
                       service->options.max_ranks, spec->ranks.world_size);
}
