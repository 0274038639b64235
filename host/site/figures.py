# SPDX-License-Identifier: Apache-2.0
"""Drawings of the pages about concepts; sizes in them come from ``golden.spec``. Drawn when the site is built."""

from collections.abc import Callable

from golden.spec.machine import LINE, TN, ZCU102, MachineConfig
from host.report.figures import Drawing

FOLDER = "host/site/pages/concepts"


def block_exponents() -> str:
    """One block: int16 values, the exponent for which nothing saturates, the bytes that the array multiplies."""
    values = (12, -7, 301, 45, -88, 5, 260, -19)
    exponent = next(e for e in range(4) if all(-128 <= (v + (1 << e >> 1)) >> e <= 127 for v in values))
    d = Drawing("An operand block and its exponent", 760, 200)
    for row, (title, numbers, kind) in enumerate((
            (f"values of {TN} channels", values, "bus"),
            ("bytes", [(v + (1 << exponent >> 1)) >> exponent for v in values], "memory"))):
        d.text(20, 53 + 90 * row, title)
        for n, number in enumerate(numbers):
            d.box(180 + 52 * n, 30 + 90 * row, 46, 36, str(number), kind)
        d.text(180 + 52 * len(values) + 8, 53 + 90 * row, "...")
    d.box(640, 120, 100, 36, f"e = {exponent}", "control")
    d.arrow((360, 66), (360, 120), label=f"shift right by e, the smallest of 0..3 with which all {TN} fit a byte",
            at=(370, 98))
    d.text(180, 185, "The array multiplies bytes and shifts each partial sum left by e before it accumulates.")
    return d.svg()


def arrival() -> str:
    """Experts in order of arrival: what the gate names, the queues, and who runs when."""
    chosen, order = ((5, 2), (2, 0), (5, 7), (0, 2)), []
    queues: dict[int, list[int]] = {}
    for token, experts in enumerate(chosen):
        for expert in experts:
            queues.setdefault(expert, []).append(token)
            order += [expert] * (expert not in order)
    d = Drawing("Experts run in the order in which their queues got their first token", 760, 300)
    d.text(20, 25, "the gate, token after token")
    for token, experts in enumerate(chosen):
        d.box(20, 40 + 58 * token, 160, 44, f"token {token}\nexperts {experts[0]} and {experts[1]}", "compute")
    d.text(270, 25, "expert queues")
    d.text(520, 25, "weights are read, and experts run")
    for n, expert in enumerate(order):
        tokens = ", ".join(map(str, queues[expert]))
        d.box(270, 40 + 58 * n, 180, 44, f"expert {expert}\ntokens {tokens}", "memory")
        d.box(520, 40 + 58 * n, 220, 44, f"{n + 1}. expert {expert}\nread once, for {len(queues[expert])} tokens",
              "control")
        d.arrow((450, 62 + 58 * n), (520, 62 + 58 * n))
    for row in range(4):
        d.arrow((180, 62 + 58 * row), (270, 62 + 58 * row))
    d.text(20, 290, "Experts that no token chose are never read. Here 4 of 8 are.")
    return d.svg()


def stream(cfg: MachineConfig = ZCU102) -> str:
    """The way of the weights: planes in DRAM, ports, ring, array."""
    d = Drawing(f"Weights stream from DRAM through the ring, sizes of {cfg.name}", 760, 250)
    for n in range(cfg.ports):
        d.box(20, 20 + 46 * n, 130, 36, f"plane {n}", "file")
        d.box(230, 20 + 46 * n, 130, 36, f"port {n}\n{8 * cfg.port_bytes} bits", "bus")
        d.arrow((150, 38 + 46 * n), (230, 38 + 46 * n))
        d.arrow((360, 38 + 46 * n), (430, 38 + 46 * n))
    size = cfg.ring_lines * LINE // 1024
    d.box(430, 20, 120, 36 + 46 * (cfg.ports - 1), f"ring\n{size} KiB,\nfirst in,\nfirst out", "memory")
    d.box(620, 60, 120, 60, f"array\n{cfg.macs_per_cycle} MAC/cycle", "compute")
    d.arrow((550, 90), (620, 90), label="step rows")
    d.text(20, 225, f"{cfg.ports * cfg.port_bytes} bytes a cycle, in the order in which instructions use them: no "
           "addresses, no cache, each weight read once.")
    return d.svg()


def clusters(cfg: MachineConfig = ZCU102) -> str:
    """Four clusters that work on different tokens with the same weights."""
    d = Drawing("Clusters of token lanes share weights, keys and values", 760, 250)
    d.box(20, 90, 150, 60, "ring, K, V\nread once for all", "memory")
    for n in range(4):
        d.box(290, 15 + 58 * n, 210, 44, f"cluster {n}\n{cfg.tm} lanes, epilogue, softmax, norm", "compute")
        d.box(580, 15 + 58 * n, 160, 44, f"tokens {cfg.tm * n} to {cfg.tm * n + cfg.tm - 1}\n"
              f"then {cfg.tm * (n + 4)} to {cfg.tm * (n + 5) - 1}", "bus")
        d.arrow((580, 37 + 58 * n), (500, 37 + 58 * n))
        d.arrow((170, 120), (230, 120), (230, 37 + 58 * n), (290, 37 + 58 * n))
    return d.svg()


FIGURES: dict[str, Callable[[], str]] = {
    f"{FOLDER}/block-exponents.svg": block_exponents, f"{FOLDER}/arrival.svg": arrival,
    f"{FOLDER}/stream.svg": stream, f"{FOLDER}/clusters.svg": clusters}
"""Path under which a page shows it -> what draws it; the files themselves are not kept."""
