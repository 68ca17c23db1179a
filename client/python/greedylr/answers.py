"""Whether an answer is greedylrd's: something else may listen there, answer by halves, or stand in between."""
from __future__ import annotations

import math
from typing import Any, Callable, Dict, List, Mapping, get_type_hints

from .messages import Decision, ShadowDecision


def _rates(value: Any) -> bool:
    return (isinstance(value, list) and len(value) > 0 and
            all(isinstance(x, float) and math.isfinite(x) and x >= 0 for x in value))


def _number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32


def _all(value: Any, check: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and all(map(check, value))


_KINDS: Dict[Any, Callable[[Any], bool]] = {
    str: lambda value: isinstance(value, str), bool: lambda value: isinstance(value, bool), int: _number,
    float: lambda value: isinstance(value, float), List[float]: _rates,
    List[ShadowDecision]: lambda value: _all(value, lambda shadow: isinstance(shadow, dict))}
_DECISION = {name: _KINDS[kind] for name, kind in get_type_hints(Decision).items()}


def _job(answer: Mapping[str, Any]) -> bool:
    state, spec = answer.get("state"), answer.get("spec")
    return (isinstance(state, dict) and _rates(state.get("lrs")) and isinstance(spec, dict) and
            _all(spec.get("group_names", []), lambda name: isinstance(name, str)) and
            isinstance(answer.get("uid"), str) and _number(answer.get("attempt")) and _number(answer.get("revision")))


def _decision(answer: Any) -> bool:
    return (isinstance(answer, dict) and {"lrs", "revision", "action"} <= answer.keys() and
            all(_DECISION[name](value) for name, value in answer.items() if name in _DECISION))


def _result(result: Any) -> bool:
    if not isinstance(result, dict):
        return False
    if "error" in result:
        return isinstance(result["error"], dict)
    return _decision(result["decision"]) if "decision" in result else result.get("pending") is True


def _revised(decision: Any) -> bool:
    return isinstance(decision, dict) and _number(decision.get("revision"))


_CHECKS: Dict[str, Callable[[Mapping[str, Any]], bool]] = {
    **{name: _job for name in ("CreateJob", "GetJob", "UpdateJob", "BeginAttempt", "RewindJob", "ForkJob", "PauseJob",
                               "ResumeJob", "FinishJob", "ImportState")},
    "Report": _decision, "SetLr": _decision, "BatchReport": lambda answer: _all(answer.get("results"), _result),
   
    "GetLr": lambda answer: _rates(answer.get("lrs")),
    "ListDecisions": lambda answer: _all(answer.get("decisions"), _revised),
    "ListJobs": lambda answer: _all(answer.get("jobs"), lambda job: isinstance(job, dict)),
    "Simulate": lambda answer: isinstance(answer.get("decisions"), list),
    "ExportState": lambda answer: isinstance(answer.get("state_dict"), str),
}


def well_formed(method: str, answer: Any) -> bool:
    """Whether the parsed JSON has what callers of this RPC rely on: rates that are finite and not negative among it."""
    check = _CHECKS.get(method)
    return isinstance(answer, dict) and (check is None or check(answer))
