# SPDX-License-Identifier: Apache-2.0
"""Reader and writer of the safetensors format with numpy alone; every field of a file is checked.

A file of ``S`` bytes is ``u64`` little-endian header length ``L``, ``L`` bytes of JSON, ``S - 8 - L`` bytes
of data. The JSON maps each tensor's name to ``{"dtype", "shape", "data_offsets": [begin, end)}`` (offsets
into the data) and ``"__metadata__"`` to a flat object of strings. Tensors are contiguous: no
hole, no overlap, nothing left over.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from golden.files.bounds import check_size, refuse_pipe
from golden.files.errors import BadHeader, MissingFile, ModelFileError, TruncatedFile, WrongDtype
from golden.spec.whole_file import write_whole

HEADER_LIMIT = 16 << 20
"""Longest accepted header in bytes; a real one needs about 100 bytes a tensor."""

RANK_LIMIT = 8
SIZE_LIMIT = 1 << 48
"""Largest accepted tensor in bytes, counted with empty dimensions as 1, so that no product can overflow."""

DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "<i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "<u1", "BOOL": "?",
}
"""Container names of the element types that numpy has. ``BF16`` is read too and converted, exactly, to
float32.
"""

_NAMES = {np.dtype(code): name for name, code in DTYPES.items()}
_METADATA = "__metadata__"


@dataclass(frozen=True)
class Entry:
    """Header entry of one tensor: container name of its element type, shape, bytes ``begin <= i < end`` of the
    data.
    """

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """All tensors of a file, by name in file order, and its metadata.

    Raises :class:`MissingFile`, :class:`TooLarge`, :class:`TruncatedFile`, :class:`BadHeader` or :class:`WrongDtype`,
    and no other exception, whatever the bytes.
    """
    refuse_pipe(path)
    try:
        with open(path, "rb") as file:
            entries, metadata, start = _read_header(file, path)
            tensors = {}
            for name, entry in entries.items():
                file.seek(start + entry.begin)
                tensors[name] = _read_tensor(file, name, entry, path)
    except OSError as error:
        raise MissingFile(f"Cannot read {path}: {error.strerror or error}.") from None
    return tensors, metadata


def inspect(path: str | os.PathLike) -> tuple[dict[str, Entry], dict[str, str]]:
    """Entries and metadata of a file without its data; refuses the same files as :func:`read`."""
    refuse_pipe(path)
    try:
        with open(path, "rb") as file:
            entries, metadata, _ = _read_header(file, path)
    except OSError as error:
        raise MissingFile(f"Cannot read {path}: {error.strerror or error}.") from None
    return entries, metadata


def write(path: str | os.PathLike, tensors: dict[str, np.ndarray],
          metadata: dict[str, str] | None = None) -> None:
    """Write a file whose bytes depend on the arguments' values only, never on the order of the dictionaries.

    Widest elements come first, then names in order, so that every tensor is aligned to its element. The file
    appears whole or not at all. Raises :class:`WrongDtype` for an element type the container has no name for,
    ``TypeError`` for names or metadata that are not strings.
    """
    metadata = metadata or {}
    if not all(isinstance(text, str) for pair in metadata.items() for text in pair):
        raise TypeError("metadata must map strings to strings.")
    header: dict[str, object] = {_METADATA: dict(sorted(metadata.items()))} if metadata else {}
    blocks, offset = [], 0
    for name in tensors:
        if not isinstance(name, str) or name == _METADATA:
            raise TypeError(f"A tensor's name must be a string other than {_METADATA!r}, not {name!r}.")
    for name in sorted(tensors, key=lambda n: (-tensors[n].dtype.itemsize, n)):
        array = tensors[name]
        kind = _NAMES.get(array.dtype.newbyteorder("<"))
        if kind is None:
            raise WrongDtype(f"Tensor {name!r} has element type {array.dtype}; "
                             f"a file holds one of {sorted(DTYPES)}.")
        # ascontiguousarray would turn a scalar into a vector; astype keeps the shape.
        block = array.astype(DTYPES[kind], order="C", copy=False).tobytes()
        header[name] = {"dtype": kind, "shape": list(array.shape),
                        "data_offsets": [offset, offset + len(block)]}
        blocks.append(block)
        offset += len(block)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=True).encode()
    text += b" " * (-len(text) % 8)  # the data starts on a multiple of 8

    def write(part: Path) -> None:
        with part.open("wb") as file:
            file.write(len(text).to_bytes(8, "little"))
            file.write(text)
            for block in blocks:
                file.write(block)

    write_whole(Path(path), write)


def parse_header(text: bytes, data_size: int,
                 source: str = "the file") -> tuple[dict[str, Entry], dict[str, str]]:
    """Entries, by name in the order of their data, and metadata, checked against ``data_size`` bytes of
    data.
    """
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=_unique, parse_float=_no_float,
                            parse_constant=_no_float)
    except ModelFileError as error:
        raise BadHeader(f"{source}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise BadHeader(f"{source}: the header must be UTF-8 JSON; it is not ({_short(error)}).") from None
    if not isinstance(header, dict):
        raise BadHeader(f"{source}: the header must be a JSON object, not a {type(header).__name__}.")
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise BadHeader(f"{source}: {_METADATA} must be an object of strings, not {_short(metadata)}.")
    entries = {name: _entry(name, fields, source) for name, fields in header.items()}
    entries = dict(sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)))
    expected = 0
    for name, entry in entries.items():
        if entry.begin != expected:
            word = "overlaps the tensor before it" if entry.begin < expected else "leaves a hole before it"
            raise BadHeader(f"{source}: tensor {_short(name)} starts at byte {entry.begin} of the data where "
                            f"{expected} was wanted; it {word}.")
        expected = entry.end
    if expected != data_size:
        raise TruncatedFile(f"{source}: the header describes {expected} bytes of data, "
                            f"the file holds {data_size}. Copy the file again.")
    return entries, metadata


def refuse_pointer(lead: bytes, path, size: int) -> None:
    """Raise :class:`MissingFile` for a file of ``size`` bytes that starts as what Git LFS leaves in place of one."""
    if lead.startswith(b"version ") and size < 1024:
        raise MissingFile(f"{path} is a pointer of Git LFS, {size} bytes of text in place of the file itself: fetch it "
                          f"with 'git lfs pull'.")


def _read_header(file, path) -> tuple[dict[str, Entry], dict[str, str], int]:
    """Entries, metadata, and where the data starts."""
    size = os.fstat(file.fileno()).st_size
    check_size(path, size)
    lead = file.read(8)
    if len(lead) < 8:
        raise TruncatedFile(f"{path}: a safetensors file starts with 8 bytes of header length; "
                            f"this one has {len(lead)} bytes in all.")
    refuse_pointer(lead, path, size)
    length = int.from_bytes(lead, "little")
    if length > HEADER_LIMIT:
        raise BadHeader(f"{path}: the header claims {length} bytes, more than the {HEADER_LIMIT} allowed; "
                        f"this is hardly a safetensors file.")
    if length > size - 8:
        raise TruncatedFile(f"{path}: the header claims {length} bytes, only {size - 8} follow its length.")
    return *parse_header(file.read(length), size - 8 - length, str(path)), 8 + length


def _read_tensor(file, name: str, entry: Entry, path) -> np.ndarray:
    """One tensor from the file's present position, in native byte order."""
    stored = np.dtype("<u2" if entry.dtype == "BF16" else DTYPES[entry.dtype])
    count = (entry.end - entry.begin) // stored.itemsize
    array = np.fromfile(file, stored, count)
    if array.size != count:  # the file was shortened after its size was read
        raise TruncatedFile(f"{path}: tensor {_short(name)} should hold {count} elements, {array.size} came.")
    if entry.dtype == "BF16":
        array = (array.astype(np.uint32) << 16).view(np.float32)
    elif entry.dtype == "BOOL" and (array.view(np.uint8) > 1).any():
        raise WrongDtype(f"{path}: tensor {_short(name)} is of type BOOL and holds bytes other than 0 and 1.")
    return array.astype(array.dtype.newbyteorder("="), copy=False).reshape(entry.shape)


