/* Numbers and names as text, and text that is safe to show. */
#include "cli/text.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define NUMBER_MAX 40

void *need(void *pointer)
{
    if (pointer) return pointer;
    fputs("greedylr: out of memory\n", stderr);
    exit(1);
}

void end_text(FILE *out, char **text)
{
    bool failed = ferror(out);

    if (fclose(out) || failed || !*text) need(NULL);
}

bool same_flag_start(const char *name, const char *start)
{
    for (; *name && *start; name++, start++) {
        if (*name != *start && !(*name == '-' && *start == '_') && !(*name == '_' && *start == '-'))
            return false;
    }
    return !*start;
}

bool same_flag(const char *a, const char *b)
{
    return strlen(a) == strlen(b) && same_flag_start(a, b);
}

const char *nonfinite_name(const char *text)
{
    bool minus = *text == '-';

    if (*text == '-' || *text == '+') text++;
    if (!strcasecmp(text, "nan")) return "NaN";
    if (!strcasecmp(text, "inf") || !strcasecmp(text, "infinity")) return minus ? "-Infinity" : "Infinity";
    return NULL;
}

bool number_parse(const char *text, double *out)
{
    char *end;

    if (!*text || strspn(text, "+-0123456789.eE") != strlen(text)) return false;
    *out = strtod(text, &end); /* the locale stays C: the point is a point */
    return end != text && !*end;
}

double value_number(const json_t *value)
{
    const char *text = json_string_value(value);

    if (json_is_number(value)) return json_number_value(value);
    if (!text || !strcmp(text, "NaN") || !nonfinite_name(text)) return NAN;
    return *text == '-' ? -INFINITY : INFINITY;
}

static void print_number(FILE *out, double value, enum precision precision)
{
    char text[NUMBER_MAX];
    /* Below DBL_MIN there are fewer than 15 digits in a double. */
    int digits = precision == SIX_DIGITS ? 6 : value != 0 && fabs(value) < DBL_MIN ? 1 : 15;

    do
        snprintf(text, sizeof(text), "%.*g", digits, value);
    while (precision == EXACT && digits++ < 17 && strtod(text, NULL) != value);
    fputs(text, out);
}

/* An element of a list: what a shadow has decided is its name and its rates, anything else its JSON. */
static void print_object(FILE *out, const json_t *value, enum precision precision)
{
    const char *name = json_string_value(json_object_get(value, "name"));
    const json_t *lrs = json_object_get(value, "lrs");

    if (!lrs) lrs = json_object_get(json_object_get(value, "state"), "lrs");
    if (!name || !json_is_array(lrs)) {
        put_json(out, value);
        return;
    }
    char *rates = value_text(lrs, precision, ';');
    fprintf(out, "%s=%s", name, rates);
    free(rates);
}

static void print_value(FILE *out, const json_t *value, enum precision precision)
{
    switch (value ? json_typeof(value) : JSON_NULL) {
    case JSON_STRING: fputs(json_string_value(value), out); break;
    case JSON_INTEGER: fprintf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value)); break;
    case JSON_REAL: print_number(out, json_real_value(value), precision); break;
    case JSON_TRUE: fputs("true", out); break;
    case JSON_FALSE: fputs("false", out); break;
    case JSON_OBJECT: print_object(out, value, precision); break;
    default: break;
    }
}

char *value_text(const json_t *value, enum precision precision, char separator)
{
    char *text = NULL;
    size_t len, i;
    FILE *out = need(open_memstream(&text, &len));
    json_t *item;

    if (json_is_array(value)) {
        json_array_foreach((json_t *)value, i, item)
        {
            if (i) fputc(json_is_object(item) ? ' ' : separator, out);
            print_value(out, item, precision);
        }
    } else {
        print_value(out, value, precision);
    }
    end_text(out, &text);
    return text;
}

static void put_word(FILE *out, const char *text)
{
    json_t *word = need(json_string(text));

    json_dumpf(word, out, JSON_ENCODE_ANY);
    json_decref(word);
}

void put_json(FILE *out, const json_t *value)
{
    const char *name, *between = "";
    json_t *inner;
    size_t i;

    switch (value ? json_typeof(value) : JSON_NULL) {
    case JSON_OBJECT:
        json_object_foreach((json_t *)value, name, inner)
        {
            fputs(*between ? "," : "{", out);
            put_word(out, name);
            fputc(':', out);
            put_json(out, inner);
            between = ",";
        }
        fputs(*between ? "}" : "{}", out);
        break;
    case JSON_ARRAY:
        json_array_foreach((json_t *)value, i, inner)
        {
            fputs(i ? "," : "[", out);
            put_json(out, inner);
        }
        fputs(json_array_size(value) ? "]" : "[]", out);
        break;
    case JSON_STRING: put_word(out, json_string_value(value)); break;
    case JSON_NULL: fputs("null", out); break;
    default: print_value(out, value, EXACT);
    }
}

void put_csv(const char *text)
{
    bool quote = text[strcspn(text, "\",\r\n")];

    if (quote) putchar('"');
    for (; *text; text++) {
        if (*text == '"') putchar('"');
        putchar(*text);
    }
    if (quote) putchar('"');
}

static bool is_continuation(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

size_t text_width(const char *text)
{
    size_t n = 0;

    for (; *text; text++)
        n += !is_continuation(*text);
    return n;
}

/* At most that many characters of the text up to end. */
static void put_characters(FILE *out, const char *text, const char *end, size_t left)
{
    for (; text < end; text++) {
        unsigned char c = (unsigned char)*text;
        /* C0 and DEL; C1, which is two bytes in UTF-8. */
        bool control = c < 0x20 || c == 0x7f || (c == 0xc2 && (unsigned char)text[1] < 0xa0 && text[1]);
        if (!is_continuation(*text) && left-- == 0) break;
        fputc(control ? '?' : c, out);
        if (control && c == 0xc2) text++;
    }
}

void put_safe(FILE *out, const char *text, size_t width)
{
    bool cut = width && text_width(text) > width;

    put_characters(out, text, text + strlen(text), cut ? (width > 3 ? width - 3 : 0) : (size_t)-1);
    if (cut) fputs(width >= 3 ? "..." : "", out);
}

void put_words(FILE *out, const char *text, size_t at, size_t indent, size_t width)
{
    bool first = true;

    for (size_t n; *text; text += n + strspn(text + n, " "), first = false) {
        size_t characters = 0;
        n = strcspn(text, " ");
        for (size_t i = 0; i < n; i++)
            characters += !is_continuation(text[i]);
        if (!first && width && at + 1 + characters > width) {
            fprintf(out, "\n%*s", (int)indent, "");
            at = indent;
        } else if (!first) {
            fputc(' ', out);
            at++;
        }
        put_characters(out, text, text + n, (size_t)-1);
        at += characters;
    }
    fputc('\n', out);
}
