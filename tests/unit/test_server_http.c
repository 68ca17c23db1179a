/* HTTP over a real socket: the server in the test's own process, blocking clients in a thread. */
#include "server/http.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HOST   "Host: localhost\r\n"
#define DELAY  "POST /delay HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello"
#define NOW    "POST /now HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello"
#define REFUSE "PATCH /refuse HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello"

static struct {
    uv_loop_t loop;
    struct http_server *server;
    int port;
    uv_async_t stop, look;
    uv_sem_t looked;
    struct http_stats stats;
    size_t in_flight;
    int admitted, closed;
} t;

struct waiter {
    uv_timer_t timer;
    struct http_request *req;
};

static void answer(struct http_request *req)
{
    size_t len;
    const uint8_t *body = http_body(req, &len);

    http_respond(req, &(struct http_response){.status = 200, .body = (const char *)body, .len = len});
}

static void on_freed(uv_handle_t *handle)
{
    free(handle);
}

static void on_timer(uv_timer_t *timer)
{
    struct waiter *w = (struct waiter *)(void *)timer;

    if (w->req) {
        http_set_user(w->req, NULL);
        answer(w->req);
    }
    uv_close((uv_handle_t *)timer, on_freed);
}

/* ---- streams: what a target does ---- */

#define PAGES      40
#define PAGE_BYTES 30000

struct streamer {
    uv_timer_t timer;
    struct http_request *req; /* NULL: the stream is over */
    int left;
};

static void on_tick(uv_timer_t *timer)
{
    struct streamer *s = (struct streamer *)(void *)timer;

    if (s->req && s->left--) {
        cr_assert(http_stream_write(s->req, "tick\n", 5));
        return;
    }
    if (s->req) http_stream_end(s->req, "bye\n", 4);
    s->req = NULL;
    uv_timer_stop(timer);
}

/* Writes until nothing fits any more, then ends. */
static void flood(struct http_request *req)
{
    char block[1000];
    size_t n = 0;

    memset(block, 'x', sizeof(block));
    while (http_stream_write(req, block, sizeof(block)))
        n += sizeof(block);
    cr_expect_gt(n, HTTP_STREAM_BUFFER - 2 * sizeof(block));
    cr_expect_leq(n, HTTP_STREAM_BUFFER);
    http_stream_end(req, "too slow\n", 9);
}

static void drained(void *arg, struct http_request *req)
{
    static char page[PAGE_BYTES];
    struct streamer *s = http_user(req);

    if (strcmp(http_target(req), "/pages") || !s->req) return;
    memset(page, 'p', sizeof(page));
    page[0] = '<';
    if (s->left++ < PAGES) {
        cr_assert(http_stream_write(req, page, sizeof(page)));
    } else {
        http_stream_end(req, "bye\n", 4);
        s->req = NULL;
    }
}

static void stream(struct http_request *req)
{
    struct streamer *s = calloc(1, sizeof(*s));

    uv_timer_init(&t.loop, &s->timer);
    s->req = req;
    http_set_user(req, s);
    http_stream_begin(req,
                      &(struct http_response){.status = 200,
                                              .content_type = "text/event-stream",
                                              .body = "begin\n",
                                              .len = strcmp(http_target(req), "/silent") ? 6 : 0},
                      ": alive\n");
    if (!strcmp(http_method(req), "HEAD")) {
        http_stream_end(req, NULL, 0);
        s->req = NULL;
    } else if (!strcmp(http_target(req), "/flood")) {
        flood(req);
        s->req = NULL;
    } else if (!strcmp(http_target(req), "/ticks")) {
        s->left = 3;
        uv_timer_start(&s->timer, on_tick, 0, 10);
    }
}

static bool is_stream(struct http_request *req)
{
    const char *target = http_target(req);

    return !strcmp(target, "/ticks") || !strcmp(target, "/silent") || !strcmp(target, "/flood") ||
           !strcmp(target, "/pages");
}

static int64_t admit(void *arg, struct http_request *req)
{
    t.admitted++;
    if (strcmp(http_target(req), "/refuse")) return 10;
    http_respond(req, &(struct http_response){.status = 404, .body = "no", .len = 2});
    return -1;
}

static void handle(void *arg, struct http_request *req)
{
    struct waiter *w;

    if (!strcmp(http_target(req), "/now")) {
        answer(req);
        return;
    }
    if (is_stream(req)) {
        stream(req);
        return;
    }
    w = calloc(1, sizeof(*w));
    w->req = req;
    http_set_user(req, w);
    uv_timer_init(&t.loop, &w->timer);
    uv_timer_start(&w->timer, on_timer, strcmp(http_target(req), "/long") ? 10 : 1500, 0);
}

