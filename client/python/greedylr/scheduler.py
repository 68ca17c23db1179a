"""The scheduler for PyTorch: a ReduceLROnPlateau whose decisions are the daemon's."""
from __future__ import annotations

import math
from typing import Any, Dict, List, Mapping, Optional, Sequence, Union, cast

import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from .client import Client
from .distributed import Ranks, torch_ranks
from .messages import Anneal, Decision, JobSpec, Ramp, Shadow
from .messages import Ranks as RanksMessage
from .outage import Outage
from .session import Session
from .spec import Policy

Rates = Union[float, Sequence[float], Mapping[str, float], None]


def _names(optimizer: Any) -> Optional[List[str]]:
    """The groups' names, where every group has one: {"params": ..., "name": "backbone"}."""
    names = [group.get("name") for group in optimizer.param_groups]
    return [str(name) for name in names] if all(name is not None for name in names) else None


def set_rates(optimizer: Any, rates: Sequence[float]) -> None:
    """Gives the groups their rates; one that is a tensor stays the tensor it is, which compiled code may hold."""
    for group, rate in zip(optimizer.param_groups, rates):
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


class GreedyLR(ReduceLROnPlateau):
    """Learning rates from greedylrd.

        scheduler = GreedyLR(optimizer, job="resnet-7", url="http://lr:8571", patience=5)
        for epoch in range(epochs):
            train(); loss = validate()
            scheduler.step(loss)

    It is used as torch's ReduceLROnPlateau is, and is one (Trainer and Lightning look for that).  Where
    torch.distributed is initialised every rank makes one and calls it alike: the ranks combine their values with one
    collective, rank 0 reports, and its outcome is broadcast, so that every rank holds the same rates always.  With
    rounds=True every rank reports to the daemon instead, and shares what it got.

    optimizer     anything with param_groups.  Initial rates are the groups' "initial_lr" where they have one (it is
                  set here, and is in the optimizer's checkpoint), else their "lr".  Names of groups ("name") go to the
                  job, and a restart may then build the groups in another order.
                  A rate that is a tensor is filled with the new one: compiled steps and captured graphs see it, and
                  nothing is compiled again, as it is for a number.
    job           id of the job, the same in every restart of the run: 1 to 128 of A-Z a-z 0-9 . _ -
    url           of the daemon, or a Client; None: GREEDYLR_URL, else http://127.0.0.1:8571.
    policy        what moves the rates where it is not GreedyLR, with its settings, {"cosine_annealing": {"t_max":
                  100}}, or the name of one that needs none, "constant".  The contract has them all.  A schedule by
                  count moves with each step(): call that as often as its numbers mean, each epoch or each iteration.
    dialect ... guard_factor  GreedyLR's settings; None: the daemon's defaults.  min_lr, max_lr and the like: one rate,
                  one per group, or by the groups' names.
    ramp, anneal, shadow  as in the contract: a warm-up in front of the policy, a line to 0 over the last part of a run
                  of known length, policies that only watch (see last_decision["shadow"] and the job's history).
    on_nonfinite  what a NaN or an infinity does: "bad" (the default: counts as worse), "skip", "cut", "reject".
    on_error      while the daemon is away: "hold" (the default) keeps the rates and hands the losses in, in order,
                  when it is back; "local" decides by GreedyLR's rules in the process, and hands them in as well (not
                  with another policy, a ramp or anneal); "raise" raises, for tests.
    budget        seconds one call may take, retries included.  Once they are spent calls return at once, with one probe
                  of at most 0.5 s every 10 s, until the daemon answers.
    ranks         with rounds: quorum and deadline of the daemon's rounds.
    rounds, reduce, attempt, spec, outage  see greedylr.session.Session.

    Where the job has no decisions yet the optimizer gets the rates that the job begins with: 0, where a warm-up from 0
    does.  The groups' initial rates are never 0.

    Raises ValueError for bad arguments and GreedyLRError where the daemon refuses; not where it is away.
    """

    def __init__(self, optimizer: Any, job: str, url: Union[str, Client, None] = None, *,
                 policy: Optional[Policy] = None, dialect: Optional[str] = None, mode: Optional[str] = None,
                 factor: Optional[float] = None, patience: Optional[int] = None, threshold: Optional[float] = None,
                 threshold_mode: Optional[str] = None, cooldown: Optional[int] = None, warmup: Optional[int] = None,
                 stage_mode: Optional[str] = None, min_lr: Rates = None, max_lr: Rates = None,
                 eps: Optional[float] = None, smooth: Optional[bool] = None, smoothing: Optional[str] = None,
                 window_size: Optional[int] = None, reset_start: Optional[int] = None,
                 guard_ratio: Optional[float] = None, guard_factor: Optional[float] = None,
                 ramp: Optional[Ramp] = None, anneal: Optional[Anneal] = None,
                 shadow: Optional[Sequence[Shadow]] = None, ranks: Optional[RanksMessage] = None,
                 on_nonfinite: Optional[str] = None, on_error: str = "hold", budget: float = 5.0,
                 rounds: bool = False, reduce: str = "mean", attempt: Optional[int] = None,
                 spec: Optional[JobSpec] = None, outage: Optional[Outage] = None) -> None:
        if not getattr(optimizer, "param_groups", None):
            raise TypeError(f"optimizer: must have param_groups, got {type(optimizer).__name__}")
        self.optimizer = optimizer
        current = [float(group["lr"]) for group in optimizer.param_groups]
        initial = [float(group.get("initial_lr", rate)) for group, rate in zip(optimizer.param_groups, current)]
        for i, rate in enumerate(initial):
            if rate == 0:
                raise ValueError(f"lr: must be above 0, got {rate!r} in parameter group {i}; give the optimizer, or "
                                 "the group's \"initial_lr\", the rate to start from; the policy may go to 0 itself")
        if ranks is not None and not rounds:
            raise ValueError("ranks: is for rounds=True; without it one report has what the ranks combined")
        whole = spec if ranks is None else cast(JobSpec, {**cast(Dict[str, Any], spec or {}), "ranks": ranks})
        self._session = Session(
            job, initial, url, current=current, group_names=_names(optimizer), on_error=on_error, budget=budget,
            attempt=attempt, rounds=rounds, reduce=reduce, policy=policy, ramp=ramp, anneal=anneal, shadow=shadow,
            on_nonfinite=on_nonfinite, spec=whole, outage=outage, ranks=self._torch_ranks, dialect=dialect,
            mode=mode, factor=factor, patience=patience, threshold=threshold, threshold_mode=threshold_mode,
            cooldown=cooldown, warmup=warmup, stage_mode=stage_mode, min_lr=min_lr, max_lr=max_lr, eps=eps,
            smooth=smooth, smoothing=smoothing, window_size=window_size, reset_start=reset_start,
            guard_ratio=guard_ratio, guard_factor=guard_factor)
        for group, rate in zip(optimizer.param_groups, initial):
            group.setdefault("initial_lr", rate)
        self._as_plateau()
        if self._session.lrs != current:
            self._use(self._session.lrs)

    def _torch_ranks(self) -> Ranks:
        return torch_ranks(self._device)

    def _as_plateau(self) -> None:
        """The attributes that torch's class has, for code that reads them.  Its constructor is not called: it changed
        from version to version, takes factors and optimizers in its own way, and makes nothing that is used here."""
        plateau = self._session.run_spec.plateau()
        for name in ("mode", "factor", "patience", "threshold", "threshold_mode", "cooldown", "eps"):
            setattr(self, name, plateau[name])
        self.min_lrs, self.default_min_lr = list(plateau["min_lr"]), None
        self.mode_worse = math.inf if plateau["mode"] == "min" else -math.inf
        self.best, self.num_bad_epochs, self.cooldown_counter = self.mode_worse, 0, 0
        self.last_epoch, self.verbose = 0, False
        self._last_lr = [float(group["lr"]) for group in self.optimizer.param_groups]

    def _device(self) -> Any:
        """Of the first parameter; None where no group shows one: ZeRO-3 of DeepSpeed empties them after each step."""
        return next((p.device for group in self.optimizer.param_groups for p in group["params"]), None)

    @property
    def job(self) -> str:
        """Id of the job."""
        return self._session.job

    @property
    def client(self) -> Client:
        """The daemon; scheduler.client.finish_job(scheduler.job) says that the run is over."""
        return self._session.client

    @property
    def last_decision(self) -> Optional[Decision]:
        """What the daemon decided on the last value: action, reason, plateaued and so on; None where it did not."""
        return self._session.decision

    @property
    def missed(self) -> int:
        """Values that still wait to be handed in."""
        return len(self._session.missed.items)

    def step(self, metrics: Any = None, epoch: Optional[int] = None, *,
             weight: float = 1.0) -> None:
        """Reports a value and sets the optimizer's rates.

        metrics  the validation value of this rank: a number, or a tensor of one element.  A schedule by count does
                 without, but for shadows that look at it; what there is is recorded.
        epoch    the step's number (epoch, or iteration), 0 to 2**32 - 1, growing; None: the last one + 1, from 1.
                 Give it where something else may call step twice for one evaluation, as Accelerate does in several
                 processes for a scheduler that it prepared: the second changes nothing.
        weight   samples behind the value, for the mean over ranks; 0 for a rank that saw none.
        Raises, on every rank alike, GreedyLRError for a refusal and ValueError for something bad; the step has not
        been counted then.
        """
        groups = self.optimizer.param_groups
        if len(groups) != len(self._last_lr):
            raise ValueError(f"optimizer: has {len(groups)} parameter groups and had {len(self._last_lr)}; a job's "
                             "groups are fixed: add them before GreedyLR is made")
        self._use(self._session.step(metrics, epoch, weight=weight, applied=[float(g["lr"]) for g in groups]))

    def flush(self) -> int:
        """Hands in the values that the daemon has missed, and returns how many it still misses: for the end of a run.

        Takes up to a whole budget; every rank calls it.  Raises as step does.
        """
        missing = self._session.flush()
        self._use(self._session.lrs)
        return missing

    def _use(self, rates: Sequence[float]) -> None:
        set_rates(self.optimizer, rates)
        self._last_lr = list(rates)
        self.last_epoch = self._session.last_step or 0
        decision = self._session.decision
        if decision is not None:
            self.best = decision.get("best", self.best)
            self.num_bad_epochs = decision.get("num_bad", 0)

    def get_last_lr(self) -> List[float]:
        """The rates in use, one per group."""
        return list(self._last_lr)

    def state_dict(self) -> Dict[str, Any]:
        """The place of the run in its job, as plain data; the same on every rank, so one may save it."""
        return self._session.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes back to a checkpoint, and takes the daemon's job back to its step as a new attempt.

        Every rank calls it with the same state.  Sets the optimizer's rates.  Works on a live run as well, as often as
        wanted.  A daemon that is away goes back when it is back.  Raises ValueError for a state of another job.
        """
        self._session.load_state_dict(state_dict)
        self._use(self._session.lrs)
