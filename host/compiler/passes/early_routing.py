# SPDX-License-Identifier: Apache-2.0
"""Early routing: the first tokens of a MoE layer pass its gate early, so that experts are read while the rest follows.

    NORM; Q, K, V; ATTENTION; PROJ; NORM; GATE      NORM; Q of A, K, V; ATTENTION, PROJ, NORM, GATE of A;
    EXPERTS                                         Q, ATTENTION, PROJ, NORM, GATE of B; EXPERTS

A are the first tokens, B the others. The weights of Q, PROJ and gate are used twice (:mod:`retain_weights`). The cut is
made where the weight ports, not the array, set the pace of the experts; results are the same to the bit. A layer is
found by its data edges; one that looks different, because its experts run in several rounds say, is left as it is.
"""

from dataclasses import dataclass, replace
from math import ceil

from golden.spec.isa import Dest, Opcode
from golden.spec.machine import BEAT_BYTES, LINE, MachineConfig
from golden.spec.tiling import linear_lines
from host.compiler.split import attention_part, linear_part, norm_part, span
from host.ir.nodes import Node, Region
from host.performance.estimate import estimate

LEAST_GAIN = 500
"""Cycles below which a layer is not worth cutting: the cost of the cut itself, with a margin."""
NEW_EXPERTS = 0.5
"""Fraction of the first tokens' choices that name an expert that none of them has chosen before."""
LEAST_REST = 4
"""At most one token in this many is routed early."""


@dataclass(frozen=True)
class MoeLayer:
    """The instructions of one MoE layer, one entry a copy of the residual stream in each list: ``keys_values`` K and V,
    ``gates`` GATE and its LINEAR."""

    q: Node
    keys_values: list[list[Node]]
    attentions: list[Node]
    proj: Node
    norm: Node
    gates: list[tuple[Node, Node]]
    experts: Node

    def nodes(self) -> list[Node]:
        """All of them, in program order."""
        return [self.q, *(node for pair in self.keys_values for node in pair), *self.attentions, self.proj, self.norm,
                *(node for pair in self.gates for node in pair), self.experts]


def early_routing(nodes: list[Node], machine: MachineConfig) -> list[Node]:
    """The program with MoE layers cut where that pays."""
    result = list(nodes)
    for experts in (node for node in nodes if node.opcode is Opcode.EXPERTS):
        layer = find_layer(result, experts)
        if layer is not None:
            end = result.index(experts) + 1
            result[end - len(layer.nodes()):end] = _cut(layer, machine)
    return result


def find_layer(nodes: list[Node], experts: Node) -> MoeLayer | None:
    """The layer that ends in ``experts``, if its instructions stand together and each works on all of its tokens."""
    before = nodes[:nodes.index(experts)]
    gates = [(before[i], before[i + 1]) for i, node in enumerate(before[:-1])
             if node.opcode is Opcode.GATE and node.writes[0].region is experts.reads[0].region]
    if not gates or any(gate.dest is not Dest.GATE for _, gate in gates):
        return None
    norm = _only_writer(before, gates[0][1].reads[0].region)
    proj = None if norm is None else next((node for node in reversed(before[:before.index(norm)])
                                           if norm.reads[0].region in _written(node)), None)
    if norm is None or proj is None or proj.opcode is not Opcode.LINEAR:
        return None
    attentions = _writers(before, proj.reads[0].region)
    if not attentions or any(node.opcode is not Opcode.ATTENTION for node in attentions):
        return None
    q = _only_writer(before, attentions[0].reads[0].region)
    keys_values = [[writer for access in node.reads[1:] for writer in _writers(before, access.region)]
                   for node in attentions]
    if q is None or q.opcode is not Opcode.LINEAR:
        return None
    layer = MoeLayer(q, keys_values, attentions, proj, norm, gates, experts)
    return layer if _complete(layer, before) else None


