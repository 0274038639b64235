# SPDX-License-Identifier: Apache-2.0
"""Verbs ``import``, ``quantize`` and ``compile``: from a checkpoint to a program image."""

from pathlib import Path
from typing import Annotated

import typer

from golden.notebook.models import model_facts
from golden.spec.activations import ACTIVATIONS
from golden.spec.model import FITS, INTERPOLATIONS, POOLS, ModelConfig
from golden.spec.whole_file import write_whole
from host.cli.common import verb as groups
from host.cli.common.verb import verb
from host.cli.options import Csv, Fits, Json, Output, Preset, Source, among
from host.cli.output import MODELS, Form, UsageError, check_output, form_of, show

app = typer.Typer()


@verb(app, groups.MODELS, "edge-moe import checkpoint.pth -o model.safetensors --heads 3 --top-k 2",
      "edge-moe import dinov2/ -o model.safetensors --image 224x224", name="import")
def import_(path: Source, output: Output,
            heads: Annotated[int | None, typer.Option(help="Attention heads.")] = None,
            top_k: Annotated[int | None, typer.Option(help="Experts that a token goes to.")] = None,
            gate: Annotated[str | None, typer.Option(help="softmax_then_topk or topk_then_softmax.")] = None,
            activation: Annotated[str | None, typer.Option(help=f"Of the FFNs: {', '.join(ACTIVATIONS)}.",
                                                           autocompletion=among(*ACTIVATIONS))] = None,
            tasks: Annotated[str | None, typer.Option(help="Task names, comma-separated.")] = None,
            image: Annotated[str | None, typer.Option(help="Wanted image size, HEIGHTxWIDTH.")] = None,
            source_image: Annotated[str | None, typer.Option(help="Image size the checkpoint was trained for.")] = None,
            name: Annotated[str | None, typer.Option(help="What to call the model.")] = None,
            pixel_mean: Annotated[str | None, typer.Option(help="Mean of pixels in 0..1, one number for each channel, "
                                                           "comma-separated, or one for all.")] = None,
            pixel_std: Annotated[str | None, typer.Option(help="Their standard deviation, as many numbers.")] = None,
            pixel_scale: Annotated[float | None, typer.Option(help="What a pixel code 0..255 is divided by; mostly "
                                                              "255.")] = None,
            eps: Annotated[float | None, typer.Option(help="Of the layer norms.")] = None,
            architecture: Annotated[str | None, typer.Option(help="timm's name of the network, such as "
                                                             "vit_tiny_patch16_224.")] = None,
            key: Annotated[str | None, typer.Option(help="Which of several dictionaries or networks in a file, such as "
                                                    "teacher.")] = None,
            resize: Annotated[str | None, typer.Option(help="How positions are resized: bilinear, bicubic or "
                                                       "bicubic_antialias; by default as the family's library "
                                                       "does.")] = None,
            fit: Annotated[str | None, typer.Option(help=f"How a picture gets the model's size: {', '.join(FITS)}.")
                           ] = None,
            crop_share: Annotated[float | None, typer.Option(help="Part of the resized picture that is kept, a side; "
                                                             "timm's crop_pct.")] = None,
            interpolation: Annotated[str | None, typer.Option(help="How a picture is resized: "
                                                              f"{', '.join(INTERPOLATIONS)}.")] = None,
            pool: Annotated[str | None, typer.Option(help=f"What a classifier reads: {', '.join(POOLS)}.")] = None,
            window: Annotated[int | None, typer.Option(help="Side, in patches, of the windows that some blocks look at "
                                                       "(ViTDet).")] = None,
            window_blocks: Annotated[str | None, typer.Option(help="Which blocks, comma-separated; by default all but "
                                                              "the last of each quarter.")] = None,
            head_kinds: Annotated[str | None, typer.Option(help="What heads of unusual names are: task=kind, "
                                                           "comma-separated.")] = None,
            backbone_only: Annotated[bool, typer.Option("--backbone-only", help="Leave the task heads out.")] = False,
            trust_pickle: Annotated[bool, typer.Option("--trust-pickle", help="Unpickle the file: it can run any "
                                                       "code. Only for files of your own.")] = False,
            machine: Fits = None,
            json_: Json = False, csv_: Csv = False):
    """Read a checkpoint of any known layout into a float model.

    Writes one .safetensors; what was taken from which file, and what is a guess, goes to stderr."""
    from golden.model.store import save_float
    from host.importers import import_checkpoint
    from host.progress import tell

    form = form_of(json_, csv_)
    check_output(output, path, suffixes=MODELS)
    model = import_checkpoint(path, trust_pickle=trust_pickle, heads=heads, top_k=top_k, gate=gate, name=name,
                              pixel_mean=_numbers(pixel_mean), pixel_std=_numbers(pixel_std), pixel_scale=pixel_scale,
                              eps=eps, architecture=architecture, key=key, resize=resize, pool=pool,
                              fit=fit, crop_share=crop_share, interpolation=interpolation,
                              activation=activation, tasks=None if tasks is None else tuple(tasks.split(",")),
                              image=_size(image), source_image=_size(source_image), backbone_only=backbone_only or None,
                              head_kinds=None if head_kinds is None else tuple(head_kinds.split(",")),
                              window=window, window_blocks=_blocks(window_blocks), note=tell)
    require_fit(model.config, "fast", machine)
    save_float(model, output)
    show(form, f"{path} -> {output}", model_facts(model.config) | {
        "parameters": sum(t.size for t in model.tensors.values()), "written": str(output)})


