"""What a run says of its job: initial rates, policy, and everything else of a JobSpec.

Settings are checked here only as far as a run needs that says so at once, also while the daemon is away: GreedyLR's
with its defaults, and the names of all others.  The daemon has the last word.
"""
from __future__ import annotations

import math
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set, Tuple, Union, cast, get_type_hints

from .local import LocalGreedy, Settings, rates_of, settings
from .messages import POLICIES, JobSpec, Shadow

#: A policy and its settings, {"cosine_annealing": {"t_max": 100}}, or the name of one that needs none.
Policy = Union[str, Mapping[str, Mapping[str, Any]]]

_SPEC, _SHADOW = get_type_hints(JobSpec), get_type_hints(Shadow)
_HINTS = {name: get_type_hints(message) for name, message in POLICIES.items()}
#: Policies that look at the values; the others count reports.
_READERS = ("greedy", "plateau")
#: ReduceLROnPlateau's settings in PyTorch, which are the daemon's defaults too.
_PLATEAU: Dict[str, Any] = {"mode": "min", "factor": 0.1, "patience": 10, "threshold": 1e-4, "threshold_mode": "rel",
                            "cooldown": 0, "min_lr": [0.0], "eps": 1e-8}


def _known(where: str, given: Mapping[str, Any], allowed: Mapping[str, Any]) -> Dict[str, Any]:
    """What is given, without Nones; ValueError for a name that is none of the contract's."""
    found = {name: value for name, value in given.items() if value is not None}
    unknown = found.keys() - allowed.keys()
    if unknown:
        raise ValueError(f"{min(unknown)}: no such setting of {where}; there are {', '.join(allowed)}")
    return found


def _one_policy(where: str, found: Mapping[str, Any]) -> Tuple[str, Dict[str, Any]]:
    """The policy among the fields of a JobSpec or a Shadow."""
    names = [name for name in POLICIES if name in found]
    if len(names) > 1:
        raise ValueError(f"{where}: has the policies {' and '.join(names)}; give one")
    name = names[0] if names else "greedy"
    fields = found.get(name, {})
    if not isinstance(fields, Mapping):
        raise ValueError(f"{name}: must be its settings, like {{}}, got {fields!r}")
    return name, _known(name, fields, _HINTS[name])


def _as_fields(policy: Policy) -> Mapping[str, Any]:
    fields = {policy: {}} if isinstance(policy, str) else policy
    if not isinstance(fields, Mapping) or len(fields) != 1 or not fields.keys() <= POLICIES.keys():
        raise ValueError("policy: must be one policy with its settings, like {\"cosine_annealing\": {\"t_max\": 100}}, "
                         f"got {policy!r}; there are {', '.join(POLICIES)}")
    return fields


def _as_list(field: str, rates: Any, names: Sequence[str]) -> Any:
    """Rates of groups as a list: given as one number, as a list, or by the groups' names."""
    if isinstance(rates, Mapping):
        if set(rates) != set(names):
            raise ValueError(f"{field}: names groups {sorted(rates)}, the optimizer has {list(names) or None}; "
                             "name every group: {'params': ..., 'name': ...}")
        return [rates[name] for name in names]
    return list(rates) if isinstance(rates, (list, tuple)) else [rates]


def _with_lists(policy: str, fields: Mapping[str, Any], names: Sequence[str]) -> Dict[str, Any]:
    return {field: _as_list(field, value, names) if _HINTS[policy][field] == List[float] else value
            for field, value in fields.items()}


