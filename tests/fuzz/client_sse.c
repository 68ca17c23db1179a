/* What a daemon streams, and its other answers, as the client reads them.  The first byte is where the bytes
 * are torn: the same events come of them however they arrive.  Each event's data, and the whole, is read as
 * an answer and as an error too. */
#include "fuzz.h"
#include "lib/answer.h"
#include "lib/error.h"
#include "lib/sse.h"

#include <math.h>

struct heard {
    struct bytes text;
    unsigned n, stop_after;
};

static int on_event(void *arg, const char *id, const char *event, const char *data)
{
    struct heard *h = arg;
    const char *parts[] = {id, event, data};

    for (int i = 0; i < 3; i++)
        MUST(bytes_add(&h->text, parts[i], strlen(parts[i]) + 1, SIZE_MAX), "out of memory");
    MUST(*event, "an event without a name");
    return ++h->n == h->stop_after;
}

/* Bytes in pieces of so many; 0: at once. */
static int listen_to(const char *bytes, size_t len, size_t piece, struct heard *out)
{
    struct sse sse = {0};
    int result = SSE_MORE;

    for (size_t at = 0; at < len && result == SSE_MORE;) {
        size_t n = piece && piece < len - at ? piece : len - at;
        char *copy = malloc(n); /* of its own, so that reading past it is seen */

        MUST(copy, "out of memory");
        memcpy(copy, bytes + at, n);
        result = sse_feed(&sse, copy, n, on_event, out);
        free(copy);
        at += n;
    }
    MUST((result == SSE_FAILED) == sse.failed, "result %d", result);
    sse_clear(&sse);
    return result;
}

static void read_answer(const char *text)
{
    struct answer answer = {0};
    struct glr_decision decision;
    struct glr_rates rates;
    json_t *json = json_loads(text, 0, NULL);

    MUST(error_from_answer(500, text) != GLR_OK, "an error that is none");
    MUST(glr_error()->message[0] || json, "an error without a message");
    if (!json) return;
    if (answer_take(&answer, json) != GLR_OK) return;
    answer_decision(&answer, &decision);
    answer_rates(&answer, 1, &rates);
    MUST(decision.groups == rates.groups && rates.groups > 0, "no groups");
    for (size_t i = 0; i < rates.groups; i++)
        MUST(isfinite(rates.lrs[i]) && rates.lrs[i] >= 0, "rate %g", rates.lrs[i]);
    MUST(decision.reason && decision.action && strlen(decision.reason) < SIZE_MAX, "a text that is none");
    answer_clear(&answer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    size_t piece = take_u8(&in) % 8, len;
    struct heard whole = {0}, torn = {0};
    char *text = take_rest(&in, &len);

    int first = listen_to(text, len, 0, &whole), second = listen_to(text, len, piece + 1, &torn);

    MUST(first == second && whole.n == torn.n, "%u events, torn %u", whole.n, torn.n);
    MUST(whole.text.len == torn.text.len &&
             (!whole.text.len || !memcmp(whole.text.data, torn.text.data, whole.text.len)),
         "other events where the bytes are torn");
    read_answer(text);
    bytes_clear(&whole.text);
    bytes_clear(&torn.text);
    free(text);
    return 0;
}
