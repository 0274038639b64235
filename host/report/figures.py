# SPDX-License-Identifier: Apache-2.0
"""The figures of the README pages as SVG, drawn by ``make docs``; sizes in them come from ``golden.spec``.

``tests/meta/test_figures.py`` fails when a file is not what this would write.
"""

from collections.abc import Callable
from pathlib import Path
from xml.sax.saxutils import escape

from golden.spec.machine import LINE, SLICE, TN, ZCU102, MachineConfig

ROOT = Path(__file__).parents[2]
LINE_HEIGHT = 15
COLOURS = {"control": "#e8e8f4", "memory": "#fdf1d6", "compute": "#dcefdc", "bus": "#dce9f5", "file": "#ffffff"}
"""Fill of a box by what it is."""


class Drawing:
    """Boxes, arrows and texts at absolute places, in the order in which they are added."""

    def __init__(self, title: str, width: int, height: int):
        self.title, self.width, self.height, self.parts = title, width, height, []

    def box(self, x: int, y: int, width: int, height: int, text: str, kind: str) -> None:
        """A box with ``text`` in its middle; the first of its lines is bold."""
        self.parts.append(f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="4" fill="{COLOURS[kind]}" '
                          f'stroke="#444444"/>')
        lines = text.split("\n")
        top = y + height / 2 - (len(lines) - 1) * LINE_HEIGHT / 2 + 4
        for n, line in enumerate(lines):
            self.text(x + width / 2, top + n * LINE_HEIGHT, line, anchor="middle", bold=n == 0)

    def text(self, x: float, y: float, text: str, *, anchor: str = "start", bold: bool = False) -> None:
        weight = ' font-weight="bold"' if bold else ""
        self.parts.append(f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}"{weight}>{escape(text)}</text>')

    def arrow(self, *points: tuple[int, int], label: str = "", at: tuple[int, int] | None = None,
              both: bool = False) -> None:
        """A line through ``points`` with a head at its end (``both``: at its start too), ``label`` at ``at``."""
        path = " ".join(f"{x},{y}" for x, y in points)
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="#444444"/>')
        self._head(points[-2], points[-1])
        if both:
            self._head(points[1], points[0])
        if label:
            x, y = at or ((points[0][0] + points[1][0]) // 2, points[0][1] - 5)
            self.text(x, y, label, anchor="start" if at else "middle")

    def _head(self, before: tuple[int, int], tip: tuple[int, int]) -> None:
        """A triangle at ``tip`` of a horizontal or vertical line from ``before``."""
        (x0, y0), (x, y) = before, tip
        dx, dy = (x > x0) - (x < x0), (y > y0) - (y < y0)
        corners = [(x, y), (x - 8 * dx - 4 * dy, y - 8 * dy - 4 * dx), (x - 8 * dx + 4 * dy, y - 8 * dy + 4 * dx)]
        self.parts.append(f'<polygon points="{" ".join(f"{a},{b}" for a, b in corners)}" fill="#444444"/>')

    def grid(self, x: int, y: int, columns: int, rows: int, cell: int, kind: str) -> None:
        """``rows`` times ``columns`` square cells."""
        self.parts += [f'<rect x="{x + c * cell}" y="{y + r * cell}" width="{cell}" height="{cell}" '
                       f'fill="{COLOURS[kind]}" stroke="#888888"/>' for r in range(rows) for c in range(columns)]

    def svg(self) -> str:
        return "\n".join([
            '<?xml version="1.0" encoding="UTF-8"?>', "<!-- SPDX-License-Identifier: Apache-2.0 -->",
            "<!-- Written by `make docs` (host/report/figures.py). -->",
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}" height="{self.height}" '
            f'viewBox="0 0 {self.width} {self.height}" font-family="sans-serif" font-size="12" fill="#222222">',
            f"<title>{escape(self.title)}</title>",
            f'<rect width="{self.width}" height="{self.height}" fill="#ffffff"/>', *self.parts, "</svg>", ""])


