# SPDX-License-Identifier: Apache-2.0
"""``README.md`` of a kit: the tools it is written for, the next command, what to expect."""

from golden.spec.boards.platform import AlveoPlatform, ZynqPlatform
from hw.platform.choice import Choice
from hw.platform.facts import TOOL
from hw.verilog import NAME

LOAD = {
    "fpgautil": f"""\
       sudo cp {NAME}.bit.bin {NAME}.dtbo /lib/firmware/
       sudo fpgautil -b {NAME}.bit.bin -o {NAME}.dtbo
""",
    "dfx-mgr": f"""\
       sudo mkdir -p /lib/firmware/xilinx/{NAME}
       sudo cp {NAME}.bit.bin {NAME}.dtbo shell.json /lib/firmware/xilinx/{NAME}/
       sudo xmutil unloadapp; sudo xmutil loadapp {NAME}
""",
}
"""Commands by the name of what loads a bitstream."""


def text(choice: Choice, template: str) -> str:
    """``template`` with everything filled in."""
    board, machine, platform = choice.board, choice.machine, choice.board.platform
    values = {
        "board": board.name, "machine": machine.name, "fingerprint": f"0x{machine.fingerprint:016x}", "tool": TOOL,
        "part": board.device, "clock": choice.clock_mhz, "notes": "\n".join(platform.notes),
    }
    values |= _zynq(choice, platform) if isinstance(platform, ZynqPlatform) else _alveo(choice, platform)
    return template.format(**values).rstrip("\n") + "\n"


def _zynq(choice: Choice, platform: ZynqPlatform) -> dict:
    family = platform.facts
    taken = ", ".join(f"`{bus}` at {port}" for bus, port in choice.memory.items())
    shared = "; ".join(f"{' and '.join(group)} share a way to the DRAM" for group in family.shared)
    return {
        "board_part": platform.board_part, "base": family.control_base, "load": LOAD[platform.loader],
        "buffer": choice.buffer_bytes >> 20, "memory": f"Memory ports: {taken}", "shared": shared,
        "bursts": _bursts(choice, family.burst_beats),
    }


def _alveo(choice: Choice, platform: AlveoPlatform) -> dict:
    return {"shell": platform.shell, "memory": platform.memory, "bank": platform.bank_bytes >> 20,
            "bursts": _bursts(choice, choice.board.max_burst)}


def _bursts(choice: Choice, beats: int) -> str:
    longest, wide, port_bytes = choice.machine.max_burst, max(choice.managers.values()), choice.board.port_bytes
    cut = "and are cut outside of it" if longest > beats else "and pass as they are"
    return (f"The machine's bursts have up to {longest} beats of {wide} bits {cut}: a memory port takes {beats} beats "
            f"of {8 * port_bytes} bits ({beats * port_bytes} bytes).")
