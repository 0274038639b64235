# SPDX-License-Identifier: Apache-2.0
"""Data-parallel training on one machine: each worker process takes a share of every batch, gradients are averaged.

One thread a worker: PyTorch's bfloat16 convolutions are slower on two threads than on one.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

WAIT = timedelta(hours=2)
"""How long a worker waits for the others: the first one also measures and writes checkpoints."""


class Group:
    """The workers of a run: ``rank`` of ``size``."""

    def __init__(self, rank: int = 0, size: int = 1):
        self.rank, self.size = rank, size

    def average(self, network: nn.Module) -> None:
        """Replace every gradient by its mean over all workers."""
        if self.size == 1:
            return
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        flat = torch.cat([g.reshape(-1) for g in gradients])
        dist.all_reduce(flat)
        flat /= self.size
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))


@contextmanager
def workers(count: int, work: Callable[..., None], *arguments) -> Iterator[Group]:
    """The first worker's group; ``work(group, *arguments)`` runs in ``count - 1`` other processes meanwhile."""
    if count == 1:
        yield Group()
        return
    with tempfile.TemporaryDirectory() as folder:
        store, context = str(Path(folder) / "store"), get_context("spawn")
        others = [context.Process(target=_other, args=(rank, count, store, work, arguments), daemon=True)
                  for rank in range(1, count)]
        for process in others:
            process.start()
        _join(0, count, store)
        try:
            yield Group(0, count)
        finally:
            dist.destroy_process_group()
            for process in others:
                process.join(timeout=10)
                process.kill()


def _other(rank: int, count: int, store: str, work: Callable[..., None], arguments: tuple) -> None:
    os.setsid()  # an interrupt from the keyboard is the first worker's
    torch.set_num_threads(1)
    _join(rank, count, store)
    try:
        work(Group(rank, count), *arguments)
    except (RuntimeError, KeyboardInterrupt):  # the first worker is gone and tells why
        os._exit(1)
    dist.destroy_process_group()


def _join(rank: int, count: int, store: str) -> None:
    torch.set_num_threads(1)
    if Path("/sys/class/net/lo").exists():  # the host's name need not resolve
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=count, timeout=WAIT)
