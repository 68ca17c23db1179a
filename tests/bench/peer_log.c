/* What the daemon's libraries can do by themselves, for `make bench`: libmicrohttpd in external epoll mode
 * inside a libuv loop, jansson, and a plain log.
 *
 *     peer_log canned       answers the same text to everything: nothing parsed, nothing stored
 *     peer_log log FILE     POST /v1/jobs/JOB:report {"loss": x}: parsed, compared with the job's best,
 * appended to FILE by a writer thread, one write and one fdatasync for all that wait; then answered
 *
 * Listens on a free port of 127.0.0.1 and prints it.  Ends by a signal.  No limits, no deadlines, no
 * recovery: it is a yardstick. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <jansson.h>
#include <microhttpd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uthash.h>
#include <uv.h>

#define RECORD   112
#define BODY_MAX 512

struct job {
    char name[64];
    unsigned step, bad;
    double best, lr;
    UT_hash_handle hh;
};

struct request {
    struct MHD_Connection *mhd;
    struct request *next;
    size_t len;
    char body[BODY_MAX];
    char record[RECORD + 1]; /* the line of the log, then the answer */
    char answer[160];
    bool done;
};

static struct MHD_Daemon *mhd;
static struct job *jobs;
static struct MHD_Response *canned;
static int log_fd = -1;
static uv_mutex_t mutex;
static uv_cond_t cond;
static struct request *queue, *committed;
static uv_async_t async;
static uv_timer_t timer;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* ---- the writer thread ---- */

static void write_all(const char *bytes, size_t n)
{
    while (n) {
        ssize_t wrote = write(log_fd, bytes, n);
        if (wrote <= 0) die("write");
        bytes += wrote;
        n -= (size_t)wrote;
    }
}

static void writer(void *arg)
{
    char *buffer = NULL;
    size_t cap = 0;

    (void)arg;
    for (;;) {
        uv_mutex_lock(&mutex);
        while (!queue)
            uv_cond_wait(&cond, &mutex);
        struct request *first = queue, *last = NULL;
        queue = NULL;
        uv_mutex_unlock(&mutex);

        size_t len = 0;
        for (struct request *r = first; r; last = r, r = r->next, len += RECORD) {
            if (cap - len < RECORD) buffer = realloc(buffer, cap = cap ? 2 * cap : 65536);
            if (!buffer) die("realloc");
            memcpy(buffer + len, r->record, RECORD);
        }
        write_all(buffer, len);
        if (fdatasync(log_fd)) die("fdatasync");

        uv_mutex_lock(&mutex);
        last->next = committed;
        committed = first;
        uv_mutex_unlock(&mutex);
        uv_async_send(&async);
    }
}

/* ---- the loop thread ---- */

static void on_async(uv_async_t *handle)
{
    (void)handle;
    uv_mutex_lock(&mutex);
    struct request *r = committed;
    committed = NULL;
    uv_mutex_unlock(&mutex);
    for (; r; r = r->next) {
        r->done = true;
        MHD_resume_connection(r->mhd);
    }
    MHD_run(mhd);
}

static struct job *find_job(const char *url)
{
    const char *name = strrchr(url, '/') + 1;
    struct job *job;
    size_t n = strcspn(name, ":");

    if (n >= sizeof(job->name)) return NULL;
    HASH_FIND(hh, jobs, name, n, job);
    if (job) return job;
    if (!(job = calloc(1, sizeof(*job)))) die("calloc");
    memcpy(job->name, name, n);
    job->lr = 0.1;
    job->best = 1e300;
    HASH_ADD(hh, jobs, name, n, job);
    return job;
}

static bool decide(struct request *r, const char *url)
{
    json_t *report = json_loadb(r->body, r->len, JSON_REJECT_DUPLICATES, NULL),
           *loss = json_object_get(report, "loss");
    struct job *job = json_is_number(loss) ? find_job(url) : NULL;

    if (job) {
        double value = json_number_value(loss);
        job->step++;
        job->bad = value < job->best ? 0 : job->bad + 1;
        if (value < job->best) job->best = value;
        if (job->bad > 10) job->lr *= 0.9, job->bad = 0;
        int n = snprintf(r->record, sizeof(r->record), "%.40s %u %.17g %.17g %u %.17g", job->name, job->step,
                         value, job->best, job->bad, job->lr);
        for (; n < RECORD - 1; n++)
            r->record[n] = ' ';
        r->record[RECORD - 1] = '\n';
        snprintf(r->answer, sizeof(r->answer), "{\"job\":\"%s\",\"step\":%u,\"lr\":%.17g,\"num_bad\":%u}",
                 job->name, job->step, job->lr, job->bad);
    }
    json_decref(report);
    return job != NULL;
}