def machine(cfg: MachineConfig = ZCU102) -> str:
    """Block diagram: units of ``hw/top.py`` and the main wires between them."""
    d = Drawing(f"Block diagram of the accelerator, sizes of {cfg.name}", 960, 640)
    kib = 1024 // LINE
    # Pins and control.
    d.box(20, 20, 150, 40, "s_axi_control\nregisters, interrupt", "bus")
    d.box(310, 20, 180, 40, f"m_axi_weights x {cfg.ports}\nread, {8 * cfg.port_bytes} bits each", "bus")
    d.box(700, 20, 160, 40, "m_axi_main\nread and write", "bus")
    d.box(20, 100, 150, 50, "csr, supervisor\nstart, faults, limits", "control")
    d.box(20, 190, 150, 50, f"front_end\nchecks, {cfg.program_depth} instructions", "control")
    d.box(20, 280, 150, 50, "sequencer\nissue, wait, EXPERTS", "control")
    d.box(230, 190, 140, 50, "prefetcher\nwalks the stream", "control")
    d.box(420, 100, 140, 50, "weights\nranges, ports, router", "compute")
    d.box(700, 100, 160, 50, "main\nfetch, load, store", "compute")
    # Memories.
    d.box(420, 190, 140, 50, f"ring\n{cfg.ring_lines // kib} KiB of weights", "memory")
    d.box(590, 190, 110, 50, f"params\n{cfg.param_lines} lines", "memory")
    d.box(730, 190, 110, 50, "norm_params,\nmultipliers", "memory")
    d.box(230, 400, 140, 60, f"operand\n{cfg.operand_rows // kib} KiB", "memory")
    d.box(230, 540, 140, 60, f"residual\n{cfg.residual_rows // kib} KiB", "memory")
    d.box(420, 540, 140, 60, f"key, value\n2 x {cfg.kv_tiles // 2} KiB", "memory")
    # Units that compute.
    d.box(20, 400, 150, 60, "load_store\nmoves rows\nUPSAMPLE, KEEP", "compute")
    d.box(20, 540, 150, 60, "norm\nlayer norm", "compute")
    d.box(420, 290, 140, 60, "control\nbeats, lane buffers", "compute")
    d.box(420, 410, 140, 60, f"array\n{cfg.tm} x {TN} x {cfg.tk} MAC/cycle", "compute")
    d.box(610, 410, 140, 60, "epilogue\nscale, GELU, quantize", "compute")
    d.box(800, 410, 140, 60, "gate\ntop-k, expert queues", "compute")
    d.box(610, 290, 140, 60, "softmax\nprobabilities", "compute")
    # Wires.
    d.arrow((95, 60), (95, 100), both=True)
    d.arrow((95, 150), (95, 190))
    d.arrow((95, 240), (95, 280), label="words", at=(100, 264))
    d.arrow((170, 215), (230, 215), label="words")
    d.arrow((300, 190), (300, 125), (420, 125), label="requests", at=(305, 118))
    d.arrow((490, 60), (490, 100))
    d.arrow((490, 150), (490, 190))
    d.arrow((560, 125), (645, 125), (645, 190))
    d.arrow((645, 165), (785, 165), (785, 190))
    d.arrow((780, 60), (780, 100), both=True)
    d.arrow((860, 125), (910, 125), (910, 80), (200, 80), (200, 200), (170, 200),
            label="program, rows of LOAD and STORE", at=(560, 75))
    d.arrow((170, 305), (420, 305), label="LINEAR, ATTENTION", at=(210, 298))
    d.arrow((95, 330), (95, 400))
    d.arrow((170, 430), (230, 430), both=True)
    d.arrow((300, 400), (300, 335), (420, 335), label="operand rows", at=(305, 350))
    d.arrow((490, 240), (490, 290))
    d.arrow((490, 350), (490, 410), label="beats", at=(495, 385))
    d.arrow((560, 440), (610, 440), label="tiles")
    d.arrow((680, 410), (680, 350), label="scores", at=(686, 385))
    d.arrow((610, 320), (560, 320))
    d.text(565, 312, "P")
    d.arrow((750, 440), (800, 440), label="logits")
    d.arrow((870, 410), (870, 270), (545, 270), (545, 290), label="tokens of an expert", at=(700, 265))
    d.arrow((665, 470), (665, 570), (560, 570), label="K, V", at=(590, 563))
    d.arrow((420, 570), (400, 570), (400, 360), (450, 360), (450, 350))
    d.arrow((680, 470), (680, 620), (300, 620), (300, 600), label="residual rows", at=(450, 634),
            both=True)
    d.arrow((640, 470), (640, 500), (330, 500), (330, 460), label="operands", at=(560, 494))
    d.arrow((230, 575), (170, 575), label="rows")
    d.arrow((200, 200), (200, 415), (170, 415))
    d.arrow((170, 445), (200, 445), (200, 555), (230, 555), both=True)
    d.arrow((120, 540), (120, 515), (270, 515), (270, 460), label="operands", at=(130, 532))
    d.arrow((785, 240), (785, 255), (10, 255), (10, 570), (20, 570))
    d.arrow((520, 255), (520, 290))
    d.arrow((600, 240), (600, 425), (610, 425))
    d.text(210, 321, "likewise NORM to norm, GATE to gate")
    return d.svg()


