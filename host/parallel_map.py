# SPDX-License-Identifier: Apache-2.0
"""Parallel map over items: on every core, or on a Dask cluster when its scheduler's address is given."""

import argparse
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.connection import wait
from typing import Any

from host.interrupts import ctrl_c_later

TIMEOUT = 10
"""Seconds in which a scheduler must answer."""


class ClusterError(RuntimeError):
    """No cluster: Dask is not installed, or no scheduler answers at the address."""


def add_parallel_options(parser: argparse.ArgumentParser, workers: int | None = None) -> None:
    """Options ``--scheduler`` and ``--workers`` of a command, the arguments of the same name of :func:`parallel_map`;
    ``workers``: as many as that by default, None for one on each core."""
    parser.add_argument("--scheduler", help="address of a Dask scheduler; processes here when none is given")
    parser.add_argument("--workers", type=int, default=workers, help="processes, when not on a cluster")


def parallel_map(work: Callable, items: Sequence, *, scheduler: str | None = None, workers: int | None = None,
           report: Callable[[int, int], None] = lambda done, total: None,
           each: Callable[[Any], None] = lambda result: None) -> list:
    """``work(item)`` of every item, in the order of the items; ``each(result)`` as it comes, ``report(done, total)``
    after it.

    ``work`` and items must be picklable. ``scheduler``: address of a Dask scheduler, whose workers have this package
    installed; otherwise ``workers`` processes, one for each core by default, none for 1. The first exception ends all,
    Ctrl-C included, and the workers with it.
    """
    if scheduler is not None:
        return _on_cluster(work, items, scheduler, report, each)
    workers = min(workers or os.cpu_count() or 1, len(items))
    if workers <= 1:
        results = []
        for item in items:
            results.append(work(item))
            each(results[-1])
            report(len(results), len(items))
        return results
    # Fresh processes: a fork would inherit the threads of progress bars and BLAS.
    others = set(active_children())
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_obey_parent) as pool:
        try:
            with ctrl_c_later():
                futures = [pool.submit(work, item) for item in items]
            return _collect(futures, as_completed, report, each)
        except BaseException:  # Ctrl-C, for one: leaving would wait for what the workers have begun
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in set(active_children()) - others:
                worker.kill()
            raise


def _obey_parent() -> None:
    """In a worker, which was started deaf to Ctrl-C: the parent hears it and ends all. Nor does it outlive the parent,
    however that ends."""
    if (parent := parent_process()) is not None:
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()


def cluster_client(scheduler: str) -> Any:
    """A client of the Dask scheduler at an address; close it. Raises ClusterError where there is none."""
    try:
        import distributed  # pyright: ignore[reportMissingImports]  # an extra of its own
    except ImportError:
        raise ClusterError("A Dask scheduler needs the package distributed: pip install 'edge-moe[cluster]'.") from None
    try:
        return distributed.Client(scheduler, timeout=TIMEOUT, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise ClusterError(f"No Dask scheduler answers at {scheduler!r} within {TIMEOUT} s: "
                           f"{str(error).splitlines()[0] if str(error) else type(error).__name__}.") from None


def _on_cluster(work: Callable, items: Sequence, scheduler: str, report: Callable[[int, int], None],
                each: Callable[[Any], None]) -> list:
    with cluster_client(scheduler) as client, client.as_current():
        from distributed import as_completed  # pyright: ignore[reportMissingImports]  # an extra of its own

        # pure=False: the same item twice is worked on twice, as on the cores.
        return _collect(client.map(work, list(items), pure=False), as_completed, report, each)


def _collect(futures: list[Future], completed: Callable, report: Callable[[int, int], None],
             each: Callable[[Any], None]) -> list:
    for done, future in enumerate(completed(futures), 1):
        try:
            each(future.result())
        except BaseException:
            for other in futures:
                other.cancel()
            raise
        report(done, len(futures))
    return [future.result() for future in futures]
