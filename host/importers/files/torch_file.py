# SPDX-License-Identifier: Apache-2.0
"""Reader of files of PyTorch's ``torch.save``, without unpickling."""

import pickle
import re
import warnings
import zipfile
from pathlib import Path

import numpy as np

from golden.files.bounds import check_size
from golden.files.errors import (
    BadHeader,
    ModelFileError,
    PickleRefused,
    TruncatedFile,
    UnknownLayout,
    WrongDtype,
)
from host.importers.files.nested import state_dict

Tensors = dict[str, np.ndarray]


def read_torch(path: Path, trust_pickle: bool = False, key: str | None = None) -> Tensors:
    """The state dict of a file that ``torch.save`` wrote, at top level or under a name; ``key`` chooses one of several.

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
            raise BadHeader(f"{path} cannot be unpickled: {first_line(second)}.") from None
    return {name: _to_numpy(name, value) for name, value in state_dict(payload, key, str(path)).items()
            if isinstance(name, str) and hasattr(value, "untyped_storage")}


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
                if any(item.filename.endswith(("/constants.pkl", "/code/__torch__.py")) or "/code/" in item.filename
                       for item in archive.infolist()):
                    raise PickleRefused(f"{path} is a TorchScript archive: a program, which is not run. Wanted: the "
                                        f"state dict alone; where you trust it, torch.save(torch.jit.load(PATH)"
                                        f".state_dict(), NEW) makes one.")
                content = sum(item.file_size for item in archive.infolist())
        except ModelFileError:
            raise
        except Exception as error:  # zipfile raises several exception types for damaged directories
            raise BadHeader(f"{path}: the zip directory is damaged: {first_line(error)}.") from None
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
        return TruncatedFile(f"{path} ends before its content does ({first_line(error)}). Copy the file again.")
    if refused:
        culprit = re.search(r"GLOBAL (\S+)", text)
        return PickleRefused(f"{path} is a pickle that wants {culprit[1] if culprit else 'more than tensors'}: reading "
                             f"it would execute what it contains, so nothing was read. Wanted: a state dict of "
                             f"tensors. If you trust its origin give --trust-pickle, or save the state dict alone.")
    return BadHeader(f"{path} cannot be read as a file of torch.save: {first_line(error)}.")


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
        raise WrongDtype(f"{name!r} must hold plain numbers, not {tensor.dtype} ({first_line(error)}).") from None


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
