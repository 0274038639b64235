# SPDX-License-Identifier: Apache-2.0
"""Chrome trace of a run, for Perfetto: one track for each unit, real nanoseconds, cycles in the arguments."""

import json
from collections.abc import Sequence
from pathlib import Path

from golden.spec.isa import UNIT, Unit
from golden.spec.program.image import Symbol
from golden.spec.whole_file import write_whole
from host.profile.timing import Timed

TRACKS = {Unit.DMA: "load and store", Unit.NORM: "layer norm", Unit.ARRAY: "matrix array", Unit.GATE: "gate"}


def trace_events(timed: Sequence[Timed], symbols: Sequence[Symbol], clock_hz: float, title: str) -> list[dict]:
    """Events of the trace: the ``title`` of all tracks and their names, then each instruction."""
    order = list(TRACKS)
    events: list[dict] = [{"ph": "M", "name": "process_name", "pid": 1, "args": {"name": title}}]
    events += [{"ph": "M", "name": "thread_name", "pid": 1, "tid": tid, "args": {"name": label}}
               for tid, label in enumerate(TRACKS.values())]
    for item in timed:
        entry, taken = item.entry, item.cycle - item.start
        name = symbols[entry.index].name + (f" expert {entry.expert}" if entry.expert >= 0 else "")
        events.append({"ph": "X", "name": name, "pid": 1, "tid": order.index(UNIT[entry.opcode]),
                       "ts": item.start / clock_hz * 1e6, "dur": taken / clock_hz * 1e6,
                       "args": {"cycles": round(taken), "instruction": entry.index, "opcode": entry.opcode.name,
                                "expert": entry.expert}})
    return events


def save_trace(timed: Sequence[Timed], symbols: Sequence[Symbol], clock_hz: float, path: Path, title: str) -> None:
    """Write the trace, whole or not at all. Raises OSError."""
    text = json.dumps({"traceEvents": trace_events(timed, symbols, clock_hz, title), "displayTimeUnit": "ns"})
    write_whole(path, lambda part: part.write_text(text))
