# SPDX-License-Identifier: Apache-2.0
"""Sends the first tokens of a MoE layer ahead through its gate, so that experts are fetched while the rest follows.

    NORM; Q, K, V; ATTENTION; PROJ; NORM; GATE      NORM; Q of A, K, V; ATTENTION, PROJ, NORM, GATE of A;
    EXPERTS                                         Q, ATTENTION, PROJ, NORM, GATE of B; EXPERTS

A are the first tokens, B the others. The weights of Q, PROJ and gate are used twice (:mod:`host.compiler.hold`). The
cut is made where the weight ports, not the array, set the pace of the experts; results are the same to the bit.
"""

from dataclasses import replace
from math import ceil

from golden.spec.isa import Opcode
from golden.spec.machine import LINE, MachineConfig
from golden.spec.tiling import linear_lines
from host.compiler.estimate import PORT_BYTES, estimate
from host.compiler.nodes import Access, Node
from host.compiler.overlap import linear_part, norm_part

LEAST_GAIN = 500
"""Cycles below which a layer is not worth cutting: what the cut itself costs, and some."""
NEWS = 0.5
"""Of the first tokens' choices so many name an expert that none of them has chosen before."""
LEAST_REST = 4
"""Of the tokens at most one in so many goes ahead."""


def send_ahead(nodes: list[Node], machine: MachineConfig) -> list[Node]:
    """The program with MoE layers cut where that pays."""
    result: list[Node] = []
    for node in nodes:
        result.append(node)
        if node.opcode is Opcode.EXPERTS and (start := _layer(result)) is not None:
            result[start:] = _cut(result[start:], machine)
    return result


def _layer(nodes: list[Node]) -> int | None:
    """Where Q of the layer stands whose EXPERTS is the last of ``nodes``: Q, K, V, ATTENTION, PROJ, NORM and gates for
    all of its tokens and nothing else; or None."""
    at = len(nodes) - 1
    kinds = [node.opcode for node in nodes]
    gates = 0
    while kinds[at - 2:at] == [Opcode.GATE, Opcode.LINEAR]:
        at, gates = at - 2, gates + 1
    if not gates or kinds[at - 2:at] != [Opcode.LINEAR, Opcode.NORM]:
        return None
    at -= 2
    while kinds[at - 1] is Opcode.ATTENTION:
        at -= 1
    start = at - 1 - 2 * gates  # Q; K and V for each copy of the residual stream
    if start < 1 or kinds[start:at] != [Opcode.LINEAR] * (at - start) or kinds[start - 1] is not Opcode.NORM:
        return None
    return start


def _cut(layer: list[Node], machine: MachineConfig) -> list[Node]:
    experts = layer[-1]
    attention = [node for node in layer if node.opcode is Opcode.ATTENTION]
    gates = [node for node in layer if node.opcode is Opcode.GATE]
    copies = len(gates)
    q, k, v, proj, norm = *layer[:3], layer[1 + 3 * copies], layer[2 + 3 * copies]
    route, gate = layer[-1 - 2 * copies:][:2]
    tokens = attention[0].fields["queries"]
    rest = sum(estimate(node, machine).cycles for node in (q, *attention, proj, gate))
    ahead = machine.tm * ceil(_named(experts, rest, machine) / (NEWS * route.fields["top_k"] * machine.tm))
    if ahead * LEAST_REST > tokens or _gain(experts, rest, machine) < LEAST_GAIN:
        return layer
    late = tokens * copies - ahead
    return [
        linear_part(q, 0, q.fields["tiles"], 0, ahead), k, v, _attention_part(attention[0], 0, ahead),
        linear_part(proj, 0, proj.fields["tiles"], 0, ahead), norm_part(norm, 0, ahead),
        replace(route, fields=route.fields | {"tokens": ahead}, tokens=ahead),
        linear_part(gate, 0, gate.fields["tiles"], 0, ahead),
        linear_part(q, 0, q.fields["tiles"], ahead, late), *layer[3:1 + 2 * copies],
        _attention_part(attention[0], ahead, tokens - ahead), *attention[1:],
        replace(linear_part(proj, 0, proj.fields["tiles"], ahead, late), whole=True), norm_part(norm, ahead, late),
        replace(route, tokens=tokens - ahead, fields=route.fields | {
            "tokens": tokens - ahead, "first_token": route.fields["first_token"] + ahead, "append": 1}),
        linear_part(gate, 0, gate.fields["tiles"], ahead, tokens - ahead), *layer[1 - 2 * copies:],
    ]


def _fetch(experts: Node, machine: MachineConfig) -> float:
    """Cycles that reading one expert takes the weight ports."""
    lines = sum(linear_lines(node.fields["tiles"], node.fields["slices"]) for node in experts.body)
    return lines * LINE / (PORT_BYTES * machine.ports)


def _named(experts: Node, rest: float, machine: MachineConfig) -> float:
    """Experts that must be known before the others pass the gate, ``rest`` cycles later."""
    return min(rest / _fetch(experts, machine), experts.fields["experts"])


def _gain(experts: Node, rest: float, machine: MachineConfig) -> float:
    """Cycles for which the weight ports need not stand still, at balanced routing."""
    reading = experts.body[0].passes * _fetch(experts, machine)
    behind = reading - sum(estimate(node, machine).cycles for node in experts.body)
    return min(behind, rest, machine.ring_lines * LINE / (PORT_BYTES * machine.ports))


def _attention_part(attention: Node, first: int, count: int) -> Node:
    """The same ATTENTION for queries [first, first + count)."""
    queries = attention.fields["queries"]
    rows = {key: attention.fields[key].moved(first) for key in ("q_row", "dst_row")}
    (q, *memories), (out,) = attention.reads, attention.writes
    return replace(attention, fields=attention.fields | rows | {"queries": count}, tokens=count,
                   macs=attention.macs * count // queries,
                   reads=(Access(q.region, q.first + first, count), *memories),
                   writes=(Access(out.region, out.first + first, count),))
