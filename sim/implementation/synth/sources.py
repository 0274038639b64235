# SPDX-License-Identifier: Apache-2.0
"""Synthesis inputs: a hash of the gateware's sources, and the machine's RTLIL cached under it."""

import hashlib
import importlib
import importlib.metadata
from pathlib import Path

from golden.spec.machine import MachineConfig
from golden.spec.whole_file import write_whole
from sim.implementation.synth import design, flow
from sim.implementation.synth.units import TOP, component


def digest() -> str:
    """Hash of every source that the gateware is elaborated from, and of Amaranth's version; the platform kits of
    ``hw.platform`` make none."""
    found = hashlib.sha256(importlib.metadata.version("amaranth").encode())
    for package in ("hw", "golden.spec"):
        root = Path(importlib.import_module(package).__file__).parent
        for path in sorted(path for path in root.rglob("*.py") if root / "platform" not in path.parents):
            found.update(f"\0{package}/{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes())
    return found.hexdigest()[:16]


def machine(cfg: MachineConfig) -> str:
    """RTLIL of the whole machine; kept, since a large one takes a minute to elaborate."""
    path = flow.BUILD / "machines" / f"{digest()}-{cfg.fingerprint:016x}.il"
    if not path.exists():
        text = design.to_rtlil(component(TOP, cfg))
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda part: part.write_text(text))
    return path.read_text()