static void closed(void *arg, struct http_request *req)
{
    t.closed++;
    if (http_user(req) && is_stream(req)) {
        struct streamer *s = http_user(req);
        s->req = NULL;
        uv_close((uv_handle_t *)&s->timer, on_freed);
    } else if (http_user(req)) {
        ((struct waiter *)http_user(req))->req = NULL;
    }
}

static void on_stop(uv_async_t *async)
{
    http_server_close(t.server, NULL, NULL);
    uv_close((uv_handle_t *)&t.look, NULL);
    uv_close((uv_handle_t *)async, NULL);
}

static void on_look(uv_async_t *async)
{
    (void)async;
    t.stats = *http_server_stats(t.server);
    t.in_flight = http_server_in_flight(t.server);
    uv_sem_post(&t.looked);
}

/* The server's numbers, from its own thread. */
static const struct http_stats *stats(void)
{
    uv_async_send(&t.look);
    uv_sem_wait(&t.looked);
    return &t.stats;
}

static size_t in_flight(void)
{
    (void)stats();
    return t.in_flight;
}

/* Runs client against a server until it returns; then everything has to be gone. */
static void with_server(const struct http_limits *limits, void (*client)(void *))
{
    struct http_handlers handlers = {.admit = admit, .handle = handle, .closed = closed, .drained = drained};
    struct error err = {0};
    uv_thread_t thread;

    cr_assert_eq(uv_loop_init(&t.loop), 0);
    cr_assert_eq(http_listen(&t.loop, "127.0.0.1:0", -1, NULL, limits, &handlers, &t.server, &err), 0, "%s",
                 err.message);
    t.port = atoi(strrchr(http_server_address(t.server), ':') + 1);
    uv_async_init(&t.loop, &t.stop, on_stop);
    uv_async_init(&t.loop, &t.look, on_look);
    uv_sem_init(&t.looked, 0);
    uv_thread_create(&thread, client, NULL);
    uv_run(&t.loop, UV_RUN_DEFAULT);
    uv_thread_join(&thread);
    uv_sem_destroy(&t.looked);
    cr_expect_eq(uv_loop_close(&t.loop), 0);
    cr_expect_eq(t.admitted, t.closed);
}

static const struct http_limits usual = {400, 0, 8192, 5000, 5000, 60000, 0, 120000, 65536, 0};

static int dial(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)t.port)};
    struct timeval limit = {.tv_sec = 10};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    cr_assert_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    cr_assert_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static int count(const char *text, const char *what)
{
    int n = 0;

    while ((text = strstr(text, what))) {
        n++;
        text++;
    }
    return n;
}

/* Reads until what has come n times, or the end; returns how often it came. */
static int hear(int fd, const char *what, int n)
{
    static _Thread_local char text[65536];
    size_t len = 0;
    ssize_t got;

    text[0] = '\0';
    while (count(text, what) < n && (got = recv(fd, text + len, sizeof(text) - 1 - len, 0)) > 0)
        text[len += (size_t)got] = '\0';
    return count(text, what);
}

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void many_clients(void *arg)
{
    static const int counts[] = {1, 2, 127, 128, 129, 256, 257};
    static int fds[300];

    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        double start;

        for (int j = 0; j < counts[i]; j++)
            fds[j] = dial();
        start = now();
        for (int round = 0; round < 2; round++) {
            for (int j = 0; j < counts[i]; j++)
                say(fds[j], round ? NOW : DELAY);
            for (int j = 0; j < counts[i]; j++)
                cr_assert_eq(hear(fds[j], "hello", 1), 1);
        }
        cr_expect_lt(now() - start, 1.0, "%d connections", counts[i]);
        for (int j = 0; j < counts[i]; j++)
            close(fds[j]);
    }
    uv_async_send(&t.stop);
}

Test(server_http, no_answer_stalls_at_any_count, .timeout = 60)
{
    with_server(&usual, many_clients);
}

static void pipelining_client(void *arg)
{
    int fd = dial();

    for (int i = 0; i < 20; i++)
        say(fd, i % 3 == 0 ? DELAY : i % 3 == 1 ? NOW : REFUSE);
    cr_expect_eq(hear(fd, "HTTP/1.1 ", 20), 20);
    close(fd);
    uv_async_send(&t.stop);
}

Test(server_http, pipelined_and_refused_requests_keep_the_connection, .timeout = 60)
{
    with_server(&usual, pipelining_client);
}

