/* The table of routes.  A new RPC needs a row here, with the role that may call it, and a handler in the
 * service; the Connect path follows
 * from the contract's service descriptor. */
#include "rpc/route.h"

#include "greedylr/v1/scheduler.pb-c.h"

#define JOB         "/v1/jobs/{job}"
#define IO(in, out) .input = &greedylr__v1__##in##__descriptor, .output = &greedylr__v1__##out##__descriptor

const char *const rpc_role_words[] = {"observe", "report", "admin", NULL};

static const struct rpc_method methods[] = {
    {"CreateJob", ROLE_REPORT, "POST", "/v1/jobs", "spec", IO(create_job_request, job)},
    {"GetJob", ROLE_OBSERVE, "GET", JOB, "", .no_side_effects = true, IO(get_job_request, job)},
    {"ListJobs", ROLE_OBSERVE, "GET", "/v1/jobs", "", .no_side_effects = true,
     IO(list_jobs_request, list_jobs_response)},
    {"UpdateJob", ROLE_ADMIN, "PATCH", JOB, NULL, IO(update_job_request, job)},
    {"DeleteJob", ROLE_ADMIN, "DELETE", JOB, "", IO(delete_job_request, delete_job_response)},
    {"Report", ROLE_REPORT, "POST", JOB ":report", NULL, .query = "wait", IO(report_request, decision)},
    {"BatchReport", ROLE_REPORT, "POST", "/v1/jobs:batchReport", NULL, .large_body = true,
     IO(batch_report_request, batch_report_response)},
    {"GetLr", ROLE_OBSERVE, "GET", JOB "/lr", "", .no_side_effects = true,
     IO(get_lr_request, get_lr_response)},
    {"ListDecisions", ROLE_OBSERVE, "GET", JOB "/decisions", "", .no_side_effects = true,
     IO(list_decisions_request, list_decisions_response)},
    {"WatchJob", ROLE_OBSERVE, "GET", JOB ":watch", "", .no_side_effects = true, .streaming = true,
     IO(watch_job_request, watch_job_response)},
    {"BeginAttempt", ROLE_REPORT, "POST", JOB ":begin", NULL, IO(begin_attempt_request, job)},
    {"RewindJob", ROLE_ADMIN, "POST", JOB ":rewind", NULL, IO(rewind_job_request, job)},
    {"ForkJob", ROLE_REPORT, "POST", JOB ":fork", NULL, IO(fork_job_request, job)},
    {"SetLr", ROLE_ADMIN, "POST", JOB ":setLr", NULL, IO(set_lr_request, decision)},
    {"PauseJob", ROLE_ADMIN, "POST", JOB ":pause", NULL, IO(pause_job_request, job)},
    {"ResumeJob", ROLE_ADMIN, "POST", JOB ":resume", NULL, IO(resume_job_request, job)},
    {"FinishJob", ROLE_REPORT, "POST", JOB ":finish", NULL, IO(finish_job_request, job)},
    {"ImportState", ROLE_ADMIN, "PUT", JOB "/state", "state_dict", IO(import_state_request, job)},
    {"ExportState", ROLE_OBSERVE, "GET", JOB "/state", "", .no_side_effects = true,
     IO(export_state_request, export_state_response)},
    {"Simulate", ROLE_OBSERVE, "POST", "/v1/simulate", NULL, .no_side_effects = true, .large_body = true,
     IO(simulate_request, simulate_response)},
};

const struct rpc_method *rpc_methods(size_t *n)
{
    *n = sizeof(methods) / sizeof(methods[0]);
    return methods;
}
