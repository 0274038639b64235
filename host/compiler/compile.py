# SPDX-License-Identifier: Apache-2.0
"""Compiler from quantized model to program image: lowering, passes, regions, waits, instruction words, symbols."""

import itertools
from collections.abc import Iterable
from contextlib import suppress

import numpy as np

from golden.model.nested import narrow
from golden.spec import isa
from golden.spec.isa import Opcode
from golden.spec.machine import ABI_VERSION, LINE, MachineConfig
from golden.spec.model import require
from golden.spec.program.host_part import layout
from golden.spec.program.image import Image, Symbol
from golden.spec.program.names import MOST_PICTURES, program_name
from golden.spec.program.outputs import OutputBuffer
from golden.spec.tiling import ceil_div, operand_rows, residual_rows
from host.compiler.allocate import allocate
from host.compiler.heads.plan import INSTRUCTION_PRICE
from host.compiler.lower import Lowering, hidden_rows
from host.compiler.nested import Nest
from host.compiler.passes import CUTTING, PASSES, Pass, software_pipelining
from host.compiler.passes.software_pipelining import patch_ranges
from host.compiler.passes.waits import set_waits
from host.compiler.verify import CompilerError, defect
from host.compiler.weight_stream import Stream
from host.ir.nodes import Node, NotFitting, flat
from host.performance.estimate import estimate

_ROUNDS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
"""Token ranges that an FFN is cut into, until its hidden operand and its expert queues fit."""
_PRICES = (INSTRUCTION_PRICE, 100 * INSTRUCTION_PRICE)
"""Prices of an instruction of a task head, until the program fits."""


def compile_model(model, machine: MachineConfig, joint: bool = True, passes: tuple[Pass, ...] = PASSES,
                  widths: Iterable[float] = (1.0,), pictures: int = 1, expert_tokens: int | None = None) -> Image:
    """The image of ``model`` (``config``, ``plan``, ``tensors`` of ``golden.spec.quantized``) for ``machine``.

    One program a task and, with ``joint`` and several tasks, one called ``"a+b"`` that runs all tasks on one image if
    the machine can hold it; these for each of ``widths``, the fractions of the neurons of every FFN that they use
    (:mod:`golden.model.nested`), from the widest on; and, with several ``pictures``, all of them once more for so many
    at a time, on which each weight is read once. :mod:`golden.spec.program.names` says what they are called.
    ``passes`` of :data:`host.compiler.passes.PASSES` change cycles and DRAM bytes, no result. ``expert_tokens``: most
    tokens that go to their experts at a time; 1 is token by token, with the experts' weights read again for each.
    Same input, same bytes. Raises :class:`NotFitting` when not even one task fits, and
    :class:`host.compiler.verify.CompilerError` for a program that the compiler itself finds wrong.
    """
    config, stream = model.config, Stream()
    require(1 <= pictures <= MOST_PICTURES, f"A program computes 1 to {MOST_PICTURES} pictures, not {pictures}.")
    require(pictures == 1 or not config.keep, f"A program that keeps some of its tokens computes one picture, not "
            f"{pictures}. Compile it without --keep, or one picture at a time.")
    by_width = {width: narrow(model, width) for width in sorted(set(widths), reverse=True)} or {1.0: model}
    nest = Nest(tuple(by_width.values()))
    groups = [(task,) for task in config.tasks]
    programs, symbols, outputs = {}, {}, {}
    together = [config.tasks] if joint and config.moe_layers and len(config.tasks) > 1 and not config.keep else []
    for count, (width, part), group in itertools.product(sorted({1, pictures}), by_width.items(), groups + together):
        try:
            nodes, output = plan_with_output(part, machine, stream, group, passes, nest, count, expert_tokens)
        except NotFitting as refusal:
            if len(group) == 1:
                raise refusal if count == 1 else _fewer(refusal, part, machine, group, count) from None
            continue
        name = program_name(group, width, count)
        require(name not in programs, f"There would be two programs called {name!r}.")
        programs[name], outputs[name] = isa.assemble(encode(nodes, machine, stream)), output
        symbols[name] = tuple(_symbol(node, machine) for node in flat(nodes))
    return Image(machine, config, model.plan, programs, stream.planes(machine), tables(model), symbols,
                 input_layout(config), outputs, host_part(model))


