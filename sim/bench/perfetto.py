# SPDX-License-Identifier: Apache-2.0
"""Chrome trace of a run, for Perfetto: one track for each unit, real nanoseconds, cycles in the arguments."""

import json
from pathlib import Path

from sim.trace import RETIRED_BY, Retired

TRACKS = {"load_store": "load and store", "norm": "layer norm", "epilogue": "matrix array", "gate": "gate"}


def save_trace(retired: list[Retired], symbols, clock_hz: float, path: Path) -> None:
    """Each instruction lasts from the retirement before it in its unit, or in the program when that is later, to its
    own: an upper bound of its work, since the machine signals when an instruction ends and not when it begins."""
    events = [{"ph": "M", "name": "thread_name", "pid": 1, "tid": tid, "args": {"name": label}}
              for tid, label in enumerate(TRACKS.values())]
    order = list(TRACKS)
    ended: dict[str, int] = {}
    last = 0
    for item in sorted(retired, key=lambda r: r.cycle):
        unit = RETIRED_BY[item.entry.opcode]
        begin = max(ended.get(unit, 0), min(last, item.cycle))
        name = symbols[item.entry.index].name + (f" expert {item.entry.expert}" if item.entry.expert >= 0 else "")
        events.append({"ph": "X", "name": name, "pid": 1, "tid": order.index(unit), "ts": begin / clock_hz * 1e6,
                       "dur": (item.cycle - begin) / clock_hz * 1e6,
                       "args": {"cycles": item.cycle - begin, "instruction": item.entry.index,
                                "opcode": item.entry.opcode.name, "expert": item.entry.expert}})
        ended[unit] = last = item.cycle
    path.write_text(json.dumps({"traceEvents": events, "displayTimeUnit": "ns"}))
