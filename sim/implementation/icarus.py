# SPDX-License-Identifier: Apache-2.0
"""Icarus Verilog on the shipped form of one unit: runs its cocotb bench, or compares both Verilog exports."""

import os
import random
import re
import shutil
import subprocess
import warnings
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from amaranth.hdl import Shape, UnusedElaboratable
from cocotb_tools.runner import get_runner

from hw.netlist import shared_netlist
from hw.verilog import verilog_of
from sim.export import sim_verilog
from sim.runner import BUILD, TOP

LIMIT_SECONDS = 300
DIALECT = "-g2001"


def missing() -> str | None:
    """The reason why Icarus cannot run here, or None."""
    if shutil.which("iverilog") and shutil.which("vvp"):
        return None
    return "iverilog is not on PATH; install Icarus Verilog to compare the shipped Verilog with the simulated one."


def shipped_unit(component, name: str) -> str:
    """Verilog of one unit as ``hw.verilog`` ships the machine."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnusedElaboratable)
        return verilog_of(shared_netlist(component, name))


def run_bench(component, *, module: str, name: str, tests: list[str], seed: int = 1, env: dict | None = None) -> int:
    """Run the named coroutines of a bench ``module`` on the shipped form of ``component``; the number that passed.

    Raises ``AssertionError`` with the end of the log when one failed or did not run.
    """
    directory = BUILD.parent / "icarus" / f"{name}-{os.getpid()}"
    directory.mkdir(parents=True, exist_ok=True)
    source, log, results = directory / "dut.v", directory / "sim.log", directory / "results.xml"
    source.write_text(shipped_unit(component, TOP))
    runner = get_runner("icarus")
    runner.build(sources=[source], hdl_toplevel=TOP, build_dir=directory, timescale=("1ns", "1ps"),
                 build_args=[DIALECT], log_file=directory / "build.log")
    try:
        runner.test(hdl_toplevel=TOP, hdl_toplevel_lang="verilog", test_module=module, build_dir=directory,
                    test_dir=directory, results_xml=str(results), seed=seed, log_file=log,
                    test_filter="|".join(f"{test}$" for test in tests),
                    extra_env={"PYTHONWARNINGS": "ignore", "COCOTB_ANSI_OUTPUT": "0", **(env or {})})
    except SystemExit:
        pass
    cases = list(ElementTree.parse(results).iter("testcase")) if results.exists() else []
    failed = [case.get("name") for case in cases if case.find("failure") is not None or case.find("error") is not None]
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-40:]) if log.exists() else "(no log)"
    assert len(cases) == len(tests) and not failed, (
        f"{name} on Icarus: {len(cases)} of {tests} ran, {failed} failed. The end of {log}:\n{tail}")
    shutil.rmtree(directory)
    return len(cases)


def side_by_side(component, *, name: str, cycles: int, seed: int = 1, spoil=None) -> tuple[int, int]:
    """Drive both exports with the same random inputs for ``cycles``: (cycles in which they differ, changes of outputs).

    Inputs are random in every cycle, resets too now and then; all outputs are compared by value and by unknown bits.
    ``spoil``: a function of the simulation export's text, to show that differences are found.
    """
    ports = list(_ports(component))
    inputs = [(port, width) for port, width, flow in ports if flow == "In"]
    outputs = [(port, width) for port, width, flow in ports if flow == "Out"]
    # Icarus takes an escaped name that begins with $ for a system function; Yosys calls its functions so.
    exported = sim_verilog(component, "exported", exact=True).replace("\\$procmux", "\\procmux")
    sources = {"stock.v": shipped_unit(component, "stock"), "exported.v": spoil(exported) if spoil else exported,
               "bench.v": _bench(inputs, outputs, cycles)}
    directory = BUILD.parent / "icarus" / f"{name}-{os.getpid()}"
    directory.mkdir(parents=True, exist_ok=True)
    for file, text in sources.items():
        (directory / file).write_text(text)
    rng = random.Random(f"{name}{seed}")
    width = sum(width for _, width in inputs) + 1
    with open(directory / "noise.hex", "w") as noise:
        for cycle in range(cycles):
            reset = cycle < 2 or rng.random() < 0.005
            noise.write(f"{rng.getrandbits(width - 1) << 1 | reset:x}\n")
    _call(["iverilog", DIALECT, "-o", "bench.vvp", "-s", "bench", *sources], directory)
    said = _call(["vvp", "-n", "bench.vvp"], directory)
    match = re.search(r"^cycles (\d+) differ (\d+) changes (\d+)$", said, re.MULTILINE)
    if not match or int(match[1]) != cycles:
        raise AssertionError(f"The bench of {name} did not run through {cycles} cycles; it said:\n{said[-2000:]}")
    shutil.rmtree(directory)
    return int(match[2]), int(match[3])


def _ports(component):
    for path, member, _ in component.signature.flatten(component):
        if member.is_port:
            yield "__".join(map(str, path)), Shape.cast(member.shape).width, member.flow.name


def _call(command: list[str], directory: Path) -> str:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=LIMIT_SECONDS)
    if done.returncode:
        raise AssertionError(f"{' '.join(command)} in {directory} failed:\n{(done.stdout + done.stderr)[-2000:]}")
    return done.stdout


def _bench(inputs, outputs, cycles: int) -> str:
    """A Verilog-2001 bench: random inputs just after each rising edge, comparison just before the next."""
    width_in, width_out = sum(width for _, width in inputs), sum(width for _, width in outputs)

    def bound(group, vector, offset):
        for port, width in group:
            if width:
                yield f".\\{port} ({vector}[{offset + width - 1}:{offset}])"  # a port may be called `event`
            offset += width

    def instance(module):
        pins = [".clk(clk)", ".rst(noise[0])", *bound(inputs, "noise", 1), *bound(outputs, module[0], 0)]
        return f"  {module} {module}_unit ({', '.join(pins)});\n"

    return f"""\
module bench;
  reg clk = 0;
  reg [{width_in}:0] noise, rows [0:{cycles - 1}];
  wire [{width_out - 1}:0] s, e;
  reg [{width_out - 1}:0] last;
  integer cycle, differ, changes;
{instance("stock")}{instance("exported")}\
  initial begin
    $readmemh("noise.hex", rows);
    differ = 0; changes = 0;
    for (cycle = 0; cycle < {cycles}; cycle = cycle + 1) begin
      noise = rows[cycle];
      #4 if (s !== e) begin
        if (differ < 3) $display("cycle %0d: stock %h, exported %h", cycle, s, e);
        differ = differ + 1;
      end
      if (s !== last) changes = changes + 1;
      last = s;
      #1 clk = 1;
      #5 clk = 0;
    end
    $display("cycles %0d differ %0d changes %0d", cycle, differ, changes);
    $finish;
  end
endmodule
"""
