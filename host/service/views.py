# SPDX-License-Identifier: Apache-2.0
"""Results as the page shows them: pictures as PNG with legend or scale, and the values under the pointer."""

import base64
import io

import matplotlib
import numpy as np
from PIL import Image as Picture

from golden.spec.program.outputs import FEATURES
from host.driver.maps import on_grid
from host.driver.result import Result
from host.expert_choices import Choices, load_of
from host.performance.layers import PredictedLayer
from host.pictures.outputs import outputs_of
from host.pictures.palette import class_names, colours, painted
from host.pictures.panels import MEANINGS, UNITS, Output
from host.service.experts import of_patches, why_not
from host.service.models import Model

STEPS = 65_535
"""Codes of a map's values under the pointer."""
BEST = 5
"""Classes of a classifier that are shown."""


def maps(result: Result, model: Model) -> list[dict]:
    """A view of each task head's map, the largest scores of a classifier, and the features."""
    found = [_classes(each) if each.head.kind == "semseg" else _directions(each) if each.head.kind == "normals" else
             _scaled(each) for each in outputs_of(result, model.image.model)]
    if result.logits is not None:
        best = np.argsort(-result.logits, kind="stable")[:BEST]
        found.append({"name": "logits", "kind": "logits", "scores": [
            {"name": f"class {index}", "score": round(float(result.logits[index]), 4)} for index in best]})
    return [*found, _features(result, model)]


def input_view(picture: np.ndarray) -> str:
    """The picture as the model sees it."""
    return png(picture if picture.shape[2] == 3 else picture[:, :, 0])


def experts_view(model: Model, chosen: Choices | None, reason: str | None) -> dict:
    """Experts of each patch, and tokens of each expert, by task and layer; or the ``reason`` why there are none."""
    config = model.image.model
    reason = why_not(config) or reason
    if chosen is None or reason:
        return {"reason": reason or "They were not asked for."}
    source = "the quantized model" if model.network is not None else "the instruction-set simulator"
    return {"experts": config.experts, "grid": list(config.grid), "source": source, "tasks": {
        task: {str(layer): {"patches": of_patches(chosen[task][layer], config).tolist(), "load": counts.tolist()}
               for layer, counts in layers.items()} for task, layers in load_of(chosen, config.experts).items()}}


def time_view(layers: list[PredictedLayer], result: Result, model: Model, clock_hz: float, clock: str) -> dict:
    """Predicted cycles of the layers, and the measured cycles of the job where the device counts them."""
    predicted, macs = sum(layer.cycles for layer in layers), model.image.machine.macs_per_cycle
    return {"clock_hz": clock_hz, "clock": clock, "measured_cycles": result.cycles or None,
            "predicted_cycles": round(predicted),
            "layers": [{"name": layer.name, "kind": layer.kind, "cycles": round(layer.cycles), "bytes": layer.bytes,
                        "efficiency": round(layer.macs / max(1.0, layer.cycles * macs), 4)} for layer in layers]}


def png(pixels: np.ndarray) -> str:
    """uint8 [H, W] or [H, W, 3] as a data URL."""
    file = io.BytesIO()
    Picture.fromarray(np.ascontiguousarray(pixels)).save(file, format="PNG", compress_level=3)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _classes(output: Output) -> dict:
    names = class_names(output.head.classes, output.head.names)
    share = np.bincount(output.values.reshape(-1), minlength=len(names)) / output.values.size
    legend = [{"name": name, "colour": _hex(colour), "share": round(float(part), 4)}
              for name, colour, part in zip(names, colours(names), share, strict=True)]
    return {"name": output.head.task, "kind": "semseg", "picture": png(painted(output.values, names)),
            "legend": legend, "values": _codes(output.values.astype(np.uint16), 0.0, 1.0)}


def _scaled(output: Output) -> dict:
    """A map with one channel, and its scale: depth from its own range, probabilities from 0 to 1."""
    depth, values = output.head.kind == "depth", output.values.astype(np.float64)
    low = max(0.0, float(values.min())) if depth else 0.0
    high = max(low, float(values.max())) if depth else 1.0
    step = max(high - low, 1e-6) / STEPS
    codes = np.clip(np.rint((values - low) / step), 0, STEPS).astype(np.uint16)
    table = _table("magma_r" if depth else "gray")
    return {"name": output.head.task, "kind": output.head.kind, "picture": png(table[codes >> 8]),
            "scale": {"low": low, "high": high, "unit": UNITS.get(output.head.kind, ""),
                      "meaning": MEANINGS[output.head.kind],
                      "colours": [_hex(colour) for colour in table[::15]]},
            "values": _codes(codes, low, step)}


def _directions(output: Output) -> dict:
    shown = np.rint(255 * np.clip(output.values / 2 + 0.5, 0, 1)).astype(np.uint8)
    return {"name": output.head.task, "kind": "normals", "picture": png(shown)}


def _features(result: Result, model: Model) -> dict:
    """The first three principal components of the patches' features as colours, a pixel a patch."""
    config = model.image.model
    features = result.features[config.extra_tokens:]
    centred = features - features.mean(axis=0)
    parts = centred @ np.linalg.svd(centred, full_matrices=False)[2][:3].T
    low, high = np.percentile(parts, [2, 98], axis=0)
    shown = np.rint(255 * np.clip((parts - low) / np.maximum(high - low, 1e-6), 0, 1))
    if result.kept:
        shown = np.nan_to_num(on_grid(shown, result["kept"], config.grid))
    return {"name": FEATURES, "kind": FEATURES, "shape": list(result.features.shape),
            "picture": png(shown.reshape(*config.grid, -1).astype(np.uint8))}


def _codes(codes: np.ndarray, low: float, step: float) -> dict:
    """A map for the pointer: value = low + step x code, codes little-endian uint16."""
    return {"height": codes.shape[0], "width": codes.shape[1], "low": low, "step": step,
            "codes": base64.b64encode(codes.astype("<u2").tobytes()).decode()}


def _table(name: str) -> np.ndarray:
    """uint8 [256, 3] of a colour map."""
    return np.rint(255 * matplotlib.colormaps[name](np.arange(256))[:, :3]).astype(np.uint8)


def _hex(colour: np.ndarray) -> str:
    return "#" + bytes(colour.tolist()).hex()