static enum MHD_Result answer(struct MHD_Connection *connection, const char *text, unsigned status)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text, MHD_RESPMEM_MUST_COPY);
    MHD_add_response_header(response, "Content-Type", "application/json");
    enum MHD_Result rc = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return rc;
}

static enum MHD_Result on_access(void *arg, struct MHD_Connection *connection, const char *url,
                                 const char *method, const char *version, const char *data, size_t *n,
                                 void **context)
{
    struct request *r = *context;

    (void)arg, (void)method, (void)version;
    if (!r) {
        if (!(*context = r = calloc(1, sizeof(*r)))) return MHD_NO;
        r->mhd = connection;
        return MHD_YES;
    }
    if (*n) {
        if (r->len + *n > sizeof(r->body)) return MHD_NO;
        memcpy(r->body + r->len, data, *n);
        r->len += *n;
        *n = 0;
        return MHD_YES;
    }
    if (canned) return MHD_queue_response(connection, 200, canned);
    if (r->done) return answer(connection, r->answer, 200);
    if (!decide(r, url)) return answer(connection, "{\"code\":\"invalid_argument\"}", 400);
    MHD_suspend_connection(connection);
    uv_mutex_lock(&mutex);
    r->next = queue;
    queue = r;
    uv_cond_signal(&cond);
    uv_mutex_unlock(&mutex);
    return MHD_YES;
}

static void on_completed(void *arg, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode code)
{
    (void)arg, (void)connection, (void)code;
    free(*context);
    *context = NULL;
}

static void on_timer(uv_timer_t *handle)
{
    (void)handle;
    MHD_run(mhd);
}

static void on_epoll(uv_poll_t *handle, int status, int events)
{
    (void)handle, (void)status, (void)events;
    MHD_run(mhd);
}

static void on_prepare(uv_prepare_t *handle)
{
    MHD_UNSIGNED_LONG_LONG timeout;

    (void)handle;
    if (MHD_get_timeout(mhd, &timeout) == MHD_YES) uv_timer_start(&timer, on_timer, timeout, 0);
}

static void start_http(uv_loop_t *loop)
{
    static uv_poll_t poll;
    static uv_prepare_t prepare;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);

    mhd = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_access, NULL,
                           MHD_OPTION_SOCK_ADDR, &address, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)8192,
                           MHD_OPTION_CONNECTION_LIMIT, 4096u, MHD_OPTION_LISTEN_BACKLOG_SIZE, 4096u,
                           MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_END);
    if (!mhd) die("MHD_start_daemon");
    if (getsockname(MHD_get_daemon_info(mhd, MHD_DAEMON_INFO_LISTEN_FD)->listen_fd,
                    (struct sockaddr *)&address, &len))
        die("getsockname");
    uv_poll_init(loop, &poll, MHD_get_daemon_info(mhd, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd);
    uv_poll_start(&poll, UV_READABLE, on_epoll);
    uv_prepare_init(loop, &prepare);
    uv_prepare_start(&prepare, on_prepare);
    uv_timer_init(loop, &timer);
    printf("127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static const char text[] = "{\"job\":\"canned\",\"step\":1,\"lr\":0.10000000000000001,\"num_bad\":0}";
    uv_loop_t *loop = uv_default_loop();
    uv_thread_t thread;

    if (argc == 2 && !strcmp(argv[1], "canned")) {
        canned = MHD_create_response_from_buffer(sizeof(text) - 1, (void *)(uintptr_t)text,
                                                 MHD_RESPMEM_PERSISTENT);
        MHD_add_response_header(canned, "Content-Type", "application/json");
    } else if (argc == 3 && !strcmp(argv[1], "log")) {
        log_fd = open(argv[2], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (log_fd < 0) die(argv[2]);
    } else {
        fprintf(stderr, "usage: peer_log canned | peer_log log FILE\n");
        return 2;
    }
    uv_mutex_init(&mutex);
    uv_cond_init(&cond);
    uv_async_init(loop, &async, on_async);
    if (!canned && uv_thread_create(&thread, writer, NULL)) die("uv_thread_create");
    start_http(loop);
    return uv_run(loop, UV_RUN_DEFAULT);
}
