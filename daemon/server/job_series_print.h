/* The series of single jobs as text, behind the other metrics. */
#ifndef GREEDYLRD_SERVER_JOB_SERIES_PRINT_H
#define GREEDYLRD_SERVER_JOB_SERIES_PRINT_H

#include "server/auth.h"
#include "server/metrics_print.h"
#include "server/service.h"

/* Those of the jobs that the token sees (NULL: all), and how many jobs have none; nothing without
 * --job-metrics. */
void job_series_print(const struct exposition *e, const struct service *service,
                      const struct auth_token *token);

#endif
