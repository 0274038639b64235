# SPDX-License-Identifier: Apache-2.0
"""The simulator on compiled images equals the integer network tensor by tensor."""

from dataclasses import replace

import numpy as np
import pytest

from golden.iss import Dram, Machine, placed, run_image
from golden.iss.tensors import normalized, result
from golden.model.random_int_model import random_int_model
from golden.ops.operand import Operand
from golden.spec import isa, machine, model
from golden.spec.heads import HeadConfig
from golden.spec.isa import Dest, Index, Opcode
from golden.spec.model import GateKind
from golden.spec.quantized import LayerPlan, Plan
from host.compiler.compile import compile_model
from host.compiler.passes import PASSES
from host.driver.layout import find, prepare_input, read_output

MIXED = Plan((LayerPlan(norm1=True, hidden=True), LayerPlan(prob=True, norm2=True)))
TINY_DEPTH2 = replace(model.M3VIT_TINY, depth=2, moe_layers=(1,))
HEAD64 = replace(model.NANO, name="head64", heads=1, classes=37, final_norm=True, extra_tokens=2)
NO_TOKEN = replace(model.NANO, name="no_token", extra_tokens=0)
REGISTERS = replace(model.NANO, name="registers", classes=37, final_norm=True, extra_tokens=5)
KEEPING = replace(HEAD64, name="keeping", heads=2, keep=((0, 21), (1, 6)))
RENORM = replace(model.NANO, name="renorm", gate=GateKind.TOPK_THEN_SOFTMAX, experts=20, top_k=3)
ODD = replace(model.NANO, name="odd", dim=96, heads=3, mlp_hidden=160, expert_hidden=96, patch=4, image_height=16,
              image_width=20, channels=1, pixel_mean=(0.0,), pixel_std=(1.0,))