def _complete(layer: MoeLayer, before: list[Node]) -> bool:
    """Whether the layer's instructions follow each other directly and cover all tokens of all copies."""
    own = layer.nodes()
    tokens = layer.norm.fields["tokens"]
    whole = (layer.q.fields["tokens"] == layer.proj.fields["tokens"] == tokens
             == sum(node.fields["queries"] for node in layer.attentions)
             == sum(route.fields["tokens"] for route, _ in layer.gates)
             == sum(gate.fields["tokens"] for _, gate in layer.gates))
    copies = len(layer.gates) == len(layer.attentions) == len(layer.keys_values)
    return (whole and copies and [*before, layer.experts][-len(own):] == own
            and span(layer.proj.writes[0]) == span(layer.norm.reads[0])
            and all(route.fields["tokens"] == node.fields["queries"]
                    for (route, _), node in zip(layer.gates, layer.attentions, strict=True)))


def _written(node: Node) -> list[Region]:
    return [access.region for access in node.writes]


def _writers(nodes: list[Node], region: Region) -> list[Node]:
    return [node for node in nodes if region in _written(node)]


def _only_writer(nodes: list[Node], region: Region) -> Node | None:
    found = _writers(nodes, region)
    return found[0] if len(found) == 1 else None


def _cut(layer: MoeLayer, machine: MachineConfig) -> list[Node]:
    """The layer's instructions, cut if that pays."""
    q, proj, norm, experts = layer.q, layer.proj, layer.norm, layer.experts
    (attention, *other_attentions), ((route, gate), *other_gates) = layer.attentions, layer.gates
    tokens, everything = attention.fields["queries"], norm.fields["tokens"]
    rest = sum(estimate(node, machine).cycles for node in (q, *layer.attentions, proj, gate))
    early = machine.tm * ceil(_named(experts, rest, machine) / (NEW_EXPERTS * route.fields["top_k"] * machine.tm))
    if early * LEAST_REST > tokens or _gain(experts, rest, machine) < LEAST_GAIN:
        return layer.nodes()
    late = everything - early

    def rows(linear: Node, first: int, count: int) -> Node:
        return linear_part(linear, 0, linear.fields["tiles"], first, count)

    return [
        rows(q, 0, early), *layer.keys_values[0], attention_part(attention, 0, early), rows(proj, 0, early),
        norm_part(norm, 0, early), replace(route, fields=route.fields | {"tokens": early}, tokens=early),
        rows(gate, 0, early),
        rows(q, early, late), *(node for pair in layer.keys_values[1:] for node in pair),
        attention_part(attention, early, tokens - early), *other_attentions,
        replace(rows(proj, early, late), whole=True), norm_part(norm, early, late),
        replace(route, tokens=tokens - early, fields=route.fields | {
            "tokens": tokens - early, "first_token": route.fields["first_token"] + early, "append": 1}),
        rows(gate, early, tokens - early), *(node for pair in other_gates for node in pair), experts,
    ]


def _fetch(experts: Node, machine: MachineConfig) -> float:
    """Cycles that reading one expert takes the weight ports."""
    lines = sum(linear_lines(f["tiles"], f["slices"], f["packed"]) for f in (node.fields for node in experts.body))
    return lines * LINE / (BEAT_BYTES * machine.ports)


def _named(experts: Node, rest: float, machine: MachineConfig) -> float:
    """Experts that must be known before the others pass the gate, ``rest`` cycles later."""
    return min(rest / _fetch(experts, machine), experts.fields["experts"])


def _gain(experts: Node, rest: float, machine: MachineConfig) -> float:
    """Cycles for which the weight ports need not stand still, at balanced routing."""
    reading = experts.body[0].passes * _fetch(experts, machine)
    waiting = reading - sum(estimate(node, machine).cycles for node in experts.body)
    return min(waiting, rest, machine.ring_lines * LINE / (BEAT_BYTES * machine.ports))