def _fewer(refusal: NotFitting, model, machine: MachineConfig, group: tuple[str, ...], count: int) -> NotFitting:
    """``refusal`` of ``count`` pictures, and how many at a time the machine holds."""
    for fewer in range(count - 1, 1, -1):
        with suppress(NotFitting):
            plan_with_output(model, machine, Stream(), group, pictures=fewer)
            return NotFitting(f"{refusal} It holds {fewer} pictures at a time.")
    return NotFitting(f"{refusal} It holds one picture at a time.")


def plan_program(model, machine: MachineConfig, stream: Stream, tasks: tuple[str, ...],
                 passes: tuple[Pass, ...] = PASSES) -> list[Node]:
    """Nodes of one program with addresses and waits."""
    return plan_with_output(model, machine, stream, tasks, passes)[0]


def plan_with_output(model, machine: MachineConfig, stream: Stream, tasks: tuple[str, ...],
                     passes: tuple[Pass, ...] = PASSES, nest: Nest | None = None,
                     pictures: int = 1, expert_tokens: int | None = None) -> tuple[list[Node], OutputBuffer]:
    """Nodes of one program with addresses and waits, and its output buffer: FFNs in as few token ranges as fit, task
    heads in the strips that cost least, or else in few ones, with all passes that fit."""
    what = f"{model.config.name!r}" + (f" with the tasks {', '.join(tasks)} together" if len(tasks) > 1 else "") + (
        f" on {pictures} pictures at a time" if pictures > 1 else "")
    config, refusal, no_room = model.config, None, None
    tokens = config.tokens * len(tasks) * pictures
    if tokens > (most := isa.bounds(Opcode.LINEAR, "tokens")[1]):
        raise NotFitting(f"{what} has {tokens} tokens; an instruction takes at most {most}.")
    stream_rows = tokens * residual_rows(config.dim)
    if tokens > config.tokens and stream_rows > machine.residual_rows:  # whatever the order of its instructions
        raise NotFitting(f"{what} needs {stream_rows * LINE} bytes of residual memory for {tokens} tokens; the machine "
                         f"{machine.name!r} has {machine.residual_rows * LINE}: "
                         f"{(stream_rows - machine.residual_rows) * LINE} too few. Take a larger machine or a smaller "
                         f"image.")
    widest = max(hidden_rows(config, layer, i) for i, layer in enumerate(model.plan.layers))
    prices = _PRICES if config.task_heads else _PRICES[:1]
    for rounds, (chosen, eager), price in itertools.product(_ROUNDS, _attempts(passes), prices):
        if no_room == (rounds, chosen, eager):
            continue
        room = ceil_div(widest * tokens, rounds)
        cuts = patch_ranges(config, machine) if software_pipelining in chosen else 1
        lowering = Lowering(model, machine, stream, tasks, room, cuts, price, nest, pictures, eager, expert_tokens)
        nodes = lowered = lowering.program()
        for rewrite in chosen:
            nodes = rewrite(nodes, machine)
        if too_long := _too_long(nodes, machine, what):
            if price != prices[-1] or set(chosen) & set(CUTTING):
                continue
            raise refusal or too_long  # more ranges need more instructions still
        try:
            allocate(nodes, machine, what)
        except NotFitting as error:
            refusal, no_room = error, (rounds, chosen, eager)  # of the smallest attempt, if none fits
            continue
        set_waits(nodes)
        _verify(nodes, lowered, chosen, machine, stream)
        return nodes, lowering.output
    assert refusal is not None, "Without cutting passes an attempt is refused or returned."
    raise refusal


