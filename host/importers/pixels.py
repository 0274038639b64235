# SPDX-License-Identifier: Apache-2.0
"""What a pixel code means: mean, std and scale of families, and of the files that lie next to a checkpoint."""

from dataclasses import replace

from golden.files.errors import AmbiguousModel, BadHeader
from golden.spec.model import INTERPOLATIONS
from host.importers.facts import Facts
from host.importers.options import Options

IMAGENET = {"pixel_mean": (0.485, 0.456, 0.406), "pixel_std": (0.229, 0.224, 0.225), "pixel_scale": 255.0}
HALF = {"pixel_mean": (0.5,) * 3, "pixel_std": (0.5,) * 3, "pixel_scale": 255.0}
RAW = {"pixel_mean": (0.0,), "pixel_std": (1.0,), "pixel_scale": 255.0}
CLIP = {"pixel_mean": (0.48145466, 0.4578275, 0.40821073), "pixel_std": (0.26862954, 0.26130258, 0.27577711),
        "pixel_scale": 255.0}

_CROP_MODES = {"center": "shortest", "squash": "squash"}
"""timm's ``crop_mode``, to names of :data:`golden.spec.model.FITS`."""
_RESAMPLE = dict(enumerate(("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")))
"""Pillow's numbers of kinds of resizing."""


def tell_preprocessor(facts: Facts, preprocessor: dict) -> None:
    """Take what Hugging Face's ``preprocessor_config.json`` says: ``rescale_factor``, ``image_mean`` and
    ``image_std``, and whether they are used at all.
    """
    if not preprocessor:
        return
    file, values = "preprocessor_config.json", {}
    if not _flag(preprocessor, "do_normalize"):
        values |= {"pixel_mean": (0.0,), "pixel_std": (1.0,)}
    elif "image_mean" in preprocessor and "image_std" in preprocessor:
        values |= {"pixel_mean": numbers(preprocessor["image_mean"], f"{file}: image_mean"),
                   "pixel_std": numbers(preprocessor["image_std"], f"{file}: image_std")}
    factor = preprocessor.get("rescale_factor", 1 / 255)
    if not _flag(preprocessor, "do_rescale"):
        factor = 1.0
    if isinstance(factor, bool) or not isinstance(factor, (int, float)) or not 0 < factor < float("inf"):
        raise BadHeader(f"{file}: rescale_factor must be a positive number, not {factor!r}.")
    scale = 1 / factor
    values["pixel_scale"] = float(round(scale)) if abs(scale - round(scale)) < 1e-6 * scale else scale
    facts.told(file, **values)
    _tell_fit(facts, preprocessor)


def _tell_fit(facts: Facts, preprocessor: dict) -> None:
    """Take how Hugging Face's ``preprocessor_config.json`` fits a picture: ``size``, ``crop_size``, ``resample``."""
    size = preprocessor.get("size")
    if size is None or not _flag(preprocessor, "do_resize"):
        return
    crop = _sides(preprocessor.get("crop_size")) if preprocessor.get("do_center_crop") else None
    shortest = size.get("shortest_edge") if isinstance(size, dict) else None
    sides, how = (shortest, shortest) if type(shortest) is int else _sides(size), preprocessor.get("resample", 2)
    shares = {part / side for part, side in zip(crop or sides or (), sides or (), strict=False) if side > 0}
    kind = _RESAMPLE.get(how) if type(how) is int else None
    if kind is None or len(shares) != 1 or not 0 < max(shares) <= 1 or (type(shortest) is int and crop is None):
        facts.note(f"preprocessor_config.json fits a picture by size {size}, crop_size "
                   f"{preprocessor.get('crop_size')}, resample {how!r}, which edge-moe run does not do: it resizes the "
                   f"largest middle part.")
        return
    facts.told("preprocessor_config.json", fit="shortest" if type(shortest) is int else "squash",
               crop_share=shares.pop(), interpolation=kind)


def _sides(size: object) -> tuple[int, int] | None:
    """Height and width of a size that is a number or has both."""
    if isinstance(size, dict):
        size = size.get("height"), size.get("width")
    height, width = size if isinstance(size, tuple) else (size, size)
    if type(height) is int and type(width) is int and min(height, width) > 0:
        return height, width
    return None


def tell_pretrained_cfg(facts: Facts, config: dict) -> None:
    """Take mean and std of timm's ``config.json``, and how timm fits a picture to the model."""
    cfg = config.get("pretrained_cfg")
    cfg = cfg if isinstance(cfg, dict) else config
    if "mean" not in cfg or "std" not in cfg:
        return
    facts.told("config.json", pixel_scale=255.0, pixel_mean=numbers(cfg["mean"], "config.json: mean"),
               pixel_std=numbers(cfg["std"], "config.json: std"))
    crop, how, mode = cfg.get("crop_pct"), cfg.get("interpolation"), cfg.get("crop_mode") or "center"
    if crop is None and how is None:
        return
    fit = _CROP_MODES.get(mode) if isinstance(mode, str) else None
    if fit and isinstance(crop, (int, float)) and 0 < crop <= 1 and how in INTERPOLATIONS:
        facts.told("config.json", fit=fit, crop_share=float(crop), interpolation=how)
    else:
        facts.note(f"config.json fits a picture by crop_pct {crop!r}, interpolation {how!r}, crop_mode {mode!r}, which "
                   f"edge-moe run does not do: it resizes the largest middle part.")


def for_channels(options: Options, channels: int) -> Options:
    """Options whose mean and std have one value a channel: a single value, or equal ones, hold for every channel.
    Raises :class:`AmbiguousModel` for others.
    """
    for field in ("pixel_mean", "pixel_std"):
        values = getattr(options, field)
        if values is None or len(values) == channels:
            continue
        if len(set(values)) != 1:
            raise AmbiguousModel(f"The model looks at {channels} channel{'s' * (channels != 1)}; the {field} known for "
                                 f"its kind has {len(values)} values: give --pixel-mean and --pixel-std with "
                                 f"{channels} value{'s' * (channels != 1)} each, or one for all.")
        options = replace(options, **{field: values[:1] * channels})
    return options


def numbers(value: object, where: str) -> tuple[float, ...]:
    """A number or a list of numbers from a JSON file."""
    listed = value if isinstance(value, (list, tuple)) else [value]
    found = [float(v) for v in listed if isinstance(v, (int, float)) and not isinstance(v, bool) and abs(v) < 1e6]
    if not found or len(found) != len(listed):
        raise BadHeader(f"{where} must be a list of numbers, not {value!r}.")
    return tuple(found)


def _flag(config: dict, name: str) -> bool:
    value = config.get(name)
    if value is not None and not isinstance(value, bool):
        raise BadHeader(f"preprocessor_config.json: {name} must be true or false, not {value!r}.")
    return value is not False
