/* Signals that end the process are caught to give the terminal back, then raised again as if they had not
 * been: whoever waits for the process sees what ended it.  Ctrl-C is the usual way to leave, and is 0. */
#include "cli/screen.h"

#include "cli/paper.h"
#include "lib/clock.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define ESCAPE_MS 50 /* the rest of a key's sequence comes at once */

/* Another screen, without a cursor and without breaking lines that are too long; and back. */
static const char enter[] = "\033[?1049h\033[?25l\033[?7l\033[H\033[2J";
static const char leave[] = "\033[0m\033[?7h\033[?25h\033[?1049l";

static const int ending[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGABRT, SIGSEGV, SIGBUS, SIGFPE};

static struct termios before;
static volatile sig_atomic_t taken, resized;

static void put(const char *text)
{
    size_t len = strlen(text), at = 0;

    while (at < len) {
        ssize_t n = write(STDOUT_FILENO, text + at, len - at);
        if (n < 0 && errno != EINTR) return;
        if (n > 0) at += (size_t)n;
    }
}

static void take(void)
{
    struct termios raw = before;

    raw.c_lflag &= (tcflag_t) ~(ICANON | ECHO);
    raw.c_iflag &= (tcflag_t) ~(ICRNL | IXON);
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    put(enter);
    taken = 1;
}

/* Safe in a handler. */
static void give_back(void)
{
    if (!taken) return;
    taken = 0;
    put(leave);
    tcsetattr(STDIN_FILENO, TCSANOW, &before);
}

static void on_ending(int number)
{
    give_back();
    if (number == SIGINT) _exit(0);
    signal(number, SIG_DFL);
    raise(number);
}

static void on_stop(int number)
{
    int saved = errno;

    (void)number;
    give_back();
    raise(SIGSTOP);
    take();
    resized = 1;
    errno = saved;
}

static void on_size(int number)
{
    (void)number;
    resized = 1;
}

static void handle(int number, void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler};

    sigfillset(&action.sa_mask);
    sigaction(number, &action, NULL);
}

/* Between looking at `resized` and waiting, no signal may get lost. */
static void hold_signals(int how)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGWINCH);
    sigaddset(&set, SIGTSTP);
    sigprocmask(how, &set, NULL);
}

int screen_open(void)
{
    static bool registered;
    const char *term = getenv("TERM");

    if (term && !strcmp(term, "dumb")) return -1;
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO) || tcgetattr(STDIN_FILENO, &before)) return -1;
    for (size_t i = 0; i < sizeof(ending) / sizeof(ending[0]); i++)
        handle(ending[i], on_ending);
    handle(SIGTSTP, on_stop);
    handle(SIGWINCH, on_size);
    if (!registered) atexit(screen_close);
    registered = true;
    fflush(stdout);
    take();
    return 0;
}

void screen_close(void)
{
    give_back();
}

void screen_draw(const char *text, size_t height)
{
    size_t line = 0;

    fputs("\033[H", stdout);
    while (*text && line < height) {
        size_t n = strcspn(text, "\n");
        /* Erased before it is written: behind a full line the cursor stands on its last character.  The line
         * feed of the last line would move everything up. */
        fprintf(stdout, "%s\033[K%.*s\033[0m", line ? "\r\n" : "", (int)n, text);
        text += n + (text[n] == '\n');
        line++;
    }
    if (line < height) fputs("\r\n\033[J", stdout);
    fflush(stdout);
}

/* A byte of standard input; -1: none within ms, -2: there is an end of it, -3: a signal came. */
static int next_byte(long ms)
{
    struct pollfd fd = {.fd = STDIN_FILENO, .events = POLLIN};
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    sigset_t none;
    unsigned char byte;

    sigemptyset(&none);
    int n = ppoll(&fd, 1, &time, &none);
    if (n < 0) return errno == EINTR ? -3 : -2;
    if (!n) return -1;
    ssize_t got = read(STDIN_FILENO, &byte, 1);
    return got == 1 ? byte : got < 0 && errno == EINTR ? -3 : -2;
}

/* The key behind ESC: a sequence that we do not know is no key at all. */
static int escape_key(void)
{
    static const struct {
        const char *text;
        int key;
    } keys[] = {
        {"[A", KEY_UP},       {"[B", KEY_DOWN},       {"OA", KEY_UP},    {"OB", KEY_DOWN},
        {"[H", KEY_HOME},     {"[F", KEY_END},        {"OH", KEY_HOME},  {"OF", KEY_END},
        {"[5~", KEY_PAGE_UP}, {"[6~", KEY_PAGE_DOWN}, {"[1~", KEY_HOME}, {"[4~", KEY_END},
    };
    char text[16];
    size_t len = 0;

    for (int c = next_byte(ESCAPE_MS); c >= 0; c = next_byte(ESCAPE_MS)) {
        text[len++] = (char)c;
        text[len] = '\0';
        bool complete = len > 1 && c >= '@' && c <= '~';
        if (!complete && len + 1 < sizeof(text) && (*text == '[' || *text == 'O')) continue;
        break;
    }
    if (!len) return KEY_ESCAPE;
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        if (!strcmp(keys[i].text, text)) return keys[i].key;
    }
    return KEY_NONE;
}

int screen_key(long ms)
{
    int64_t until = clock_ms() + ms;
    int key;

    hold_signals(SIG_BLOCK);
    do {
        int64_t left = until - clock_ms();
        key = resized ? -3 : next_byte(left > 0 ? (long)left : 0);
    } while (key == -3 && !resized);
    if (key == -3) {
        resized = 0;
        key = KEY_RESIZED;
    }
    hold_signals(SIG_UNBLOCK);
    if (key == -1) return KEY_NONE;
    if (key == -2) return KEY_GONE;
    if (key == KEY_ESCAPE) return escape_key();
    return key == '\n' ? KEY_ENTER : key == '\b' ? KEY_BACKSPACE : key;
}
