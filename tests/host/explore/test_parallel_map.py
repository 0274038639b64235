# SPDX-License-Identifier: Apache-2.0
"""parallel_map over cores and over a Dask cluster: same results, same order, errors are raised."""

import sys

import pytest

from host.parallel_map import ClusterError, parallel_map

ITEMS = list(range(7))


def square(item):
    return item * item


def fails(item):
    if item == 3:
        raise ValueError("three")
    return item


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as found:
        yield found.scheduler_address


@pytest.mark.parametrize("workers", [1, 2])
def test_on_cores(workers):
    calls, came, squares = [], [], [i * i for i in ITEMS]
    assert parallel_map(square, ITEMS, workers=workers, report=lambda *now: calls.append(now),
                        each=came.append) == squares
    assert sorted(came) == sorted(squares)
    assert calls == [(done, len(ITEMS)) for done in range(1, len(ITEMS) + 1)]


def test_nothing_to_do():
    assert parallel_map(square, []) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_comes_through(workers):
    with pytest.raises(ValueError, match="three"):
        parallel_map(fails, ITEMS, workers=workers)


def test_on_a_cluster(cluster):
    calls = []
    assert parallel_map(square, ITEMS, scheduler=cluster,
                        report=lambda *now: calls.append(now)) == [i * i for i in ITEMS]
    assert len(calls) == len(ITEMS)
    with pytest.raises(ValueError, match="three"):
        parallel_map(fails, ITEMS, scheduler=cluster)


def test_without_dask(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ClusterError, match=r"edge-moe\[cluster\]"):
        parallel_map(square, ITEMS, scheduler="tcp://127.0.0.1:1")


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense://here"])
def test_no_scheduler_at_the_address(address, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("host.parallel_map.TIMEOUT", 1)
    with pytest.raises(ClusterError, match="scheduler"):
        parallel_map(square, ITEMS, scheduler=address)
