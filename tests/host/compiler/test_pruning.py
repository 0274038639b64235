# SPDX-License-Identifier: Apache-2.0
"""Programs with token pruning: what a user may ask for, cycles saved, results by place, refusals."""

from dataclasses import replace

import numpy as np
import pytest

from golden.device import GoldenDevice
from golden.model.nested import narrow
from golden.model.random_int_model import random_int_model
from golden.spec import isa
from golden.spec.isa import Opcode
from golden.spec.machine import MACHINES, NANO, ZCU102
from golden.spec.model import DEIT_SMALL, MODELS, ConfigError
from golden.spec.program.hazards import hazards
from golden.spec.program.image import Image
from golden.spec.program.outputs import problem
from golden.spec.quantized import Plan
from host.compiler.compile import compile_model, encode, plan_program
from host.compiler.disassemble import disassemble
from host.compiler.pruning import pruned
from host.compiler.skeleton import empty
from host.compiler.weight_stream import Stream
from host.driver.errors import InputError
from host.driver.maps import on_grid
from host.driver.result import same
from host.driver.scales import run_scales
from host.driver.session import Session
from host.performance.timeline import Timeline
from tests.host.support.compiled import picture

SMALL = replace(MODELS["nano"], name="kept", classes=5, final_norm=True, extra_tokens=2)
KEEP = "0:0.7,1:9"


@pytest.fixture(scope="module")
def model():
    return random_int_model(pruned(SMALL, KEEP), Plan.accurate(2), seed=2)


@pytest.fixture(scope="module")
def image(model):
    return compile_model(model, NANO)


def test_shares_count_the_patches_that_come_in_and_are_rounded_down():
    assert pruned(DEIT_SMALL, "3:0.7,6:0.7,9:0.7").keep == ((3, 137), (6, 95), (9, 66))
    assert pruned(DEIT_SMALL, " 3 : 137, 6:1/2").keep == ((3, 137), (6, 68))
    assert pruned(DEIT_SMALL, "0:1.0").keep == ((0, 196),)


@pytest.mark.parametrize("text, words", [
    ("0.7", "Give each block"), ("3:", "Give each block"), ("3:x", "Give each block"), ("x:0.5", "Give each block"),
    ("3:1/0", "Give each block"), ("3:1.5", "above 0 and at most 1"), ("3:0.0", "above 0 and at most 1"),
    ("3:-0.5", "above 0 and at most 1"), ("3:-5", "no fewer"), ("3:0.01", "no fewer than the 6 heads"),
    ("12:0.5", "below depth 12"), ("6:0.5,3:0.5", "ascending"), ("3:500", "at most")])
def test_refuses_what_no_program_can_keep(text, words):
    with pytest.raises(ConfigError, match=words):
        pruned(DEIT_SMALL, text)


def cycles(config, machine=ZCU102):
    stream = Stream()
    nodes = plan_program(empty(config, Plan.fast(config.depth)), machine, stream, config.tasks)
    return Timeline(machine).run(encode(nodes, machine, stream))[-1].end


def test_deit_small_takes_at_least_35_percent_fewer_cycles():
    """Seven tenths of the patches kept in blocks 3, 6 and 9, on the machine of the bench, by the performance model."""
    assert cycles(pruned(DEIT_SMALL, "3:0.7,6:0.7,9:0.7")) <= 0.65 * cycles(DEIT_SMALL)


def test_choosing_tokens_costs_little():
    """Keeping all patches of a block costs the choice alone."""
    assert cycles(pruned(DEIT_SMALL, "6:1.0")) <= 1.002 * cycles(DEIT_SMALL)


@pytest.mark.parametrize("name", MACHINES)
def test_programs_lack_no_wait_and_do_what_the_integer_network_does(name, model):
    image = compile_model(model, MACHINES[name])
    for task in image.programs:
        assert hazards([isa.decode(word) for word in image.words(task)]) == []
        result = Session(image, GoldenDevice(image.machine, hazards=True)).frame(picture(SMALL), task)
        seen = {}
        wanted = model.run(picture(SMALL), task, trace=seen.__setitem__)
        assert np.array_equal(result.residuals[task], wanted)
        assert np.array_equal(result.scores[task], model.logits(wanted))
        first, second = (seen[f"blocks.{layer}.kept"] for layer in (0, 1))
        assert result.kept[task].tolist() == (first[second][2:] - 2).tolist()


