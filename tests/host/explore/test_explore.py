# SPDX-License-Identifier: Apache-2.0
"""Exploring machines: what is printed fits and is not dominated, the same every time; refusals in sentences."""

import json
from dataclasses import replace
from itertools import combinations, islice

import pytest

from golden.model.random_int_model import random_int_model
from golden.spec.boards import BOARDS
from golden.spec.heads import HeadConfig
from golden.spec.machine import MACHINES, MachineConfig
from golden.spec.model import MODELS, ConfigError
from golden.spec.quantized import Plan
from host.cli import main
from host.compiler.compile import compile_model
from host.compiler.skeleton import empty, skeleton
from host.explore.area import area
from host.explore.command import rows
from host.explore.design_space import Geometry, families, geometries, roomy
from host.explore.errors import NothingFits
from host.explore.evaluate import RESOURCES, explore_geometry
from host.explore.pareto_front import dominates, front, held_by, slowed_by
from host.explore.search import Search, search
from host.performance.timeline import predict

NANO = MODELS["nano"]
KV260, ZCU102, U280 = BOARDS["kv260"], BOARDS["zcu102"], BOARDS["u280"]
FILL = 0.7


def quantized(name, plan="fast"):
    config = MODELS[name]
    return random_int_model(config, getattr(Plan, plan)(config.depth), seed=1)


@pytest.fixture(scope="module")
def nano():
    return quantized("nano")


@pytest.fixture(scope="module")
def found(nano):
    return search(skeleton(nano), NANO.tasks[:1], KV260, FILL, workers=1)


def test_every_machine_found_fits_board_and_model(found, nano):
    assert len(found.points) > len(found.pareto_front) > 3
    for point in found.points:
        for field in RESOURCES.values():
            assert getattr(point.area, field) <= FILL * getattr(KV260, field)
        assert point.area == area(point.machine) and point.machine.ports < KV260.ports
    for point in found.pareto_front:
        image = compile_model(nano, point.machine)
        cycles = predict(image, "task0", dram=KV260.dram)[-1].end
        assert cycles == pytest.approx(point.cycles, rel=1e-9)


def test_the_front_is_the_front(found):
    assert not any(dominates(a, b) or dominates(b, a) for a, b in combinations(found.pareto_front, 2))
    for point in found.points:
        assert any(best.costs == point.costs or dominates(best, point) for best in found.pareto_front)
    cycles = [point.cycles for point in found.pareto_front]
    assert cycles == sorted(cycles)


def test_dominated_and_equal_points_are_dropped(found):
    first = found.pareto_front[0]
    worse = replace(first, cycles=first.cycles + 1)
    equal = replace(first, machine=replace(first.machine, name="zz"))
    assert front([worse, equal, first]) == [first]


@pytest.mark.nightly  # the whole search again, a minute and more
def test_the_same_every_time_and_on_every_core(found, nano):
    again = search(skeleton(nano), NANO.tasks[:1], KV260, FILL, workers=2)
    assert again == found


@pytest.mark.nightly  # tests/host/explore/test_parallel_map.py has the cluster, in seconds
def test_on_a_cluster(found, nano):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=None) as cluster:
        assert search(skeleton(nano), NANO.tasks[:1], KV260, FILL, scheduler=cluster.scheduler_address) == found


def test_limits_are_named(found):
    for point in found.pareto_front:
        slow, share = slowed_by(point, KV260)
        assert slow in ("array", "DRAM", "weight ports", "order") and 1 / 3 <= share <= 1
        held, share = held_by(point, KV260, FILL)
        assert held in RESOURCES and 0 < share <= 1
    point = found.pareto_front[0]
    narrow, wide = (replace(point, weights=point.cycles, array=0.0, machine=replace(point.machine, ports=ports))
                    for ports in (1, 4))
    assert slowed_by(narrow, KV260)[0] == "weight ports"
    assert slowed_by(wide, replace(KV260, dram_bytes_per_s=10 ** 9))[0] == "DRAM"
    assert slowed_by(replace(point, weights=0.0, array=1.0), KV260) == ("order", pytest.approx(1, abs=1e-3))


