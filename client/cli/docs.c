/* Look-ups in the table of comments.  Nothing can fail: what is not there has no comment. */
#include "cli/docs.h"

#include <string.h>

const char *docs_of(const char *message, const char *name)
{
    size_t n = strlen(message);

    for (const struct doc *doc = docs; doc->name; doc++) {
        if (!strncmp(doc->name, message, n) && doc->name[n] == '.' && !strcmp(doc->name + n + 1, name))
            return doc->text;
    }
    return "";
}

/* Calls each with the quoted words, if it is given; returns their number. */
static size_t quoted(const char *text, void (*each)(void *arg, const char *word, size_t len), void *arg)
{
    size_t n = 0;

    while ((text = strchr(text, '"'))) {
        size_t len = strspn(++text, "abcdefghijklmnopqrstuvwxyz_");
        if (len && text[len] == '"') {
            if (each) each(arg, text, len);
            n++;
        }
        text += strcspn(text, "\"");
        if (*text) text++;
    }
    return n;
}

size_t docs_words(const char *text, void (*each)(void *arg, const char *word, size_t len), void *arg)
{
    /* One quoted word is an example, several are a set. */
    return quoted(text, NULL, NULL) > 1 ? quoted(text, each, arg) : 0;
}
