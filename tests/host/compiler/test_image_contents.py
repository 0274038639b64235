# SPDX-License-Identifier: Apache-2.0
"""The weight stream, tables and symbols of compiled images, the performance model, the driver's layout."""

from dataclasses import replace

import numpy as np
import pytest

from golden.iss import run_image
from golden.model.random_int_model import random_int_model
from golden.spec import isa, machine, model
from golden.spec.boards.dram import DramTiming
from golden.spec.isa import Index, Opcode
from golden.spec.machine import LINE
from golden.spec.program.image import Image
from golden.spec.quantized import Plan
from golden.spec.tiling import linear_lines, slices
from host.compiler import weight_stream as lay
from host.compiler.compile import compile_model
from host.compiler.disassemble import disassemble
from host.compiler.passes import PASSES
from host.driver.layout import InputError, find, prepare_input, read_output
from host.performance.timeline import Arrival, predict
from tests.host.support.compiled import TINY, compiled, picture

# -- the stream and the image

def test_weights_come_once_in_consumption_order():
    config = model.M3VIT_TINY
    _, image = compiled(config, machine.ZCU102, passes=())
    position, skipped = 0, 0
    for word in image.words("task0"):
        opcode, f = isa.decode(word)
        if "stream" not in f or f["src_index" if opcode is Opcode.LINEAR else "stream"] and opcode is Opcode.LINEAR:
            continue
        skipped += f["stream"] - position
        assert f["stream"] >= position
        lines = {Opcode.NORM: lambda f: 3 * f["blocks"], Opcode.LINEAR: lambda f: linear_lines(f["tiles"], f["slices"]),
                 Opcode.ATTENTION: lambda f: 1 + f["heads"] * f["head_slices"] // 2 * 6,
                 Opcode.EXPERTS: lambda f: f["experts"] * f["pitch"]}[opcode](f)
        position = f["stream"] + lines
    gates = len(config.moe_layers) * linear_lines(1, slices(config.dim))
    assert position == image.stream_lines and skipped == gates  # the other task's gates


def test_tasks_share_everything_but_their_gates():
    _, image = compiled(model.M3VIT_TINY, machine.ZCU102)
    one, two = image.words("task0"), image.words("task1")
    differing = {symbol.name.split(".")[2] for a, b, symbol in zip(one, two, image.symbols["task0"], strict=True)
                 if a != b}
    assert differing == {"gate"}


def test_joint_program_loads_each_expert_once():
    config = model.M3VIT_TINY
    _, image = compiled(config, machine.ZCU102)
    decoded = [isa.decode(word) for word in image.words("task0+task1")]
    assert sum(opcode is Opcode.EXPERTS for opcode, _ in decoded) == len(config.moe_layers)
    assert sum(opcode is Opcode.COPY for opcode, _ in decoded) == 1
    first = next(i for i, (opcode, _) in enumerate(decoded) if opcode is Opcode.COPY)
    assert image.symbols["task0+task1"][first - 1].name == "blocks.1.attn.proj"
    cycles = {task: sum(s.cycles for s in symbols) for task, symbols in image.symbols.items()}
    assert cycles["task0+task1"] < 1.85 * cycles["task0"]