def test_scarce_memory_shows(nano):
    slow = replace(KV260, dram_bytes_per_s=KV260.dram_bytes_per_s // 32)
    tasks = NANO.tasks[:1]
    points, _ = explore_geometry(skeleton(nano), tasks, slow, FILL, Geometry(2, 2, 4))
    assert points and {slowed_by(point, slow)[0] for point in points} == {"DRAM"}


@pytest.mark.nightly  # a search for a large model, a minute
def test_what_was_shipped_is_near_the_front():
    """The geometry of zcu102 is that of the fastest machines; only its memories are larger than one task needs."""
    model = skeleton(quantized("m3vit-tiny"))
    tasks, shipped = model.config.tasks[:1], MACHINES["zcu102"]
    points = []
    for tm, tk in ((4, 16), (8, 8), (2, 16)):
        points += explore_geometry(model, tasks, ZCU102, FILL, Geometry(tm, tk, shipped.ports))[0]
    best = front(points)[0]
    assert (best.machine.tm, best.machine.tk) in ((4, 16), (8, 8))
    image = compile_model(quantized("m3vit-tiny"), shipped)
    cycles = predict(image, tasks[0], dram=ZCU102.dram)[-1].end
    assert cycles <= 1.03 * best.cycles
    assert all(getattr(area(shipped), field) <= FILL * getattr(ZCU102, field) for field in RESOURCES.values())


def test_wide_ports_bring_no_more_than_the_array_takes():
    found = {g.tk: {other.ports for other in geometries(U280) if other.tk == g.tk} for g in geometries(U280)}
    assert found == {2: {1, 2}, 4: {1, 2, 4}, 8: {1, 2, 4}, 16: {1, 2, 4}}
    assert {g.ports for g in geometries(U280) if g.clusters > 1} == {4}
    assert all(roomy(g).weight_bytes_per_cycle <= 128 for g in geometries(U280))


def test_no_more_ports_than_the_board_has():
    assert {g.ports for g in geometries(replace(KV260, ports=3))} == {1, 2}
    with pytest.raises(NothingFits, match="No machine"):
        search(skeleton(quantized("nano")), NANO.tasks[:1], replace(KV260, ports=1), FILL, workers=1)


@pytest.mark.parametrize("changes, said", [({"dsp": 100}, "DSP"), ({"lut": 40_000}, "LUT"), ({"bram36": 20}, "BRAM36")])
def test_too_small_a_board_is_a_sentence(changes, said, nano):
    with pytest.raises(NothingFits, match=f"'nano' fits kv260 filled to 70%.* {said} of"):
        search(skeleton(nano), NANO.tasks[:1], replace(KV260, ports=2, **changes), FILL, workers=1)


@pytest.mark.parametrize("fill", [0, -1, 1.5])
def test_a_fill_that_makes_no_sense(fill, nano):
    with pytest.raises(ConfigError, match="fill"):
        search(skeleton(nano), NANO.tasks[:1], KV260, fill, workers=1)


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["explore", *arguments])
    return ended.value.code, capsys.readouterr()


def test_the_command_prints_machines_that_can_be_made(capsys, tmp_path):
    picture = tmp_path / "front.png"
    code, said = run(capsys, "--model", "nano", "--board", "kv260", "--json", "--picture", str(picture))
    facts = json.loads(said.out)
    assert code == 0 and facts["front"] and facts["explored"] >= len(facts["front"])
    for entry in facts["front"]:
        machine = MachineConfig(**entry["machine"])
        assert entry["bram36"] == pytest.approx(area(machine).bram36, abs=0.1) and entry["cycles"] > 0
    assert {entry["machine"]["name"] for entry in facts["shipped"]} == {"nano", "small", "kv260"}
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_rows_name_the_machines_and_all_their_fields(nano):
    points = explore_geometry(skeleton(nano), NANO.tasks[:1], KV260, FILL, Geometry(2, 4, 2))[0][:3]
    shown = list(rows(Search(KV260, FILL, points, points[:2], points[2:])))
    assert [row["group"] for row in shown] == ["front", "front", "shipped"] and len(set(map(tuple, shown))) == 1
    for row, point in zip(shown, points, strict=True):
        machine = {key.removeprefix("machine."): value for key, value in row.items() if key.startswith("machine.")}
        assert MachineConfig(name=row["name"], **machine) == point.machine
        assert (row["cycles"], row["uram"]) == (point.cycles, point.area.uram)


@pytest.mark.parametrize("arguments, said", [
    (("--board", "versal"), "versal"), (("--model", "resnet"), "resnet"),
    (("--model", "nano", "--plan", "own"), "own"), (("--model", "nano", "--task", "depth"), "depth"),
    (("--model", "nano", "--board", "kv260", "--fill", "0.1"), "10%"),
    (("--model", "nano", "--scheduler", "nonsense://x"), "scheduler"),
])
def test_the_command_refuses_in_a_sentence(arguments, said, capsys):
    code, printed = run(capsys, *arguments)
    *_, last = printed.err.splitlines()  # after lines of progress
    assert code == 2 and last.startswith("edge-moe: ") and said in last and "Traceback" not in printed.err


def test_task_heads_take_the_memory_there_is():
    config = replace(NANO, patch=16, image_height=64, image_width=128, tasks=("all",),
                     task_heads=(HeadConfig("classes", "semseg", 7, 64),))
    found = families(empty(config, Plan.fast(2, config.task_heads)), ("all",), Geometry(2, 8, 1))
    tried = [(machine.operand_rows, len(nodes)) for machine, nodes in islice(found, 6)]
    assert sorted({rows for rows, _ in tried}) == [512, 1024, 2048]  # not what all maps together would take
    assert max(tried)[1] < min(tried)[1]  # the less memory, the more strips
