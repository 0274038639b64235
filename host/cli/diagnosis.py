# SPDX-License-Identifier: Apache-2.0
"""Verbs ``doctor``, ``selftest`` and ``compare``: what a board lacks, whether a device works, where results differ."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from host.cli.common.verb import BOARDS, MEASURE, verb
from host.cli.devices import Buffer, Clock, Uio, Which, opened
from host.cli.options import Csv, Json, Machine
from host.cli.output import Form, UsageError, form_of, print_csv, print_json

app = typer.Typer()


@verb(app, BOARDS, "edge-moe selftest --device uio", "edge-moe selftest --device golden --machine nano",
      "edge-moe selftest --device remote:192.168.1.9:7411 --json")
def selftest(device: Which = "uio", machine: Machine = None, uio: Uio = None, buffer: Buffer = None,
             clock: Clock = None, json_: Json = False, csv_: Csv = False):
    """Run golden vectors on a device.

    Identity, registers, jobs bit for bit, a refusal. Exit status 1 when a check fails."""
    from golden.files.machine_file import machine_of
    from host.diagnosis import selftest as test
    from host.driver.device import clock_text
    from host.progress import steps

    form = form_of(json_, csv_)
    board = opened(device, None if machine is None else machine_of(machine), uio, buffer, clock)
    try:
        with steps(f"selftest {board.name}") as report:
            number = iter(range(1, 100))
            checks = test.selftest(board, lambda name: report(next(number), test.CHECKS, name))
        facts = {"device": board.name, "clock": clock_text(board)}
    finally:
        board.close()
    _finish(form, facts, "checks", checks, "failed")


@verb(app, BOARDS, "edge-moe doctor", "edge-moe doctor model.emoe", "edge-moe doctor --csv")
def doctor(program: Annotated[Path | None, typer.Argument(help="Program that shall run here: the memory that it needs "
                                                               "is checked as well.")] = None,
           uio: Uio = None, buffer: Buffer = None, clock: Clock = None,
           root: Annotated[Path, typer.Option(help="Where sys, dev and proc are.", hidden=True)] = Path("/"),
           json_: Json = False, csv_: Csv = False):
    """Tell what this computer lacks to run a board.

    Each line is ok or says what to do. Exit status 1 when something lacks."""
    from host.driver.doctor import Place, examine
    from host.program import program_of

    form = form_of(json_, csv_)
    image = None if program is None else program_of(program)
    place = Place(root / "sys", root / "dev", root / "proc", uio, buffer, None if clock is None else clock * 1e6)
    _finish(form, {}, "lines", examine(place, image), "to do")


@verb(app, MEASURE, "edge-moe compare dump-golden dump-sim", "edge-moe compare dump-golden dump-sim --json")
def compare(a: Annotated[Path, typer.Argument(help="Folder that edge-moe run --dump wrote.")],
            b: Annotated[Path, typer.Argument(help="Another one, of another device.")],
            json_: Json = False, csv_: Csv = False):
    """Find the first value in which two dumps differ.

    Names the tensor, the token and the channel. Exit status 1 when any value differs."""
    from dataclasses import asdict, fields

    from host.diagnosis.difference import Difference, differences
    from host.diagnosis.dump import comparable, read_dump

    form = form_of(json_, csv_)
    one, other = read_dump(a), read_dump(b)
    comparable(one, other)
    try:
        found = differences(one.tensors, other.tensors)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if form is Form.JSON:
        print_json({"a": one.about, "b": other.about, "tensors": len(one.tensors), "same": not found,
                    "differences": found})
    elif form is Form.CSV:
        print_csv(map(asdict, found), [each.name for each in fields(Difference)])
    else:
        print(f"a: {one.about.program} on {one.about.device}; b: {other.about.program} on {other.about.device}")
        for each in found:
            print(each)
        if found and found[0].name.endswith("input"):
            print("The pictures are not the same: dump both devices with one picture.")
        if not found:
            print(f"same: all {len(one.tensors)} tensors, bit for bit")
    raise typer.Exit(1 if found else 0)


def _finish(form: Form, facts: dict, what: str, lines: Sequence, bad: str) -> None:
    """Print the lines, and end with status 1 when one is not ok."""
    good = all(line.ok for line in lines)
    if form is Form.JSON:
        print_json(facts | {"ok": good, what: lines})
    elif form is Form.CSV:
        print_csv(map(vars, lines), ("name", "ok", "said"))
    else:
        for name, value in facts.items():
            print(f"{name}: {value}")
        for line in lines:
            print(f"{'ok' if line.ok else bad:7} {line.name}: {line.said}")
    raise typer.Exit(0 if good else 1)