class RunSpec:
    """A job as its run describes it.

    policy     name of what moves the rates; fields its settings as given, rates of groups as lists.
    config     GreedyLR's settings with every default, None for another policy.
    lr, names  initial rates and names of the groups, in the run's order.
    Arguments are those of Session.  Raises ValueError that names the field, what it may be and what it was.
    """

    def __init__(self, job: str, lr: Sequence[float], *, group_names: Optional[Sequence[str]] = None,
                 policy: Optional[Policy] = None, spec: Optional[Mapping[str, Any]] = None,
                 more: Mapping[str, Any], greedy: Mapping[str, Any]) -> None:
        self.job, self.lr = job, rates_of(lr)
        found = _known("a JobSpec", {**(spec or {}), **{k: v for k, v in more.items() if v is not None}}, _SPEC)
        for name, mine in (("job", job), ("lr", self.lr)):
            if name in found and (_as_list(name, found[name], ()) if name == "lr" else found[name]) != mine:
                raise ValueError(f"spec: its {name} is {found[name]!r}, and the run's is {mine!r}; leave it out")
        self.names: List[str] = list(group_names or found.get("group_names") or [])
        if policy is not None:
            if POLICIES.keys() & found.keys():
                raise ValueError("policy: spec has one too; give one of the two")
            found.update(_as_fields(policy))
        self.policy, fields = _one_policy("spec", found)
        given = {name: value for name, value in greedy.items() if value is not None}
        if given and self.policy != "greedy":
            raise ValueError(f"{min(given)}: is a setting of greedy, and the policy is {self.policy}; give that one's "
                             "settings with it")
        fields.update(_known("GreedyLR", given, _HINTS["greedy"]))
        self.fields = _with_lists(self.policy, fields, self.names)
        self._sent = bool(fields) or self.policy in found
        self.config: Optional[Settings] = None
        if self.policy == "greedy":
            self.config = settings(self.lr, self.fields, found.get("on_nonfinite"))
        self._extra = {k: v for k, v in found.items() if k not in POLICIES and k not in ("job", "lr", "group_names")}
        shadows = self._extra.pop("shadow", [])
        if isinstance(shadows, (Mapping, str)):
            raise ValueError(f"shadow: must be a list of policies with names, got {shadows!r}")
        self._shadows = [self._shadow(shadow) for shadow in shadows]

    def _shadow(self, shadow: Mapping[str, Any]) -> Tuple[Dict[str, Any], str, Dict[str, Any], bool]:
        """A shadow's other fields, its policy, that one's settings, whether it was given at all."""
        if not isinstance(shadow, Mapping) or not isinstance(shadow.get("name"), str):
            raise ValueError(f"shadow: must be policies with names, like {{\"name\": \"p\", \"plateau\": {{}}}}, got "
                             f"{shadow!r}")
        found = _known("a shadow", shadow, _SHADOW)
        policy, fields = _one_policy(f"shadow {shadow['name']}", found)
        return ({k: v for k, v in found.items() if k not in POLICIES}, policy,
                _with_lists(policy, fields, self.names), policy in found)

    @property
    def counts(self) -> bool:
        """The policy is a schedule by the number of reports."""
        return self.policy not in _READERS

    @property
    def again(self) -> str:
        """What becomes of a job that was created anew in the middle of the run, for people."""
        return "its schedule starts over" if self.counts else ("it goes on at the rates in use, best and counters "
                                                               "start over")

    def absent_value(self) -> float:
        """What to report where the run has no value.  ValueError where somebody looks at it."""
        looks = [] if self.counts else [self.policy]
        looks += [f"shadow {other['name']}" for other, policy, _, _ in self._shadows if policy in _READERS]
        if looks:
            raise ValueError(f"value: {looks[0]} decides on it; give step the validation value")
        if self._extra.get("on_nonfinite") == "reject":
            raise ValueError("value: none is a NaN to the daemon, and on_nonfinite is reject; give a value")
        return math.nan

    def mirror(self) -> LocalGreedy:
        """The policy in this process; ValueError for one that cannot be decided here."""
        config = self.config
        wrong = [name for name in ("ramp", "anneal") if name in self._extra]
        if config is None:
            wrong.insert(0, self.policy)
        if config is None or wrong:
            raise ValueError(f"on_error: {wrong[0]} cannot be decided in the process; use on_error=\"hold\"")
        return LocalGreedy(config)

    def plateau(self) -> Dict[str, Any]:
        """The attributes of a ReduceLROnPlateau; min_lr has one value per group."""
        if self.config is not None:
            return {name: getattr(self.config, name) for name in _PLATEAU}
        found = {**_PLATEAU, **(self.fields if self.policy == "plateau" else {})}
        low = found["min_lr"]
        return {**found, "min_lr": list(low) * len(self.lr) if len(low) == 1 else list(low)}

    def message(self, order: Sequence[int], ranks: Mapping[str, Any]) -> JobSpec:
        """The JobSpec, its groups in this order.  ranks: defaults and fixed values of `ranks`, empty for none."""
        def turned(fields: Mapping[str, Any]) -> Dict[str, Any]:
            return {name: [value[i] for i in order] if isinstance(value, list) and len(value) == len(order) and
                    hints[name] == List[float] else value for name, value in fields.items()}
        spec: Dict[str, Any] = {**self._extra, "job": self.job, "lr": [self.lr[i] for i in order]}
        hints = _HINTS[self.policy]
        if self._sent:
            spec[self.policy] = turned(self.fields)
        if self.names:
            spec["group_names"] = [self.names[i] for i in order]
        if self._shadows:
            spec["shadow"] = []
        for other, policy, fields, sent in self._shadows:
            hints = _HINTS[policy]
            spec["shadow"].append({**other, policy: turned(fields)} if sent else dict(other))
        if ranks:
            spec["ranks"] = {**ranks, **self._extra.get("ranks", {}), "world_size": ranks["world_size"]}
        return cast(JobSpec, spec)

    @staticmethod
    def differing(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> Set[str]:
        """Names of the fields in which a job's spec is not what this run gives, labels apart; "world_size" where of
        `ranks` only that differs.  Settings not given here stay the job's."""
        found: Set[str] = set()
        for name, value in mine.items():
            has: Any = theirs.get(name)
            parts = None
            if isinstance(value, dict) and (isinstance(has, dict) or name == "greedy"):
                parts = {k: v for k, v in value.items() if (has or {}).get(k) != v}
            if name != "labels" and (parts if parts is not None else has != value):
                found.add(name if parts is None or parts.keys() != {"world_size"} else "world_size")
        return found