def test_narrow_ffns_prune_as_well(model):
    image = compile_model(model, NANO, widths=(0.5, 1))
    for name, network in (("task1", model), ("task1@0.5", narrow(model, 0.5))):
        result = Session(image, GoldenDevice(NANO)).frame(picture(SMALL), name)
        assert np.array_equal(result.residuals["task1"], network.run(picture(SMALL), "task1"))


def test_only_single_tasks_prune(image):
    """The residual streams of several tasks would have to stay side by side."""
    assert set(image.programs) == set(SMALL.tasks)


def test_results_tell_where_the_patches_were(image):
    result = Session(image, GoldenDevice(NANO)).frame(picture(SMALL))
    assert result.features.shape == (11, 64) and list(result) == ["features", "normed_features", "logits", "kept"]
    kept = result["kept"]
    assert len(kept) == 9 and (np.diff(kept) > 0).all() and 0 <= kept[0] and kept[-1] < 32
    grid = on_grid(result.features, kept, SMALL.grid)
    assert grid.shape == (4, 8, 64) and np.isnan(grid).all(-1).sum() == 32 - 9
    for row, number in enumerate(kept):
        assert np.array_equal(grid[number // 8, number % 8], result.features[2 + row])
    moved = replace(result, kept={task: numbers + 1 for task, numbers in result.kept.items()})
    assert same(result, result) and not same(result, moved)


def test_without_pruning_there_is_nothing_to_tell():
    image = compile_model(random_int_model(SMALL), NANO)
    result = Session(image, GoldenDevice(NANO)).frame(picture(SMALL))
    assert not result.kept and "kept" not in result and "keep" not in image.model.to_json()


def test_images_keep_it_and_show_it(image, tmp_path):
    image.save(tmp_path / "kept.emoe")
    assert Image.load(tmp_path / "kept.emoe") == image and image.model.keep == ((0, 22), (1, 9))
    text = disassemble(image)
    assert "keep      score_row=" in text and "tokens=34 first=2 keep=24" in text and "class_scores=1" in text
    names = [output.name for output in image.results("task0")]
    assert names == ["features", "kept.0", "kept.1", "logits"]


def test_a_result_of_another_count_is_refused(image):
    outputs = image.outputs["task0"]
    wrong = replace(outputs, outputs=tuple(replace(o, shape=(7,)) if o.name == "kept.1" else o
                                           for o in outputs.outputs))
    assert problem(outputs, image.model, image.plan, ("task0",)) is None
    assert "kept.1 of task0 (kept, 7, frac 0" in str(problem(wrong, image.model, image.plan, ("task0",)))


def test_scales_need_all_patches(image):
    with pytest.raises(InputError, match="Compile the model without keep"):
        run_scales(Session(image, GoldenDevice(NANO)), {1: picture(SMALL)})


def test_the_class_tokens_query_is_made_of_retained_weights():
    """Q's weights come from DRAM once, for the class token, and serve the kept tokens later."""
    stream = Stream()
    config = pruned(DEIT_SMALL, "6:0.7")
    nodes = plan_program(empty(config, Plan.fast(12)), ZCU102, stream, config.tasks)
    at = next(i for i, node in enumerate(nodes) if node.name == "blocks.6.attn.class")
    after = [node for node in nodes[at + 1:] if node.name == "blocks.6.attn.q"]
    assert nodes[at].fields["retain_weights"] and all(node.fields["reuse_weights"] for node in after)
    order = [node.opcode for node in nodes[at:at + 6]]
    assert order == [Opcode.LINEAR, Opcode.LINEAR, Opcode.ATTENTION, Opcode.KEEP, Opcode.LINEAR, Opcode.STORE]
