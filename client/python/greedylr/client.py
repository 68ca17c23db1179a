"""Every RPC of the daemon as a method.

    client = Client("http://127.0.0.1:8571")
    client.create_job({"job": "demo", "lr": [0.1], "greedy": {"patience": 1}})
    decision = client.report("demo", 2.31, step=1)
    print(decision["lr"], decision["reason"])

Nothing is repeated here: repeating a report that has a step or a request_id is safe, and up to the caller.  Every
method may raise GreedyLRError.  A Client holds no connection; threads and forked processes may share it.
"""
from __future__ import annotations

import json
import os
import ssl
import urllib.parse
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Union, cast

from .answers import well_formed
from .credentials import Token
from .errors import NOT_GREEDYLRD, GreedyLRError, no_answer, of_answer
from .messages import (BatchResult, Decision, GetLrResponse, Job, JobSpec, ReportRequest, SimulateResponse,
                       with_floats)
from .transport import TIMEOUT_MAX, Transport

DEFAULT_URL = "http://127.0.0.1:8571"
_SERVICE = "/greedylr.v1.SchedulerService/"


def duration(seconds: float) -> str:
    """Seconds as the contract writes a duration: 1.5 is "1.500s"."""
    return f"{seconds:.3f}s"


def _message(text: Union[bytes, str]) -> Optional[Dict[str, Any]]:
    """A message of the contract as Python's data; None where the text is none."""
    try:
        parsed = json.loads(text, object_hook=with_floats)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