@verb(app, groups.MODELS, "edge-moe quantize model.safetensors -o model.q.safetensors",
      "edge-moe quantize model.safetensors -o model.q.safetensors --plan accurate",
      "edge-moe quantize model.safetensors -o q.safetensors --images picture.jpg")
def quantize(path: Source, output: Output,
             plan: Annotated[str, typer.Option(help="fast, accurate, mixed, or w4: accurate, packed 4-bit weights "
                                               "in experts, or where there are none in every FFN.",
                                          autocompletion=among("fast", "accurate", "mixed", "w4"))] = "fast",
             images: Annotated[list[Path] | None, typer.Option(help="Calibration pictures; when none are given, "
                                                               "scenes for a model trained on scenes, else photographs "
                                                               "that come with the packages.")] = None,
             crops: Annotated[int | None, typer.Option(help="How many calibration crops to make of them; by default "
                                                       "96, or less for many tokens.")] = None,
             cycle_budget: Annotated[int | None, typer.Option(help="Cycles a frame may take (mixed).")] = None,
             weight_bits: Annotated[int | None, typer.Option(help="Bits of weights, 4 to 8.")] = None,
             expert_bits: Annotated[int | None, typer.Option(help="Bits of experts' weights, 4 to 8.")] = None,
             strict: Annotated[bool, typer.Option("--strict", help="Write nothing where calibration finds a place that "
                                                  "the integer model does badly.")] = False,
             machine: Fits = None,
             json_: Json = False, csv_: Csv = False):
    """Turn a float model into an integer one.

    Takes a checkpoint that needs no questions as well."""
    from host.images import fitted, read_picture
    from host.importers import import_checkpoint
    from host.models.calibration import calibration_pictures, trained_on_scenes
    from host.program import is_quantized
    from host.progress import steps, tell
    from host.quantizer.findings import Finding
    from host.quantizer.quantize import quantize as quantized

    form = form_of(json_, csv_)
    check_output(output, path, *(images or ()), suffixes=MODELS)
    if is_quantized(path):
        raise UsageError(f"{path} is quantized already; give the float model it was made from.")
    model = import_checkpoint(path, note=tell)
    require_fit(model.config, plan, machine)
    if images:
        pictures, kind = [fitted(read_picture(image), model.config) for image in images], "given"
    else:
        pictures, kind = calibration_pictures(model.config, trained_on_scenes(path), crops)
    found: list[Finding] = []
    with steps(f"quantize {model.config.name}") as report:
        result = quantized(model, pictures, plan, progress=report, report=found.append, cycle_budget=cycle_budget,
                           weight_bits=weight_bits, expert_bits=expert_bits)
    for finding in found:
        tell(f"warning: {finding}")
    if found and strict:
        raise UsageError(f"{len(found)} finding{'s' * (len(found) > 1)} of calibration, and --strict: nothing is "
                         f"written.")
    result.save(output)
    show(form, f"{path} -> {output}", model_facts(result.config) | {
        "plan": plan, "calibration_pictures": len(pictures), "calibrated_on": kind, "bytes": output.stat().st_size,
        "warnings": [str(finding) for finding in found] if form is Form.JSON else len(found), "written": str(output)})


