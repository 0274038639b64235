# SPDX-License-Identifier: Apache-2.0
"""Checkpoint readers: .safetensors, PyTorch's .pth without unpickling, folders of shards."""

import json
import pickle
import re
import warnings
import zipfile
from pathlib import Path

import numpy as np

from golden.files import safetensors_file
from golden.files.bounds import check_size, refuse_pipe
from golden.files.errors import (
    BadHeader,
    MissingFile,
    ModelFileError,
    PickleRefused,
    TruncatedFile,
    UnexpectedTensor,
    UnknownLayout,
    WrongDtype,
    WrongShape,
)

Tensors = dict[str, np.ndarray]

_WRAPPERS = ("state_dict", "model")
_EXPERT_SHARD = re.compile(r".*mlp\.experts\.(htoh4|h4toh)\..*")
JSON_LIMIT = 1 << 20


def read_checkpoint(path: Path, trust_pickle: bool = False) -> Tensors:
    """Every tensor of a checkpoint by its own name, from a file or a folder of shards.

    Folders: ``0.pth ... N-1.pth`` (FastMoE, one a rank: experts joined on dimension 0), or
    ``*.safetensors``, or ``*.bin`` (parts with distinct names). Raises a subclass of
    :class:`ModelFileError`.
    """
    if path.is_dir():
        return _read_folder(path, trust_pickle)
    refuse_pipe(path)
    if not path.is_file():
        raise MissingFile(f"There is no file or folder {path}.")
    if path.suffix == ".safetensors":
        return safetensors_file.read(path)[0]
    return read_torch(path, trust_pickle)