static void large_client(void *arg)
{
    int fd = dial();

    say(fd, "POST /now HTTP/1.1\r\n" HOST "Content-Length: 11\r\n\r\nhello world" NOW);
    cr_expect_eq(hear(fd, "HTTP/1.1 ", 2), 2);
    close(fd);
    fd = dial();
    say(fd, "POST /now HTTP/1.1\r\n" HOST "Content-Length: 99999999\r\n\r\n" NOW);
    cr_expect_eq(hear(fd, "413", 2), 1, "and then the end");
    close(fd);
    fd = dial();
    say(fd, "POST /now HTTP/1.1\r\n" HOST
            "Transfer-Encoding: chunked\r\n\r\nf\r\nhello hello hel\r\n0\r\n\r\n" NOW);
    cr_expect_eq(hear(fd, "HTTP/1.1 ", 2), 1, "and then the end");
    close(fd);
    uv_async_send(&t.stop);
}

Test(server_http, bodies_over_the_limit, .timeout = 60)
{
    with_server(&usual, large_client);
}

static void slow_client(void *arg)
{
    double start = now();
    int silent = dial(), headers = dial(), body = dial(), late = dial();

    say(headers, "POST /now HTTP/1.1\r\nX: ");
    say(body, "POST /now HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\n");
    say(late, NOW);
    cr_expect_eq(hear(late, "hello", 1), 1);
    say(late, "POST /now HTTP/1.1\r\n");
    for (int i = 0; i < 30; i++) { /* never idle, and yet too late */
        (void)send(headers, "a", 1, MSG_NOSIGNAL);
        if (i % 8 == 0) (void)send(body, "a", 1, MSG_NOSIGNAL);
        usleep(50000);
    }
    cr_expect_eq(hear(silent, "x", 1) + hear(headers, "x", 1) + hear(body, "x", 1) + hear(late, "x", 1), 0);
    cr_expect_lt(now() - start, 2.5);
    close(silent);
    close(headers);
    close(body);
    close(late);
    uv_async_send(&t.stop);
}

Test(server_http, slow_senders_are_cut_off, .timeout = 60)
{
    with_server(&(struct http_limits){400, 0, 8192, 300, 500, 60000, 0, 120000, 65536, 0}, slow_client);
}

static void leaving_client(void *arg)
{
    int fd = dial();

    say(fd, "POST /long HTTP/1.1\r\n" HOST "\r\n");
    usleep(100000);
    close(fd);
    usleep(800000);
    cr_expect_eq(in_flight(), 0);
    cr_expect_eq(stats()->gone, 1);
    uv_async_send(&t.stop);
}

Test(server_http, a_peer_that_leaves_is_noticed, .timeout = 60)
{
    with_server(&usual, leaving_client);
}

static void full_client(void *arg)
{
    int fds[12];

    for (int i = 0; i < 12; i++) { /* idle ones make room */
        fds[i] = dial();
        say(fds[i], NOW);
        cr_expect_eq(hear(fds[i], "hello", 1), 1);
    }
    cr_expect_leq(stats()->connections, 4);
    for (int i = 0; i < 12; i++)
        close(fds[i]);
    uv_async_send(&t.stop);
}

Test(server_http, at_the_limit_idle_connections_make_room, .timeout = 60)
{
    with_server(&(struct http_limits){4, 0, 8192, 5000, 5000, 60000, 0, 120000, 65536, 0}, full_client);
}

static void cut_client(void *arg)
{
    int fds[130];

    for (int i = 0; i < 130; i++) {
        fds[i] = dial();
        say(fds[i], "POST /long HTTP/1.1\r\n" HOST "\r\n");
    }
    usleep(200000);
    uv_async_send(&t.stop);
    for (int i = 0; i < 130; i++) {
        cr_expect_eq(hear(fds[i], "HTTP", 1), 0);
        close(fds[i]);
    }
}

Test(server_http, closing_with_answers_outstanding, .timeout = 60)
{
    with_server(&usual, cut_client);
}

/* ---- streams ---- */

#define GET(target) "GET " target " HTTP/1.1\r\n" HOST "\r\n"
#define CHUNKED_END "0\r\n\r\n"

/* Everything until the peer closes, up to cap - 1 bytes; returns how much. */
static size_t hear_all(int fd, char *text, size_t cap)
{
    size_t len = 0;
    ssize_t got;

    while (len < cap - 1 && (got = recv(fd, text + len, cap - 1 - len, 0)) > 0)
        len += (size_t)got;
    text[len] = '\0';
    return len;
}

