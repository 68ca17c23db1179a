/* Doubles as text: the shortest decimal that reads back to the same bits.
 *
 * Happy path: 15 significant digits suffice, and printf has stripped the zeros.  Nothing can fail.
 * printf and strtod agree on a decimal point, whatever the locale; it is made a '.' at the very end. */
#include "core/spec.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool reads_back(const char *text, double value)
{
    double back = strtod(text, NULL);

    return memcmp(&back, &value, sizeof(back)) == 0;
}

static void print(char out[DOUBLE_TEXT_MAX], int digits, double value)
{
    if (digits > 17) digits = 17; /* no caller has more, which not every compiler sees */
    snprintf(out, DOUBLE_TEXT_MAX, "%.*g", digits, value);
}

/* Adds one to the last digit of the mantissa; false if that would carry out of the first digit. */
static bool increment(char *text)
{
    char *end = text + strcspn(text, "eE");

    while (end-- > text) {
        if (*end < '0' || *end > '9') continue;
        if (*end < '9') {
            ++*end;
            return true;
        }
        *end = '0';
    }
    return false;
}

/* The interval that reads back as a power of two is only half as wide below it, so that the nearest 16 digits
 * may miss it while their upper neighbour does not. */
static bool print_16_up(char out[DOUBLE_TEXT_MAX], double value)
{
    int exponent;

    if (fabs(frexp(value, &exponent)) != 0.5) return false;
    print(out, 16, value);
    return increment(out) && reads_back(out, value);
}

static void point(char *text)
{
    char *to = text;

    for (const char *from = text; *from; from++) {
        if (strchr("0123456789+-e", *from))
            *to++ = *from;
        else if (to == text || to[-1] != '.')
            *to++ = '.';
    }
    *to = '\0';
}

size_t double_text(char out[DOUBLE_TEXT_MAX], double value)
{
    if (!isfinite(value)) {
        strcpy(out, isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity");
        return strlen(out);
    }
    /* Below DBL_MIN there are fewer than 15 digits in a double, so that 15 are not always the shortest. */
    int digits = value != 0 && fabs(value) < DBL_MIN ? 1 : 15;

    for (; digits <= 17; digits++) {
        print(out, digits, value);
        if (reads_back(out, value)) break;
        if (digits == 16 && print_16_up(out, value)) break;
    }
    point(out);
    return strlen(out);
}
