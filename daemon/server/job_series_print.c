/* One metric after the other, each of all jobs: the formats want the samples of a metric together. */
#include "server/job_series_print.h"

#include "server/service_impl.h"

#include <stdio.h>

/* How each is found; not all need both. */

static double in_loss(const struct service *service, const struct job_series *s)
{
    return s->value;
}

static double in_best(const struct service *service, const struct job_series *s)
{
    return s->best;
}

static double in_step(const struct service *service, const struct job_series *s)
{
    return s->step;
}

static double in_last_report(const struct service *service, const struct job_series *s)
{
    return (double)s->report_us / 1e6;
}

static double in_at_floor(const struct service *service, const struct job_series *s)
{
    return s->at_min;
}

static double in_paused(const struct service *service, const struct job_series *s)
{
    return s->paused;
}

static double in_round_age(const struct service *service, const struct job_series *s)
{
    const struct job *job = jobs_peek(service->jobs, s->name);

    return job && job->rounds ? round_age(job->rounds) : 0;
}

static bool always(const struct job_series *s)
{
    return true;
}

static bool has_value(const struct job_series *s)
{
    return s->has_value;
}

static bool has_best(const struct job_series *s)
{
    return s->has_best;
}

static bool has_step(const struct job_series *s)
{
    return s->has_step;
}

static bool has_report(const struct job_series *s)
{
    return s->report_us != 0;
}

static const struct job_metric {
    enum metric metric;
    bool (*has)(const struct job_series *s);
    double (*in)(const struct service *service, const struct job_series *s);
} job_metrics[] = {
    {METRIC_JOB_LOSS, has_value, in_loss},        {METRIC_JOB_BEST, has_best, in_best},
    {METRIC_JOB_STEP, has_step, in_step},         {METRIC_JOB_LAST_REPORT, has_report, in_last_report},
    {METRIC_JOB_AT_FLOOR, always, in_at_floor},   {METRIC_JOB_PAUSED, always, in_paused},
    {METRIC_JOB_ROUND_AGE, always, in_round_age},
};

#define JOB_LABEL_MAX (JOB_ID_MAX + 64)

static void print_rates(const struct exposition *e, const struct job_series *s)
{
    char label[JOB_LABEL_MAX], labels[JOB_LABEL_MAX + 32];

    metrics_label(label, sizeof(label), "job_id", s->name);
    for (uint32_t i = 0; i < s->groups; i++) {
        snprintf(labels, sizeof(labels), "%s,group=\"%u\"", label, i);
        metrics_sample(e, METRIC_JOB_LEARNING_RATE, labels, s->lrs[i]);
    }
}

static void print_metric(const struct exposition *e, const struct service *service,
                         const struct auth_token *token, const struct job_metric *m)
{
    char label[JOB_LABEL_MAX];

    metrics_head(e, m->metric);
    for (const struct job_series *s = job_series_newest(service->series); s; s = s->older) {
        if (!auth_sees(token, s->name) || !m->has(s)) continue;
        metrics_label(label, sizeof(label), "job_id", s->name);
        metrics_sample(e, m->metric, label, m->in(service, s));
    }
}

void job_series_print(const struct exposition *e, const struct service *service,
                      const struct auth_token *token)
{
    const uint64_t *jobs = service->numbers.jobs;

    if (!job_series_max(service->series)) return;
    metrics_head(e, METRIC_JOB_LEARNING_RATE);
    for (const struct job_series *s = job_series_newest(service->series); s; s = s->older) {
        if (auth_sees(token, s->name)) print_rates(e, s);
    }
    for (size_t i = 0; i < sizeof(job_metrics) / sizeof(job_metrics[0]); i++)
        print_metric(e, service, token, &job_metrics[i]);
    metrics_head(e, METRIC_JOB_SERIES_LEFT_OUT);
    metrics_sample(e, METRIC_JOB_SERIES_LEFT_OUT, "",
                   (double)(jobs[JOB_ACTIVE] + jobs[JOB_PAUSED]) - (double)job_series_count(service->series));
}
