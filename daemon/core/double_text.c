/* Doubles as text: the shortest decimal that reads back to the same bits.
 *
 * Happy path: losses and rates are of a size at which 17 digits fit into 128 bits exactly, so that rounding
 * to 15, 16 or 17 digits and whether that reads back are comparisons of integers.  Others, and compilers
 * without such integers, ask printf and strtod.  Nothing can fail. printf and strtod agree on a decimal
 * point, whatever the locale; it is made a '.' at the very end. */
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

#ifdef __SIZEOF_INT128__
__extension__ typedef unsigned __int128 wide;

#define SCALE_MAX 22 /* 54 bits times ten to that are 128 */

static const uint64_t tens[] = {1,
                                10,
                                100,
                                1000,
                                10000,
                                100000,
                                1000000,
                                10000000,
                                100000000,
                                1000000000,
                                10000000000,
                                100000000000,
                                1000000000000,
                                10000000000000,
                                100000000000000,
                                1000000000000000,
                                10000000000000000,
                                100000000000000000};

static wide ten_to(int n)
{
    return n > 17 ? (wide)tens[17] * tens[n - 17] : tens[n];
}

/* As printf's %g with that many digits: digits without their last zeros, the first of which is worth ten to
 * `exponent`. */
static size_t put_decimal(char *out, bool negative, uint64_t digits, int precision, int exponent)
{
    char text[20], *at = out;
    int n = precision;

    for (; digits % 10 == 0; n--)
        digits /= 10;
    for (int i = n; i-- > 0; digits /= 10)
        text[i] = (char)('0' + digits % 10);
    if (negative) *at++ = '-';
    bool scientific = exponent < -4 || exponent >= precision;
    int point = scientific ? 1 : exponent + 1; /* digits before it */

    for (int i = point; i < 1; i++) {
        *at++ = '0';
        if (i == point) *at++ = '.';
    }
    for (int i = 0; i < n || i < point; i++) {
        if (i && i == point) *at++ = '.';
        *at++ = i < n ? text[i] : '0';
    }
    if (scientific) { /* of at most two digits, here */
        *at++ = 'e';
        *at++ = exponent < 0 ? '-' : '+';
        *at++ = (char)('0' + abs(exponent) / 10);
        *at++ = (char)('0' + abs(exponent) % 10);
    }
    *at = '\0';
    return (size_t)(at - out);
}

/* Of a value from about 1e-6 to 2^53; 0 if it is another, or a power of two that wants more than 15 digits.
 * fixed: 0 for as many digits as it takes, else so many.
 *
 * value = mantissa * 2^-(shift - 1); scaled = value * 10^scale * 2^shift, of which the bits above shift are
 * 17 digits.  A decimal reads back if it is not further away than half of the last bit, which is 10^scale in
 * that measure (below a power of two half of that); at just that distance the even mantissa wins. */
static size_t print_exact(char *out, double value, int fixed)
{
    uint64_t bits, mantissa, digits;

    memcpy(&bits, &value, sizeof(bits));
    int binary = (int)(bits >> 52 & 0x7ff) - 1023;
    if (binary < -20 || binary > 52) return 0;
    mantissa = (bits & (UINT64_MAX >> 12)) | UINT64_C(1) << 52;
    bool two = mantissa == UINT64_C(1) << 52;
    int shift = 53 - binary, exponent = (binary * 78913) >> 18; /* log10 of 2^binary, rounded down */
    int scale = 16 - exponent;
    if (scale > SCALE_MAX) return 0;
    wide scaled = (wide)(2 * mantissa) * ten_to(scale);

    if ((scaled >> shift) >= tens[17]) {
        exponent++;
        scaled = (wide)(2 * mantissa) * ten_to(--scale);
    }
    for (int precision = fixed ? fixed : 15;; precision++) {
        uint64_t last = tens[17 - precision];
        wide half = (wide)last << (shift - 1), away;

        digits = (uint64_t)(scaled >> shift) / last;
        away = scaled - ((wide)(digits * last) << shift);
        bool up = away > half || (away == half && digits % 2);
        if (up) {
            digits++;
            away = 2 * half - away;
        }
        wide reach = two && !up ? ten_to(scale) / 2 : ten_to(scale);

        if (!fixed && precision < 17 && !(away < reach || (away == reach && mantissa % 2 == 0))) {
            if (two) return 0;
            continue;
        }
        if (digits == tens[precision]) {
            digits = tens[precision - 1];
            exponent++;
        }
        return put_decimal(out, bits >> 63, digits, precision, exponent);
    }
}
#else
static size_t print_exact(char *out, double value, int fixed)
{
    (void)out;
    (void)value;
    (void)fixed;
    return 0;
}
#endif

size_t double_text(char out[DOUBLE_TEXT_MAX], double value)
{
    size_t n = print_exact(out, value, 0);

    if (n) return n;
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

size_t double_text_rounded(char out[DOUBLE_TEXT_MAX], double value)
{
    size_t n = print_exact(out, value, 6);

    return n ? n : (size_t)snprintf(out, DOUBLE_TEXT_MAX, "%.6g", value);
}
