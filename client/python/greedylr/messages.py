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
    guard_ratio: float
    guard_factor: float


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


class Constant(TypedDict, total=False):
    """The initial rates, unchanged."""


class Step(TypedDict, total=False):
    """StepLR."""

    step_size: int
    gamma: float


class MultiStep(TypedDict, total=False):
    """MultiStepLR."""

    milestones: List[int]
    gamma: float


class Exponential(TypedDict, total=False):
    """ExponentialLR."""

    gamma: float


class CosineAnnealing(TypedDict, total=False):
    """CosineAnnealingLR."""

    t_max: int
    eta_min: List[float]


class CosineAnnealingWarmRestarts(TypedDict, total=False):
    """CosineAnnealingWarmRestarts."""

    t_0: int
    t_mult: int
    eta_min: List[float]


class Polynomial(TypedDict, total=False):
    """PolynomialLR."""

    total_iters: int
    power: float


class Linear(TypedDict, total=False):
    """LinearLR."""

    start_factor: float
    end_factor: float
    total_iters: int


class OneCycle(TypedDict, total=False):
    """OneCycleLR."""

    max_lr: List[float]
    total_steps: int
    pct_start: float
    div_factor: float
    final_div_factor: float
    anneal_strategy: str
    three_phase: bool


class ConstantWithWarmup(TypedDict, total=False):
    """get_constant_schedule_with_warmup of Transformers."""

    num_warmup_steps: int


class LinearWithWarmup(TypedDict, total=False):
    """get_linear_schedule_with_warmup of Transformers."""

    num_warmup_steps: int
    num_training_steps: int


class CosineWithWarmup(TypedDict, total=False):
    """get_cosine_schedule_with_warmup of Transformers."""

    num_warmup_steps: int
    num_training_steps: int
    num_cycles: float
    min_lr: List[float]


class CosineWithHardRestarts(TypedDict, total=False):
    """get_cosine_with_hard_restarts_schedule_with_warmup of Transformers."""

    num_warmup_steps: int
    num_training_steps: int
    num_cycles: int


class PolynomialDecayWithWarmup(TypedDict, total=False):
    """get_polynomial_decay_schedule_with_warmup of Transformers."""

    num_warmup_steps: int
    num_training_steps: int
    lr_end: List[float]
    power: float


class InverseSqrt(TypedDict, total=False):
    """get_inverse_sqrt_schedule of Transformers."""

    num_warmup_steps: int
    timescale: int


class WarmupStableDecay(TypedDict, total=False):
    """get_wsd_schedule of Transformers."""

    num_warmup_steps: int
    num_stable_steps: int
    num_decay_steps: int
    warmup_type: str
    decay_type: str
    min_lr_ratio: float
    num_cycles: float


class Learned(TypedDict, total=False):
    """A trained policy.  The model's numbers (feature_set and what follows) are given together or not at all."""

    total_reports: int
    min_lr: List[float]
    max_lr: List[float]
    noise_gate: float
    model: str
    feature_set: int
    up: float
    down: float
    weights: List[float]
    feature_lo: List[float]
    feature_hi: List[float]


class Ramp(TypedDict, total=False):
    """A linear warm-up in front of the policy; both are required."""

    reports: int
    start_factor: float


class Anneal(TypedDict, total=False):
    """A line to 0 behind the policy, over the last part of a run of known length; total_reports is required."""

    total_reports: int
    fraction: float


