# SPDX-License-Identifier: Apache-2.0
"""``make nightly``: everything that takes long, each with a seed of tonight, and a page that says how it ended."""

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from golden.spec.whole_file import write_whole
from host.interrupts import ends_on_sigterm
from host.parallel_map import ClusterError, add_parallel_options, parallel_map
from host.progress import steps
from sim.mutants.units import ROOT, UNITS, bench_folders

LIMIT = 4 * 3600
"""Seconds after which one job is stopped: it counts as failed."""
TAIL = 12
"""Last lines of a failed job that stand in the page."""


@dataclass(frozen=True)
class Job:
    """One command of the night: arguments of Python, more environment, and the seed that repeats it."""

    name: str
    arguments: tuple[str, ...]
    seed: int
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def command(self) -> str:
        """As one types it."""
        return " ".join([*(f"{name}={value}" for name, value in self.environment.items()), "python", *self.arguments])


@dataclass(frozen=True)
class Ended:
    """How a job ended: exit status (None: stopped at LIMIT), seconds, the last lines that it wrote."""

    job: Job
    status: int | None
    seconds: float
    said: tuple[str, ...]

    @property
    def summary(self) -> str:
        """The last line with a word in it, which a table's border has not; bars do not end a cell of the page."""
        line = next((line for line in reversed(self.said) if any(letter.isalnum() for letter in line)), "")
        return " ".join(line.translate(str.maketrans("|│┃", "///")).split())


def jobs(seed: int, scale: int) -> list[Job]:
    """All jobs of a night; ``scale`` 1 is a short one. The longest ones come first."""
    pytest = ("-m", "pytest", "-q", "-p", "no:cacheprovider")
    fuzz = {"FUZZ_SEED": str(seed), "FUZZ_MACHINES": "1", "FUZZ_SHAPES": str(40 * scale),
            "FUZZ_RTL_SHAPES": str(4 * scale), "FUZZ_PROGRAMS": str(400 * scale), "FUZZ_LEGALITY": str(1000 * scale),
            "FUZZ_CLASSES": str(2 * scale)}
    night = [
        Job("demo", ("-m", "sim.demo", "--then", "deit-tiny", "--out", "out/nightly/demo"), seed),
        Job("bench", ("-m", "sim.bench", "--out", "out/nightly/bench"), seed),
        Job("tests marked nightly", (*pytest, "-m", "nightly", "tests"), seed),
        *(Job(f"fuzz {name}", (*pytest, f"tests/fuzz/test_{name}.py"), seed, fuzz)
          for name in ("shapes", "programs", "legality_oracle", "every_class")),
        Job("stalls", ("-m", "sim.stalls", "--workers", "1", "--first", str(seed), "--seeds", str(50 * scale)), seed),
        Job("faults, aborts, resets", ("-m", "sim.disturbances", "--workers", "1", "--first", str(seed), "--seeds",
                                       str(50 * scale)), seed),
        *(Job(f"mutants of {unit}", ("-m", "sim.mutants", "--unit", unit, "--seed", str(seed), "--count",
                                     str(3 * scale)), seed) for unit in UNITS),
        *(Job(f"benches of {room}, seed {seed + n}", (*pytest, f"tests/hw/{room}"), seed + n, {"SEED": str(seed + n)})
          for n in range(max(1, scale // 2)) for room in bench_folders()),
        Job("demo on nano", ("-m", "sim.demo", "--model", "nano", "--machine", "nano", "--out", "out/nightly/nano"),
            seed),
    ]
    return night


def run(job: Job, limit: float = LIMIT) -> Ended:
    """The job in a process of its own, one BLAS thread."""
    began = time.monotonic()
    environment = os.environ | job.environment | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    try:
        done = subprocess.run([sys.executable, *job.arguments], cwd=ROOT, env=environment, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace", timeout=limit)
        status, text = done.returncode, done.stdout
    except subprocess.TimeoutExpired as error:
        status, text = None, error.stdout.decode(errors="replace") if isinstance(error.stdout, bytes) else ""
    return Ended(job, status, time.monotonic() - began, tuple(text.splitlines()[-TAIL:]))


def page(ended: list[Ended], seed: int, total: int) -> str:
    """One page: a line for each job that has ended, then the end of what the failed ones wrote."""
    failed = [one for one in ended if one.status != 0]
    rows = [f"| {one.job.name} | {one.job.seed} | {'ok' if one.status == 0 else 'FAILED'} | {one.seconds:.0f} | "
            f"{one.summary[:100]} |" for one in ended]
    left = f"{total - len(ended)} have not ended, " if total > len(ended) else ""
    text = [f"# Night with seed {seed}", "", f"{len(ended) - len(failed)} of {len(ended)} jobs ended well, {left}"
            f"{sum(one.seconds for one in ended) / 3600:.1f} hours in all.", "",
            "| job | seed | ended | seconds | last line |", "|---|---|---|---|---|", *rows]
    for one in failed:
        how = f"exit status {one.status}" if one.status is not None else "stopped at its time limit"
        text += ["", f"## {one.job.name}: {how}", "", f"Repeat it with `{one.job.command}`.", "", "```", *one.said,
                 "```"]
    return "\n".join(text) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0 when every job ended well, 1 when one did not, 2 when there is no cluster, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="make nightly", description=__doc__)
    parser.add_argument("--seed", type=int, default=int(f"{date.today():%Y%m%d}"), help="today's date by default")
    parser.add_argument("--scale", type=int, default=10, help="1: a short night")
    parser.add_argument("--only", help="jobs whose name contains this")
    parser.add_argument("--out", type=Path, default=Path("out/nightly"))
    parser.add_argument("--list", action="store_true", help="print the commands, run nothing")
    add_parallel_options(parser)
    options = parser.parse_args(arguments)
    chosen = [job for job in jobs(options.seed, options.scale) if (options.only or "") in job.name]
    if options.list or not chosen:
        print("\n".join(f"{job.name}: {job.command}" for job in chosen) or f"No job is called {options.only!r}.")
        return 0 if chosen else 2
    options.out.mkdir(parents=True, exist_ok=True)
    so_far: list[Ended] = []

    def written(ended: list[Ended]) -> str:
        text = page(ended, options.seed, len(chosen))
        write_whole(options.out / "nightly.md", lambda part: part.write_text(text))
        return text

    def keep(one: Ended) -> None:
        so_far.append(one)
        written(so_far)

    try:
        with steps(f"night with seed {options.seed}") as report:
            ended = parallel_map(run, chosen, scheduler=options.scheduler, workers=options.workers, report=report,
                                 each=keep)
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    print(written(ended))
    return 0 if all(one.status == 0 for one in ended) else 1


if __name__ == "__main__":
    with ends_on_sigterm():
        raise SystemExit(main())