@pytest.mark.parametrize("target", [machine.NANO, machine.SMALL, machine.ZCU102, machine.U280], ids=lambda m: m.name)
def test_step_rows_and_planes(target):
    """The bytes of one LINEAR, taken apart by the definition of ``golden.spec.tiling``."""
    rng = np.random.default_rng(4)
    weight = rng.integers(-127, 128, (40, 24), dtype=np.int8)
    bias, multiplier = rng.integers(-9**9, 9**9, 40), rng.integers(0, 65536, 40)
    data = lay.linear(target, weight, bias, multiplier, gain=-5, offset=7)
    assert len(data) == linear_lines(2, 2) * LINE
    stream = lay.Stream()
    first = target.beat_lines
    stream.add("first", bytes(first * LINE))
    assert stream.add("x", data) == first and stream.add("x", b"") == first
    planes = stream.planes(target)
    share = target.share_bytes
    for _ in range(300):
        channel, inp = rng.integers(0, 64), rng.integers(0, 32)
        tile, c = divmod(channel, 32)
        step, j = divmod(inp, target.tk)
        place = (first + tile * linear_lines(1, 2) + 6) * LINE + step * target.row_bytes + c * target.tk + j
        beat, byte = divmod(place, target.beat_lines * LINE)
        got = np.int8(np.uint8(planes[byte // share][beat * share + byte % share]).view(np.int8))
        assert got == (weight[channel, inp] if channel < 40 and inp < 24 else 0)
    record = data[linear_lines(1, 2) * LINE:][12 * 7:12 * 8]  # channel 39
    assert int.from_bytes(record[:4], "little", signed=True) == bias[39]
    assert int.from_bytes(record[4:6], "little") == multiplier[39]
    assert int.from_bytes(record[6:8], "little", signed=True) == -5 and record[8] == 7


def test_gate_columns():
    weight = np.array([[16319], [-16319], [64], [-65]], np.int16)
    data = np.frombuffer(lay.gate(machine.NANO, weight, np.array([1000, -1, 64, -64])), np.uint8)
    tile = data[6 * LINE:].view(np.int8).reshape(4, 32, 4)[0, :, 0].reshape(2, 16)
    np.testing.assert_array_equal(tile[:, :5], [[127, -127, 1, -1, 0], [63, -63, -64, 63, 0]])
    bias = data[:6 * LINE].reshape(32, 12)[:, :4].copy().view("<i4").reshape(2, 16)
    np.testing.assert_array_equal(bias[:, :4] * [[128], [1]], [[1024, 0, 128, 0], [-24, -1, -64, -64]])


def test_parameters_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="multiplier must lie in 0..65535; the values lie in 65536..65536"):
        lay.params(3, multiplier=65536)
    with pytest.raises(ValueError, match="whole lines"):
        lay.Stream().add("x", b"abc")


def test_same_input_same_bytes():
    network, image = compiled(model.NANO, machine.NANO, "accurate")
    again = compile_model(random_int_model(model.NANO, Plan.accurate(2)), machine.NANO)
    assert image.to_bytes() == again.to_bytes() == Image.from_bytes(image.to_bytes()).to_bytes()
    other = compile_model(random_int_model(model.NANO, Plan.accurate(2), seed=1), machine.NANO)
    assert other.planes != image.planes
    assert network.config == image.model and network.plan == image.plan


@pytest.mark.parametrize("hide", [True, False])
def test_symbols_account_for_every_multiply_accumulate(hide):
    config = model.M3VIT_TINY
    _, image = compiled(config, machine.ZCU102, passes=PASSES if hide else ())
    symbols = image.symbols["task0"]
    assert sum(symbol.macs for symbol in symbols) == config.macs
    bound = config.macs / machine.ZCU102.macs_per_cycle
    assert bound < sum(symbol.cycles for symbol in symbols) < 1.4 * bound
    weights = sum(symbol.bytes for symbol in symbols if symbol.kind not in ("LOAD", "STORE"))
    gates = len(config.moe_layers) * linear_lines(1, slices(config.dim)) * LINE
    once = image.stream_lines * LINE - gates
    assert weights == once or hide and once < weights < 1.01 * once


def test_hidden_norms_save_cycles_and_no_bit_changes():
    network, plain = compiled(TINY, machine.ZCU102, passes=())
    _, image = compiled(TINY, machine.ZCU102)
    pixels = prepare_input(picture(TINY), image.input)
    assert image.planes == plain.planes
    for task in image.programs:
        assert run_image(image, pixels, task) == run_image(plain, pixels, task)
        assert predict(image, task)[-1].end < 0.985 * predict(plain, task)[-1].end
    kinds = [symbol.kind for symbol in image.symbols["task0"]]
    assert kinds.count("NORM") > 1.5 * 2 * TINY.depth and kinds.count("LOAD") == 2 * 8


def test_listing_names_everything():
    _, image = compiled(model.NANO, machine.NANO)
    text = disassemble(image)
    for task, symbols in image.symbols.items():
        assert f"program {task!r}" in text and all(symbol.name in text for symbol in symbols)
    assert "dst_index=queue_token" in text and "fingerprint=0x" in text and " array " in text
    assert disassemble(image) == text


# -- the performance model

def test_timeline_runs_every_instruction_in_its_unit():
    config = TINY
    _, image = compiled(config, machine.ZCU102)
    arrivals = [Arrival(expert, 40, expert // 2) for expert in range(6)] + [Arrival(15, 18, 9)]
    spans = predict(image, "task0", [arrivals] * 2)
    words = image.words("task0")
    assert spans[-1].index == len(words) - 1 and {span.index for span in spans} == set(range(len(words)))
    assert {span.expert for span in spans} == {-1, 0, 1, 2, 3, 4, 5, 15}
    assert all(span.start <= span.end <= spans[-1].end for span in spans)
    order = [span.start for span in spans if isa.decode(words[span.index])[0] in (Opcode.LINEAR, Opcode.ATTENTION)]
    assert order == sorted(order)


def test_timeline_knows_the_memory():
    _, image = compiled(TINY, machine.ZCU102)
    ends = [predict(image, "task0", dram=dram)[-1].end for dram in (
        DramTiming(64, 100), DramTiming(57, 150), DramTiming(16, 100), DramTiming(4, 100))]
    assert ends == sorted(ends) and ends[-1] > image.stream_lines * LINE / 4 > ends[0]
    waited = sum(span.waited for span in predict(image, "task0", dram=DramTiming(4, 100)))
    assert waited > 0.5 * ends[-1]


# -- the driver's half

def test_input_layout():
    config = replace(model.NANO, patch=4, image_height=8, image_width=12)
    _, image = compiled(config, machine.ZCU102)
    pixels = picture(config)
    data = np.frombuffer(prepare_input(pixels, image.input), np.uint8).reshape(6, 64)
    for patch in range(6):
        for inp in range(48):
            channel, row, column = inp // 16, inp // 4 % 4, inp % 4
            assert data[patch, inp] == pixels[patch // 3 * 4 + row, patch % 3 * 4 + column, channel]
    assert not data[:, 48:].any()


@pytest.mark.parametrize("bad", [None, [[1]], np.zeros((32, 64, 3), np.float32), np.zeros((64, 32, 3), np.uint8),
                                 np.zeros((32, 64), np.uint8)], ids=["none", "list", "float", "turned", "grey"])
def test_wrong_images_are_refused(bad):
    _, image = compiled(model.NANO, machine.NANO)
    with pytest.raises(InputError, match=r"uint8 image of shape \(32, 64, 3\)"):
        prepare_input(bad, image.input)


def test_output_refusals():
    _, image = compiled(model.NANO, machine.NANO)
    with pytest.raises(InputError, match="has the outputs features, not 'logits'"):
        find(image.results(), "logits")
    with pytest.raises(InputError, match="not 'features' of task 'task1'"):
        find(image.results("task0"), "features", "task1")
    with pytest.raises(InputError, match="ends at byte"):
        read_output(bytes(image.output_bytes() - 64), image.results()[0])


def test_index_kinds_in_bodies():
    _, image = compiled(model.NANO, machine.NANO)
    words = image.words("task0")
    at = next(i for i, word in enumerate(words) if word & 15 == Opcode.EXPERTS)
    (_, experts), (_, up), (_, down) = map(isa.decode, words[at:at + 3])
    assert (up["src_index"], up["dst_index"], up["stream"]) == (Index.QUEUE_TOKEN, Index.QUEUE_SLOT, 0)
    assert (down["src_index"], down["dst_index"]) == (Index.QUEUE_SLOT, Index.QUEUE_TOKEN)
    assert down["stream"] == linear_lines(up["tiles"], up["slices"])
    assert experts["pitch"] == down["stream"] + linear_lines(down["tiles"], down["slices"])