class Shadow(TypedDict, total=False):
    """A policy that watches: it is stepped with the same values and moves nothing; name is required."""

    name: str
    ramp: Ramp
    anneal: Anneal
    on_nonfinite: str
    greedy: Greedy
    plateau: Plateau
    constant: Constant
    step: Step
    multi_step: MultiStep
    exponential: Exponential
    cosine_annealing: CosineAnnealing
    cosine_annealing_warm_restarts: CosineAnnealingWarmRestarts
    polynomial: Polynomial
    linear: Linear
    one_cycle: OneCycle
    constant_with_warmup: ConstantWithWarmup
    linear_with_warmup: LinearWithWarmup
    cosine_with_warmup: CosineWithWarmup
    cosine_with_hard_restarts: CosineWithHardRestarts
    polynomial_decay_with_warmup: PolynomialDecayWithWarmup
    inverse_sqrt: InverseSqrt
    warmup_stable_decay: WarmupStableDecay
    learned: Learned


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
    anneal: Anneal
    ranks: Ranks
    on_nonfinite: str
    strict: bool
    labels: List[str]
    shadow: List[Shadow]
    greedy: Greedy
    plateau: Plateau
    constant: Constant
    step: Step
    multi_step: MultiStep
    exponential: Exponential
    cosine_annealing: CosineAnnealing
    cosine_annealing_warm_restarts: CosineAnnealingWarmRestarts
    polynomial: Polynomial
    linear: Linear
    one_cycle: OneCycle
    constant_with_warmup: ConstantWithWarmup
    linear_with_warmup: LinearWithWarmup
    cosine_with_warmup: CosineWithWarmup
    cosine_with_hard_restarts: CosineWithHardRestarts
    polynomial_decay_with_warmup: PolynomialDecayWithWarmup
    inverse_sqrt: InverseSqrt
    warmup_stable_decay: WarmupStableDecay
    learned: Learned


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
    shadow: List[ShadowState]


class ShadowState(TypedDict, total=False):
    """Where a shadow stands."""

    name: str
    state: JobState


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


class ShadowDecision(TypedDict, total=False):
    """What a shadow decided."""

    name: str
    lr: float
    lrs: List[float]
    action: str
    reason: str


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
    shadow: List[ShadowDecision]


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


#: The messages that move rates, by the field of JobSpec and of Shadow that chooses them.
POLICIES: Dict[str, Any] = {
    "greedy": Greedy, "plateau": Plateau, "constant": Constant, "step": Step, "multi_step": MultiStep,
    "exponential": Exponential, "cosine_annealing": CosineAnnealing,
    "cosine_annealing_warm_restarts": CosineAnnealingWarmRestarts, "polynomial": Polynomial, "linear": Linear,
    "one_cycle": OneCycle, "constant_with_warmup": ConstantWithWarmup, "linear_with_warmup": LinearWithWarmup,
    "cosine_with_warmup": CosineWithWarmup, "cosine_with_hard_restarts": CosineWithHardRestarts,
    "polynomial_decay_with_warmup": PolynomialDecayWithWarmup, "inverse_sqrt": InverseSqrt,
    "warmup_stable_decay": WarmupStableDecay, "learned": Learned}
_MESSAGES = (*POLICIES.values(), Ramp, Anneal, Shadow, Ranks, JobSpec, Round, JobState, ShadowState, Job,
             ShadowDecision, Decision, ReportRequest, Status, BatchResult, GetLrResponse, SimulateResponse)


def _names(kinds: Any, message: Any) -> FrozenSet[str]:
    return frozenset(name for name, kind in get_type_hints(message).items() if kind in kinds)


_NONE: FrozenSet[str] = frozenset()
_DOUBLES = _NONE.union(*(_names((float, List[float]), message) for message in _MESSAGES))
#: Doubles that are whole numbers in another message; these are known by the policy around them.
_SHARED = _DOUBLES & _NONE.union(*(_names((int, List[int]), message) for message in _MESSAGES))
_SHARED_OF = {policy: _SHARED & _names((float,), message) for policy, message in POLICIES.items()}


def _to_floats(message: Dict[str, Any], names: FrozenSet[str]) -> None:
    for name in names & message.keys():
        value = message[name]
        message[name] = [float(x) for x in value] if isinstance(value, list) else float(value)


def with_floats(message: Dict[str, Any]) -> Dict[str, Any]:
    """json's object_hook: ProtoJSON writes 1.0 as 1 and the numbers that are not finite as strings."""
    _to_floats(message, _DOUBLES - _SHARED)
    for policy in POLICIES.keys() & message.keys():
        if _SHARED_OF[policy] and isinstance(message[policy], dict):
            _to_floats(message[policy], _SHARED_OF[policy])
    return message