@verb(app, groups.MODELS, "edge-moe compile model.q.safetensors -o model.emoe --machine zcu102",
      "edge-moe compile model.q.safetensors -o model.emoe --ffn-width 0.5,1",
      "edge-moe compile model.q.safetensors -o model.emoe --machine nano --pictures 2", name="compile")
def compile_(path: Source, output: Output, machine: Preset = "zcu102",
             ffn_width: Annotated[str, typer.Option(help="Fractions of the neurons of every FFN, comma-separated, like "
                                                    "0.25,0.5,1: programs TASK@0.25, TASK@0.5 and TASK that share "
                                                    "their weights.")] = "1",
             keep: Annotated[str, typer.Option(help="Blocks that keep only the patches to which the class token pays "
                                               "most, and how many: 3:0.7,6:0.7,9:0.7 or 3:137.")] = "",
             pictures: Annotated[str, typer.Option(help="How many pictures at a time, like 4: programs TASK#4 next to "
                                                   "TASK, which read each weight once for all of them.")] = "1",
             json_: Json = False, csv_: Csv = False):
    """Compile a quantized model to a program for one machine."""
    from golden.files.machine_file import machine_of
    from golden.spec.program.names import parse_pictures, parse_width
    from host.performance.timeline import predict
    from host.program import is_program, program_of

    form = form_of(json_, csv_)
    if is_program(path):
        raise UsageError(f"{path} is a program image already; give the quantized model it was made from.")
    check_output(output, path)
    if output.suffix in MODELS:
        raise UsageError(f"A program image is no model: name it like {output.stem}.emoe, not {output.name!r}.")
    widths = {parse_width(text.strip()) for text in ffn_width.split(",")}
    image = program_of(path, machine_of(machine), widths, parse_pictures(pictures.strip()), keep)
    data = image.to_bytes()
    write_whole(output, lambda part: part.write_bytes(data))
    show(form, f"{path} -> {output}", model_facts(image.model) | {
        "machine": image.machine.name, "fingerprint": f"0x{image.machine.fingerprint:016x}",
        "programs": ", ".join(f"{task} ({len(symbols)} instructions, about "
                              f"{max(span.end for span in predict(image, task)):,.0f} cycles)"
                              for task, symbols in image.symbols.items()),
        "ffn_neurons": _neurons(image.model, widths) if widths != {1.0} else "all",
        "patches_kept": ", ".join(f"{count} in block {layer}" for layer, count in image.model.keep) or "all",
        "weight_bytes": sum(len(plane) for plane in image.planes), "written": str(output)})


def _neurons(config: ModelConfig, widths: set[float]) -> str:
    """How many neurons each width uses, after rounding up to whole tiles."""
    dense, moe = len(config.moe_layers) < config.depth, len(config.moe_layers) > 0
    parts = {width: config.narrowed(width) for width in sorted(widths)}
    return "; ".join(f"{width:g}: " + ", ".join(
        [f"{part.mlp_hidden} of {config.mlp_hidden}"] * dense
        + [f"{part.expert_hidden} of {config.expert_hidden} of an expert"] * moe) for width, part in parts.items())


def require_fit(config: ModelConfig, plan: str, machine: str | None) -> None:
    """Raise NotFitting unless the machine of that name, if any, holds the model."""
    from golden.files.machine_file import machine_of
    from golden.spec.quantized import Plan
    from host.compiler.presets import require_fit

    if machine is not None:
        wide = plan in ("accurate", "w4")
        chosen = Plan.accurate if wide else Plan.fast  # a mixed one needs at least the fast one's memory
        require_fit(config, chosen(config.depth, config.task_heads), machine_of(machine))


def _numbers(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"Numbers are comma-separated, like 0.485,0.456,0.406, not {text!r}.") from None


def _blocks(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(sorted(int(part) for part in text.split(",")))
    except ValueError:
        raise UsageError(f"Blocks are whole numbers, comma-separated, like 0,1,3, not {text!r}.") from None


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    try:
        height, width = (int(part) for part in text.lower().split("x"))
        return height, width
    except ValueError:
        raise UsageError(f"An image size is HEIGHTxWIDTH, like 128x256, not {text!r}.") from None
