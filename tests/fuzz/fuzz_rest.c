/* The REST router: a request as text (request.h).  What is accepted is the same message by the Connect face.
 */
#include "request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct request request;

    if (request_take(&in, &request)) request_follow(&request);
    request_free(&request);
    return 0;
}
