/* Elementary functions whose results are the same bits on every machine.
 *
 * libm's log, exp, tanh and asinh are not: they differ between versions of glibc and between processors (a
 * variant with fused multiply-add is chosen at run time).  These are made of + - * / and sqrt alone, which
 * IEEE 754 rounds in one way, in the order given, and of the bits of doubles; the core is built without
 * contraction and without fast-math.  Errors are below 1e-14 relative for log and exp, 1e-14 absolute for
 * tanh, and 1e-14 * (1 + |result|) for asinh: more than a policy needs, less than libm gives. */
#ifndef GREEDYLRD_CORE_EXACT_MATH_H
#define GREEDYLRD_CORE_EXACT_MATH_H

/* x finite and above 0. */
double exact_log(double x);
/* x is taken into [-700, 700]. */
double exact_exp(double x);
/* x finite. */
double exact_tanh(double x);
/* x finite, taken into [-1e150, 1e150]. */
double exact_asinh(double x);

#endif
