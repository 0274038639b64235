# SPDX-License-Identifier: Apache-2.0
"""``make site``: puts the sources together and lets Sphinx build them; any warning fails the build."""

import argparse
import gc
import os
from pathlib import Path

from sphinx.cmd.build import build_main

from host.site import ROOT
from host.site.assemble import assemble

CONFIGURATION = Path(__file__).parent


def build(out: Path, work: Path, words: list[str]) -> int:
    """Build the site into ``out``; sources, doctrees and executed notebooks lie in ``work``. Sphinx' exit status."""
    source = work / "source"
    gc.set_threshold(100_000)  # the trees of pages are large and live long: a fifth less time
    assemble(source)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])  # of the notebooks
    os.environ["IPYTHONDIR"] = str(_kernel_settings(work / "ipython"))
    return build_main(["-b", "html", "-W", "--keep-going", "-n", "-q", "-c", str(CONFIGURATION),
                       "-d", str(work / "doctrees"), "-D", f"nb_execution_cache_path={work / 'notebooks'}",
                       *words, str(source), str(out)])


def _kernel_settings(folder: Path) -> Path:
    """Settings of the notebooks' kernel instead of the user's own: it says nothing of its sockets, which are of this
    computer only."""
    file = folder / "profile_default" / "ipython_kernel_config.py"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("get_config().IPKernelApp.log_level = 'ERROR'\n")
    return folder


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make site", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/site"), help="folder of the site")
    parser.add_argument("--work", type=Path, default=Path("build/site"), help="folder of what a second build reuses")
    options, words = parser.parse_known_args(arguments)
    status = build(options.out.absolute(), options.work.absolute(), words)
    print(f"{options.out}/index.html" if status == 0 else f"The site has problems (status {status}); see above.")
    return status


if __name__ == "__main__":
    raise SystemExit(main())
