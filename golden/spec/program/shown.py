# SPDX-License-Identifier: Apache-2.0
"""What a program image shows of itself: one line of text, a table in notebooks."""

from golden.spec.machine import MachineConfig
from golden.spec.model import ModelConfig
from golden.spec.program.html_table import html_table
from golden.spec.quantized import Plan


class ShownImage:
    """The texts of an image with these fields."""

    machine: MachineConfig
    model: ModelConfig
    plan: Plan
    programs: dict[str, bytes]
    planes: tuple[bytes, ...]
    symbols: dict[str, tuple]

    def __repr__(self) -> str:
        return f"<Image of {self.model.name!r} for {self.machine.name}: {', '.join(self.programs)}>"

    def _repr_html_(self) -> str:
        programs = ", ".join(f"{name} ({len(symbols)} instructions)" for name, symbols in self.symbols.items())
        return html_table(repr(self).strip("<>"), [
            ("programs", programs), ("plan", self.plan.name(self.model)),
            ("machine", f"{self.machine.name}, {self.machine.macs_per_cycle:,} MAC/cycle, "
                        f"0x{self.machine.fingerprint:016x}"),
            ("weights", f"{sum(map(len, self.planes)) / 1e6:,.2f} MB in {len(self.planes)} planes")])
