# SPDX-License-Identifier: Apache-2.0
"""Object cache: Verilator's run-time library, the same in every simulation, is compiled once for all builds.

Verilator's makefile puts ``OBJCACHE`` before each call of the compiler, which is where ccache goes. On a machine
without it this script stands there: objects of the library come from a folder, all else goes to the compiler as it is.
"""

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

from golden.spec.whole_file import write_whole

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = "verilated"
"""Sources of the run-time library begin with this; those of a netlist with the name of its top (``Vdut``)."""


def command(folder: Path) -> str:
    """Value of ``OBJCACHE``: ccache where there is one, else this script with ``folder``; what the user set is kept."""
    own = ("env", f"PYTHONPATH={ROOT}", sys.executable, "-P", "-S", "-m", "sim.object_cache", str(folder.resolve()))
    return os.environ.get("OBJCACHE") or ("ccache" if shutil.which("ccache") else shlex.join(own))


def library_source(call: list[str]) -> Path | None:
    """The one source of a compiler call ``[compiler, ..., "-c", "-o", object, source]`` of the library, else None."""
    source = Path(call[-1])
    compiles = "-c" in call and "-o" in call[:-1] and source.suffix == ".cpp"
    return source if compiles and source.is_absolute() and source.name.startswith(LIBRARY) else None


def key(call: list[str], source: Path) -> str:
    """Digest of all that the object depends on: the call without its output, the compiler, the library's texts."""
    compiler, output = shutil.which(call[0]) or call[0], call.index("-o") + 1
    about = Path(compiler).resolve().stat()
    words = [*call[:output], *call[output + 1:], compiler, str(about.st_size), str(about.st_mtime_ns)]
    texts = [path.read_bytes() for path in sorted(source.parent.glob(f"{LIBRARY}*")) if path.is_file()]
    return hashlib.sha256(b"\0".join([*(word.encode() for word in words), *texts])).hexdigest()[:24]


def main(arguments: list[str]) -> int:
    """``FOLDER COMPILER ARGUMENT...``: exit status of the compiler, or 0 where the object was there."""
    folder, call = Path(arguments[0]), arguments[1:]
    source = library_source(call)
    if source is None:
        os.execvp(call[0], call)
    known, output = folder / f"{key(call, source)}.o", Path(call[call.index("-o") + 1])
    with suppress(OSError):  # not there, or gone in between
        shutil.copyfile(known, output)
        return 0
    status = subprocess.run(call).returncode
    if status == 0:
        with suppress(OSError):  # a full disk costs time, not the build
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(known, partial(shutil.copyfile, output))  # two builds may make the same object at once
    return status


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