def read_torch(path: Path, trust_pickle: bool = False) -> Tensors:
    """The state dict of a file that ``torch.save`` wrote, at top level or under ``state_dict`` or ``model``.

    PyTorch's restricted unpickler rebuilds tensors and plain containers only. A file that needs more is
    refused with :class:`PickleRefused`, and nothing in it is executed, unless ``trust_pickle`` is
    set.
    """
    import torch  # takes a second and is not needed for other layouts

    _refuse_what_torch_did_not_write(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about pickle protocols, before the refusal below
            payload = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if not trust_pickle:
            raise _explain(path, error) from None
        try:
            payload = torch.load(path, map_location="cpu", weights_only=False)
        except Exception as second:
            raise BadHeader(f"{path} cannot be unpickled: {_first_line(second)}.") from None
    return _state_dict(path, payload)


def read_json(path: Path) -> dict:
    """A JSON object from a file next to a checkpoint; empty where there is no such file."""
    if not path.is_file():
        return {}
    if path.stat().st_size > JSON_LIMIT:
        raise BadHeader(f"{path} must be a small JSON file, not {path.stat().st_size} bytes.")
    try:
        data = json.loads(path.read_bytes().decode())
    except (ValueError, RecursionError) as error:
        raise BadHeader(f"{path} must be JSON; it is not ({_first_line(error)}).") from None
    if not isinstance(data, dict):
        raise BadHeader(f"{path} must hold a JSON object, not a {type(data).__name__}.")
    return data


def _refuse_what_torch_did_not_write(path: Path) -> None:
    """Raises for a truncated file and for a file of another format, before torch reads it."""
    check_size(path, path.stat().st_size)
    with open(path, "rb") as file:
        lead = file.read(4)
    if lead.startswith(b"PK"):
        try:
            if not zipfile.is_zipfile(path):  # the directory lies at the end
                raise TruncatedFile(f"{path} starts as a zip archive and has no directory at its end; it is cut "
                                    f"short. Copy the file again.")
            with zipfile.ZipFile(path) as archive:
                content = sum(item.file_size for item in archive.infolist())
        except ModelFileError:
            raise
        except Exception as error:  # zipfile raises several exception types for damaged directories
            raise BadHeader(f"{path}: the zip directory is damaged: {_first_line(error)}.") from None
        if content > path.stat().st_size:  # torch stores without compression
            raise BadHeader(f"{path} claims {content} bytes of content in a file of {path.stat().st_size}; wanted: an "
                            f"archive without compression, as torch.save writes.")
    elif not lead.startswith(b"\x80"):
        raise UnknownLayout(f"{path} is no checkpoint known here: wanted .safetensors, a file of torch.save, or a "
                            f"folder; it starts with {lead!r}.")


def _explain(path: Path, error: Exception) -> ModelFileError:
    """Our exception for an exception of the restricted unpickler."""
    text = str(error)
    refused = isinstance(error, pickle.UnpicklingError) or "legacy .tar" in text or "TorchScript" in text
    if isinstance(error, EOFError) or "truncated" in text or "Ran out of input" in text:
        return TruncatedFile(f"{path} ends before its content does ({_first_line(error)}). Copy the file again.")
    if refused:
        culprit = re.search(r"GLOBAL (\S+)", text)
        return PickleRefused(f"{path} is a pickle that wants {culprit[1] if culprit else 'more than tensors'}: reading "
                             f"it would execute what it contains, so nothing was read. Wanted: a state dict of "
                             f"tensors. If you trust its origin give --trust-pickle, or save the state dict alone.")
    return BadHeader(f"{path} cannot be read as a file of torch.save: {_first_line(error)}.")


def _state_dict(path: Path, payload: object) -> Tensors:
    """The dictionary of tensors in a payload, as numpy arrays."""
    for key in _WRAPPERS:
        if isinstance(payload, dict) and isinstance(payload.get(key), dict):
            payload = payload[key]
    if not isinstance(payload, dict):
        raise UnknownLayout(f"{path} must hold a dictionary of tensors, not a {type(payload).__name__}.")
    return {name: _to_numpy(name, value) for name, value in payload.items() if isinstance(name, str)
            and hasattr(value, "untyped_storage")}


def _to_numpy(name: str, tensor) -> np.ndarray:
    """An array of the same values; bfloat16 becomes float32. A tensor larger than its storage is
    refused, since it could exhaust memory.
    """
    import torch

    if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
        raise WrongDtype(f"{name!r} must be a dense tensor of plain numbers, not {tensor.dtype} in {tensor.layout} on "
                         f"{tensor.device}.")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise BadHeader(f"{name!r} claims {tensor.numel()} elements; its storage has "
                        f"{tensor.untyped_storage().nbytes()} bytes.")
    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.float()
    try:
        return np.array(tensor.resolve_conj().resolve_neg().numpy())
    except (TypeError, RuntimeError) as error:
        raise WrongDtype(f"{name!r} must hold plain numbers, not {tensor.dtype} ({_first_line(error)}).") from None


def _read_folder(path: Path, trust_pickle: bool) -> Tensors:
    ranks = {int(m[1]): file for file in path.iterdir() if (m := re.fullmatch(r"(\d{1,6})\.pth", file.name))}
    if ranks:
        return _join_ranks(path, ranks, trust_pickle)
    parts = sorted(path.glob("*.safetensors")) or sorted(path.glob("*.bin")) or sorted(path.glob("*.pth"))
    if not parts:
        raise UnknownLayout(f"{path} holds no checkpoint known here: wanted *.float32.bin, 0.pth ... N-1.pth, "
                            f"*.safetensors or *.bin.")
    tensors: Tensors = {}
    for part in parts:
        new = read_checkpoint(part, trust_pickle)
        if again := sorted(set(new) & set(tensors)):
            raise UnexpectedTensor(f"{part} repeats {again[:3]}, which another part of {path} holds; give one file.")
        tensors |= new
    return tensors


def _join_ranks(path: Path, ranks: dict[int, Path], trust_pickle: bool) -> Tensors:
    """Joins rank shards: rank 0 contains all tensors with its part of the experts, the others their parts only."""
    if sorted(ranks) != list(range(len(ranks))):
        absent = next(i for i in range(len(ranks)) if i not in ranks)
        raise MissingFile(f"{path} holds the shards {sorted(ranks)}; {absent}.pth is missing.")
    tensors = read_torch(ranks[0], trust_pickle)
    slices = {name: [array] for name, array in tensors.items() if _EXPERT_SHARD.fullmatch(name)}
    if flat := [name for name, (array,) in slices.items() if array.ndim == 0]:
        raise WrongShape(f"{ranks[0]}: {flat[0]!r} must have a dimension for the experts, not the shape ().")
    for rank in range(1, len(ranks)):
        for name, array in read_torch(ranks[rank], trust_pickle).items():
            if name not in slices:
                raise UnexpectedTensor(f"{ranks[rank]} must hold slices of rank 0's experts only, not {name!r}.")
            if array.ndim == 0 or array.shape[1:] != slices[name][0].shape[1:]:
                raise WrongShape(f"{ranks[rank]}: {name!r} must have shape (experts, "
                                 f"{', '.join(map(str, slices[name][0].shape[1:]))}) as in rank 0, not {array.shape}.")
            slices[name].append(array)
    for name, arrays in slices.items():
        if len(arrays) != len(ranks):
            raise MissingFile(f"{path}: {name!r} is in {len(arrays)} of {len(ranks)} shards; one is incomplete.")
        tensors[name] = np.concatenate(arrays)
    return tensors


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
