# SPDX-License-Identifier: Apache-2.0
"""File format ``.emoe`` of a program image: header, section table, page-aligned sections, CRC-32 over every byte.

    header | section table | zero fill to a page | section | zero fill | section | ... | zero fill

All numbers little-endian. Every section starts on a page of :data:`PAGE` bytes, in the order of the table, without
gaps; fill bytes are zero; the header with the table, and each section, carry a CRC-32: any changed byte is detected.
"""

import enum
import struct
import zlib

from golden.spec.machine import ABI_VERSION, PAGE
from golden.spec.tiling import ceil_div

MAGIC = b"EMOE\r\n\x1a\n"
"""First bytes of the file; the line ends in it reveal a transfer in text mode."""
CONTAINER_VERSION = 2
MAX_SECTIONS = 128
MAX_BYTES = 1 << 32
"""Largest image: a weight stream has 2**32 lines, a real one a few MiB."""

_HEADER = struct.Struct("<8sHHIQQQI")
_ENTRY = struct.Struct("<HHIQQ")


class Kind(enum.IntEnum):
    """Content of a section. PROGRAM: 32-byte instructions, one section per task. PLANE: one per weight port. TABLES:
    what LOAD reads from the table base. METADATA: JSON. HOST: what the host computes with, none for most models."""

    METADATA = 1
    PROGRAM = 2
    TABLES = 3
    PLANE = 4
    HOST = 5


class ProgramError(ValueError):
    """A program image that cannot be used; subclasses name the reason."""


class BadMagic(ProgramError):
    """The file is no program image."""


class BadVersion(ProgramError):
    """The image was written for another ABI or container version."""


class Truncated(ProgramError):
    """The file has fewer or more bytes than its header states."""


class BadChecksum(ProgramError):
    """A CRC-32 differs, or fill bytes are not zero."""


class BadSection(ProgramError):
    """The section table is impossible: unknown kind, hole, overlap, absurd size, missing or repeated section."""


def want(condition: bool, error: type[ProgramError], message: str) -> None:
    if not condition:
        raise error(message)


def _pages(size: int) -> int:
    return ceil_div(size, PAGE) * PAGE


def pack(machine_print: int, model_print: int, sections: list[tuple[Kind, bytes]]) -> bytes:
    """The file holding ``sections``; indices count up within a kind."""
    offset, entries, counts = _pages(_HEADER.size + len(sections) * _ENTRY.size), [], {}
    for kind, data in sections:
        counts[kind] = counts.get(kind, -1) + 1
        entries.append(_ENTRY.pack(kind, counts[kind], zlib.crc32(data), offset, len(data)))
        offset += _pages(len(data))
    table = b"".join(entries)
    head = _HEADER.pack(MAGIC, CONTAINER_VERSION, ABI_VERSION, len(sections), machine_print, model_print, offset, 0)
    head = head[:-4]
    head += struct.pack("<I", zlib.crc32(head + table)) + table
    return b"".join(part.ljust(_pages(len(part)), b"\0") for part in (head, *(data for _, data in sections)))


def unpack(data: bytes) -> tuple[int, int, dict[Kind, list[bytes]]]:
    """Machine fingerprint, model fingerprint and the sections by kind. Raises a subclass of :class:`ProgramError`."""
    machine_print, model_print, entries = _read_head(data)
    return machine_print, model_print, _read_sections(data, entries)


def check_lead(lead: bytes, size: int) -> None:
    """Refuse a file of ``size`` bytes by its first :data:`PAGE`, before the rest is read: another kind of file, another
    version, a size that the header does not state.
    """
    want(lead[:len(MAGIC)] == MAGIC, BadMagic,
         f"A program image starts with {MAGIC!r}; this file starts with {bytes(lead[:len(MAGIC)])!r}.")
    want(size >= PAGE, Truncated, f"A program image has at least {PAGE} bytes; this file has {size}.")
    _, container, abi, count, _, _, total, _ = _HEADER.unpack_from(lead)
    want(container == CONTAINER_VERSION, BadVersion,
         f"This reader knows container version {CONTAINER_VERSION}; the file has {container}.")
    want(abi == ABI_VERSION, BadVersion, f"This software speaks ABI version {ABI_VERSION}; the image was compiled for "
                                         f"{abi}. Compile the model again.")
    want(count <= MAX_SECTIONS, BadSection, f"An image has at most {MAX_SECTIONS} sections; the header says {count}.")
    want(total <= MAX_BYTES, BadSection, f"An image has at most {MAX_BYTES} bytes; the header says {total}.")
    want(total == size, Truncated, f"The header promises {total} bytes; the file has {size}.")


def _read_head(data: bytes) -> tuple[int, int, list[tuple]]:
    """Machine and model fingerprint, and the checked section table."""
    check_lead(data, len(data))
    _, _, _, count, machine_print, model_print, _, crc = _HEADER.unpack_from(data)
    end = _HEADER.size + count * _ENTRY.size
    want(len(data) >= _pages(end), Truncated, f"The section table needs {end} bytes; the file has {len(data)}.")
    found = zlib.crc32(data[:_HEADER.size - 4] + data[_HEADER.size:end])
    want(found == crc, BadChecksum, f"The header's CRC-32 is 0x{found:08x}; it should be 0x{crc:08x}. "
                                    "The file was damaged.")
    want(not any(data[end:_pages(end)]), BadChecksum, "The fill after the section table is not zero.")
    return machine_print, model_print, [_ENTRY.unpack_from(data, _HEADER.size + i * _ENTRY.size) for i in range(count)]


def _read_sections(data: bytes, entries: list[tuple]) -> dict[Kind, list[bytes]]:
    """Sections by kind, each list in the order of its indices."""
    sections: dict[Kind, list[bytes]] = {}
    end = _pages(_HEADER.size + len(entries) * _ENTRY.size)
    for number, (kind, index, crc, offset, size) in enumerate(entries):
        want(kind in list(Kind), BadSection, f"Section {number} has the unknown kind {kind}.")
        want(offset == end, BadSection, f"Section {number} must start at byte {end}; its entry says {offset}.")
        want(size <= len(data) - offset, BadSection,
             f"Section {number} claims {size} bytes from {offset}; the file has {len(data)}.")
        held = sections.setdefault(Kind(kind), [])
        want(index == len(held), BadSection,
             f"Section {number} must be {Kind(kind).name} {len(held)}; its entry says {index}.")
        end = offset + _pages(size)
        body = data[offset:offset + size]
        want(zlib.crc32(body) == crc, BadChecksum,
             f"{Kind(kind).name} {index} has CRC-32 0x{zlib.crc32(body):08x}; it should be 0x{crc:08x}. "
             "The file was damaged.")
        want(not any(data[offset + size:end]), BadChecksum, f"The fill after section {number} is not zero.")
        held.append(bytes(body))
    want(end == len(data), BadSection, f"The sections end at byte {end}; the file has {len(data)}.")
    for kind, low, high in ((Kind.METADATA, 1, 1), (Kind.TABLES, 1, 1), (Kind.PROGRAM, 1, 64), (Kind.PLANE, 1, 4),
                            (Kind.HOST, 0, 1)):
        have = len(sections.get(kind, []))
        want(low <= have <= high, BadSection,
             f"An image has {low} to {high} {kind.name} sections; this one has {have}.")
    return sections
