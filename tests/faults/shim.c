/* A library to preload into a whole daemon, which fails what the test asks for while the daemon runs:
 * allocations, descriptors, and the wall clock.
 *
 * FAULTS_CONTROL names a file of sizeof(struct control) bytes that both map; tests/integration/faults.py
 * has the same layout.  Until the test writes to it nothing happens.  What the daemon asks for is counted
 * while it is armed, so that a test can go through every call one after the other.  The monotonic clock is
 * never touched.  Built with FAULTS_NO_MALLOC for sanitizers, whose own allocator must stay. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { OFF, ONCE, FOR_EVER };
enum { ACCEPT = 1, OPEN = 2, SOCKET = 4 };

/* Calls of one kind: number `at` of those made since it was armed fails, or that and all behind it. */
struct point {
    _Atomic int32_t mode;   /* written last by the test */
    _Atomic int32_t thread; /* 0: of any thread */
    _Atomic int64_t at, calls, hits;
};

struct control {
    _Atomic uint32_t able;         /* written here: 1 mapped, 2 allocations can fail */
    _Atomic int32_t errnum, which; /* of descriptors: what errno, which calls */
    _Atomic int32_t ppm;           /* the wall clock is fast by so much since slew_from_ns */
    struct point memory, descriptors;
    _Atomic int64_t offset_ns;    /* added to the wall clock */
    _Atomic int64_t slew_from_ns; /* of the monotonic clock */
};

static struct control *control;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("FAULTS_CONTROL");
    int fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC) : -1;
    void *at =
        fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (fd >= 0) close(fd);
    if (at == MAP_FAILED) return;
    control = at;
#ifdef FAULTS_NO_MALLOC
    control->able = 1;
#else
    control->able = 3;
#endif
}

static bool fails(struct point *point)
{
    int32_t mode = point->mode;

    if (mode == OFF) return false;
    if (point->thread && point->thread != (int32_t)syscall(SYS_gettid)) return false;
    int64_t call = ++point->calls;
    if (mode == ONCE ? call != point->at : call < point->at) return false;
    point->hits++;
    return true;
}

/* ---- memory ---- */

#ifndef FAULTS_NO_MALLOC
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static bool no_memory(void)
{
    if (!control || !fails(&control->memory)) return false;
    errno = ENOMEM;
    return true;
}

/* The library's own strdup, asprintf and the like come through here, too. */
void *malloc(size_t size)
{
    return no_memory() ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    return no_memory() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *old, size_t size)
{
    return no_memory() ? NULL : __libc_realloc(old, size);
}

void *memalign(size_t alignment, size_t size);
void *memalign(size_t alignment, size_t size)
{
    return no_memory() ? NULL : __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return memalign(alignment, size);
}

int posix_memalign(void **out, size_t alignment, size_t size)
{
    void *at = memalign(alignment, size);

    if (!at) return ENOMEM;
    *out = at;
    return 0;
}
#endif

/* ---- descriptors ---- */

static bool no_descriptor(int32_t which)
{
    if (!control || !(control->which & which) || !fails(&control->descriptors)) return false;
    errno = control->errnum;
    return true;
}

int accept4(int fd, struct sockaddr *address, socklen_t *len, int flags)
{
    if (no_descriptor(ACCEPT)) return -1;
    return (int)syscall(SYS_accept4, fd, address, len, flags);
}

int socket(int domain, int type, int protocol)
{
    return no_descriptor(SOCKET) ? -1 : (int)syscall(SYS_socket, domain, type, protocol);
}

static int open_at(int dir, const char *path, int flags, va_list args)
{
    int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, int) : 0;

    return no_descriptor(OPEN) ? -1 : (int)syscall(SYS_openat, dir, path, flags, mode);
}

#define OPEN_AT(dir)                                                                                         \
    va_list args;                                                                                            \
                                                                                                             \
    va_start(args, flags);                                                                                   \
    int fd = open_at(dir, path, flags, args);                                                                \
    va_end(args);                                                                                            \
    return fd

int open(const char *path, int flags, ...)
{
    OPEN_AT(AT_FDCWD);
}
int open64(const char *path, int flags, ...)
{
    OPEN_AT(AT_FDCWD);
}
int openat(int dir, const char *path, int flags, ...)
{
    OPEN_AT(dir);
}
int openat64(int dir, const char *path, int flags, ...)
{
    OPEN_AT(dir);
}

/* ---- the wall clock ---- */

static int real_clock(clockid_t id, struct timespec *out)
{
    static _Atomic(void *) next;
    int (*real)(clockid_t, struct timespec *);

    if (!next) next = dlsym(RTLD_NEXT, "clock_gettime");
    void *found = next;
    memcpy(&real, &found, sizeof(real));
    return real(id, out);
}

int clock_gettime(clockid_t id, struct timespec *out)
{
    struct timespec mono;
    int rc = real_clock(id, out);

    if (rc || !control || (id != CLOCK_REALTIME && id != CLOCK_REALTIME_COARSE)) return rc;
    int64_t off = control->offset_ns, ppm = control->ppm;
    if (ppm && !real_clock(CLOCK_MONOTONIC, &mono))
        off += (mono.tv_sec * 1000000000 + mono.tv_nsec - control->slew_from_ns) / 1000000 * ppm;
    int64_t ns = out->tv_nsec + off % 1000000000;
    out->tv_sec += off / 1000000000 + (ns < 0 ? -1 : ns / 1000000000);
    out->tv_nsec = ns < 0 ? ns + 1000000000 : ns % 1000000000;
    return 0;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone)
{
    struct timespec now;
    int rc = clock_gettime(CLOCK_REALTIME, &now);

    (void)zone;
    *out = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
    return rc;
}

time_t time(time_t *out)
{
    struct timespec now = {0};

    (void)!clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
