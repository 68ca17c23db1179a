#include "rpc/utf8.h"

#include <stdint.h>

size_t utf8_char(const char *text, size_t len)
{
    const unsigned char *u = (const unsigned char *)text;
    size_t n = !len          ? 0
               : u[0] < 0x80 ? 1
               : u[0] < 0xc2 ? 0
               : u[0] < 0xe0 ? 2
               : u[0] < 0xf0 ? 3
               : u[0] < 0xf5 ? 4
                             : 0;

    if (n > len) return 0;
    for (size_t i = 1; i < n; i++) {
        if ((u[i] & 0xc0) != 0x80) return 0;
    }
    if (n == 3 && ((u[0] == 0xe0 && u[1] < 0xa0) || (u[0] == 0xed && u[1] > 0x9f))) return 0;
    if (n == 4 && ((u[0] == 0xf0 && u[1] < 0x90) || (u[0] == 0xf4 && u[1] > 0x8f))) return 0;
    return n;
}

size_t utf8_prefix(const char *text, size_t len)
{
    size_t at = 0, n;

    while (at < len && (n = utf8_char(text + at, len - at)))
        at += n;
    return at;
}
