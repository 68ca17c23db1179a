"""What can go wrong, as one exception: the daemon said no, or no answer came."""
from __future__ import annotations

import json
from typing import Any, Dict, Mapping, Optional

#: Reasons of this package, for what the daemon never said itself; `code` is "unavailable", `status` 0 or the proxy's.
UNREACHABLE = "UNREACHABLE"  # no connection: nothing was changed
NO_ANSWER = "NO_ANSWER"  # sent, but no whole answer in time
CERTIFICATE_REFUSED = "CERTIFICATE_REFUSED"  # no connection to be trusted: nothing was sent
NOT_GREEDYLRD = "NOT_GREEDYLRD"  # an answer of something else: a proxy, another server

OUTCOME_NOTHING = "nothing was changed"
OUTCOME_UNKNOWN = "unknown: the same request is safe to repeat"

# A round goes on with the value, or has no room for it yet: the other ranks have to move first.
_WAITING = frozenset({"WAIT_EXPIRED", "ROUND_INCOMPLETE", "STEP_TOO_FAR_AHEAD"})
# The request met a change and is worth repeating at once.
_PASSING = frozenset({"REWOUND", "JOB_BEING_DELETED", "STORE_STALE", "TOO_MANY_WAITING"})
# Who asks, or whom it asks, is not trusted: nothing that time or repeating heals.
_DENIED = frozenset({CERTIFICATE_REFUSED, "TOKEN_REQUIRED", "TOKEN_INVALID", "ROLE_INSUFFICIENT", "JOB_OUTSIDE_PREFIX"})
_OUTAGE_STATUS = frozenset({408, 429, 500, 502, 503, 504})


class GreedyLRError(Exception):
    """The daemon refused a request, or did not answer it.

    code     Connect's code: "invalid_argument", "not_found", "unavailable", ...
    reason   stable name of the cause, "STEP_IN_PAST" for one; PROTOCOL.md lists them.  UNREACHABLE, NO_ANSWER,
             CERTIFICATE_REFUSED and NOT_GREEDYLRD are this package's own.
    message  for people: what is wrong and what to do.
    status   HTTP status; 0 where no answer came.
    outcome  "nothing was changed", "the value is recorded: the same request waits on", or
             "unknown: the same request is safe to repeat".
    retry_after  seconds the daemon asks to wait before the next try; 0 where it does not say.
    """

    def __init__(self, code: str, reason: str, message: str, status: int = 0, outcome: str = OUTCOME_UNKNOWN,
                 retry_after: float = 0.0) -> None:
        super().__init__(f"{reason}: {message}" if reason else message)
        self.code, self.reason, self.message = code, reason, message
        self.status, self.outcome, self.retry_after = status, outcome, retry_after

    @property
    def waiting(self) -> bool:
        """The daemon is well; the round waits for other ranks."""
        return self.reason in _WAITING

    @property
    def denied(self) -> bool:
        """The token or the daemon's certificate does not do: somebody has to put it right."""
        return self.reason in _DENIED

    @property
    def outage(self) -> bool:
        """The daemon could not be asked, or could not answer: dead, slow, full, or something else is at its address."""
        if self.waiting or self.denied or self.reason == "TOO_MANY_JOBS":
            return False
        return self.status == 0 or self.status in _OUTAGE_STATUS or self.reason == NOT_GREEDYLRD

    @property
    def transient(self) -> bool:
        """Not a refusal: the same request may succeed later."""
        return self.outage or self.waiting or self.reason in _PASSING

    def to_dict(self) -> Dict[str, Any]:
        """The error as JSON data; GreedyLRError(**data) makes it again."""
        return {"code": self.code, "reason": self.reason, "message": self.message, "status": self.status,
                "outcome": self.outcome, "retry_after": self.retry_after}

    def __reduce__(self) -> Any:  # the constructor's arguments are not Exception.args
        return (GreedyLRError, tuple(self.to_dict().values()))


def no_answer(reason: str, message: str) -> GreedyLRError:
    """An error for a request that got no answer of the daemon's; reason is one of those above."""
    return GreedyLRError("unauthenticated" if reason == CERTIFICATE_REFUSED else "unavailable", reason, message, 0,
                         OUTCOME_NOTHING if reason in (UNREACHABLE, CERTIFICATE_REFUSED) else OUTCOME_UNKNOWN)


def of_answer(status: int, headers: Mapping[str, str], body: bytes) -> GreedyLRError:
    """The error that an answer with a status other than 200 carries.

    headers: names in lower case.
    """
    parsed = _parse(body)
    if parsed is None:
        text = body[:120].decode("utf-8", "replace")
        return GreedyLRError("unavailable", NOT_GREEDYLRD, f"HTTP {status} that is not greedylrd's: {text!r}; "
                             "check the URL and what is in between", status, OUTCOME_UNKNOWN, _seconds(headers))
    info = _info(parsed)
    metadata = info.get("metadata")
    outcome = metadata.get("outcome", OUTCOME_UNKNOWN) if isinstance(metadata, dict) else OUTCOME_UNKNOWN
    return GreedyLRError(str(parsed["code"]), str(info.get("reason", "")), str(parsed.get("message", "")), status,
                         str(outcome), _seconds(headers))


# Status by code, for errors inside an answer, which carry none of their own.
_STATUS = {"invalid_argument": 400, "failed_precondition": 400, "out_of_range": 400, "unauthenticated": 401,
           "permission_denied": 403, "not_found": 404, "already_exists": 409, "aborted": 409, "canceled": 499,
           "resource_exhausted": 429, "unimplemented": 501, "unavailable": 503, "deadline_exceeded": 504}


def of_item(item: Mapping[str, Any]) -> GreedyLRError:
    """The error of one report of a batch, {"code", "message", "reason"}."""
    code = str(item.get("code", "unknown"))
    return GreedyLRError(code, str(item.get("reason", "")), str(item.get("message", "")), _STATUS.get(code, 500))


def _info(parsed: Mapping[str, Any]) -> Dict[str, Any]:
    """The ErrorInfo that every error of the daemon carries; {} if there is none."""
    details = parsed.get("details")
    for detail in details if isinstance(details, list) else []:
        info = detail.get("debug") if isinstance(detail, dict) else None
        if isinstance(info, dict) and info.get("domain") == "greedylrd":
            return info
    return {}


def _parse(body: bytes) -> Optional[Dict[str, Any]]:
    """An error of the daemon's; a proxy may answer in JSON as well."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) and isinstance(parsed.get("code"), str) and _info(parsed) else None


def _seconds(headers: Mapping[str, str]) -> float:
    text = headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() else 0.0
