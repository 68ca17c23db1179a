/* UTF-8: every code point in its one form, and nothing else. */
#include "rpc/utf8.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <string.h>

/* Writes c in n bytes, whether that is its form or not. */
static void write_as(uint32_t c, unsigned n, char out[4])
{
    static const unsigned char heads[] = {0, 0, 0xc0, 0xe0, 0xf0};

    for (unsigned i = n - 1; i > 0; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(heads[n] | c);
}

Test(rpc_utf8, code_points)
{
    for (uint32_t c = 0; c < 0x1fffff; c++) {
        unsigned right = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
        bool valid = c <= 0x10ffff && !(c >= 0xd800 && c <= 0xdfff);
        for (unsigned n = right; n <= 4; n++) {
            char text[4];
            write_as(c, n, text);
            cr_assert_eq(utf8_char(text, n), n == right && valid ? n : 0, "U+%04X in %u bytes", c, n);
            cr_assert_eq(utf8_char(text, n - 1), 0);
        }
    }
}

Test(rpc_utf8, prefixes)
{
    static const struct {
        const char *text;
        size_t good;
    } table[] = {{"", 0},     {"abc", 3},     {"a\xe2\x82\xac", 4}, {"a\xe2\x82", 1},
                 {"\x80", 0}, {"ab\xffz", 2}, {"\xc3\x28", 0}};

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        cr_expect_eq(utf8_prefix(table[i].text, strlen(table[i].text)), table[i].good);
}
