# SPDX-License-Identifier: Apache-2.0
"""Lists of pictures in a session: results in their order, each its picture's, from as few jobs as there can be."""

from dataclasses import replace

import numpy as np
import pytest

from golden.device import GoldenDevice
from golden.model.scales import scaled
from golden.spec.machine import NANO as MACHINE
from golden.spec.model import NANO
from host.driver.errors import InputError
from host.driver.jobs import Job, jobs
from host.driver.scales import run_scales
from host.driver.session import Session
from tests.host.support.compiled import compiled
from tests.host.support.devices import picture

SHOWN = [picture(NANO, seed) for seed in range(7)]


@pytest.fixture(scope="module")
def both():
    return compiled(NANO, MACHINE, seed=3, pictures=2)


def exact(network, results, tasks):
    for shown, result, task in zip(SHOWN, results, tasks, strict=False):
        assert list(result.residuals) == [task]
        np.testing.assert_array_equal(result.residuals[task], network.run(shown, task))


def test_a_list_of_pictures(both):
    network, image = both
    session = Session(image, GoldenDevice(MACHINE))
    results = session.run(SHOWN[:5])
    exact(network, results, ["task0"] * 5)
    assert [result.pictures for result in results] == [2, 2, 2, 2, 1]
    assert [result.run_id for result in results] == [1, 1, 2, 2, 3]
    assert session.run([]) == [] and [r.run_id for r in session.run(tuple(SHOWN[:1]))] == [4]
    np.testing.assert_array_equal(session.run(SHOWN[3]).residuals["task0"], network.run(SHOWN[3], "task0"))


def test_a_task_for_each_picture(both):
    network, image = both
    tasks = ["task0", "task1", "task0", "task1", "task1", "task0", "task0"]
    results = Session(image, GoldenDevice(MACHINE)).run(SHOWN, tasks)
    exact(network, results, tasks)
    assert len({result.run_id for result in results}) == 4


def test_jobs(both):
    image = both[1]
    assert jobs(image, 3, None) == [Job("task0#2", (0, 1)), Job("task0", (2,))]
    assert jobs(image, 3, ["task1", None, "task1"]) == [Job("task1#2", (0, 2)), Job("task0", (1,))]
    assert jobs(image, 4, "task1#2") == [Job("task1#2", (0, 1)), Job("task1#2", (2, 3))]
    assert jobs(image, 2, "task0+task1") == [Job("task0+task1", (0,)), Job("task0+task1", (1,))]


def test_refusals_before_any_job(both):
    session = Session(both[1], GoldenDevice(MACHINE))
    for shown, task, words in (
            (SHOWN[:3], "task0#2", "The program 'task0#2' computes 2 pictures at a time; 3 came"),
            (SHOWN[0], "task0#2", "computes 2 pictures at a time; 1 came"),
            (SHOWN[:2], ["task0"], "there are 2 pictures and 1 tasks"),
            (SHOWN[:2], "other", "knows the tasks task0, task1, .*, not 'other'"),
            ([SHOWN[0], SHOWN[1][:8]], None, r"shape \(32, 64, 3\) .* came")):
        with pytest.raises(InputError, match=words):
            session.run(shown, task)
    assert session.regs["RUN_ID"] == 0
    session.start(bytes(2 * both[1].input["bytes"]), "task0#2")
    assert session.regs.wait(1 << 20, lambda cycles: None) is not False
    with pytest.raises(InputError, match="computed 2 pictures: finish_all"):
        session.finish()
    with pytest.raises(InputError, match="buffer has 12288 bytes; 6144 came"):
        session.start(bytes(both[1].input["bytes"]), "task0#2")


def test_the_parts_of_a_picture_at_several_scales_share_jobs(both):
    network, image = both
    config = replace(NANO, image_height=64, image_width=128)
    seen = {1: SHOWN[0], 2: picture(config, 9)}
    result = run_scales(Session(image, GoldenDevice(MACHINE)), seen, "task1")
    assert result.jobs == 3
    np.testing.assert_array_equal(result.features, scaled(NANO, lambda part: network.features(part, "task1"), seen))
