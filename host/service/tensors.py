# SPDX-License-Identifier: Apache-2.0
"""Tensors of the Open Inference Protocol: requests in JSON and in its binary extension, answers in either form."""

import json
from collections.abc import Mapping
from math import prod
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from golden.spec.model import ModelConfig
from host.images import fitted
from host.service.errors import BadRequest
from host.service.models import DTYPES, PICTURE, Model

LENGTH = "Inference-Header-Content-Length"
"""Header of the binary extension: bytes of the JSON in front of the tensors."""
MOST_JSON = 16 << 20
MOST_PIXELS = 1 << 24
"""Pixels of a picture that is to be fitted."""
PARAMETERS = {"task": str, "fit": bool, "binary_data_output": bool, "timeout": int}
"""Parameters of a request that are known, and their types."""


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class RequestInput(_Part):
    """An input of a request."""

    name: str
    datatype: str
    shape: list[Annotated[int, Field(ge=0, lt=1 << 63)]] = Field(max_length=8)
    parameters: dict[str, Any] = {}
    data: Any = None


class RequestOutput(_Part):
    """An output that a request names."""

    name: str
    parameters: dict[str, Any] = {}


class InferRequest(_Part):
    """The JSON object of a request."""

    id: str = ""
    parameters: dict[str, Any] = {}
    inputs: list[RequestInput] = Field(max_length=8)
    outputs: list[RequestOutput] | None = Field(None, max_length=256)


def parsed(body: bytes, length: str | None) -> tuple[InferRequest, bytes]:
    """The JSON object of a request and the bytes after it; ``length`` is what the header :data:`LENGTH` says. Raises
    BadRequest."""
    size = len(body)
    if length is not None:
        size = int(length) if length.isascii() and length.isdecimal() and len(length) < 12 else -1
        if not 0 < size <= len(body):
            raise BadRequest(f"{LENGTH} must lie in 1..{len(body)}, the length of the body, not {length[:40]!r}.")
    if size > MOST_JSON:
        raise BadRequest(f"The JSON of a request has at most {MOST_JSON >> 20} MiB: send the tensor in binary form.")
    try:
        return InferRequest.model_validate_json(body[:size]), body[size:]
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the body"
        raise BadRequest(f"The request is not what the protocol says: {place}: {first['msg'].rstrip('.')}.") from None


def checked(request: InferRequest) -> dict[str, Any]:
    """The parameters of a request, all of them known. Raises BadRequest."""
    for name, value in request.parameters.items():
        if name not in PARAMETERS:
            raise BadRequest(f"There is no parameter {name[:80]!r}; there are {', '.join(PARAMETERS)}.")
        if type(value) is not PARAMETERS[name]:
            raise BadRequest(f"The parameter {name!r} is a {PARAMETERS[name].__name__}, not {str(value)[:80]!r}.")
    return request.parameters


def picture_of(request: InferRequest, rest: bytes, model: Model) -> np.ndarray:
    """The input of a request at the model's size. Raises BadRequest."""
    if len(request.inputs) != 1 or request.inputs[0].name != PICTURE:
        names = ", ".join(one.name[:40] for one in request.inputs) or "none"
        raise BadRequest(f"The model {model.name!r} has one input, {PICTURE!r}; the request has {names}.")
    one, wanted, fit = request.inputs[0], model.input, bool(request.parameters.get("fit"))
    if one.datatype != wanted.datatype:
        raise BadRequest(f"The input {PICTURE!r} is {wanted.datatype}, not {one.datatype[:40]!r}.")
    _check_shape(one.shape, model.image.model, fit)
    if unknown := one.parameters.keys() - {"binary_data_size"}:
        raise BadRequest(f"An input has the parameter binary_data_size, not {sorted(unknown)[0][:80]!r}.")
    size = prod(one.shape)
    pixels = _binary(one, rest, size) if "binary_data_size" in one.parameters else _listed(one, rest, size)
    picture = pixels.reshape(one.shape)
    return fitted(picture, model.image.model) if fit else picture


