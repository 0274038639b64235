# SPDX-License-Identifier: Apache-2.0
"""What the verb ``run`` does: checks, opens devices, sends the pictures through, prints and writes what came."""

import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from golden.spec.program.image import Image
from host.cli.devices import opened
from host.cli.output import CsvRows, Form, UsageError, show
from host.cli.run import facts
from host.cli.run.files import Files
from host.cli.run.frame import Frame
from host.cli.run.scales import run_at_scales
from host.cluster import cluster_devices
from host.driver import Session
from host.driver.arguments import program_named
from host.driver.device import Device
from host.driver.jobs import jobs, together
from host.driver.pool import Pool
from host.driver.result import Result
from host.images import fitted
from host.pictures.errors import PictureError
from host.program import program_of, usual_program, widths_and_pictures
from host.progress import cycles, pictures, tell
from host.sources import Shot, Source


@dataclass(frozen=True)
class Wanted:
    """The options of ``run`` that say what to run, on what."""

    model: Path
    places: tuple[str, ...]
    devices: tuple[str, ...]
    machine: str | None = None
    uio: str | None = None
    buffer: str | None = None
    clock: float | None = None
    task: str | None = None
    every: int = 1
    most: int | None = None
    scales: str | None = None
    scheduler: str | None = None

    @property
    def several(self) -> bool:
        """Whether several devices share the pictures."""
        return len(self.devices) > 1 or self.scheduler is not None


@dataclass
class Flow:
    """A run: its program ``name`` of ``image``, the pictures, of which ``first`` has been read; whether to draw a
    ``bar``; the devices; figures of several pictures.
    """

    image: Image
    name: str
    source: Source
    first: Shot
    bar: bool = True
    boards: list[Device] = field(default_factory=list)
    figures: dict = field(default_factory=dict)


def run(wanted: Wanted, files: Files, form: Form) -> None:
    """Raises what the parts raise; files are written whole or not at all, after the last picture."""
    flow = _checked(wanted, files)
    flow.bar = form is not Form.CSV or not sys.stdout.isatty()  # rows on a terminal show how far it is
    image, source, title = flow.image, flow.source, f"{wanted.model} on {', '.join(wanted.places)}"
    if wanted.scales is not None:
        show(form, title, run_at_scales(image, source, wanted.scales, lambda: _opened(wanted, image, wanted.devices[0]),
                                        flow.name, files))
        return
    files.begin(image, wanted.model, flow.name, source.rate)
    rows: list[dict] = []
    printed = CsvRows(facts.COLUMNS) if form is Form.CSV else rows.append if form is Form.JSON else None
    last: Frame | None = None
    with _boards(wanted, flow):
        for last in _frames(flow):
            files.add(last)
            if printed is not None:
                printed(facts.row(last, flow.boards[0], flow.name))
    assert last is not None  # a source without pictures has raised
    shown = facts.facts(last, image, flow.boards[0], flow.name) | flow.figures | files.write(flow.boards[0])
    if form is not Form.CSV:
        show(form, title, shown | ({"results": rows} if form is Form.JSON and not source.single else {}))


def _checked(wanted: Wanted, files: Files) -> Flow:
    """What is to be run; refuses what cannot be, before any device is opened."""
    from golden.files.machine_file import machine_of

    source = Source(wanted.places, wanted.every, wanted.most)
    files.check(source, [Path(place.removeprefix("@")) for place in wanted.places], wanted.model)
    image = program_of(wanted.model, None if wanted.machine is None else machine_of(wanted.machine),
                       *widths_and_pictures(wanted.model, wanted.task))
    name = wanted.task or usual_program(image)
    if wanted.scheduler is not None and len(wanted.devices) > 1:
        raise UsageError("--scheduler takes one --device: what it is called on every worker.")
    if wanted.several and (wanted.scales is not None or source.single or wanted.uio or wanted.buffer):
        raise UsageError("Several devices share a folder of pictures, without --scales, --uio and --buffer.")
    program_named(image, name)
    if source.exact and source.count is not None and wanted.scales is None:
        jobs(image, source.count, name)
    files.check_normed(image)
    return Flow(image, name, source, _shot(next(iter(source)), image))  # opening a simulator may take minutes


def _opened(wanted: Wanted, image: Image, device: str) -> Device:
    return opened(device, image.machine, wanted.uio, wanted.buffer, wanted.clock)


@contextmanager
def _boards(wanted: Wanted, flow: Flow) -> Iterator[None]:
    """The devices of the run, open; with a scheduler those of its workers."""
    with nullcontext() if wanted.scheduler is None else cluster_devices(wanted.scheduler, wanted.devices[0]) as served:
        for worker, why in served.refused.items() if served else ():
            tell(f"worker {worker} is left out: {why}")
        try:
            for name in served.names if served else wanted.devices:
                flow.boards.append(_opened(wanted, flow.image, name))
            yield
        finally:
            for each in flow.boards:
                each.close()


def _frames(flow: Flow) -> Iterator[Frame]:
    """The pictures with their results, in order, with a progress bar."""
    title = f"{flow.image.model.name} {flow.name} on {', '.join(each.name for each in flow.boards)}"
    if flow.source.single:
        shot = flow.first
        expected = sum(symbol.cycles for symbol in flow.image.symbols.get(flow.name, ()))
        with cycles(title, expected) as report:
            result = Session(flow.image, flow.boards[0]).frame(shot.pixels, flow.name, progress=report)
        yield Frame(shot.name, shot.pixels, result)
        return
    ahead: deque[list[Shot]] = deque()
    pool = Pool(flow.boards, flow.image) if len(flow.boards) > 1 else None
    batches = _batches(flow, ahead)
    results = pool.batches(batches) if pool is not None else _alone(Session(flow.image, flow.boards[0]), batches)
    began, count = time.monotonic(), 0
    with pictures(title, flow.source.count) if flow.bar else nullcontext(lambda done, name: None) as report:
        for done in results:
            for shot, result in zip(ahead.popleft(), done, strict=True):
                count += 1
                report(count, shot.name)
                yield Frame(shot.name, shot.pixels, result)
    flow.figures |= {"pictures": count, "pictures_per_second": count / (time.monotonic() - began)}
    if pool is not None:
        flow.figures |= facts.pool_figures(pool)


def _batches(flow: Flow, ahead: deque[list[Shot]]) -> Iterator[tuple[list, str]]:
    """Pictures and the program for that many; no more than one group of them is read at a time. What was given out
    is appended to ``ahead``.
    """
    image, shots = flow.image, iter(flow.source)
    size = together(image, flow.name)
    while group := [_shot(each, image) for each in islice(shots, size)]:
        if len(group) < size == image.pictures(flow.name):
            tell(f"the last {len(group)} frames are left out: {flow.name} takes {size} at a time.")
            return
        for job in jobs(image, len(group), flow.name):
            ahead.append([group[place] for place in job.places])
            yield [shot.pixels for shot in ahead[-1]], job.program


def _alone(session: Session, batches: Iterator[tuple[list, str]]) -> Iterator[Sequence[Result]]:
    for group, program in batches:
        yield session.run(group, program)


def _shot(shot: Shot, image: Image) -> Shot:
    """The picture at the model's size."""
    try:
        return Shot(shot.name, fitted(shot.pixels, image.model))
    except PictureError as error:
        raise PictureError(f"{shot.name}: {error}") from None