def _attempts(passes: tuple[Pass, ...]) -> list[tuple[tuple[Pass, ...], bool]]:
    """Which passes to try, and whether to normalize ranges of tokens early: all, then without the first cutting pass,
    and so on."""
    found = [(tuple(p for p in passes if p not in CUTTING[:left_out]), eager)
             for left_out in range(len(CUTTING) + 1) for eager in (True, False)]
    return list(dict.fromkeys((chosen, eager and software_pipelining in chosen) for chosen, eager in found))


def _verify(nodes: list[Node], lowered: list[Node], passes: tuple[Pass, ...], machine: MachineConfig,
            stream: Stream) -> None:
    """Raise :class:`CompilerError` unless the finished program is sound; name the first pass that spoils it."""
    wrong = _defect(nodes, machine, stream)
    if wrong is None:
        return
    culprit, nodes = "lowering", lowered
    for rewrite in (None, *passes):
        if rewrite is not None:
            culprit, nodes = rewrite.__name__, rewrite(nodes, machine)
        allocate(nodes, machine, "the program")
        set_waits(nodes)
        if _defect(nodes, machine, stream) is not None:
            break
    raise CompilerError(f"The compiler made a wrong program, in {culprit}: {wrong}. Please report the shape of the "
                        f"model and the machine {machine.name!r}.")


def _defect(nodes: list[Node], machine: MachineConfig, stream: Stream) -> str | None:
    return defect(encode(nodes, machine, stream), [node.name for node in flat(nodes)], machine)


def _too_long(nodes: list[Node], machine: MachineConfig, what: str) -> NotFitting | None:
    """The refusal of a program with too many instructions."""
    over = len(flat(nodes)) - machine.program_depth
    if over <= 0:
        return None
    have, size = machine.program_depth * isa.INSTRUCTION_BYTES, isa.INSTRUCTION_BYTES
    return NotFitting(f"{what} needs {have + over * size} bytes of program memory; the machine {machine.name!r} has "
                      f"{have}: {over * size} too few. Take a larger machine.")


def encode(nodes: list[Node], machine: MachineConfig, stream: Stream) -> list[int]:
    """256-bit words. A body's ``stream`` counts from its expert's part of the stream."""
    steps = flat(nodes)
    words = []
    for node in steps:
        fields = node.numbers
        if node.payload is not None:
            fields["stream"] = stream[node.payload] + node.lines
        if node.opcode is Opcode.BEGIN:
            fields = {"magic": isa.MAGIC, "abi": ABI_VERSION, "fingerprint": machine.fingerprint, "count": len(steps)}
        words.append(isa.encode(node.opcode, wait=int(node.wait), **fields))
    return words


def _symbol(node: Node, machine: MachineConfig) -> Symbol:
    cost = estimate(node, machine)
    return Symbol(node.name, node.opcode.name, node.macs, round(cost.cycles), round(cost.bytes))


def tables(model) -> bytes:
    """Residual rows of the positional embedding, in the order in which the machine holds tokens, and of the prompts of
    each block that has some."""
    c = model.config
    order = [*range(c.extra_tokens), *(c.extra_tokens + place for place in c.patch_order())]
    values = np.concatenate([model.tensors["pos_embed"][order],
                             *(model.tensors[f"blocks.{i}.prompts"] for i in c.prompt_layers)])
    rows = np.zeros((len(values), residual_rows(c.dim) * LINE // 2), "<i2")
    rows[:, :c.dim] = values
    return rows.tobytes()


def host_part(model) -> bytes:
    """Tensors that the host computes with: see :mod:`golden.spec.program.host_part`."""
    return b"".join(np.asarray(model.tensors[name]).astype(np.dtype(kind).newbyteorder("<")).tobytes()
                    for name, (_, kind, _) in layout(model.config).items())


def input_layout(config) -> dict:
    """Where a patch lies in the input buffer: see ``host.driver.layout``."""
    rows = operand_rows(config.patch_dim)
    return {"height": config.image_height, "width": config.image_width, "channels": config.channels,
            "patch": config.patch, "window": config.window, "row_bytes": LINE, "rows": rows,
            "bytes": config.patches * rows * LINE}