def _check_shape(shape: list[int], config: ModelConfig, fit: bool) -> None:
    exact = [config.image_height, config.image_width, config.channels]
    if not fit and shape != exact:
        raise BadRequest(f"The input {PICTURE!r} has the shape {exact}, not {shape}. With the parameter fit = true it "
                         f"may be [height, width, 3] of any size.")
    if fit and not (len(shape) == 3 and shape[2] == 3 and min(shape) > 0 and shape[0] * shape[1] <= MOST_PIXELS):
        raise BadRequest(f"A picture to fit has the shape [height, width, 3] and at most {MOST_PIXELS:,} pixels, not "
                         f"{shape}.")


def _binary(one: RequestInput, rest: bytes, size: int) -> np.ndarray:
    told = one.parameters["binary_data_size"]
    if one.data is not None:
        raise BadRequest(f"The input {one.name!r} has data and a binary_data_size: send one of them.")
    if type(told) is not int or told != size or len(rest) != size:
        raise BadRequest(f"A UINT8 tensor of the shape {one.shape} has {size} bytes; binary_data_size is "
                         f"{str(told)[:40]}, and {len(rest)} bytes follow the JSON.")
    return np.frombuffer(rest, np.uint8)


def _listed(one: RequestInput, rest: bytes, size: int) -> np.ndarray:
    if rest:
        raise BadRequest(f"{len(rest)} bytes follow the JSON, and no input has a binary_data_size.")
    if not isinstance(one.data, list):
        raise BadRequest(f"The input {one.name!r} has no data: a list of numbers, or a binary_data_size.")
    try:
        values = np.asarray(one.data)
    except (ValueError, OverflowError, RecursionError):
        values = np.empty(0, object)
    if values.dtype.kind not in "iu" or values.size != size or values.min() < 0 or values.max() > 255:
        raise BadRequest(f"The data of the input {one.name!r} are {size} whole numbers in 0..255, flat or nested as "
                         f"the shape {one.shape} says.")
    return values.astype(np.uint8)


def wanted_outputs(request: InferRequest, model: Model, task: str) -> dict[str, bool]:
    """Names of the outputs to send, and whether in binary form. Raises BadRequest."""
    binary, known = bool(request.parameters.get("binary_data_output")), model.outputs(task)
    if not request.outputs:
        return dict.fromkeys(known, binary)
    found: dict[str, bool] = {}
    for one in request.outputs:
        if one.name not in known:
            raise BadRequest(f"The task {task!r} has the outputs {', '.join(known)}, not {one.name[:80]!r}.")
        if unknown := one.parameters.keys() - {"binary_data"}:
            raise BadRequest(f"An output has the parameter binary_data, not {sorted(unknown)[0][:80]!r}.")
        if type(mode := one.parameters.get("binary_data", binary)) is not bool:
            raise BadRequest(f"binary_data is true or false, not {str(mode)[:80]!r}.")
        found[one.name] = mode
    return found


def answer(head: dict, arrays: Mapping[str, np.ndarray], binary: Mapping[str, bool]) -> tuple[bytes, int | None]:
    """The body of an answer, and the length of its JSON where binary tensors follow. ``head``: what the JSON has
    besides the outputs."""
    names = {np.dtype(kind): name for name, kind in DTYPES.items()}
    outputs, tail = [], []
    for name, array in arrays.items():
        described: dict[str, Any] = {"name": name, "datatype": names[array.dtype], "shape": list(array.shape)}
        if binary[name]:
            tail.append(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
            described["parameters"] = {"binary_data_size": len(tail[-1])}
        else:
            described["data"] = array.reshape(-1).tolist()
        outputs.append(described)
    text = json.dumps(head | {"outputs": outputs}, separators=(",", ":")).encode()
    return b"".join([text, *tail]), len(text) if any(binary[name] for name in arrays) else None
