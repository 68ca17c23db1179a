"""How the ranks of a run talk to each other: small records of plain data, the same collectives on every rank.

A record travels as JSON in bytes of a fixed number, so that an exchange is one collective whatever is in it, and so
that doubles keep every bit on every backend (uint8 is the one type they all move).
"""
from __future__ import annotations

import json
from typing import Any, Callable, List, Optional, Protocol


class Ranks(Protocol):
    """rank: this process, from 0; size: how many there are."""

    rank: int
    size: int

    def gather(self, record: Any, room: int) -> List[Any]:
        """Every rank's record, in rank order; one collective.  room: bytes, the same on every rank."""

    def broadcast(self, record: Any, room: int) -> Any:
        """Rank 0's record on every rank; one collective."""


class Alone:
    """A run of one process."""

    rank, size = 0, 1

    def gather(self, record: Any, room: int) -> List[Any]:
        """The record."""
        return [record]

    def broadcast(self, record: Any, room: int) -> Any:
        """The record."""
        return record


def encode(record: Any, room: int) -> bytes:
    """room bytes: JSON, then blanks.  Raises ValueError where it does not fit."""
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    if len(text) > room:
        raise ValueError(f"a record of {len(text)} bytes does not fit {room}")
    return text.ljust(room)


def cut(text: str, size: int = 300) -> str:
    """Text that takes at most so many bytes in a record."""
    kept = "".join(c if c.isprintable() and c not in '"\\' else "'" for c in text)
    return kept.encode("utf-8", "replace")[:size].decode("utf-8", "ignore")


class TorchRanks:
    """The default process group of torch.distributed.

    device: of the optimizer's parameters, None where it shows none.  Tensors travel on the CPU where the backend has it,
    else there.  NCCL has not, and parameters that were offloaded are on the CPU all the same: then on the current GPU.
    """

    def __init__(self, dist: Any, device: Optional[Any] = None) -> None:
        import torch
        self._torch, self._dist = torch, dist
        self.rank, self.size = int(dist.get_rank()), int(dist.get_world_size())
        backend = str(dist.get_backend()).lower()
        on_cpu = device is None or torch.device(device).type == "cpu"
        if any(name in backend for name in ("gloo", "mpi", "cpu")):
            self._device: Any = torch.device("cpu")
        elif on_cpu and "nccl" in backend:
            self._device = torch.device("cuda", torch.cuda.current_device())
        else:
            self._device = torch.device("cpu") if device is None else device

    def _tensor(self, data: bytes) -> Any:
        return self._torch.frombuffer(bytearray(data), dtype=self._torch.uint8).to(self._device)

    @staticmethod
    def _record(tensor: Any) -> Any:
        return json.loads(bytes(tensor.cpu().tolist()))

    def gather(self, record: Any, room: int) -> List[Any]:
        """Every rank's record, in rank order."""
        own = self._tensor(encode(record, room))
        out = [self._torch.empty_like(own) for _ in range(self.size)]
        self._dist.all_gather(out, own)
        return [self._record(t) for t in out]

    def broadcast(self, record: Any, room: int) -> Any:
        """Rank 0's record."""
        tensor = self._tensor(encode(record if self.rank == 0 else None, room))
        self._dist.broadcast(tensor, src=0)
        return self._record(tensor)


def torch_ranks(device: Callable[[], Any]) -> Ranks:
    """The ranks of torch.distributed where it is initialised, else this process alone.

    device: of the optimizer's parameters or None, asked for when needed.
    """
    import torch.distributed as dist
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        return TorchRanks(dist, device())
    return Alone()
