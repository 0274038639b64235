# SPDX-License-Identifier: Apache-2.0
"""The command ``vivado`` of the tutorials: runs a kit's ``build.tcl`` against the stand-in of the platform tests."""

import sys
from pathlib import Path

from tests.hw.platform.support import built

if sys.argv[1:] != ["-mode", "batch", "-source", "build.tcl"]:
    raise SystemExit(f"The stand-in runs -mode batch -source build.tcl, not {sys.argv[1:]}.")
tool = built(Path.cwd(), Path.cwd().name)
print(tool.tcl.said[-1])
