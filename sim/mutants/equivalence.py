# SPDX-License-Identifier: Apache-2.0
"""Proof that two netlists do the same, by Yosys, for what a change of the source left as it was under other names."""

import os
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

MEMORY_BYTES = 3 << 30
_READ = """\
read_verilog {path}
prep -flatten -top dut
rename -hide w:*$func$*
memory_map
dffunmap
opt_expr
opt_clean
expose -evert-dff
rename dut {name}
design -stash {name}
"""
_COMPARE = """\
design -copy-from old -as old old
design -copy-from new -as new new
miter -equiv -flatten -make_assert old new both
hierarchy -top both
opt_expr
opt_merge -share_all
opt_expr
opt_clean
sat -verify -prove-asserts
"""
_WORKER = """\
import sys
from pyosys import libyosys
design = libyosys.Design()
for line in open(sys.argv[1]).read().splitlines():
    libyosys.run_pass(line, design)
"""


def script(old: Path, new: Path) -> str:
    """Yosys commands that fail unless every output and the next value of every register are proved equal, for every
    input and every value of the registers.

    Registers are compared by name: netlists with other registers are not proved. Reset is an input, so values after
    it are proved as well.
    """
    reads = [_READ.format(path=path, name=name) for path, name in ((old, "old"), (new, "new"))]
    return "".join(reads) + _COMPARE


def proved_equal(old: Path, new: Path, limit: float) -> bool:
    """Whether the module ``dut`` of both files is proved to do the same within ``limit`` seconds."""
    with tempfile.NamedTemporaryFile("w", suffix=".ys") as file:
        file.write(script(old, new))
        file.flush()
        process = subprocess.Popen([sys.executable, "-c", _WORKER, file.name], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, start_new_session=True,
                                   preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES,) * 2))
        try:
            return process.wait(timeout=limit) == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
