# SPDX-License-Identifier: Apache-2.0
"""The page of a profile: one HTML file that needs nothing else, from `templates/report.html.j2`."""

import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from golden.spec.boards.dram import DramTiming
from golden.spec.machine import ABI_VERSION, BEAT_BYTES
from golden.spec.whole_file import write_whole
from host.expert_choices import choices_of_entries, load_of
from host.profile.charts.heat import expert_load, headroom
from host.profile.charts.roofline import points_of, roofline
from host.profile.charts.stack import Bar, cycle_stack, of_counters, of_layer
from host.profile.layers import total
from host.profile.pictures import shown
from host.profile.ranges import Range
from host.profile.run import COUNTED, MODEL, Profile, port_bytes
from host.profile.table import columns, losses

TEMPLATES = Path(__file__).parent / "templates"
BY_LAYER = {"idle": "operands, epilogue, other units", "weights": "waiting for weights (model)"}
"""What parts of a layer's bar are called, where no counter tells them apart."""
BEST_CLASSES = 5


def memory_text(memory: DramTiming, name: str) -> str:
    refresh = f", refresh {1 - memory.awake:.1%} of the time" if memory.refresh_length else ""
    return f"{name}: {memory.bytes_per_cycle:.4g} bytes a cycle, {memory.latency} cycles of latency{refresh}"


def bytes_per_cycle(profile: Profile) -> float:
    """What memory and ports deliver together."""
    ports = profile.machine.weight_bytes_per_cycle + BEAT_BYTES
    return min(ports, profile.memory.bytes_per_cycle * profile.memory.awake)


def whole_bar(profile: Profile) -> Bar:
    """The bar of the job: by the device's counters, else the sum of its layers' bars."""
    if profile.measured:
        return of_counters("whole job", profile.result.counters, profile.macs, profile.machine)
    bars = [of_layer(layer, profile.machine) for layer in profile.layers]
    return Bar("whole job", {part: sum(bar.parts[part] for bar in bars) for part in bars[0].parts}, strong=True)


def figures(profile: Profile) -> list[tuple[str, str, str]]:
    """Name, figure and source of what stands at the head."""
    cycles, timing = profile.cycles, profile.cycles_from
    counted = timing if profile.measured else COUNTED
    seconds = cycles / profile.clock_hz
    return [("cycles", f"{cycles:,.0f}", timing), ("milliseconds", f"{seconds * 1e3:.3f}", timing),
            ("pictures a second", f"{1 / seconds:,.0f}", timing), ("array use", f"{profile.use:.1%}", timing),
            ("DRAM bytes", f"{profile.bytes / 1e6:,.2f} MB", counted),
            ("multiply-accumulates", f"{profile.macs / 1e6:,.1f} M", COUNTED)]


def facts(profile: Profile) -> list[tuple[str, str]]:
    """What was run on what."""
    image = profile.image
    bits = {True: "equal, bit for bit", False: "DIFFERENT", None: "is the device"}[profile.exact]
    return [("model", image.model.name), ("program", profile.program), ("plan", image.plan.name(image.model)),
            ("machine", f"{profile.machine.name}, {profile.machine.macs_per_cycle:,} MAC/cycle, "
                        f"0x{profile.machine.fingerprint:016x}"),
            ("device", profile.device), ("clock", profile.clock),
            ("reference model", bits), ("program fingerprint", profile.fingerprint),
            ("memory of the model", memory_text(profile.memory, profile.memory_name)),
            ("edge-moe", f"{version('edge-moe')}, ABI {ABI_VERSION}")]


def sums(profile: Profile) -> list[str]:
    """Sentences about what adds up, and how far the model is off."""
    whole, sentences = total(profile.layers), []
    if profile.measured:
        crossed = sum(port_bytes(profile.result.counters, profile.machine))
        sentences.append(f"The layers move {whole.bytes:,} bytes; the counters of the ports say {crossed:,}.")
        busy = profile.result.counters["ARRAY_BUSY"]
        sentences.append(f"They make {whole.steps:,} steps of the array; its counter says {busy:,}.")
        sentences.append(f"The performance model predicts {profile.predicted:,.0f} cycles, "
                         f"{profile.predicted / profile.cycles - 1:+.1%} of the {profile.cycles:,.0f} measured.")
        if profile.timing == MODEL:
            sentences.append("This device counts the cycles of a whole job only: those of the layers are the model's.")
    else:
        sentences.append("This device has no cycle counters: cycles are those of the performance model.")
    return sentences


def load_by_layer(profile: Profile) -> dict[str, list[int]]:
    """``blocks.3 depth`` -> tokens of each expert, in the order of the layers."""
    load = load_of(choices_of_entries(profile.entries, profile.image.symbols[profile.program]),
                   profile.image.model.experts)
    return {f"blocks.{layer} {task}": load[task][layer].tolist() for layer in sorted(profile.image.model.moe_layers)
            for task in load}


def context(profile: Profile, ranges: Sequence[Range] | None, trace: str | None) -> dict:
    """What the template shows."""
    cols, layers, result = columns(profile), profile.layers, profile.result
    load = load_by_layer(profile)
    charts = {"stack": cycle_stack([whole_bar(profile), *(of_layer(layer, profile.machine) for layer in layers
                                                          if layer.cycles)], {} if profile.measured else BY_LAYER),
              "roofline": roofline(points_of(layers), profile.machine.macs_per_cycle, bytes_per_cycle(profile))}
    charts |= {"experts": expert_load(load) if load else None, "ranges": headroom(ranges) if ranges else None}
    best = [] if result.logits is None else [(int(index), float(result.logits[index]))
                                             for index in (-result.logits).argsort(kind="stable")[:BEST_CLASSES]]
    return {"profile": profile, "figures": figures(profile), "facts": facts(profile), "sums": sums(profile),
            "pictures": shown(profile.pixels, result, profile.image.model), "best": best,
            "features": " x ".join(map(str, result.features.shape)), "columns": cols,
            "rows": [(layer.kind, [column.cell(layer) for column in cols]) for layer in layers],
            "total": [column.cell(total(layers)) for column in cols], "losses": losses(profile),
            "skipped": total(layers).skipped,
            "charts": {name: chart and chart.svg() for name, chart in charts.items()}, "ranges": ranges, "trace": trace}


def page(profile: Profile, ranges: Sequence[Range] | None = None, trace: str | None = None) -> str:
    """The page as text. ``ranges``: of the integer network, None where only its program is there; ``trace``: address
    of the trace, as seen from the page."""
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True)
    files = {name: Markup((TEMPLATES / name).read_text()) for name in ("chart.css", "report.css", "report.js")}
    return environment.get_template("report.html.j2").render(context(profile, ranges, trace), files=files)


def save_page(profile: Profile, path: Path, ranges: Sequence[Range] | None = None, trace: Path | None = None) -> None:
    """Write the page, whole or not at all. Raises OSError."""
    link = None if trace is None else Path(os.path.relpath(trace.resolve(), path.resolve().parent)).as_posix()
    text = page(profile, ranges, link)
    write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))
