"""The messages of greedylr/v1/scheduler.proto as typed dicts; every field is optional unless it says otherwise.

The contract's comments say what each field means, its range and its default.  On the way in a plain number may stand
for a list of rates.  On the way out numbers of type double are floats, NaN and the infinities included.
"""
from __future__ import annotations

from typing import Any, Dict, FrozenSet, List, TypedDict, get_type_hints


class Greedy(TypedDict, total=False):
    """Settings of GreedyLR."""

    dialect: str
    mode: str
    factor: float
    patience: int
    threshold: float
    threshold_mode: str
    cooldown: int
    warmup: int
    stage_mode: str
    min_lr: List[float]
    max_lr: List[float]
    eps: float
    smooth: bool
    smoothing: str
    window_size: int
    reset_start: int


class Plateau(TypedDict, total=False):
    """Settings of ReduceLROnPlateau."""

    mode: str
    factor: float
    patience: int
    threshold: float
    threshold_mode: str
    cooldown: int
    min_lr: List[float]
    eps: float


class Ramp(TypedDict, total=False):
    """A linear warm-up in front of the policy; both are required."""

    reports: int
    start_factor: float


class Ranks(TypedDict, total=False):
    """How the reports of several ranks become one value; deadline: "60s"."""

    world_size: int
    reduce: str
    quorum: int
    deadline: str


class JobSpec(TypedDict, total=False):
    """What a job is; `job` and `lr` (one rate per group) are required at creation, at most one policy is given."""

    job: str
    lr: List[float]
    group_names: List[str]
    ramp: Ramp
    ranks: Ranks
    on_nonfinite: str
    strict: bool
    labels: List[str]
    greedy: Greedy
    plateau: Plateau


class Round(TypedDict, total=False):
    """Reports of one step that wait for each other."""

    step: int
    attempt: int
    world_size: int
    quorum: int
    reported: int
    missing: List[int]
    rounds_behind: int
    overdue: bool


class JobState(TypedDict, total=False):
    """Where a scheduler stands."""

    lr: float
    lrs: List[float]
    step: int
    reports: int
    best: float
    best_step: int
    num_good: int
    num_bad: int
    stage: str
    stage_left: int
    resets_left: int
    at_min: bool
    at_max: bool
    plateaued: bool
    open_round: Round


class Job(TypedDict, total=False):
    """A job as it is now; times are RFC 3339."""

    job: str
    uid: str
    status: str
    revision: int
    attempt: int
    spec: JobSpec
    effective: JobSpec
    state: JobState
    create_time: str
    update_time: str


class Decision(TypedDict, total=False):
    """One entry of a job's history: what was decided, on what, and why."""

    job: str
    step: int
    attempt: int
    revision: int
    lr: float
    lrs: List[float]
    action: str
    reason: str
    stage: str
    value: float
    smoothed: float
    best: float
    num_good: int
    num_bad: int
    at_min: bool
    at_max: bool
    plateaued: bool
    policy: str
    duplicate: bool
    conflict: bool
    applied_mismatch: bool
    superseded: bool
    time: str
    actor: str
    ranks: int


class ReportRequest(TypedDict, total=False):
    """One validation value; `job` and one of `loss` and `metric` are required."""

    job: str
    step: int
    loss: float
    metric: float
    rank: int
    weight: float
    attempt: int
    lr_cap: float
    applied_lr: float
    dry_run: bool
    request_id: str
    lr: List[float]
    wait: str


class Status(TypedDict, total=False):
    """An error inside an answer."""

    code: str
    message: str
    reason: str


class BatchResult(TypedDict, total=False):
    """What became of one report of a batch: one of the three."""

    decision: Decision
    error: Status
    pending: bool


class GetLrResponse(TypedDict, total=False):
    """The rates a job should use now."""

    lr: float
    lrs: List[float]
    step: int
    revision: int


class SimulateResponse(TypedDict, total=False):
    """Rates before the first value, and one decision per value."""

    initial_lrs: List[float]
    decisions: List[Decision]


_MESSAGES = (Greedy, Plateau, Ramp, Ranks, JobSpec, Round, JobState, Job, Decision, ReportRequest, Status, BatchResult,
             GetLrResponse, SimulateResponse)
_DOUBLES: FrozenSet[str] = frozenset(name for message in _MESSAGES for name, kind in get_type_hints(message).items()
                                     if kind in (float, List[float]))


def with_floats(message: Dict[str, Any]) -> Dict[str, Any]:
    """json's object_hook: ProtoJSON writes 1.0 as 1 and the numbers that are not finite as strings."""
    for name in _DOUBLES & message.keys():
        value = message[name]
        message[name] = [float(x) for x in value] if isinstance(value, list) else float(value)
    return message
