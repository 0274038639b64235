# SPDX-License-Identifier: Apache-2.0
"""What a session shows of itself: its program, its machine, its device."""

from golden.spec.program.image import Image
from host.driver.device import Device, clock_text
from host.driver.layout import memory_need
from host.driver.notebook.tables import Shown


class ShownSession(Shown):
    """One line, and a table in notebooks, of an ``image`` in a ``device``."""

    image: Image
    device: Device

    def __repr__(self) -> str:
        return f"<Session of {self.image.model.name!r} on {self.device.name}: {', '.join(self.image.programs)}>"

    def _facts(self) -> list[tuple[str, object]]:
        image, model, machine = self.image, self.image.model, self.image.machine
        programs = ", ".join(f"{name} ({len(symbols)} instructions)" for name, symbols in image.symbols.items())
        return [("programs", programs), ("plan", image.plan.name(model)),
                ("picture", f"uint8 {model.image_height} x {model.image_width} x {model.channels}"),
                ("machine", f"{machine.name}, {machine.macs_per_cycle:,} MAC/cycle"),
                ("device", self.device.name), ("clock", clock_text(self.device)),
                ("device memory", f"{sum(memory_need(image)) / 1e6:,.2f} MB")]