def _entry(name: str, fields: object, source: str) -> Entry:
    """One checked entry; its bytes equal its shape times its element size."""
    who = f"{source}: tensor {_short(name)}"
    if not isinstance(fields, dict) or set(fields) != {"dtype", "shape", "data_offsets"}:
        raise BadHeader(f"{who} must be described by dtype, shape and data_offsets, not by {_short(fields)}.")
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES and dtype != "BF16":
        raise WrongDtype(f"{who} has element type {_short(dtype)}; known are {sorted([*DTYPES, 'BF16'])}.")
    if not isinstance(shape, list) or not all(_is_count(d) for d in shape) or len(shape) > RANK_LIMIT:
        raise BadHeader(f"{who}: shape must be a list of at most {RANK_LIMIT} integers, none negative, "
                        f"not {_short(shape)}.")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(_is_count(o) for o in offsets):
        raise BadHeader(f"{who}: data_offsets must be two integers, none negative, not {_short(offsets)}.")
    bound = wanted = 2 if dtype == "BF16" else np.dtype(DTYPES[dtype]).itemsize
    for d in shape:
        wanted *= d
        bound *= max(d, 1)
        if bound > SIZE_LIMIT:
            raise BadHeader(f"{who}: shape {_short(shape)} means more than {SIZE_LIMIT} bytes.")
    begin, end = offsets
    if end - begin != wanted:
        raise BadHeader(f"{who}: shape {_short(shape)} of {dtype} needs {wanted} bytes; "
                        f"data_offsets {_short(offsets)} give it {_short(end - begin)}.")
    return Entry(dtype, tuple(shape), begin, end)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _unique(pairs: list[tuple[str, object]]) -> dict:
    """A JSON object whose names are distinct and can be printed."""
    result = {}
    for name, value in pairs:
        if name in result:
            raise BadHeader(f"the header holds the name {_short(name)} twice; names must be distinct.")
        if not all(_is_unicode(text) for text in (name, value)):
            raise BadHeader(f"the header holds half a surrogate pair at {_short(name)}; Unicode was wanted.")
        result[name] = value
    return result


def _is_unicode(value: object) -> bool:
    return not isinstance(value, str) or not any("\ud800" <= c <= "\udfff" for c in value)


def _no_float(text: str):
    raise BadHeader(f"the header holds the number {_short(text)}; only integers have a meaning there.")


def _short(value: object) -> str:
    """At most 80 characters of a value from an untrusted file, all of them printable."""
    try:
        text = str(value) if isinstance(value, Exception) else ascii(value)
    except ValueError:  # an integer with more digits than Python converts
        text = f"a {type(value).__name__} too large to print"
    return text if len(text) <= 80 else text[:77] + "..."