def flow() -> str:
    """From checkpoint to result: what each package makes of what."""
    d = Drawing("From a checkpoint to a result", 960, 330)
    for n, (name, text) in enumerate((("checkpoint", ".bin, .pth, .safetensors"), ("float model", ".safetensors"),
                                      ("integer model", ".safetensors"), ("program image", ".emoe"))):
        d.box(10 + 265 * n, 60, 145, 50, f"{name}\n{text}", "file")
    for n, (verb, where) in enumerate((("import", "host/importers"), ("quantize", "host/quantizer"),
                                       ("compile", "host/compiler"))):
        d.arrow((155 + 265 * n, 85), (275 + 265 * n, 85), label=verb)
        d.text(215 + 265 * n, 102, where, anchor="middle")
    d.box(275, 10, 145, 30, "photographs", "file")
    d.arrow((420, 25), (480, 25), (480, 68))
    d.box(805, 150, 145, 40, "Session\nhost/driver", "control")
    d.arrow((877, 110), (877, 150))
    d.box(595, 150, 130, 40, "picture, task", "file")
    d.arrow((725, 170), (805, 170))
    for n, (name, text) in enumerate((("golden", "instruction-set simulator\ngolden/iss"),
                                      ("sim", "Verilated RTL, DRAM model\nsim/board, hw/"),
                                      ("uio", "a board under Linux\nhost/driver/uio.py"))):
        d.box(275 + 215 * n, 235, 190, 65, f"device \"{name}\"\n{text}", "compute")
        d.arrow((370 + 215 * n, 215), (370 + 215 * n, 235))
    d.arrow((850, 190), (850, 215), (370, 215), (370, 235), label="registers, memory, interrupt", at=(380, 208))
    d.box(10, 242, 145, 50, "result\ntokens x dim, logits", "file")
    d.arrow((900, 190), (900, 318), (82, 318), (82, 292))
    for x, commands in ((612, "make accuracy, edge-moe explore"), (877, "edge-moe disasm")):
        d.arrow((x, 60), (x, 35))
        d.text(x, 27, commands, anchor="middle")
    return d.svg()


def tile(cfg: MachineConfig = ZCU102) -> str:
    """One tile: which operands meet which weights in a cycle, and what they become."""
    cell, left, top = 9, 60, 60
    d = Drawing(f"One tile of the array, sizes of {cfg.name}", 960, 360)
    right, below = left + cfg.tk * cell + 40, top + cfg.tk * cell + 30
    d.text(right, 25, f"weights: {cfg.tk} inputs x {TN} output channels, int8, from the ring (or K, V)")
    d.text(right, 42, f"{cfg.row_bytes} bytes a cycle, the same for all lanes")
    d.grid(right, top, TN, cfg.tk, cell, "memory")
    d.text(left, below - 24, f"operands: {cfg.tm} tokens x {cfg.tk}")
    d.text(left, below - 9, "inputs, a lane a token")
    d.grid(left, below, cfg.tk, cfg.tm, cell, "bus")
    d.grid(right, below, TN, cfg.tm, cell, "compute")
    d.arrow((left + cfg.tk * cell, below + cfg.tm * cell // 2), (right, below + cfg.tm * cell // 2))
    d.arrow((right + TN * cell // 2, top + cfg.tk * cell), (right + TN * cell // 2, below))
    d.text(right, below + cfg.tm * cell + 18, f"accumulators: {cfg.tm} x {TN} int32")
    x = right + TN * cell + 25
    cycles = "one cycle" if cfg.steps == 1 else f"{cfg.steps} cycles"
    for n, line in enumerate((
            f"{cfg.tm} x {TN} x {cfg.tk} = {cfg.macs_per_cycle} multiply-accumulates a cycle",
            "two int8 products in one DSP: a pair of lanes shares it",
            f"a slice is {SLICE} inputs: {cycles}",
            f"a tile of K inputs takes K / {cfg.tk} cycles,",
            "twice as many for 16-bit operands",
            f"it leaves through a drain bank, a lane of {TN} values a cycle,",
            f"and passes the epilogue {cfg.lanes} values a cycle")):
        d.text(x, top + 20 + n * 20, line)
    d.text(left, 330, "LINEAR: output tile after output tile; the weights of one stay in the ring until all token "
           "groups have passed them.")
    return d.svg()


FIGURES: dict[str, Callable[[], str]] = {
    "hw/doc/machine.svg": machine, "host/flow.svg": flow, "golden/doc/tile.svg": tile}


def main() -> int:
    """Write the figures; prints the ones that changed."""
    for name, draw in FIGURES.items():
        path, text = ROOT / name, draw()
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            print(f"rewrote {name}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
