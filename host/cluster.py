# SPDX-License-Identifier: Apache-2.0
"""Devices of a Dask cluster: every worker serves its own, and a :class:`host.driver.pool.Pool` here uses them all.

Dask says where the workers are and starts the servers; frames go over the driver's own protocol, so that order,
retries and a worker that dies are the pool's business, as with any `edge-moe serve`::

    with cluster_devices("tcp://desk:8786", "uio") as served, Pool(served.names, "model.emoe") as pool:
        results = pool.run(pictures)
"""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from host.driver.device import open_device
from host.driver.errors import AccelError
from host.driver.remote.server import Server
from host.driver.remote.token import server_token
from host.parallel_map import ClusterError, cluster_client


@dataclass(frozen=True)
class Served:
    """``names`` of devices, for a pool; ``refused``: why a worker serves none, by the worker's address."""

    names: list[str]
    refused: dict[str, str]


@contextmanager
def cluster_devices(scheduler: str, device: str) -> Iterator[Served]:
    """The devices called ``device`` of the workers of the Dask ``scheduler``, each served until the end.

    The workers need this package (or the driver's wheel), and their computers must reach each other. The token of this
    computer is used, and made where there is none. Raises ClusterError where no scheduler answers or no worker has
    such a device.
    """
    token, _ = server_token()
    with closing(cluster_client(scheduler)) as client:
        try:
            answers: dict[str, tuple[bool, str]] = client.run(_serve, device, token)
            names = [f"remote:{place}" for opened, place in answers.values() if opened]
            refused = {worker: reason for worker, (opened, reason) in answers.items() if not opened}
            if not names:
                why = " ".join(f"{worker}: {reason}" for worker, reason in refused.items())
                raise ClusterError(f"No worker of {scheduler} has a device {device!r}. {why or 'It has no workers.'}")
            yield Served(names, refused)
        finally:
            with suppress(Exception):  # of workers that are gone: their servers went with them
                client.run(_stop, token, on_error="ignore")


# -- in the workers

_SERVERS: dict[bytes, list[tuple[Server, threading.Thread]]] = {}
"""Servers of this process, by the token of whom they serve. Workers in threads share a process, and so this."""


def _serve(device: str, token: bytes, dask_worker) -> tuple[bool, str]:
    """Serve a device at this worker's address: True and HOST:PORT, or False and why not."""
    host = urlsplit(dask_worker.address).hostname or "127.0.0.1"
    try:
        server = Server(lambda: open_device(device), token, host)
    except (AccelError, OSError) as error:
        return False, f"{type(error).__name__}: {error}"
    thread = threading.Thread(target=server.serve, daemon=True, name="edge-moe-server")
    thread.start()
    _SERVERS.setdefault(token, []).append((server, thread))
    return True, f"[{host}]:{server.port}" if ":" in host else f"{host}:{server.port}"


def _stop(token: bytes) -> None:
    """Close what this process serves."""
    for server, thread in _SERVERS.pop(token, []):
        server.stop()
        thread.join(10)
