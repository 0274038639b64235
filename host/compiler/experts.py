# SPDX-License-Identifier: Apache-2.0
"""Lowering of a mixture of experts: gate, queues, and the body that runs once for each expert with work."""

from golden.spec.isa import Dest, Index, Opcode
from golden.spec.legality import LOGITS
from golden.spec.machine import TN
from golden.spec.model import GateKind
from golden.spec.tiling import ceil_div, linear_lines, slices, tiles
from host.compiler import weight_stream as lay
from host.compiler.builder import Builder
from host.compiler.nested import by_tile, check_body, rest_linear, rest_lines, rest_payload
from host.ir.nodes import Access, Memory, Node, Region, Row


def gates_of(program: Builder, i: int, normalized: Region, begin: int, first: int,
             count: int) -> tuple[Region, list[Node]]:
    """Queues, and GATE and its LINEAR for every task that has tokens in this range, which fill them; all gates of the
    layer join the stream. Tokens count from ``begin``, the first that ``normalized`` holds.
    """
    c, b = program.config, f"blocks.{i}."
    queue = Region(f"{b}queues", Memory.QUEUE, count * c.top_k, 1)
    for task in c.tasks:
        program.payload(f"{b}gate.{task}", lambda g=f"{b}gate.{task}": lay.gate(
            program.machine, program.t(f"{g}.weight"), program.t(f"{g}.bias")))
    nodes, tokens = [], c.tokens * program.pictures
    for number, task in enumerate(program.tasks):
        start = max(first, number * tokens)
        end = min(first + count, (number + 1) * tokens)
        if start >= end:
            continue
        g = f"{b}gate.{task}"
        nodes.append(Node(Opcode.GATE, f"{g}.route", writes=(Access(queue),), tokens=end - start, fields={
            "tokens": end - start, "first_token": start - begin, "experts": c.experts, "top_k": c.top_k,
            "append": int(bool(nodes)),
            "renormalise": int(c.gate is GateKind.TOPK_THEN_SOFTMAX), "multiplier": program.number(f"{g}.multiplier"),
            "shift1": program.number(f"{g}.shift")}))
        columns = TN * ceil_div(c.experts, LOGITS)
        nodes.append(program.linear(g, normalized, None, Dest.GATE, outputs=columns, inputs=c.dim,
                                            tokens=end - start, src_first=start - begin, payload=g))
        nodes[-1].macs = (end - start) * c.dim * c.experts
    return queue, nodes


def experts_of(program: Builder, i: int, a: Region, hidden: Region, queues: Region, begin: int, first: int,
               count: int) -> Node:
    """EXPERTS, whose body is the FFN of one expert, on tokens [first, first + count) of the residual stream; ``a``
    holds those from ``begin`` on."""
    c, name = program.config, f"blocks.{i}.mlp"
    width, stored = c.expert_hidden, program.nest.stored.expert_hidden
    packed = [int(program.plan.packed(f"{name}.{part}", c)) for part in ("fc1", "fc2")]
    pitch_fc1 = linear_lines(tiles(stored), slices(c.dim), packed[0])
    ffn = pitch_fc1 + linear_lines(tiles(c.dim), slices(stored), packed[1])
    pitch = ffn + len(program.nest.rests(name)) * rest_lines(c)
    payload = program.payload(name, lambda: b"".join(_payload(program, name, e) for e in range(c.experts)))
    fc1, fc2 = program.ffn(name, a, hidden, width, count, payload)
    fc1.fields |= {"tokens": 0, "stream": 0, "src_index": Index.QUEUE_TOKEN, "dst_index": Index.QUEUE_SLOT}
    fc2.fields |= {"tokens": 0, "stream": pitch_fc1, "src_index": Index.QUEUE_SLOT, "dst_index": Index.QUEUE_TOKEN,
                   "gate_weight": 1, "shift2": program.number(f"{name}.fc2.shift2")}
    queue, results = Access(queues), Access(program.x, first, count)
    fc2.fields["dst_row"] = Row(program.x, begin)
    fc1.reads, fc1.writes = (Access(a, first - begin, count), queue), (Access(hidden),)
    fc2.reads, fc2.writes = (Access(hidden), queue, results), (results,)
    for node in (fc1, fc2):
        node.passes = min(c.experts, count * c.top_k)
        node.tokens = count * c.top_k / node.passes
        node.macs *= c.top_k
        node.payload = None
    body = [fc1, *by_tile(fc2, stored, pitch_fc1)]
    rest = program.nest.place(program.model, name)
    if rest is not None:
        body.insert(0, rest_linear(name, fc1, fc2, None, stream=ffn + rest * rest_lines(c)))
    check_body(body, c)
    return Node(Opcode.EXPERTS, name, reads=(queue,), payload=payload, body=tuple(body),
                fields={"experts": c.experts, "body": len(body), "pitch": pitch})


def _payload(program: Builder, name: str, e: int) -> bytes:
    """fc1 and fc2 of expert ``e`` in the weight stream, then what absent neurons left, of each narrow width."""
    one, two = f"{name}.fc1", f"{name}.fc2"
    rests = [rest_payload(program.machine, rest[e], program.t(f"{two}.multiplier")[e])
             for rest in program.nest.rests(name)]
    return (lay.linear(program.machine, program.t(f"{one}.weight")[e], program.t(f"{one}.bias")[e],
                       program.t(f"{one}.multiplier")[e],
                       program.t(f"{one}.gain")[e], program.t(f"{one}.offset")[e],
                       program.plan.packed(one, program.config))
            + lay.linear(program.machine, program.t(f"{two}.weight")[e], program.t(f"{two}.bias")[e],
                         program.t(f"{two}.multiplier")[e], packed=program.plan.packed(two, program.config))
            + b"".join(rests))
