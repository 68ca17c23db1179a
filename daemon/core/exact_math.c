/* Elementary functions of basic operations.
 *
 * log: x = m * 2^e with m around 1, then the series of atanh; exp: x = k ln 2 + r with r around 0, then
 * Taylor's.  ln 2 is split in two, so that e times its first part is exact.  Nothing can fail. */
#include "core/exact_math.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#if FLT_EVAL_METHOD != 0
#error "needs a machine that rounds every operation to double"
#endif

#define LN2_HI    0x1.62e42fee00000p-1 /* 32 bits of ln 2 */
#define LN2_LO    0x1.a39ef35793c76p-33
#define SQRT2     0x1.6a09e667f3bcdp+0
#define MANTISSA  UINT64_C(0xfffffffffffff)
#define EXP_LIMIT 700.0

static uint64_t bits_of(double x)
{
    uint64_t bits;

    memcpy(&bits, &x, sizeof(bits));
    return bits;
}

static double of_bits(uint64_t bits)
{
    double x;

    memcpy(&x, &bits, sizeof(x));
    return x;
}

double exact_log(double x)
{
    double e = 0;

    if (x < DBL_MIN) {
        x *= 0x1p54;
        e = -54;
    }
    uint64_t bits = bits_of(x);
    double m = of_bits((bits & MANTISSA) | UINT64_C(1023) << 52);

    e += (double)((int64_t)(bits >> 52) - 1023);
    if (m > SQRT2) {
        m *= 0.5;
        e += 1;
    }
    double s = (m - 1) / (m + 1), z = s * s, sum = 1.0 / 21;

    for (int k = 19; k >= 1; k -= 2)
        sum = sum * z + 1.0 / k;
    return e * LN2_HI + (2 * s * sum + e * LN2_LO);
}

double exact_exp(double x)
{
    static const double inverse[] = {1.0 / 12, 1.0 / 11, 1.0 / 10, 1.0 / 9, 1.0 / 8, 1.0 / 7,
                                     1.0 / 6,  1.0 / 5,  1.0 / 4,  1.0 / 3, 1.0 / 2, 1.0};

    if (x > EXP_LIMIT) x = EXP_LIMIT;
    if (x < -EXP_LIMIT) x = -EXP_LIMIT;
    int64_t k = (int64_t)(x * (1 / 0x1.62e42fefa39efp-1) + (x < 0 ? -0.5 : 0.5));
    double r = (x - (double)k * LN2_HI) - (double)k * LN2_LO, sum = 1 + r / 13;

    for (unsigned i = 0; i < sizeof(inverse) / sizeof(inverse[0]); i++)
        sum = 1 + sum * (r * inverse[i]);
    return sum * of_bits((uint64_t)(1023 + k) << 52);
}

double exact_tanh(double x)
{
    if (x > 20) return 1;
    if (x < -20) return -1;
    double e = exact_exp(2 * x);

    return (e - 1) / (e + 1);
}

double exact_asinh(double x)
{
    double a = x < 0 ? -x : x;

    if (a > 1e150) a = 1e150;
    double y = exact_log(a + sqrt(a * a + 1));

    return x < 0 ? -y : y;
}
