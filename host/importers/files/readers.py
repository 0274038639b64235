# SPDX-License-Identifier: Apache-2.0
"""Checkpoint readers: .safetensors, PyTorch's .pth, Google's .npz, and folders of their parts."""

import re
from pathlib import Path

import numpy as np

from golden.files import safetensors_file
from golden.files.bounds import refuse_pipe
from golden.files.errors import MissingFile, UnexpectedTensor, UnknownLayout, WrongShape
from host.importers.files.json_file import read_json
from host.importers.files.npz_file import read_npz
from host.importers.files.torch_file import Tensors, read_torch

_EXPERT_SHARD = re.compile(r".*mlp\.experts\.(htoh4|h4toh)\..*")
_PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.(safetensors|bin)")
_KINDS = ("model*.safetensors", "*.safetensors", "pytorch_model*.bin", "*.pth", "*.pt", "*.npz")
"""What a folder's checkpoint may be, the first that is there; other .bin files, such as training_args.bin, are none."""


def read_checkpoint(path: Path, trust_pickle: bool = False, key: str | None = None) -> Tensors:
    """Every tensor of a checkpoint by its own name, from a file or a folder of shards; ``key`` chooses one of several
    dictionaries in a file.

    Folders: ``0.pth ... N-1.pth`` (FastMoE, one a rank: experts joined on dimension 0), or the parts of one model, as
    an index file or their names tell, with distinct names of tensors. Raises a subclass of :class:`ModelFileError`.
    """
    if path.is_dir():
        return _read_folder(path, trust_pickle, key)
    refuse_pipe(path)
    if not path.is_file():
        raise MissingFile(f"There is no file or folder {path}.")
    if (match := _PART.fullmatch(path.name)) and int(match[3]) > 1:
        raise MissingFile(f"{path} is part {int(match[2])} of {int(match[3])} of a model: give the folder that holds "
                          f"all parts.")
    return _read_file(path, trust_pickle, key)


def _read_file(path: Path, trust_pickle: bool, key: str | None) -> Tensors:
    with open(path, "rb") as file:
        safetensors_file.refuse_pointer(file.read(8), path, path.stat().st_size)
    if path.suffix == ".safetensors":
        return safetensors_file.read(path)[0]
    if path.suffix == ".npz":
        return read_npz(path)
    return read_torch(path, trust_pickle, key)


def _read_folder(path: Path, trust_pickle: bool, key: str | None) -> Tensors:
    ranks = {int(m[1]): file for file in path.iterdir() if (m := re.fullmatch(r"(\d{1,6})\.pth", file.name))}
    if ranks:
        return _join_ranks(path, ranks, trust_pickle, key)
    parts = _parts(path)
    tensors: Tensors = {}
    for part in parts:
        new = _read_file(part, trust_pickle, key)
        if again := sorted(set(new) & set(tensors)):
            raise UnexpectedTensor(f"{part} repeats {again[:3]}, which another part of {path} holds; give one file.")
        tensors |= new
    return tensors


def _parts(path: Path) -> list[Path]:
    """The files of a folder that together hold one model; raises :class:`MissingFile` with the name of one missing."""
    for index in ("model.safetensors.index.json", "pytorch_model.bin.index.json"):
        table = read_json(path / index).get("weight_map")
        if isinstance(table, dict):
            names = sorted({str(name) for name in table.values()})
            if outside := [name for name in names if Path(name).name != name]:
                raise UnknownLayout(f"{path / index} names {outside[0]!r}, which is no file of the folder.")
            if missing := [name for name in names if not (path / name).is_file()]:
                raise MissingFile(f"{path / index} names {len(names)} parts; {missing[0]} is missing.")
            return [path / name for name in names]
    found = next((files for kind in _KINDS if (files := sorted(path.glob(kind)))), [])
    if not found:
        raise UnknownLayout(f"{path} holds no checkpoint known here: wanted *.float32.bin, 0.pth ... N-1.pth, "
                            f"*.safetensors, pytorch_model*.bin, *.pth or *.npz.")
    counts = {(m[1], int(m[3])) for file in found if (m := _PART.fullmatch(file.name))}
    for stem, count in counts:
        have = {int(m[2]) for file in found if (m := _PART.fullmatch(file.name)) and m[1] == stem}
        if missing := sorted(set(range(1, count + 1)) - have):
            raise MissingFile(f"{path} holds {len(have)} of the {count} parts of {stem!r}; part {missing[0]} is "
                              f"missing.")
    return found


def _join_ranks(path: Path, ranks: dict[int, Path], trust_pickle: bool, key: str | None) -> Tensors:
    """Joins rank shards: rank 0 contains all tensors with its part of the experts, the others their parts only."""
    if sorted(ranks) != list(range(len(ranks))):
        absent = next(i for i in range(len(ranks)) if i not in ranks)
        raise MissingFile(f"{path} holds the shards {sorted(ranks)}; {absent}.pth is missing.")
    tensors = read_torch(ranks[0], trust_pickle, key)
    slices = {name: [array] for name, array in tensors.items() if _EXPERT_SHARD.fullmatch(name)}
    if flat := [name for name, (array,) in slices.items() if array.ndim == 0]:
        raise WrongShape(f"{ranks[0]}: {flat[0]!r} must have a dimension for the experts, not the shape ().")
    for rank in range(1, len(ranks)):
        for name, array in read_torch(ranks[rank], trust_pickle, key).items():
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
    if found := fewer_experts(tensors):
        name, named, held = found
        raise MissingFile(f"{path}: the gate {name!r} names {named} experts, the {len(ranks)} shards hold {held}; is "
                          f"{len(ranks)}.pth missing?")
    return tensors


def fewer_experts(tensors: Tensors) -> tuple[str, int, int] | None:
    """A gate that names more experts than the checkpoint holds, if there is one: its name, experts named and held."""
    for name, array in tensors.items():
        match = re.fullmatch(r"(.*\.mlp\.)gate\.(?:\d+\.)?w_gate", name)
        weight = tensors.get(f"{match[1]}experts.htoh4.weight") if match else None
        if weight is not None and array.ndim == 2 and weight.ndim == 3 and weight.shape[0] < array.shape[1]:
            return name, array.shape[1], weight.shape[0]
    return None