static void streaming_client(void *arg)
{
    char text[4096];
    int fd = dial();

    /* Twice on one connection, then something else: a stream that ends well leaves it usable. */
    for (int i = 0; i < 2; i++) {
        say(fd, GET("/ticks"));
        cr_expect_eq(hear(fd, CHUNKED_END, 1), 1);
    }
    say(fd, NOW);
    cr_expect_eq(hear(fd, "hello", 1), 1);
    say(fd, "HEAD /ticks HTTP/1.1\r\n" HOST "\r\n");
    hear_all(fd, text, sizeof(text));
    cr_expect(strstr(text, "text/event-stream") && !strcmp(text + strlen(text) - 4, "\r\n\r\n"), "%s", text);
    cr_expect_eq(count(text, "\r\n\r\n"), 1, "%s", text);
    close(fd);

    fd = dial();
    say(fd, "GET /ticks HTTP/1.0\r\n" HOST "\r\n");
    hear_all(fd, text, sizeof(text));
    cr_expect_not(strstr(text, "chunked"), "%s", text);
    cr_expect(strstr(text, "\r\n\r\nbegin\ntick\ntick\ntick\nbye\n"), "%s", text);
    close(fd);

    /* Headers leave before there is anything to say. */
    fd = dial();
    say(fd, GET("/silent"));
    cr_expect_eq(hear(fd, "\r\n\r\n", 1), 1);
    cr_expect_eq(in_flight(), 0);
    cr_expect_eq(stats()->streams, 1);
    close(fd);
    for (int i = 0; i < 100 && stats()->streams; i++)
        usleep(50000);
    cr_expect_eq(stats()->streams, 0);
    cr_expect_eq(stats()->gone, 0, "a watcher may leave");
    uv_async_send(&t.stop);
}

Test(server_http, streams, .timeout = 60)
{
    with_server(&usual, streaming_client);
}

static void alive_client(void *arg)
{
    int fd = dial();

    say(fd, GET("/silent"));
    cr_expect_eq(hear(fd, ": alive\n", 2), 2);
    close(fd);
    uv_async_send(&t.stop);
}

Test(server_http, silent_streams_are_kept_alive, .timeout = 60)
{
    with_server(&(struct http_limits){400, 0, 8192, 5000, 5000, 60000, 100, 120000, 65536, 0}, alive_client);
}

static void paced_client(void *arg)
{
    static char text[PAGES * PAGE_BYTES * 2];
    int fd = dial();
    size_t n = 0;

    say(fd, "GET /pages HTTP/1.0\r\n" HOST "\r\n");
    usleep(300000); /* the buffers are full, and nobody is cut off */
    hear_all(fd, text, sizeof(text));
    for (const char *c = text; *c; c++)
        n += *c == 'p' || *c == '<';
    cr_expect_gt(n, PAGES * PAGE_BYTES);
    cr_expect_eq(count(text, "<"), PAGES);
    cr_expect(strstr(text, "bye\n"));
    close(fd);
    uv_async_send(&t.stop);
}

Test(server_http, streams_can_go_at_the_pace_of_their_peer, .timeout = 60)
{
    with_server(&usual, paced_client);
}

static int dial_narrow(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)t.port)};
    struct timeval limit = {.tv_sec = 10};
    int fd = socket(AF_INET, SOCK_STREAM, 0), bytes = 2048;

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
    cr_assert_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

static void full_stream_client(void *arg)
{
    static char text[2 * HTTP_STREAM_BUFFER];
    int slow = dial_narrow(), stuck[20];

    say(slow, "GET /flood HTTP/1.0\r\n" HOST "\r\n");
    usleep(200000);
    hear_all(slow, text, sizeof(text)); /* who reads in the end learns why */
    cr_expect(strstr(text, "xtoo slow\n"));
    close(slow);
    for (int i = 0; i < 20; i++) {
        stuck[i] = dial_narrow();
        say(stuck[i], GET("/pages"));
    }
    usleep(200000);
    cr_expect_eq(stats()->streams, 20);
    uv_async_send(&t.stop); /* closing with streams that wait for their peers, and one that sleeps */
    for (int i = 0; i < 20; i++) {
        hear_all(stuck[i], text, sizeof(text));
        cr_expect_not(strstr(text, "bye"));
        close(stuck[i]);
    }
}

Test(server_http, streams_that_are_not_read, .timeout = 60)
{
    with_server(&usual, full_stream_client);
}

static void cut_streams_client(void *arg)
{
    int fds[130];

    for (int i = 0; i < 130; i++) {
        fds[i] = dial();
        say(fds[i], GET("/silent"));
    }
    for (int i = 0; i < 130; i++)
        cr_expect_eq(hear(fds[i], "\r\n\r\n", 1), 1);
    uv_async_send(&t.stop);
    for (int i = 0; i < 130; i++) {
        cr_expect_eq(hear(fds[i], "0\r\n", 1), 0, "a stream that was cut does not look whole");
        close(fds[i]);
    }
}

Test(server_http, closing_with_open_streams, .timeout = 60)
{
    with_server(&usual, cut_streams_client);
}
