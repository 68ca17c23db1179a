"""greedylr: learning rates from greedylrd.

    from greedylr import GreedyLR        # PyTorch; see greedylr.scheduler
    from greedylr import Client          # every RPC of the daemon

Adapters: greedylr.transformers, greedylr.lightning, greedylr.keras, greedylr.optax.  Importing the package imports
none of the frameworks.
"""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .client import Client
from .errors import GreedyLRError
from .session import Session

if TYPE_CHECKING:
    from .scheduler import GreedyLR

__all__ = ["Client", "GreedyLR", "GreedyLRError", "Session"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "GreedyLR":  # needs torch, which the rest does not
        from .scheduler import GreedyLR
        return GreedyLR
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
