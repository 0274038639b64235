# SPDX-License-Identifier: Apache-2.0
"""Bodies of requests: read up to a size and within a time, of the types that are taken, forms with one picture."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from host.service.errors import BadRequest, Refused

MOST_BYTES = 32 << 20
"""Bytes of a request's body."""
SECONDS = 30.0
"""Time in which a body must have come."""
FIELDS, FIELD_BYTES = 8, 1024
"""Fields of a form next to the picture, and bytes of each."""


@dataclass(frozen=True)
class Form:
    """A picture's file and the texts of a form."""

    picture: bytes
    texts: dict[str, str]


async def body_of(request: Request, *types: str, missing: bool = False) -> bytes:
    """The body, whose type must be one of ``types``; ``missing``: or not be told. Raises Refused."""
    check_type(request, types, missing)
    return b"".join([chunk async for chunk in _chunks(request)])


async def form_of(request: Request) -> Form:
    """A multipart form with one file called ``picture``. Raises Refused."""
    check_type(request, ("multipart/form-data",), False)
    parser = MultiPartParser(request.headers, _chunks(request), max_files=1, max_fields=FIELDS,  # type: ignore[arg-type]
                             max_part_size=FIELD_BYTES)
    try:
        items = (await parser.parse()).multi_items()
    except Refused:
        raise
    except MultiPartException as error:
        raise BadRequest(f"The form cannot be read: {error.message.rstrip('.')}.") from None
    except Exception as error:  # of a form that no browser sends
        raise BadRequest(f"The form cannot be read: {type(error).__name__}.") from None
    files = [value for name, value in items if isinstance(value, UploadFile) and name == "picture"]
    try:
        if len(files) != 1:
            raise BadRequest("A form must have one file called 'picture'.")
        return Form(await files[0].read(), {name: value for name, value in items if isinstance(value, str)})
    finally:
        for _, value in items:
            if isinstance(value, UploadFile):
                await value.close()


def check_type(request: Request, types: tuple[str, ...], missing: bool) -> None:
    """Refuse compressed bodies and types that are not meant. Raises Refused."""
    if (coding := request.headers.get("content-encoding", "identity")).lower() != "identity":
        raise Refused(415, "UnsupportedEncoding", f"Bodies are taken as they are, not compressed by {coding[:40]!r}.")
    found = request.headers.get("content-type")
    if found is None and missing:
        return
    if (found or "").partition(";")[0].strip().lower() not in types:
        raise Refused(415, "UnsupportedType", f"The body must be {' or '.join(types)}, not "
                                              f"{'of no type' if found is None else repr(found[:80])}.")


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    """The body in pieces; ends in Refused where it is too long or too slow."""
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told[:20]) > MOST_BYTES:
        raise _too_long()
    size, stream, end = 0, request.stream(), asyncio.get_running_loop().time() + SECONDS
    while True:
        try:
            async with asyncio.timeout_at(end):
                chunk = await anext(stream, None)
        except TimeoutError:
            raise Refused(408, "BodyTimeout", f"The body must have come within {SECONDS:g} seconds.") from None
        if chunk is None:
            return
        size += len(chunk)
        if size > MOST_BYTES:
            raise _too_long()
        yield chunk


def _too_long() -> Refused:
    return Refused(413, "BodyTooLarge", f"A body has at most {MOST_BYTES >> 20} MiB.")
