#include "rpc/percent.h"

#include <string.h>

static int hex(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

bool percent_decode(const char *text, size_t len, bool plus, char *out, size_t size)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (c == '%') {
            if (i + 2 >= len || hex(text[i + 1]) < 0 || hex(text[i + 2]) < 0) return false;
            c = (char)(hex(text[i + 1]) * 16 + hex(text[i + 2]));
            i += 2;
            if (!c) return false;
        } else if (plus && c == '+') {
            c = ' ';
        }
        if (n + 1 >= size) return false;
        out[n++] = c;
    }
    out[n] = '\0';
    return true;
}

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int digit(char c)
{
    if (c == '-') c = '+';
    if (c == '_') c = '/';
    const char *at = c ? strchr(alphabet, c) : NULL;
    return at ? (int)(at - alphabet) : -1;
}

long base64_decode(char *text)
{
    uint32_t bits = 0;
    unsigned have = 0;
    long n = 0;
    size_t len = strlen(text);

    while (len && text[len - 1] == '=')
        len--;
    if (len % 4 == 1) return -1;
    for (size_t i = 0; i < len; i++) {
        int d = digit(text[i]);
        if (d < 0) return -1;
        bits = bits << 6 | (uint32_t)d;
        have += 6;
        if (have < 8) continue;
        have -= 8;
        text[n++] = (char)(bits >> have & 0xff);
    }
    text[n] = '\0';
    return n;
}

void base64_encode(const uint8_t *bytes, size_t len, char *out)
{
    for (size_t i = 0; i < len; i += 3) {
        uint32_t bits = (uint32_t)bytes[i] << 16;
        if (i + 1 < len) bits |= (uint32_t)bytes[i + 1] << 8;
        if (i + 2 < len) bits |= bytes[i + 2];
        *out++ = alphabet[bits >> 18 & 63];
        *out++ = alphabet[bits >> 12 & 63];
        if (i + 1 < len) *out++ = alphabet[bits >> 6 & 63];
        if (i + 2 < len) *out++ = alphabet[bits & 63];
    }
    *out = '\0';
}
