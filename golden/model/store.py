# SPDX-License-Identifier: Apache-2.0
"""Float model files: .safetensors with the model configuration as JSON in the metadata."""

import json
import os

import numpy as np

from golden.files import safetensors_file
from golden.files.errors import BadHeader, MissingTensor, UnknownLayout, UnsupportedModel
from golden.files.sealed_file import SEAL, check_seal, write_sealed
from golden.model.params import FloatModel
from golden.spec.model import ConfigError, ModelConfig

FORMAT = "edge-moe-float"
FORMAT_VERSION = "3"
_TENSORS_PER_BLOCK = 12


def save_float(model: FloatModel, path: str | os.PathLike, *, half: bool = False, notes: dict | None = None) -> None:
    """Write the model; the same model gives the same bytes. ``half`` rounds to float16, for half the size.

    ``notes`` is anything JSON takes, such as how the model was trained; :func:`read_notes` gives it back.
    """
    description = json.dumps(model.config.to_json(), sort_keys=True)
    tensors = {name: array.astype(np.float16) for name, array in model.tensors.items()} if half else model.tensors
    extra = {} if notes is None else {"notes": json.dumps(notes, sort_keys=True)}
    write_sealed(path, tensors, {"format": FORMAT, "version": FORMAT_VERSION, "model": description} | extra)


def read_notes(path: str | os.PathLike) -> dict:
    """The notes of a float model file, empty where it has none."""
    try:
        return dict(json.loads(safetensors_file.inspect(path)[1].get("notes", "{}")))
    except (ValueError, TypeError, RecursionError):
        raise BadHeader(f"{path}: the notes must be a JSON object.") from None


def is_float_file(path: str | os.PathLike) -> bool:
    """Whether a .safetensors file's metadata have :data:`FORMAT`; raises as :func:`safetensors_file.inspect` does."""
    return safetensors_file.inspect(path)[1].get("format") == FORMAT


def load_float(path: str | os.PathLike) -> FloatModel:
    """Read what :func:`save_float` wrote. Raises a subclass of :class:`ModelFileError` for every other
    file.
    """
    entries, metadata = safetensors_file.inspect(path)
    if metadata.get("format") != FORMAT:
        raise UnknownLayout(f"{path}: format must be {FORMAT!r}, not {metadata.get('format')!r}; "
                            f"other checkpoints are read by the import command.")
    if metadata.get("version") != FORMAT_VERSION:
        raise UnknownLayout(f"{path}: version must be {FORMAT_VERSION!r}, not {metadata.get('version')!r}.")
    config = description(metadata.get("model", ""), str(path))
    if config.depth * _TENSORS_PER_BLOCK > len(entries):  # before memory for a huge depth is allocated
        raise MissingTensor(f"{path}: {config.depth} blocks need at least {config.depth * _TENSORS_PER_BLOCK} tensors, "
                            f"the file holds {len(entries)}.")
    tensors, metadata = safetensors_file.read(path)
    if SEAL in metadata:  # files of earlier versions have none
        check_seal(path, tensors, metadata)
    return FloatModel(config, {name: array.astype(np.float32) if array.dtype == np.float16 else array
                               for name, array in tensors.items()})


def description(text: str, source: str) -> ModelConfig:
    """Model configuration from untrusted JSON, with the type of every field checked.

    Raises :class:`BadHeader` where it is no such JSON, :class:`UnsupportedModel` where no machine could run
    it.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise BadHeader(f"{source}: the model's description must be JSON, not {text[:60]!r}.") from None
    usual = ModelConfig().to_json()
    for name, value in data.items() if isinstance(data, dict) else ():
        if name in usual and name != "task_heads" and not _alike(value, usual[name]):
            raise BadHeader(f"{source}: the description's {name} must be like {usual[name]!r}, "
                            f"not {ascii(value)[:60]}.")
    try:
        config = ModelConfig.from_json(data)
    except ConfigError as error:
        raise UnsupportedModel(f"{source}: {error}") from None
    if config.pixel_scale <= 0:
        raise UnsupportedModel(f"{source}: pixel_scale must be positive, not {config.pixel_scale}.")
    return config


def _alike(value: object, usual: object) -> bool:
    """Same type as an example: of lists, every element; an integer passes for a finite float."""
    if isinstance(usual, list):
        return isinstance(value, list) and all(_alike(v, usual[0]) for v in value)
    if isinstance(usual, float):
        return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e30
    return type(value) is type(usual)
