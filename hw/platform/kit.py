# SPDX-License-Identifier: Apache-2.0
"""The files of a kit, without the Verilog, and a folder with all of it."""

from pathlib import Path

from golden.spec.boards.platform import ZynqPlatform
from hw.platform import facts, kernel, overlay, readme
from hw.platform.choice import Choice
from hw.verilog import NAME

TEMPLATES = Path(__file__).parent / "templates"


def files(choice: Choice) -> dict[str, str]:
    """Text of each file by its name."""
    found = {"facts.tcl": facts.text(choice), "package_ip.tcl": _template("package_ip.tcl")}
    platform = choice.board.platform
    if not isinstance(platform, ZynqPlatform):
        return found | {
            "README.md": readme.text(choice, _template("README_alveo.md")), "build.tcl": _template("build_alveo.tcl"),
            "package_xo.tcl": _template("package_xo.tcl"), "kernel.xml": kernel.xml(choice),
            "link.cfg": kernel.link(choice)}
    found |= {
        "README.md": readme.text(choice, _template("README_zynq.md")), "build.tcl": _template("build_zynq.tcl"),
        f"{NAME}.xdc": _template(f"{NAME}.xdc"), f"{NAME}.dts": overlay.text(choice)}
    return found | {"shell.json": overlay.SHELL} if platform.loader == "dfx-mgr" else found


def write(choice: Choice, folder: Path, verilog: str) -> list[str]:
    """Write a kit into ``folder``, which is made where it does not exist; names of the files."""
    folder.mkdir(parents=True, exist_ok=True)
    found = files(choice) | {f"{NAME}.v": verilog}
    for name, text in found.items():
        (folder / name).write_text(text)
    return sorted(found)


def _template(name: str) -> str:
    return (TEMPLATES / name).read_text()
