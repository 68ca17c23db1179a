/* The small tools: doubles as text, errors, bytes, smoothing. */
#include "core/smooth.h"
#include "core/spec.h"
#include "core/state_io.h"
#include "core/status.h"

#include <criterion/criterion.h>
#include <ctype.h>
#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void check_text(double value, const char *want)
{
    char text[DOUBLE_TEXT_MAX];
    size_t n = double_text(text, value);

    cr_expect_str_eq(text, want, "want %s, got %s", want, text);
    cr_expect_eq(n, strlen(text));
}

Test(core_text, doubles_people_know)
{
    check_text(1, "1");
    check_text(0, "0");
    check_text(-0.0, "-0");
    check_text(0.1, "0.1");
    check_text(0.3, "0.3");
    check_text(0.1 + 0.2, "0.30000000000000004");
    check_text(1e-3, "0.001");
    check_text(1e-5, "1e-05");
    check_text(100000, "100000");
    check_text(1e22, "1e+22");
    check_text(123456789012345680.0, "1.2345678901234568e+17");
    check_text(5e-324, "5e-324");
    check_text(DBL_MAX, "1.7976931348623157e+308");
    check_text(DBL_MIN, "2.2250738585072014e-308");
    check_text(-2.5, "-2.5");
    check_text(NAN, "NaN");
    check_text(-NAN, "NaN");
    check_text(INFINITY, "Infinity");
    check_text(-INFINITY, "-Infinity");
    /* Powers of two whose nearest 16 digits do not read back while 16 others do. */
    check_text(ldexp(1, -44), "5.684341886080802e-14");
    check_text(-ldexp(1, -44), "-5.684341886080802e-14");
    check_text(9007199254740993.0, "9007199254740992");
    check_text(9007199254740991.0, "9007199254740991");
    check_text(999999999999999.9, "999999999999999.9");
    check_text(1e15, "1e+15");
    check_text(0.99999999999999989, "0.9999999999999999");
    check_text(9.9999999999999991e-05, "9.999999999999999e-05");
    check_text(0.0001, "0.0001");
    check_text(0.1 * 0.9 * 0.9 * 0.9, "0.07290000000000002");
    check_text(2.5e-6, "2.5e-06");
}

/* JSON's grammar of a number. */
static bool json_number(const char *s)
{
    s += *s == '-';
    if (*s == '0') {
        s++;
    } else {
        if (!isdigit((unsigned char)*s)) return false;
        while (isdigit((unsigned char)*s))
            s++;
    }
    if (*s == '.') {
        if (!isdigit((unsigned char)*++s)) return false;
        while (isdigit((unsigned char)*s))
            s++;
    }
    if (*s == 'e') {
        s++;
        s += *s == '-' || *s == '+';
        if (!isdigit((unsigned char)*s)) return false;
        while (isdigit((unsigned char)*s))
            s++;
    }
    return *s == '\0';
}

static int significant(const char *s)
{
    char digits[DOUBLE_TEXT_MAX];
    int n = 0;

    for (; *s && *s != 'e'; s++) {
        if (isdigit((unsigned char)*s) && (n || *s != '0')) digits[n++] = *s;
    }
    while (n && digits[n - 1] == '0')
        n--;
    return n;
}

