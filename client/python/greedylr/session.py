"""One training run's side of a job, for any framework: reports values, hands out rates, outlives the daemon.

The way of a value: step() agrees with the other ranks on step and value, asks the daemon within the budget (attach to
the job if that is still to do, hand in what it missed, report), and makes every rank use the one outcome.

Attempts.  Each Session that finds decisions in its job is a new attempt of the run, and so is each load_state_dict: its
number is the job's plus one.  So the daemon goes back by itself when a restarted run reports a step that was decided
before, and refuses the process that the restart replaced (STALE_ATTEMPT).  The restart counters of launchers are not
used: they begin at 0 again when a job is queued again.

Failures.  Refusals (a bad setting, a stale attempt, a finished job) are raised on every rank in every mode: going on
would mean training at rates that nobody decided.  Everything else is an outage, and on_error says what it means.

Credentials.  A token or a certificate that does not do is raised while the Session is made.  Later, when a run would
die of a token that somebody revoked, it is an outage that is logged as an error, once; what was missed is handed in
when it is put right.
"""
from __future__ import annotations

import logging
import math
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Union, cast

from .client import Client
from .distributed import Alone, Ranks, cut, encode
from .errors import NOT_GREEDYLRD, GreedyLRError, no_answer, of_item
from .local import LocalGreedy, combine
from .messages import Anneal, Decision, Job, JobSpec, Ramp, ReportRequest, Shadow
from .outage import Missed, MissedQueue, Outage, Window
from .spec import Policy, RunSpec

log = logging.getLogger("greedylr")

ON_ERROR = ("hold", "local", "raise")
REDUCE = ("mean", "min", "max", "median", "first")
STEP_MAX = 2**32 - 1
#: Losses handed in with one request.
CHUNK = 100
#: Bytes of a record that says what a rank reports.
ENTRY_ROOM = 512

Outcome = Dict[str, Any]


def room(groups: int) -> int:
    """Bytes of a record that says what came of a report."""
    return 2560 + 64 * groups


class _Target(NamedTuple):
    """Where a loaded state wants the job: after the decision of `step` that had `revision`, or at its beginning."""

    step: Optional[int]
    revision: Optional[int]


