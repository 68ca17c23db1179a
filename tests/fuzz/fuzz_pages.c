/* A damaged database: bytes of the file or of its log are overwritten, or either ends early, and a daemon is
 * started on it.  Each change is a byte that says which, 2 of a place in units of 16 bytes, one within it,
 * and a length with so many bytes. */
#include "store.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    store_make("pages");
    atexit(store_remove);
    return 0;
}

static void damage(struct input *in, uint8_t *bytes, size_t *len)
{
    size_t at = take_u16(in) * 16u, n;

    at += take_u8(in) % 16;
    n = take_u8(in);
    if (!*len) return;
    at %= *len;
    if (n == 255) { /* ends here */
        *len = at;
        return;
    }
    for (n %= 64; n && at < *len && in->left; n--)
        bytes[at++] = take_u8(in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    size_t len[STORE_FILES];
    uint8_t *bytes[STORE_FILES];

    for (size_t f = 0; f < STORE_FILES; f++) {
        len[f] = made.len[f];
        bytes[f] = malloc(len[f] + 1);
        MUST(bytes[f], "out of memory");
        memcpy(bytes[f], made.bytes[f], len[f]);
    }
    for (int i = 0; in.left && i < 8; i++) {
        uint8_t file = take_u8(&in) % STORE_FILES;
        damage(&in, bytes[file], &len[file]);
    }
    for (size_t f = 0; f < STORE_FILES; f++) {
        store_write(f, bytes[f], len[f]);
        free(bytes[f]);
    }
    store_use();
    return 0;
}