static uint64_t random_bits(uint64_t *seed)
{
    uint64_t z = (*seed += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static void check_bits(uint64_t bits, uint64_t seed)
{
    char text[DOUBLE_TEXT_MAX], printed[512];
    double value, back;

    memcpy(&value, &bits, sizeof(value));
    if (!isfinite(value)) return;
    size_t n = double_text(text, value);

    snprintf(printed, sizeof(printed), "%.6g", value);
    (void)double_text_rounded(text, value);
    cr_assert_str_eq(text, printed, "seed %llu", (unsigned long long)seed);
    n = double_text(text, value);
    back = strtod(text, NULL);
    cr_assert(memcmp(&back, &value, sizeof(value)) == 0, "seed %llu: %a as %s", (unsigned long long)seed,
              value, text);
    cr_assert(json_number(text) && n == strlen(text), "seed %llu: %s", (unsigned long long)seed, text);
    /* printf knows no shorter one. */
    snprintf(printed, sizeof(printed), "%.*g", significant(text) > 1 ? significant(text) - 1 : 1, value);
    back = strtod(printed, NULL);
    cr_assert(significant(text) <= 1 || memcmp(&back, &value, sizeof(value)) != 0,
              "seed %llu: %s is shorter than %s", (unsigned long long)seed, printed, text);
}

Test(core_text, doubles_of_random_bits_read_back)
{
    uint64_t seed = (uint64_t)time(NULL), state = seed;

    for (int i = 0; i < 200000; i++)
        check_bits(random_bits(&state), seed);
    for (int i = 0; i < 100000; i++) {
        /* Rates and losses, powers of two, denormals. */
        double loss = (double)(random_bits(&state) >> 11) * 0x1p-53 * 10;
        uint64_t bits;

        memcpy(&bits, &loss, sizeof(bits));
        check_bits(bits, seed);
        check_bits(random_bits(&state) >> 12, seed);
    }
    for (uint64_t e = 0; e < 2047; e++)
        check_bits(e << 52, seed);
    /* Every size from 2^-24 to 2^56, where most are printed without printf; and short decimals among them. */
    for (uint64_t e = 1023 - 24; e < 1023 + 56; e++) {
        for (int i = 0; i < 1000; i++) {
            double value;
            uint64_t bits = (random_bits(&state) >> 12) | e << 52;

            check_bits(bits, seed);
            memcpy(&value, &bits, sizeof(value));
            value = rint(value * 1e4) / 1e4;
            memcpy(&bits, &value, sizeof(bits));
            check_bits(bits, seed);
        }
    }
}

Test(core_text, doubles_do_not_know_the_locale)
{
    static const char *const locales[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "ps_AF.UTF-8", "fa_IR.UTF-8"};

    size_t tried = 0;

    for (size_t i = 0; i < sizeof(locales) / sizeof(locales[0]); i++) {
        if (setlocale(LC_ALL, locales[i])) {
            check_text(1.5, "1.5");
            tried++;
        }
    }
    setlocale(LC_ALL, "C");
    if (!tried) cr_skip_test("no locale with another decimal point is installed");
}

Test(core_text, errors_are_set_wrapped_and_cut)
{
    struct error err;

    cr_assert_eq(error_set(&err, ST_FIELD_INVALID, "must be %d", 7), ST_FIELD_INVALID);
    cr_assert_eq(error_wrap(&err, "greedy.%s", "factor"), ST_FIELD_INVALID);
    cr_assert_str_eq(err.message, "greedy.factor: must be 7");
    cr_assert_eq(error_set(NULL, ST_FIELD_INVALID, "x"), ST_FIELD_INVALID);
    cr_assert_neq(error_wrap(NULL, "x"), ST_OK);
    for (int i = 0; i < 300; i++)
        (void)error_wrap(&err, "level %d", i);
    cr_assert_eq(strlen(err.message), ERROR_MESSAGE_MAX - 1);
    error_set(&err, ST_INTERNAL, "%600d", 1);
    cr_assert_eq(strlen(err.message), ERROR_MESSAGE_MAX - 1);
    (void)error_wrap(&err, "%600d", 1);
    cr_assert_eq(strlen(err.message), ERROR_MESSAGE_MAX - 1);
}

Test(core_text, every_status_has_its_row)
{
    for (int s = 1; s < ST_COUNT; s++) {
        const struct status_info *info = status_info((enum status)s);

        cr_expect_gt(strlen(info->reason), 2);
        cr_expect_gt(strlen(info->doc), 10);
        cr_expect(info->code > CODE_OK && info->code < CODE_COUNT);
        cr_expect(info->http == 0 || (info->http >= 400 && info->http < 600), "%s", info->reason);
        cr_expect(code_info(info->code)->http >= 400);
        for (int other = 1; other < s; other++)
            cr_expect_str_neq(info->reason, status_info((enum status)other)->reason);
    }
    cr_assert_str_eq(status_info(ST_STEP_IN_PAST)->reason, "STEP_IN_PAST");
    cr_assert_str_eq(code_info(CODE_NOT_FOUND)->name, "not_found");
    cr_assert_eq(status_info((enum status)9999), status_info(ST_INTERNAL));
    cr_assert_eq(code_info((enum error_code)9999), code_info(CODE_INTERNAL));
}

Test(core_text, bytes_are_little_endian)
{
    uint8_t out[13], u8 = 7;
    uint32_t u32 = 0x01020304;
    double f64 = 1.0;
    static const uint8_t want[] = {7, 4, 3, 2, 1, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f};
    struct state_io io = {.out = out};

    state_io_u8(&io, &u8);
    state_io_u32(&io, &u32);
    state_io_f64(&io, &f64);
    cr_assert_eq(io.pos, sizeof(want));
    cr_assert_eq(memcmp(out, want, sizeof(want)), 0);

    io = (struct state_io){.in = out, .len = 12, .reading = true};
    state_io_u8(&io, &u8);
    state_io_u32(&io, &u32);
    cr_assert(!io.failed && u32 == 0x01020304);
    state_io_f64(&io, &f64);
    cr_assert(io.failed && f64 == 0 && io.pos == 5);
    state_io_u8(&io, &u8);
    cr_assert(io.failed && u8 == 0 && io.pos == 5, "a failure stays, even where a byte is left");
}

/* The median by another way: the value with as many below as above. */
static double slow_median(const double *v, int n)
{
    double low = NAN, high = NAN;

    for (int i = 0; i < n; i++) {
        int below = 0, equal = 0;

        for (int j = 0; j < n; j++) {
            below += v[j] < v[i];
            equal += v[j] <= v[i] && v[j] >= v[i];
        }
        if (below <= (n - 1) / 2 && (n - 1) / 2 < below + equal) low = v[i];
        if (below <= n / 2 && n / 2 < below + equal) high = v[i];
    }
    return n % 2 ? low : (low + high) / 2;
}

Test(core_text, median_of_any_window)
{
    uint64_t seed = (uint64_t)time(NULL), state = seed;

    for (uint32_t window = 1; window <= 40; window++) {
        struct smooth_config config = {SMOOTH_MEDIAN, window};
        struct smooth *s = calloc(1, smooth_size(config));
        double values[200];

        for (int i = 0; i < 200; i++) {
            values[i] = (double)(random_bits(&state) % 50);
            int n = i + 1 < (int)window ? i + 1 : (int)window;

            cr_assert_eq(smooth_add(config, s, values[i]), slow_median(values + i + 1 - n, n),
                         "seed %llu, window %u", (unsigned long long)seed, window);
        }
        free(s);
    }
}

Test(core_text, the_largest_window_works)
{
    struct smooth_config config = {SMOOTH_MEDIAN, WINDOW_MAX};
    struct smooth *s = calloc(1, smooth_size(config));
    double last = 0;

    for (int i = 0; i < 3 * WINDOW_MAX; i++)
        last = smooth_add(config, s, i * 7919 % 3001);
    double newest[WINDOW_MAX];

    for (int i = 0; i < WINDOW_MAX; i++)
        newest[i] = (i + 2 * WINDOW_MAX) * 7919 % 3001;
    cr_assert_eq(last, slow_median(newest, WINDOW_MAX));
    free(s);
}

Test(core_text, ema_survives_an_overflow)
{
    struct smooth_config config = {SMOOTH_EMA, 3};
    struct smooth s = {0};

    cr_assert_eq(smooth_add(config, &s, 4), 4);
    cr_assert_eq(smooth_add(config, &s, 8), 6);
    smooth_add(config, &s, DBL_MAX);
    cr_assert(isfinite(smooth_add(config, &s, -DBL_MAX)));
    cr_assert(isfinite(smooth_add(config, &s, 1)));
}