def picture(config, seed=1):
    shape = (config.image_height, config.image_width, config.channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def traced(network, image, pixels, task):
    """Output bytes, trace entries with their symbols, and the integer network's tensors."""
    entries = []
    out = run_image(image, prepare_input(pixels, image.input), task, entries.append)
    wanted = {}
    network.run(pixels, task, lambda name, value: wanted.__setitem__(name, value))
    return out, [(image.symbols[task][entry.index].name, entry) for entry in entries], wanted


def assembled(entries, config):
    """``{(name, expert): (first entry, whole result)}``: an instruction may have been cut by tokens or output tiles."""
    parts = {}
    for name, entry in entries:
        got = result(entry, config)
        if got is not None:
            parts.setdefault((name, entry.expert), []).append((entry, got))
    whole = {}
    for key, found in parts.items():
        first, got = found[0]
        if isinstance(got, Operand):
            order = [part for _, part in sorted(found, key=lambda pair: pair[0].fields["dst_row"])]
            exp = None if got.wide else np.concatenate([part.exp for part in order])
            got = Operand(np.concatenate([part.bytes for part in order]), exp)
        elif got.dtype == np.int16 and len(found) > 1:
            stride = first.fields["dst_stride"]
            base = min(entry.fields["dst_row"] for entry, _ in found)
            places = [divmod(entry.fields["dst_row"] - base, stride) for entry, _ in found]
            tokens = max(token + len(part) for (token, _), (_, part) in zip(places, found, strict=True))
            got = np.zeros((tokens, stride * 32), np.int16)
            for (token, tile), (_, part) in zip(places, found, strict=True):
                got[token:token + len(part), 32 * tile:32 * tile + part.shape[1]] = part
        whole[key] = first, got, [entry for entry, _ in found]
    return whole


def compare(network, image, pixels, task):
    """Every tensor that both have; returns the names that were compared."""
    out, entries, wanted = traced(network, image, pixels, task)
    seen = set()

    def same(name, got, exponents=None):
        if exponents is not None:
            np.testing.assert_array_equal(exponents, wanted[f"{name}.exp"], f"{name}.exp")
            seen.add(f"{name}.exp")
        np.testing.assert_array_equal(got, wanted[name], name)
        seen.add(name)

    for (name, expert), (entry, got, parts) in assembled(entries, image.machine).items():
        if isinstance(got, Operand):
            target = name + ".out" if entry.opcode is Opcode.ATTENTION else name.replace("fc1", "hidden")
            target += f".{expert}" if expert >= 0 else ""
            same(target, got.values(), got.exp)
            if normalized(entry) is not None:
                same(f"{name}.normalized", np.concatenate([normalized(part) for part in parts]))
        elif name == "patch_embed":
            np.testing.assert_array_equal(got, wanted["embed"][network.config.extra_tokens:])
            seen.add("embed")
        elif name.endswith("attn.paid"):
            same(name, got[0, :entry.fields["keys"]])
        elif name.endswith(("attn.k", "attn.v")):
            same(name, got)
        elif name.endswith("attn.proj"):
            same(name.replace("proj", "residual"), got)
        elif name.endswith("mlp.fc2") and expert < 0:
            same(name.removesuffix(".mlp.fc2"), got)
        elif name.endswith("mlp.fc2"):
            same(name.replace("fc2", f"tokens.{expert}"), entry.tokens)
    gates = {}
    for name, entry in entries:
        if entry.logits is not None:
            gates.setdefault(name.removesuffix(f".{task}"), []).append(entry)
    for b, parts in gates.items():  # the first tokens may have been routed early
        same(f"{b}.logits", np.concatenate([part.logits for part in parts]))
        for expert, queue in enumerate(parts[-1].queues):
            token, place = np.nonzero(wanted[f"{b}.experts"] == expert)
            np.testing.assert_array_equal(queue.tokens, token)
            np.testing.assert_array_equal(queue.weights, wanted[f"{b}.weights"][token, place])
        seen.update((f"{b}.experts", f"{b}.weights"))
    # A MoE block's result is the residual stream after its last expert: what the next instructions read.
    for layer, _ in network.config.keep:
        same(f"blocks.{layer}.kept", read_output(out, find(image.results(), f"kept.{layer}")))
    stream = read_output(out, find(image.results(), "features"))
    np.testing.assert_array_equal(stream, wanted[f"blocks.{network.config.depth - 1}"])
    if network.config.classes:
        same("logits", read_output(out, find(image.results(), "logits")))
    return seen, set(wanted)


@pytest.mark.parametrize("target", [machine.NANO, machine.SMALL, machine.ZCU102], ids=lambda m: m.name)
@pytest.mark.parametrize("plan", [Plan.fast(2), Plan.accurate(2), MIXED, Plan.fast(2).with_bits(5, 4),
                                  Plan.accurate(2).with_bits(4, 4)],
                         ids=["fast", "accurate", "mixed", "packed experts", "packed"])
def test_nano_equals_the_integer_network(target, plan):
    network = random_int_model(model.NANO, plan, seed=3)
    image = compile_model(network, target)
    for task in model.NANO.tasks:
        seen, wanted = compare(network, image, picture(model.NANO), task)
        inside = {name for name in wanted if name.rsplit(".", 1)[-1] in ("score", "prob", "sum", "mix")
                  or ".mlp.out." in name or name == "blocks.1"}
        assert seen == wanted - inside


@pytest.mark.parametrize("config", [HEAD64, KEEPING, NO_TOKEN, REGISTERS, RENORM, ODD, TINY_DEPTH2],
                         ids=lambda c: c.name)
@pytest.mark.parametrize("make", [Plan.fast, Plan.accurate], ids=["fast", "accurate"])
def test_other_shapes_equal_the_integer_network(config, make):
    network = random_int_model(config, make(config.depth), seed=5)
    image = compile_model(network, machine.ZCU102)
    for task in config.tasks:
        compare(network, image, picture(config), task)


@pytest.mark.parametrize("hide", [True, False])
def test_whole_frame_equals_the_integer_network(hide):
    network = random_int_model(model.M3VIT_TINY, seed=7)
    image = compile_model(network, machine.ZCU102, passes=PASSES if hide else ())
    assert (len(image.words("task0")) > 140) == hide  # norms are cut, or not
    seen, _ = compare(network, image, picture(model.M3VIT_TINY), "task0")
    assert sum(".mlp.hidden" in name for name in seen) > 80


@pytest.mark.parametrize("make", [Plan.fast, Plan.accurate], ids=["fast", "accurate"])
def test_joint_program_gives_every_task_its_result(make):
    config = replace(model.NANO, tasks=("a", "b", "c"))
    network = random_int_model(config, make(2), seed=2)
    image = compile_model(network, machine.ZCU102)
    assert image.tasks("a+b+c") == config.tasks
    out = run_image(image, prepare_input(picture(config), image.input), "a+b+c")
    for output, task in zip(image.results("a+b+c"), config.tasks, strict=True):
        assert output.task == task
        np.testing.assert_array_equal(read_output(out, output), network.run(picture(config), task))


def test_jobs_follow_each_other_without_reset():
    network = random_int_model(model.NANO)
    image = compile_model(network, machine.NANO)
    pixels = [picture(model.NANO, seed) for seed in (1, 2)]
    dram = Dram()
    unit = Machine(machine.NANO, dram)
    for i in (0, 1, 0):
        _, registers, size = placed(image, prepare_input(pixels[i], image.input), "task1", dram)
        unit.run(registers)
        out = dram.read(registers["OUTPUT_ADDR"], size)
        np.testing.assert_array_equal(read_output(out, image.results("task1")[0]), network.run(pixels[i], "task1"))


def test_masks_name_the_bytes_written():
    network = random_int_model(ODD)
    image = compile_model(network, machine.ZCU102, passes=())
    _, entries, _ = traced(network, image, picture(ODD), "task0")
    for name, entry in entries:
        for write in entry.writes:
            assert write.mask.shape == write.data.shape and write.mask.any(), name
    norm = next(entry for name, entry in entries if name == "blocks.0.norm1").writes[0]
    assert norm.mask.sum() == ODD.tokens * ODD.dim and norm.mask.size == ODD.tokens * 128
    key = next(entry for name, entry in entries if name == "blocks.0.attn.k").writes[0]
    assert key.mask.sum() == ODD.tokens * ODD.dim


def test_memories_are_zero_at_the_start_of_each_job():
    """Jobs that store rows of each memory, after one that filled them."""
    image = compile_model(random_int_model(model.NANO), machine.NANO)
    dram, registers, size = placed(image, prepare_input(picture(model.NANO), image.input))
    unit = Machine(machine.NANO, dram)
    unit.run(registers)
    before = unit.memories
    assert all(getattr(before, name).any() for name in ("operand", "exp", "residual", "key", "value"))
    rows, begin = size // machine.LINE, isa.decode(image.words(next(iter(image.programs)))[0])[1]
    for memory in isa.Memory:
        words = [isa.encode(Opcode.BEGIN, **begin | {"count": 3}), isa.encode(Opcode.STORE, memory=memory, rows=rows),
                 isa.encode(Opcode.END)]
        dram.write(registers["OUTPUT_ADDR"], b"x" * size)
        unit.run(registers | {"PROGRAM_ADDR": dram.put(isa.assemble(words)), "READ_HI": 1 << 40})
        assert not any(dram.read(registers["OUTPUT_ADDR"], size))
    assert not any(getattr(unit.memories, name).any() for name in ("operand", "exp", "residual", "key", "value"))


def test_every_destination_and_index_occurs():
    """The comparison above covers the whole instruction set."""
    network = random_int_model(HEAD64, MIXED)
    tight = replace(machine.ZCU102, operand_rows=512)
    heads = random_int_model(replace(model.NANO, task_heads=(HeadConfig("task0", "depth", 1, 64),)))
    keeping = random_int_model(replace(model.NANO, keep=((1, 9),)))
    decoded = [isa.decode(word) for image in (compile_model(network, machine.ZCU102), compile_model(heads, tight),
                                              compile_model(keeping, machine.NANO))
               for task in image.programs for word in image.words(task)]
    assert {fields["region"] for opcode, fields in decoded if opcode is Opcode.LOAD} == set(isa.Region)
    assert {opcode for opcode, _ in decoded} == set(Opcode)
    linears = [fields for opcode, fields in decoded if opcode is Opcode.LINEAR]
    assert {fields["dst"] for fields in linears} == set(Dest)
    assert {fields["src_index"] for fields in linears} == set(Index)