class Session:
    """A run's place in a job.

    job           id: 1 to 128 of A-Z a-z 0-9 . _ -
    lr            initial rates, one per group: what the job is created with.
    url           of the daemon, or a Client; None: GREEDYLR_URL, else http://127.0.0.1:8571.
    current       rates in use now, where they are not the initial ones.
    group_names   of the groups; unique ones let a restart build its groups in another order.
    on_error      during an outage: "hold" keeps the rates and hands the values in when the daemon is back, "local"
                  decides by the same rules meanwhile (and hands them in as well), "raise" raises, for tests.
    budget        seconds one call may take, retries included; after that see outage.py.
    attempt       restart counter of the run, if its launcher keeps one that never goes back; None: see above.
    rounds        every rank reports for itself and the daemon combines; else rank 0 reports what the ranks combined.
    reduce        how values become one: "mean" (weighted), "min", "max", "median", "first".
    policy        what moves the rates, with its settings: {"cosine_annealing": {"t_max": 100}}, or the name of one that
                  needs none, "constant"; None: GreedyLR.  on_error="local" is for GreedyLR alone.
    ramp, anneal, shadow, on_nonfinite  as in the contract: a warm-up in front of the policy, a line to 0 at the end,
                  policies that only watch, what a NaN does ("bad", the default, "skip", "cut", "reject").
    spec          a JobSpec, or what of it is not given otherwise: labels, strict, ranks (quorum, deadline), a policy.
    ranks         asked for the process's ranks at construction and at every call; all of them construct a Session.
    outage        budget and circuit breaker to use instead of a new one.
    greedy        GreedyLR's settings by name; None and absent: the daemon's defaults.

    Rates of groups (min_lr, eta_min, ...) are one for all, one per group, or by the groups' names.

    Constructing creates the job if it is not there, and does not fail where the daemon is away.  Raises ValueError for
    bad arguments and GreedyLRError where the daemon refuses (JOB_EXISTS: the id belongs to a job with another spec).
    One thread at a time.

    lrs is the rates to use now, one per group: after construction those the job begins with (0, where a warm-up does),
    or `current` where the job has decisions or the daemon is away.  last_step is the last step reported, None before
    the first; decision the daemon's last Decision, None before it and during outages.
    """

    def __init__(self, job: str, lr: Sequence[float], url: Union[str, Client, None] = None, *,
                 current: Optional[Sequence[float]] = None, group_names: Optional[Sequence[str]] = None,
                 on_error: str = "hold", budget: float = 5.0, attempt: Optional[int] = None, rounds: bool = False,
                 reduce: str = "mean", policy: Optional[Policy] = None, ramp: Optional[Ramp] = None,
                 anneal: Optional[Anneal] = None, shadow: Optional[Sequence[Shadow]] = None,
                 on_nonfinite: Optional[str] = None, spec: Optional[JobSpec] = None,
                 ranks: Callable[[], Ranks] = Alone, outage: Optional[Outage] = None, **greedy: Any) -> None:
        for name, value, allowed in (("on_error", on_error, ON_ERROR), ("reduce", reduce, REDUCE)):
            if value not in allowed:
                raise ValueError(f"{name}: must be one of {', '.join(allowed)}, got {value!r}")
        if attempt is not None and not 0 <= attempt <= STEP_MAX:
            raise ValueError(f"attempt: must be an integer from 0 to {STEP_MAX}, got {attempt!r}")
        self.job, self.on_error, self.rounds, self.reduce = job, on_error, rounds, reduce
        self.client = url if isinstance(url, Client) else Client(url)
        self.run_spec = RunSpec(job, lr, group_names=group_names, policy=policy, spec=spec, greedy=greedy, more={
            "ramp": ramp, "anneal": anneal, "shadow": shadow, "on_nonfinite": on_nonfinite})
        self.lrs: List[float] = [float(x) for x in (current or lr)]
        self.last_step: Optional[int] = None
        self.decision: Optional[Decision] = None
        self.missed = MissedQueue()
        self._order = list(range(len(self.lrs)))  # the job's groups as indices of ours
        self._mirror = self._new_mirror() if on_error == "local" else None
        self._outage = outage or Outage(budget, breaker=on_error != "raise")
        self._ranks = ranks
        self._world = ranks().size
        self._attached, self._target = False, cast(Optional[_Target], None)
        self._uid: Optional[str] = None
        self._attempt: Optional[int] = None
        self._given, self._claimed = attempt, cast(Optional[int], None)
        self._decided: Optional[int] = None  # the last step decided that this run knows of, and the decision's revision
        self._revision: Optional[int] = None
        self._answered = False  # the rates in use are those of the daemon's last decision
        self._away, self._denied, self._told = False, False, cast(List[str], [])
        self._fresh = True  # constructing: the run has used no rates yet
        self._settle(self._of_rank_0(ranks(), self._attach_alone), constructing=True)
        self._fresh = False
        if self._mirror is not None:
            self._mirror.adopt({"lrs": self.lrs})

    def _new_mirror(self) -> LocalGreedy:
        mirror = self.run_spec.mirror()
        mirror.adopt({"lrs": self.lrs})
        return mirror

    # ---- one value ----

    def step(self, value: Any = None, step: Optional[int] = None, *, weight: float = 1.0,
             applied: Optional[Sequence[float]] = None) -> List[float]:
        """Reports a value and returns the rates to use from now on, one per group; the same on every rank.

        value    anything float() takes, or an array or tensor of one element.  None, only where the policy counts
                 reports and no shadow looks at values: a NaN is reported, since a report has to have one.
        step     0 to 2**32 - 1; None: the last one + 1, the first is 1.  One that was reported before gets the
                 recorded decision and changes nothing.  Every rank gives the same.
        weight   samples behind the value, at least 0; a rank with 0 does not count (with rounds: above 0).
        applied  the rates the optimizer really used, to let the daemon notice when they are not the decided ones.
        Raises on every rank alike, and then has not counted the step: GreedyLRError for a refusal and, with
        on_error="raise", for an outage; ValueError where a rank gave something bad or the ranks' steps differ.
        """
        ranks = self._present()
        entry = self._entry(ranks, value, step, weight)
        if self.rounds and ranks.size > 1:
            self._step_of_rounds(ranks, entry, applied)
        else:
            at, single = self._agreed(ranks.gather(entry, ENTRY_ROOM))
            outcome = self._of_rank_0(ranks, lambda: self._contact(at, single, 1.0, None, applied))
            self._settle(outcome, Missed(at, (single,), (1.0,)), single)
        return self.lrs

    def flush(self) -> int:
        """Hands in the values that the daemon has missed, and returns how many it still misses; 0 is all well.

        Takes up to a whole budget even where calls return at once for an outage: for the end of a run.  Every rank
        calls it.  Raises as step does.
        """
        ranks = self._present()
        if self.missed.items:
            self._outage.closed()
            item = self.missed.items[-1]
            value, weight = item.of(ranks.rank)
            if self.rounds and ranks.size > 1:
                self._step_of_rounds(ranks, {"step": item.step, "value": value, "weight": weight}, None)
            else:
                outcome = self._of_rank_0(ranks, lambda: self._contact(item.step, value, 1.0, None, None))
                self._settle(outcome, item, value)
        return len(self.missed.items)

    def _present(self) -> Ranks:
        ranks = self._ranks()
        if ranks.size != self._world:
            raise RuntimeError(f"GreedyLR was made for {self._world} processes and now there are {ranks.size}: make it "
                               "after torch.distributed is initialised, and anew when the group changes")
        return ranks

    def _entry(self, ranks: Ranks, value: Any, step: Optional[int], weight: float) -> Dict[str, Any]:
        """What this rank reports; something bad becomes an entry too, so that the other ranks do not wait."""
        try:
            at = (0 if self.last_step is None else self.last_step) + 1 if step is None else int(step)
            if (step is not None and at != step) or not 0 <= at <= STEP_MAX:
                raise ValueError(f"step: must be an integer from 0 to {STEP_MAX}, got {step!r}")
            heavy = float(weight)
            if not (math.isfinite(heavy) and heavy >= 0) or (self.rounds and ranks.size > 1 and heavy == 0):
                raise ValueError(f"weight: must be a finite number of samples, at least 0 (with rounds above 0), "
                                 f"got {weight!r}")
            plain = value.item() if hasattr(value, "item") else value  # NumPy and JAX refuse float() of one in an array
            given = self.run_spec.absent_value() if value is None else float(plain)
            return {"step": at, "value": given, "weight": heavy}
        except Exception as error:
            if ranks.size == 1:
                raise
            return {"error": cut(f"{type(error).__name__}: {error}", 200)}

    def _agreed(self, entries: Sequence[Mapping[str, Any]]) -> Any:
        """Step and combined value of all ranks' entries."""
        for rank, entry in enumerate(entries):
            if "error" in entry:
                raise ValueError(f"rank {rank}: {entry['error']}")
        steps = [entry["step"] for entry in entries]
        if len(set(steps)) > 1:
            other = next(r for r, s in enumerate(steps) if s != steps[0])
            raise ValueError(f"step: rank 0 reports {steps[0]}, rank {other} reports {steps[other]}; "
                             "every rank has to report every step")
        if len(entries) == 1:
            return steps[0], entries[0]["value"]
        counted = [entry for entry in entries if entry["weight"] > 0]
        if not counted:
            raise ValueError("weight: is 0 on every rank")
        return steps[0], combine([e["value"] for e in counted], [e["weight"] for e in counted], self.reduce)

    def _step_of_rounds(self, ranks: Ranks, entry: Dict[str, Any], applied: Optional[Sequence[float]]) -> None:
        """Every rank reports; then one collective, and whoever got the decision shares it."""
        if not self._attached:
            self._settle(self._of_rank_0(ranks, self._attach_alone))
        record, broken = dict(entry), cast(Optional[BaseException], None)
        if "error" not in entry:
            try:
                outcome = self._contact(entry["step"], entry["value"], entry["weight"], ranks.rank, applied,
                                        create=False)
                record["outcome"] = self._brief(outcome)
                encode(record, room(len(self.lrs)))
            except BaseException as error:  # the other ranks are about to wait for this one
                record, broken = {"error": cut(f"{type(error).__name__}: {error}", 200)}, error
        records = ranks.gather(record, room(len(self.lrs)))
        if broken is not None:
            raise broken
        at, single = self._agreed(records)
        outcomes = [r["outcome"] for r in records]
        missed = Missed(at, tuple(r["value"] for r in records), tuple(r["weight"] for r in records))
        self._settle(self._chosen(outcomes), missed, single, own=outcomes[ranks.rank])
        self._tell_cut_off(ranks.rank, outcomes)

    @staticmethod
    def _chosen(outcomes: Sequence[Outcome]) -> Outcome:
        """A refusal if there is one, else a decision, else the first failure: outages before mere waiting."""
        errors = [GreedyLRError(**o["error"]) if "error" in o else None for o in outcomes]
        kinds = ["decision" if e is None else "outage" if e.outage or e.denied else "waiting" if e.transient else "refusal"
                 for e in errors]
        best = min(kinds, key=("refusal", "decision", "outage", "waiting").index)
        return outcomes[kinds.index(best)]

    def _of_rank_0(self, ranks: Ranks, make: Callable[[], Outcome]) -> Outcome:
        """What rank 0 makes, on every rank; if it breaks there, every rank raises."""
        if ranks.size == 1:
            return make()
        outcome: Outcome = {}
        if ranks.rank == 0:
            try:
                outcome = self._brief(make())
                encode(outcome, room(len(self.lrs)))  # the other ranks wait: it has to fit
            except BaseException as error:
                ranks.broadcast({"broken": cut(f"{type(error).__name__}: {error}")}, room(len(self.lrs)))
                raise
        outcome = ranks.broadcast(outcome, room(len(self.lrs)))
        if "broken" in outcome:
            raise RuntimeError(f"rank 0: {outcome['broken']}")
        return outcome

    @staticmethod
    def _brief(outcome: Outcome) -> Outcome:
        """An outcome that fits a record: of a decision, shadows and what a newer daemon may have added are left out."""
        def brief(name: str, part: Mapping[str, Any]) -> Dict[str, Any]:
            return {k: cut(v) if isinstance(v, str) else v for k, v in part.items()
                    if name != "decision" or (k in Decision.__annotations__ and k != "shadow")}
        return {k: brief(k, v) if isinstance(v, dict) else v for k, v in outcome.items()}

    # ---- asking the daemon ----

    def _attach_alone(self) -> Outcome:
        try:
            self._attach(self._outage.window())
            return {"place": self._place()}
        except GreedyLRError as error:
            return {"error": error.to_dict(), "place": self._place()}

    def _contact(self, step: int, value: float, weight: float, rank: Optional[int],
                 applied: Optional[Sequence[float]], create: bool = True) -> Outcome:
        """Everything one step asks of the daemon.  create: may also attach to the job."""
        def report(left: float) -> Decision:
            used = applied[self._order[0]] if applied and self._answered else None
            # The daemon answers WAIT_EXPIRED before the connection's own time is over.
            wait = None if rank is None else max(left - min(0.5, left / 4), 0.001)
            return self.client.report(self.job, value, step=step, rank=rank, attempt=self._attempt, applied_lr=used,
                                      weight=None if rank is None else weight, wait=wait, timeout=left)
        try:
            window = self._outage.window()
            if create:
                self._attach(window)
            elif not self._attached:
                raise self._outage.error or GreedyLRError("unavailable", "UNREACHABLE", "the job is not known yet")
            decision = self._with_job(window, lambda: self._reported(window, report, rank))
            return {"decision": {**decision, "lrs": self._ours(decision["lrs"])}, "place": self._place()}
        except GreedyLRError as error:
            return {"error": error.to_dict(), "place": self._place()}

    def _reported(self, window: Window, report: Callable[[float], Decision], rank: Optional[int]) -> Decision:
        self._hand_in(window, rank)
        return window.call(report)

    def _with_job(self, window: Window, ask: Callable[[], Decision]) -> Decision:
        """Asks; where the job is gone (deleted, or the daemon lost its data), makes it again and asks once more."""
        try:
            return ask()
        except GreedyLRError as error:
            if error.reason not in ("JOB_NOT_FOUND", "JOB_DELETED"):
                raise
        log.warning("greedylr: job %s is gone and is created again; %s", self.job, self.run_spec.again)
        job = self._create(window)
        self._uid = job["uid"]
        self._override(window, job)
        return ask()

    def _override(self, window: Window, job: Job) -> None:
        """Takes a job that starts over to the rates in use.  A schedule by count has its own first ones: scaled to the
        rates of another report it would be wrong ever after."""
        rates = self._theirs(self.lrs)
        if job["state"]["lrs"] != rates and not self.run_spec.counts and min(rates) > 0:
            window.call(lambda left: self.client.set_lr(self.job, rates, timeout=left))

    def _hand_in(self, window: Window, rank: Optional[int]) -> None:
        """Reports what has no decision yet, oldest first.  Repeating it is safe: the steps are explicit."""
        done = 0
        while done < len(self.missed.items):
            chunk = self.missed.items[done:done + CHUNK]
            reports = [self._late_report(item, rank) for item in chunk]
            for item, result in zip(chunk, window.call(lambda left: self.client.batch_report(reports, timeout=left))):
                if "error" in result:
                    error = of_item(result["error"])
                    if error.transient:  # the other ranks are behind, or the daemon is in trouble
                        window.retry(error)
                        break
                    if error.reason not in ("JOB_NOT_FOUND", "JOB_DELETED") and not error.denied:
                        self.missed.decided(item.step)  # refused: not again
                    raise error
                done += 1
                if "decision" in result:
                    self._decided, self._revision = item.step, result["decision"]["revision"]

    def _late_report(self, item: Missed, rank: Optional[int]) -> ReportRequest:
        report: ReportRequest = {"job": self.job, "step": item.step}
        if self._attempt is not None:
            report["attempt"] = self._attempt
        value, weight = item.of(rank or 0)
        report["loss"] = value
        if rank is not None:
            report["rank"], report["weight"] = rank, weight
        return report

    # ---- the job ----

    def _attach(self, window: Window) -> None:
        """Makes sure of the job, of this run's attempt, and that the job stands where a loaded state left it."""
        if self._attached:
            return
        job = self._create(window)
        decided = "step" in job["state"]
        if self._claimed is None:  # kept if this breaks off: the same rewind again is no other one
            self._claimed = self._given if self._given is not None else job["attempt"] + (
                1 if decided or self._target else 0)
        if self._target is not None:
            self._go_back(window, job, self._target, decided)
        else:
            self._answered = not decided and self._begins(job)
        self._uid, self._attempt = job["uid"], self._claimed
        self._attached, self._target, self._claimed, self._given = True, None, None, None

    def _begins(self, job: Job) -> bool:
        """A job without decisions: takes over the rates it begins with, if the run has not used others yet.  Whether
        they are those in use."""
        rates = self._ours(job["state"]["lrs"])
        if self._fresh:
            self.lrs = rates
        return self.lrs == rates

    def _go_back(self, window: Window, job: Job, target: _Target, decided: bool) -> None:
        def rewind(**to: Any) -> Job:
            return window.call(lambda left: self.client.rewind_job(self.job, attempt=self._claimed, timeout=left, **to))
        try:
            if target.step is None:
                if decided:
                    rewind(initial=True)
            else:
                self._find(window, job, target)
                rewind(step=target.step)
            self._answered = not self.missed.items
        except GreedyLRError as error:
            if error.reason != "STEP_NOT_FOUND":
                raise
            log.warning("greedylr: job %s does not know step %s of the loaded state (%s); %s", self.job, target.step,
                        error.message, self.run_spec.again)
            self._override(window, rewind(initial=True) if decided else job)

    def _find(self, window: Window, job: Job, target: _Target) -> None:
        """Raises STEP_NOT_FOUND where the job is another one of the same id, or its step was decided anew since: a run
        that went back, and now loads what it left behind."""
        if self._uid is not None and self._uid != job["uid"]:
            raise GreedyLRError("not_found", "STEP_NOT_FOUND", "the job was deleted and created again")
        found = window.call(lambda left: list(self.client.list_decisions(
            self.job, from_step=target.step, to_step=target.step, timeout=left)))
        if not any(decision["revision"] == target.revision for decision in found):
            raise GreedyLRError("not_found", "STEP_NOT_FOUND", "a rewind went back behind it")

    def _create(self, window: Window) -> Job:
        try:
            return window.call(lambda left: self.client.create_job(self._spec(), timeout=left))
        except GreedyLRError as error:
            if error.reason != "JOB_EXISTS":
                raise
            refused = error
        job = window.call(lambda left: self.client.get_job(self.job, timeout=left))
        return self._reconciled(window, job, refused)

    def _spec(self) -> JobSpec:
        """The job as this run describes it, its groups in the job's order."""
        ranks = {"reduce": self.reduce, "world_size": self._world} if self.rounds else {}
        return self.run_spec.message(self._order, ranks)

    def _reconciled(self, window: Window, job: Job, refused: GreedyLRError) -> Job:
        """The job was created with another spec.  That is well if the groups only come in another order, if an update
        made it what this run gives, or if the number of ranks changed; settings not given here stay the job's."""
        names, theirs = self.run_spec.names, job["spec"].get("group_names", [])
        if names and len(set(theirs)) == len(theirs) and sorted(theirs) == sorted(names):
            self._order = [names.index(name) for name in theirs]
        mine = self._spec()
        differing = self.run_spec.differing(mine, job["spec"])
        if not differing:
            return job
        if differing == {"world_size"} and self.rounds:
            return window.call(lambda left: self.client.update_job(self.job, {"ranks": mine["ranks"]}, timeout=left))
        raise refused

    def _ours(self, rates: Sequence[float]) -> List[float]:
        """Rates in the job's order of groups, in ours."""
        if len(rates) != len(self._order):
            raise no_answer(NOT_GREEDYLRD, f"job {self.job}: answered {len(rates)} rates for {len(self._order)} groups")
        out = [0.0] * len(rates)
        for j, i in enumerate(self._order):
            out[i] = rates[j]
        return out

    def _theirs(self, rates: Sequence[float]) -> List[float]:
        return [rates[i] for i in self._order]

    # ---- what came of it ----

    def _place(self) -> Dict[str, Any]:
        """What the other ranks have to know of rank 0's place in the job."""
        return {"attached": self._attached, "attempt": self._attempt, "uid": self._uid, "order": self._order,
                "answered": self._answered, "lrs": self.lrs}

    def _take_place(self, place: Mapping[str, Any]) -> None:
        if place["attached"] and not self._attached:
            self._attached, self._target, self._given, self._claimed = True, None, None, None
            self._answered, self.lrs = place["answered"], list(place["lrs"])
        self._attempt, self._uid, self._order = place["attempt"], place["uid"], list(place["order"])

    def _settle(self, outcome: Outcome, item: Optional[Missed] = None, value: float = math.nan, *,
                own: Optional[Outcome] = None, constructing: bool = False) -> None:
        """Takes over an outcome, the same on every rank.  item, value: what was reported, if anything."""
        self._take_place(outcome["place"])
        if "error" in outcome:
            error = GreedyLRError(**outcome["error"])
            passing = error.transient or (error.denied and not constructing)
            if not passing or (self.on_error == "raise" and not constructing):
                raise error
            self._go_without(error, item, value)
        elif item is not None:
            self._follow(cast(Decision, outcome["decision"]), item.step, value)
        if item is not None:
            self.last_step = item.step if self.last_step is None else max(item.step, self.last_step)

    def _follow(self, decision: Decision, step: int, value: float) -> None:
        if self._mirror is not None and (self._decided is None or step > self._decided) and (
                self.last_step is None or step > self.last_step):
            self._mirror.follow(decision.get("value", value), decision)
        if self._away:
            self._away = self._denied = False
            if self._ranks().rank == 0:
                log.info("greedylr: job %s is decided by the daemon again, from step %d", self.job, step)
        self.decision, self.lrs = decision, list(decision["lrs"])
        if self._decided is None or step >= self._decided:
            self._decided, self._revision = step, decision["revision"]
        self.missed.decided(self._decided)
        self._answered = True
        if decision.get("conflict"):
            self._tell("conflict", "step %d was decided on another value (%r, not %r): does another run use this job?",
                       step, decision.get("value"), value)
        if decision.get("applied_mismatch"):
            self._tell("mismatch", "at step %d the optimizer had not used the rate the daemon has: did an operator set "
                       "it meanwhile, or does something else set the optimizer's?", step)

    def _go_without(self, error: GreedyLRError, item: Optional[Missed], value: float) -> None:
        """No decision: the rates stay, or are decided here."""
        if not self._away or (error.denied and not self._denied):
            self._away, self._denied = True, self._denied or error.denied
            if self._ranks().rank == 0:
                log.log(logging.ERROR if error.denied else logging.WARNING,
                        "greedylr: job %s: %s; %s until it is %s, and the losses are handed in then", self.job, error,
                        "rates are decided in the process" if self._mirror else "the rates stay",
                        "put right" if error.denied else "back")
        if item is None or (self.last_step is not None and item.step <= self.last_step):
            return
        self.decision, self._answered = None, False
        self.missed.add(item)
        if self.missed.dropped:
            self._tell("dropped", "more than %d losses wait for the daemon; the oldest are dropped",
                       len(self.missed.items))
        if self._mirror is not None:
            self.lrs = list(self._mirror.step(value))

    def _tell(self, topic: str, message: str, *args: Any) -> None:
        """A warning once in the run."""
        if topic not in self._told:
            self._told.append(topic)
            if self._ranks().rank == 0:
                log.warning("greedylr: job %s: " + message, self.job, *args)

    def _tell_cut_off(self, rank: int, outcomes: Sequence[Outcome]) -> None:
        """A rank that is cut off while others are not: the lowest one says so, once."""
        cut_off = [r for r, o in enumerate(outcomes) if "error" in o and (
            GreedyLRError(**o["error"]).outage or GreedyLRError(**o["error"]).denied)]
        if cut_off and len(cut_off) < len(outcomes) and "cut off" not in self._told:
            self._told.append("cut off")
            if rank == cut_off[0]:
                log.warning("greedylr: job %s: rank %d does not reach the daemon: %s; the rates come from the other "
                            "ranks", self.job, rank, outcomes[rank]["error"]["message"])

    # ---- state ----

    def state_dict(self) -> Dict[str, Any]:
        """The run's place as plain data (JSON holds it but for infinities), the same on every rank: one may save it."""
        return {"version": 1, "job": self.job, "uid": self._uid, "last_step": self.last_step, "decided": self._decided,
                "revision": self._revision, "lrs": list(self.lrs), "missed": self.missed.state(),
                "local": self._mirror.state_dict() if self._mirror is not None else None}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes back to where state_dict was called: this run, and the daemon's job as well, as a new attempt.

        Every rank calls it with the same state.  Values that had no decision then are handed in again.  A daemon that
        is away goes back when it is back.  Raises ValueError for a state of another job and where ranks loaded
        different steps, GreedyLRError where the daemon refuses.
        """
        ranks = self._present()
        seen = ranks.gather(self._loadable(ranks, state), ENTRY_ROOM)
        for rank, entry in enumerate(seen):
            if "error" in entry:
                raise ValueError(entry["error"])
            if entry != seen[0]:
                raise ValueError(f"state_dict: rank 0 loads step {seen[0]['last_step']}, rank {rank} loads step "
                                 f"{entry['last_step']}; every rank has to load the same one")
        self.last_step, self._uid = state["last_step"], state["uid"]
        self._decided, self._revision = state["decided"], state["revision"]
        self.lrs, self.decision = [float(x) for x in state["lrs"]], None
        self.missed = MissedQueue(state["missed"])
        self._fit_missed(ranks)
        if self._mirror is not None:
            self._mirror = self.run_spec.mirror()
            if state["local"] is not None:
                self._mirror.load_state_dict(state["local"])
            self._mirror.adopt({"lrs": self.lrs})
        self._attached, self._answered, self._target = False, False, _Target(self._decided, self._revision)
        self._settle(self._of_rank_0(ranks, self._attach_alone))

    def _loadable(self, ranks: Ranks, state: Mapping[str, Any]) -> Dict[str, Any]:
        try:
            return self._checked(state)
        except Exception as broken:  # the other ranks are about to wait for this one
            what = f"{type(broken).__name__}: {broken}"
            return {"error": cut(f"state_dict: is not a whole one of greedylr's: {what}", 400)}

    def _checked(self, state: Mapping[str, Any]) -> Dict[str, Any]:
        error = ""
        if state.get("version") != 1:
            error = f"state_dict: is not one of greedylr's, or of a newer version; it has {sorted(state)[:8]}"
        elif state["job"] != self.job:
            error = f"state_dict: belongs to job {state['job']!r}, this run is {self.job!r}; give it the same job"
        elif len(state["lrs"]) != len(self.lrs):
            error = f"state_dict: has {len(state['lrs'])} rates, the optimizer has {len(self.lrs)} parameter groups"
        if error:
            return {"error": cut(error, 400)}
        if not all(0 <= float(x) < math.inf for x in state["lrs"]):
            raise ValueError(f"lrs: must be finite and at least 0, got {state['lrs']!r}")
        if state["uid"] is not None and not isinstance(state["uid"], str):
            raise TypeError(f"uid: must be a string, got {state['uid']!r}")
        for name in ("last_step", "decided", "revision"):
            if state[name] is not None and not (isinstance(state[name], int) and 0 <= state[name] <= STEP_MAX):
                raise ValueError(f"{name}: must be an integer from 0 to {STEP_MAX}, got {state[name]!r}")
        MissedQueue(state["missed"])
        if state["local"] is not None:
            self.run_spec.mirror().load_state_dict(state["local"])
        return {"last_step": state["last_step"], "decided": state["decided"]}

    def _fit_missed(self, ranks: Ranks) -> None:
        """Values of each rank, where each rank of as many reports for itself; otherwise what they combine to."""
        for i, item in enumerate(self.missed.items):
            if len(item.values) > 1 and not (self.rounds and len(item.values) == ranks.size):
                single = combine(item.values, item.weights, self.reduce)
                self.missed.items[i] = Missed(item.step, (single,), (1.0,))
