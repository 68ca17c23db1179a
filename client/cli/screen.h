/* The whole terminal, for what goes on until somebody ends it: pictures one after the other, keys.
 *
 * Whatever ends the process, the terminal is as it was before: a return, exit(), a signal that can be caught.
 * A stopped process (Ctrl-Z) gives it back until it goes on. */
#ifndef GREEDYLR_CLI_SCREEN_H
#define GREEDYLR_CLI_SCREEN_H

#include <stddef.h>

/* What screen_key returns besides the bytes of keys that are characters. */
enum {
    KEY_NONE = 0, /* the time is over */
    KEY_UP = 256,
    KEY_DOWN,
    KEY_PAGE_UP,
    KEY_PAGE_DOWN,
    KEY_HOME,
    KEY_END,
    KEY_RESIZED, /* the terminal has another size, or came back: draw again */
    KEY_GONE,    /* there is nobody to type */
};
enum { KEY_ENTER = '\r', KEY_ESCAPE = 27, KEY_BACKSPACE = 127 };

/* Takes the terminal.  Returns 0, or -1 if standard input or output is none, or it can only
 * write lines (TERM is dumb). */
int screen_open(void);
/* Gives it back; does nothing if it is not taken. */
void screen_close(void);

/* Shows text, lines that end with a line feed: those that fit.  Lines are not cut to the width. */
void screen_draw(const char *text, size_t height);

/* The next key, after at most ms milliseconds.  Ctrl-C ends the process. */
int screen_key(long ms);

#endif
