"""Whether an answer is greedylrd's: something else may listen there, answer by halves, or stand in between."""
from __future__ import annotations

import math
from typing import Any, Callable, Dict, Mapping


def _rates(value: Any) -> bool:
    return (isinstance(value, list) and len(value) > 0 and
            all(isinstance(x, float) and math.isfinite(x) and x > 0 for x in value))


def _number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32


def _job(answer: Mapping[str, Any]) -> bool:
    state = answer.get("state")
    return (isinstance(state, dict) and _rates(state.get("lrs")) and isinstance(answer.get("spec"), dict) and
            isinstance(answer.get("uid"), str) and _number(answer.get("attempt")) and _number(answer.get("revision")))


def _decision(answer: Mapping[str, Any]) -> bool:
    return _rates(answer.get("lrs")) and _number(answer.get("revision")) and isinstance(answer.get("action"), str)


def _result(result: Any) -> bool:
    if not isinstance(result, dict):
        return False
    decision, error = result.get("decision"), result.get("error")
    return (isinstance(decision, dict) and _decision(decision)) or isinstance(error, dict) or result.get("pending") is True


def _results(answer: Mapping[str, Any]) -> bool:
    results = answer.get("results")
    return isinstance(results, list) and all(_result(result) for result in results)


_CHECKS: Dict[str, Callable[[Mapping[str, Any]], bool]] = {
    **{name: _job for name in ("CreateJob", "GetJob", "UpdateJob", "BeginAttempt", "RewindJob", "ForkJob", "PauseJob",
                               "ResumeJob", "FinishJob", "ImportState")},
    "Report": _decision, "SetLr": _decision, "BatchReport": _results,
    "GetLr": lambda answer: _rates(answer.get("lrs")),
    "ListDecisions": lambda answer: isinstance(answer.get("decisions"), list),
    "ListJobs": lambda answer: isinstance(answer.get("jobs"), list),
    "Simulate": lambda answer: isinstance(answer.get("decisions"), list),
    "ExportState": lambda answer: isinstance(answer.get("state_dict"), str),
}


def well_formed(method: str, answer: Any) -> bool:
    """Whether the parsed JSON has what callers of this RPC rely on: rates that are finite and above 0 among it."""
    check = _CHECKS.get(method)
    return isinstance(answer, dict) and (check is None or check(answer))
