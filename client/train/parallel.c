/* Work on several cores.  Where a thread cannot be made, the others do its part. */
#include "train/parallel.h"

#include <pthread.h>
#include <stdatomic.h>

struct work {
    atomic_size_t next;
    size_t n;
    void (*call)(void *arg, size_t i);
    void *arg;
};

static void *labour(void *arg)
{
    struct work *work = arg;

    for (size_t i; (i = atomic_fetch_add(&work->next, 1)) < work->n;)
        work->call(work->arg, i);
    return NULL;
}

void parallel(unsigned threads, size_t n, void (*call)(void *arg, size_t i), void *arg)
{
    struct work work = {.n = n, .call = call, .arg = arg};
    pthread_t thread[THREADS_MAX];
    unsigned made = 0;

    while (made + 1 < threads && made < THREADS_MAX && !pthread_create(&thread[made], NULL, labour, &work))
        made++;
    labour(&work);
    while (made > 0)
        pthread_join(thread[--made], NULL);
}