class Client:
    """A daemon at an address.

    url      "http://host:8571", "https://host/prefix" or "unix:/path"; None: GREEDYLR_URL, else http://127.0.0.1:8571.
    token    sent as a bearer token; None: see token_file.
    token_file  a file whose first line is the token and that not everybody may read; read again when the daemon refuses
             what it had.  None: GREEDYLR_TOKEN, or the file that GREEDYLR_TOKEN_FILE names, or no token.
    ca_file  certificates, PEM, that may vouch for the daemon, in place of the system's; None: GREEDYLR_CA_FILE, if set.
    timeout  seconds one request may take in all, for methods that are not given one.
    tls      certificates and checks for https, in place of ca_file.
    A token goes out over https, to this machine and over Unix sockets; over http to another machine only where
    GREEDYLR_INSECURE=no-tls accepts that by name.  Redirects are not followed.
    Raises ValueError for a url that is none, files that cannot be read, and such a token; does no other I/O.
    """

    def __init__(self, url: Optional[str] = None, *, token: Optional[str] = None, token_file: Optional[str] = None,
                 ca_file: Optional[str] = None, timeout: float = 5.0, tls: Optional[ssl.SSLContext] = None) -> None:
        self.url = url or os.environ.get("GREEDYLR_URL") or DEFAULT_URL
        self.timeout = timeout
        self._transport = Transport(self.url, Token(token, token_file), tls, ca_file)

    def _seconds(self, timeout: Optional[float]) -> float:
        seconds = self.timeout if timeout is None else timeout
        if not seconds <= TIMEOUT_MAX:
            raise ValueError(f"timeout: must be a number of seconds, at most {TIMEOUT_MAX:g}, got {seconds!r}")
        return seconds

    def _alien(self, answer: Any) -> GreedyLRError:
        return no_answer(NOT_GREEDYLRD, f"{self.url} does not answer as greedylrd does: {answer[:120]!r}")

    def call(self, method: str, message: Mapping[str, Any], *, timeout: Optional[float] = None) -> Dict[str, Any]:
        """One RPC by its name in the contract.  Entries that are None are left out."""
        seconds = self._seconds(timeout)
        body = json.dumps({k: v for k, v in message.items() if v is not None}).encode()
        headers = {"Content-Type": "application/json", "Connect-Protocol-Version": "1",
                   "Connect-Timeout-Ms": str(max(1, min(int(seconds * 1000), 9_999_999_999)))}
        answer = self._transport.call("POST", _SERVICE + method, body, headers, seconds)
        if answer.status != 200:
            raise of_answer(answer.status, answer.headers, answer.body)
        parsed = _message(answer.body)
        if parsed is None or not well_formed(method, parsed):
            raise self._alien(answer.body)
        return parsed

    # ---- jobs ----

    def create_job(self, spec: JobSpec, *, timeout: Optional[float] = None) -> Job:
        """Creates a job.  The same spec again returns the job as it is; another one raises JOB_EXISTS."""
        return cast(Job, self.call("CreateJob", {"spec": spec}, timeout=timeout))

    def get_job(self, job: str, *, timeout: Optional[float] = None) -> Job:
        """The job's spec, effective settings and state."""
        return cast(Job, self.call("GetJob", {"job": job}, timeout=timeout))

    def list_jobs(self, *, prefix: Optional[str] = None, label: Optional[str] = None, state: Optional[str] = None,
                  page_size: int = 100, timeout: Optional[float] = None) -> Iterator[Job]:
        """All jobs in the order of their ids.  state: "active", "paused" or "finished"."""
        query = {"prefix": prefix, "label": label, "state": state, "page_size": page_size}
        return cast(Iterator[Job], self._pages("ListJobs", query, "jobs", timeout))

    def update_job(self, job: str, spec: JobSpec, *, timeout: Optional[float] = None) -> Job:
        """Replaces the settings that are given; those of a live job that may change."""
        return cast(Job, self.call("UpdateJob", {"job": job, "spec": spec}, timeout=timeout))

    def delete_job(self, job: str, *, timeout: Optional[float] = None) -> None:
        """Deletes the job and its history."""
        self.call("DeleteJob", {"job": job}, timeout=timeout)

    # ---- reports and rates ----

    def report(self, job: str, loss: Optional[float] = None, *, metric: Optional[float] = None,
               step: Optional[int] = None, rank: Optional[int] = None, weight: Optional[float] = None,
               attempt: Optional[int] = None, lr_cap: Optional[float] = None, applied_lr: Optional[float] = None,
               dry_run: Optional[bool] = None, request_id: Optional[str] = None,
               lr: Optional[Sequence[float]] = None, wait: Optional[float] = None,
               timeout: Optional[float] = None) -> Decision:
        """Reports a value, as `loss` or as `metric`, and returns the decision.

        step     uint32; None: the next one, which is safe to repeat only with a request_id.
        wait     seconds to wait for the other ranks of the round, at most 300.
        timeout  seconds for all of it; choose it longer than wait.
        """
        return cast(Decision, self.call("Report", {
            "job": job, "loss": loss, "metric": metric, "step": step, "rank": rank, "weight": weight,
            "attempt": attempt, "lr_cap": lr_cap, "applied_lr": applied_lr, "dry_run": dry_run,
            "request_id": request_id, "lr": lr, "wait": None if wait is None else duration(wait)}, timeout=timeout))

    def batch_report(self, reports: Sequence[ReportRequest], *, timeout: Optional[float] = None) -> List[BatchResult]:
        """Up to 10,000 reports in one durable commit; one result each, in their order."""
        answer = self.call("BatchReport", {"reports": list(reports)}, timeout=timeout)
        if len(answer["results"]) != len(reports):
            raise self._alien(f"{len(answer['results'])} results for {len(reports)} reports")
        return cast(List[BatchResult], answer["results"])

    def get_lr(self, job: str, *, step: Optional[int] = None, wait: Optional[float] = None,
               timeout: Optional[float] = None) -> GetLrResponse:
        """The rates to use now; with step those of that step's decision, for which it waits up to `wait` seconds."""
        return cast(GetLrResponse, self.call("GetLr", {
            "job": job, "step": step, "wait": None if wait is None else duration(wait)}, timeout=timeout))

    def list_decisions(self, job: str, *, from_step: Optional[int] = None, to_step: Optional[int] = None,
                       max_points: Optional[int] = None, superseded: Optional[bool] = None, page_size: int = 1000,
                       timeout: Optional[float] = None) -> Iterator[Decision]:
        """The job's history, ascending by revision, events included.

        max_points  of a long one no more decisions than this (at most 2,000), those that a plot needs.
        """
        query = {"job": job, "from_step": from_step, "to_step": to_step, "max_points": max_points,
                 "superseded": superseded, "page_size": page_size if max_points is None else None}
        return cast(Iterator[Decision], self._pages("ListDecisions", query, "decisions", timeout))

    def _pages(self, method: str, query: Dict[str, Any], field: str,
               timeout: Optional[float]) -> Iterator[Dict[str, Any]]:
        token: Optional[str] = None
        while True:
            page = self.call(method, {**query, "page_token": token}, timeout=timeout)
            yield from page.get(field, [])
            last, token = token, page.get("next_page_token")
            if not token:
                return
            if token == last:  # it would go on for ever
                raise self._alien(f"the page after {token!r} is itself")

    def watch_job(self, job: str, *, after_revision: Optional[int] = None,
                  timeout: Optional[float] = None) -> Iterator[Decision]:
        """Decisions as they become durable, for ever.

        after_revision  begin after it; None: with the next decision.  To go on after an error give the revision of
                        the last decision seen.
        timeout         seconds until the stream has begun.
        Raises GreedyLRError when the daemon ends the stream (job deleted, draining, too slow) or goes away.
        """
        path = f"/v1/jobs/{urllib.parse.quote(job, safe='')}:watch"
        if after_revision is not None:
            path += f"?after_revision={after_revision}"
        event, data = "", ""
        lines = self._transport.lines(path, {"Accept": "text/event-stream"},
                                      self._seconds(timeout))
        for line in lines:
            name, _, value = line.partition(":")
            if name == "event":
                event = value.strip()
            elif name == "data":
                data = value.strip()
            elif not line and data:
                parsed = _message(data)
                if parsed is None:
                    raise self._alien(data)
                if event == "end":
                    raise GreedyLRError(str(parsed.get("code", "unavailable")), str(parsed.get("reason", "")),
                                        str(parsed.get("message", "the daemon ended the stream")), 200)
                yield cast(Decision, parsed)
                event, data = "", ""
        raise no_answer("NO_ANSWER", f"{self.url}: the stream of {job} broke off; watch again from the last revision")

    # ---- attempts and what operators do ----

    def begin_attempt(self, job: str, *, step: Optional[int] = None, timeout: Optional[float] = None) -> Job:
        """Starts the next attempt, from the state after `step` if given; its number is the answer's `attempt`."""
        return cast(Job, self.call("BeginAttempt", {"job": job, "step": step}, timeout=timeout))

    def rewind_job(self, job: str, *, step: Optional[int] = None, initial: Optional[bool] = None,
                   attempt: Optional[int] = None, timeout: Optional[float] = None) -> Job:
        """Restores the state as it was after a step, or at creation.  With attempt: again is a no-op."""
        return cast(Job, self.call("RewindJob", {"job": job, "step": step, "initial": initial, "attempt": attempt},
                                   timeout=timeout))

    def fork_job(self, job: str, spec: JobSpec, *, step: Optional[int] = None, timeout: Optional[float] = None) -> Job:
        """Starts the job spec["job"] from the state after `step`, with the settings of spec that differ."""
        return cast(Job, self.call("ForkJob", {"job": job, "step": step, "spec": spec}, timeout=timeout))

    def set_lr(self, job: str, lr: Sequence[float], *, timeout: Optional[float] = None) -> Decision:
        """Overrides the rates, one per group."""
        return cast(Decision, self.call("SetLr", {"job": job, "lr": list(lr)}, timeout=timeout))

    def pause_job(self, job: str, *, timeout: Optional[float] = None) -> Job:
        """From now on reports are recorded and change nothing."""
        return cast(Job, self.call("PauseJob", {"job": job}, timeout=timeout))

    def resume_job(self, job: str, *, timeout: Optional[float] = None) -> Job:
        """Ends a pause; opens a finished job again."""
        return cast(Job, self.call("ResumeJob", {"job": job}, timeout=timeout))

    def finish_job(self, job: str, *, timeout: Optional[float] = None) -> Job:
        """The run is over: reports are refused until resume_job."""
        return cast(Job, self.call("FinishJob", {"job": job}, timeout=timeout))

    # ---- state_dicts and simulation ----

    def import_state(self, job: str, state_dict: Mapping[str, Any], *, timeout: Optional[float] = None) -> Job:
        """Takes over the state_dict of Transformers' GreedyLR or of PyTorch's ReduceLROnPlateau."""
        return cast(Job, self.call("ImportState", {"job": job, "state_dict": json.dumps(dict(state_dict))},
                                   timeout=timeout))

    def export_state(self, job: str, *, timeout: Optional[float] = None) -> Dict[str, Any]:
        """The state as a state_dict for such a scheduler."""
        text = self.call("ExportState", {"job": job}, timeout=timeout)["state_dict"]
        return cast(Dict[str, Any], json.loads(text))

    def simulate(self, spec: JobSpec, losses: Sequence[float], *, timeout: Optional[float] = None) -> SimulateResponse:
        """What a spec would decide on a list of at most 10,000 values; stores nothing."""
        return cast(SimulateResponse, self.call("Simulate", {"spec": spec, "losses": list(losses)}, timeout=timeout))
