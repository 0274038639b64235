# SPDX-License-Identifier: Apache-2.0
"""What a pixel code means: mean, std and scale of families, and of the files that lie next to a checkpoint."""

from dataclasses import replace

from golden.files.errors import AmbiguousModel, BadHeader
from host.importers.facts import Facts
from host.importers.options import Options

IMAGENET = {"pixel_mean": (0.485, 0.456, 0.406), "pixel_std": (0.229, 0.224, 0.225), "pixel_scale": 255.0}
HALF = {"pixel_mean": (0.5,) * 3, "pixel_std": (0.5,) * 3, "pixel_scale": 255.0}
RAW = {"pixel_mean": (0.0,), "pixel_std": (1.0,), "pixel_scale": 255.0}
CLIP = {"pixel_mean": (0.48145466, 0.4578275, 0.40821073), "pixel_std": (0.26862954, 0.26130258, 0.27577711),
        "pixel_scale": 255.0}


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


def tell_pretrained_cfg(facts: Facts, config: dict) -> None:
    """Take mean and std of timm's ``config.json``, and say how timm fits a picture to the model."""
    cfg = config.get("pretrained_cfg")
    cfg = cfg if isinstance(cfg, dict) else config
    if "mean" not in cfg or "std" not in cfg:
        return
    facts.told("config.json", pixel_scale=255.0, pixel_mean=numbers(cfg["mean"], "config.json: mean"),
               pixel_std=numbers(cfg["std"], "config.json: std"))
    crop, how = cfg.get("crop_pct"), cfg.get("interpolation")
    if isinstance(crop, (int, float)) and isinstance(how, str):
        facts.note(f"the library resizes a picture ({how}) to 1 / {crop:g} of the model's size and cuts the middle "
                   f"out; edge-moe run takes the largest middle part.")


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
