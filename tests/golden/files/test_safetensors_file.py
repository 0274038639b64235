# SPDX-License-Identifier: Apache-2.0
"""The container: exact round trips, the same bytes every time, and no other exception than ours whatever the bytes."""

import json
import random

import numpy as np
import pytest

from golden.files import safetensors_file
from golden.files.errors import (
    BadHeader,
    MissingFile,
    ModelFileError,
    TruncatedFile,
    WrongDtype,
)
from golden.model.store import FORMAT_VERSION, load_float

DTYPES = [code for code in safetensors_file.DTYPES.values() if code != "?"]


def sample(seed=0):
    rng = np.random.default_rng(seed)
    tensors = {f"t.{code[1:]}": rng.integers(0, 100, (3, 5)).astype(code) for code in DTYPES}
    return tensors | {"flag": np.array([True, False]), "scalar": np.array(7, np.int64),
                      "none": np.zeros((0, 4), np.int8), "é": np.arange(4, dtype=np.uint8)}


def assemble(header, data=b""):
    """A file from a header (object, text or bytes) and data."""
    text = header if isinstance(header, bytes) else (header if isinstance(header, str) else json.dumps(header)).encode()
    return len(text).to_bytes(8, "little") + text + data


def same(left, right):
    return set(left) == set(right) and all(
        left[n].dtype == right[n].dtype and left[n].shape == right[n].shape and (left[n] == right[n]).all()
        for n in left)


def test_round_trip_keeps_every_type_and_shape(tmp_path):
    tensors, metadata = sample(), {"b": "2", "a": "{}"}
    safetensors_file.write(tmp_path / "a.safetensors", tensors, metadata)
    found, description = safetensors_file.read(tmp_path / "a.safetensors")
    assert same(found, tensors) and description == metadata
    assert all(array.flags.writeable and array.flags.aligned for array in found.values())
    entries, description = safetensors_file.inspect(tmp_path / "a.safetensors")
    assert list(entries) == list(found) and description == metadata


def test_bytes_depend_on_values_only(tmp_path):
    tensors = sample()
    safetensors_file.write(tmp_path / "a", tensors, {"x": "1", "y": "2"})
    turned = {n: np.asfortranarray(a) if a.ndim > 1 else a for n, a in reversed(tensors.items())}
    turned["t.f4"] = turned["t.f4"].astype(">f4")
    safetensors_file.write(tmp_path / "b", turned, {"y": "2", "x": "1"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"], "a temporary file was left"


def test_the_format_authors_library_agrees(tmp_path):
    library = pytest.importorskip("safetensors.numpy")
    tensors = sample()
    safetensors_file.write(tmp_path / "ours", tensors, {"k": "v"})
    assert same(library.load_file(tmp_path / "ours"), tensors)
    library.save_file(tensors, tmp_path / "theirs", {"k": "v"})
    found, description = safetensors_file.read(tmp_path / "theirs")
    assert same(found, tensors) and description == {"k": "v"}


def test_bfloat16_is_converted_exactly(tmp_path):
    values = np.array([1.5, -2.0, 3.140625, 0.0], np.float32)
    data = (values.view(np.uint32) >> 16).astype("<u2").tobytes()
    path = tmp_path / "a"
    path.write_bytes(assemble({"w": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [0, 8]}}, data))
    assert np.array_equal(safetensors_file.read(path)[0]["w"], values.reshape(2, 2))


def test_writer_refuses_what_the_container_cannot_say(tmp_path):
    with pytest.raises(WrongDtype, match="complex64"):
        safetensors_file.write(tmp_path / "a", {"w": np.zeros(1, np.complex64)})
    with pytest.raises(WrongDtype, match="object"):
        safetensors_file.write(tmp_path / "a", {"w": np.array([None])})
    with pytest.raises(TypeError, match="strings"):
        safetensors_file.write(tmp_path / "a", {}, {"version": 1})
    with pytest.raises(TypeError, match="__metadata__"):
        safetensors_file.write(tmp_path / "a", {"__metadata__": np.zeros(1)})
    assert not list(tmp_path.iterdir())


def one(**change):
    """A header with the tensor w of four bytes, fields changed; None takes the field away."""
    fields = {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]} | change
    return {"w": {key: value for key, value in fields.items() if value is not None}}


def two(first, second):
    return {name: {"dtype": "U8", "shape": [end - begin], "data_offsets": [begin, end]}
            for name, (begin, end) in (("a", first), ("b", second))}


FOUR = b"1234"
MALFORMED = {
    "empty": (b"", TruncatedFile, "8 bytes of header length; this one has 0 bytes"),
    "half_a_length": (b"\0\0\0", TruncatedFile, "this one has 3 bytes"),
    "huge_length": (b"\xff" * 8 + FOUR, BadHeader, "claims 18446744073709551615 bytes, more than the 16777216"),
    "length_beyond_the_end": (assemble(one(), FOUR)[:20], TruncatedFile, "only 12 follow"),
    "length_zero": (bytes(8), BadHeader, "must be UTF-8 JSON"),
    "no_json": (assemble("not json"), BadHeader, "must be UTF-8 JSON"),
    "no_utf8": (assemble(b'{"\xff": 1}'), BadHeader, "must be UTF-8 JSON"),
    "json_list": (assemble([1, 2]), BadHeader, "a JSON object, not a list"),
    "deep_json": (assemble("[" * 100_000), BadHeader, "must be UTF-8 JSON"),
    "json_and_more": (assemble(json.dumps(one()) + "}", FOUR), BadHeader, "must be UTF-8 JSON"),
    "huge_integer": (assemble('{"w": ' + "9" * 10_000 + "}"), BadHeader, "must be UTF-8 JSON"),
    "duplicate_names": (assemble('{"w": 1, "w": 1}'), BadHeader, "the name 'w' twice"),
    "duplicate_fields": (assemble('{"w": {"dtype": "U8", "dtype": "I8"}}'), BadHeader, "the name 'dtype' twice"),
    "half_a_surrogate": (assemble('{"\\ud800": {}}'), BadHeader, "surrogate"),
    "metadata_is_a_list": (assemble({"__metadata__": []}), BadHeader, "an object of strings, not []"),
    "metadata_with_a_number": (assemble({"__metadata__": {"a": 1}}), BadHeader, "an object of strings"),
    "tensor_is_a_number": (assemble({"w": 4}, FOUR), BadHeader, "described by dtype, shape and data_offsets, not by 4"),
    "no_dtype": (assemble(one(dtype=None), FOUR), BadHeader, "described by dtype, shape and data_offsets"),
    "unknown_field": (assemble(one(stride=[1]), FOUR), BadHeader, "described by dtype, shape and data_offsets"),
    "unknown_dtype": (assemble(one(dtype="F8_E4M3"), FOUR), WrongDtype, "element type 'F8_E4M3'; known are"),
    "dtype_is_a_list": (assemble(one(dtype=[]), FOUR), WrongDtype, "element type []; known are"),
    "negative_dimension": (assemble(one(shape=[-4]), FOUR), BadHeader, "none negative, not [-4]"),
    "negative_product": (assemble(one(shape=[-2, -2]), FOUR), BadHeader, "none negative, not [-2, -2]"),
    "dimension_true": (assemble(one(shape=[4, True]), FOUR), BadHeader, "integers"),
    "dimension_is_text": (assemble(one(shape="4"), FOUR), BadHeader, "must be a list"),
    "float_dimension": (assemble(one(shape=[4.0]), FOUR), BadHeader, "number '4.0'; only integers"),
    "float_offset": (assemble('{"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4e0]}}', FOUR), BadHeader, "'4e0'"),
    "nan_offset": (assemble('{"w":{"dtype":"U8","shape":[4],"data_offsets":[0,NaN]}}', FOUR), BadHeader, "'NaN'"),
    "too_many_dimensions": (assemble(one(shape=[1] * 9), FOUR), BadHeader, "at most 8"),
    "product_overflows": (assemble(one(shape=[2**32, 2**32]), FOUR), BadHeader, "means more than 281474976710656"),
    "product_wraps_to_four": (assemble(one(shape=[2**62 + 1, 4]), FOUR), BadHeader, "means more than"),
    "huge_beside_zero": (assemble(one(shape=[0, 2**62, 2**62], data_offsets=[0, 0])), BadHeader, "means more than"),
    "shape_and_bytes_differ": (assemble(one(shape=[5]), FOUR), BadHeader, "needs 5 bytes; data_offsets [0, 4] give"),
    "negative_offset": (assemble(one(data_offsets=[-4, 0]), FOUR), BadHeader, "two integers, none negative"),
    "offsets_turned": (assemble(one(data_offsets=[4, 0]), FOUR), BadHeader, "give it -4"),
    "one_offset": (assemble(one(data_offsets=[4]), FOUR), BadHeader, "two integers"),
    "overlap": (assemble(two((0, 3), (2, 4)), FOUR), BadHeader, "starts at byte 2 of the data where 3 was wanted"),
    "same_bytes_twice": (assemble(two((0, 4), (0, 4)), FOUR), BadHeader, "overlaps the tensor before it"),
    "hole": (assemble(two((0, 1), (2, 4)), FOUR), BadHeader, "leaves a hole before it"),
    "hole_at_the_start": (assemble(one(shape=[3], data_offsets=[1, 4]), FOUR), BadHeader, "leaves a hole"),
    "data_cut": (assemble(one(), FOUR)[:-1], TruncatedFile, "describes 4 bytes of data, the file holds 3"),
    "data_left_over": (assemble(one(), FOUR + b"5"), TruncatedFile, "describes 4 bytes of data, the file holds 5"),
    "bool_of_two": (assemble(one(dtype="BOOL"), b"\0\1\2\1"), WrongDtype, "bytes other than 0 and 1"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_files_are_refused_by_name(case, tmp_path):
    data, error, words = MALFORMED[case]
    path = tmp_path / "m.safetensors"
    path.write_bytes(data)
    with pytest.raises(error) as caught:
        safetensors_file.read(path)
    assert type(caught.value) is error and words in str(caught.value)
    assert str(path) in str(caught.value) and len(str(caught.value)) < 600


def test_absent_files_are_refused_by_name(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(MissingFile, match="Cannot read"):
            safetensors_file.read(path)


def refusals(path, cases):
    """How many of the byte strings are refused; raises if anything but our own error leaves."""
    refused = 0
    for data in cases:
        path.write_bytes(data)
        for reader in (safetensors_file.read, load_float):
            try:
                reader(path)
            except ModelFileError as error:
                refused += 1
                str(error).encode()  # printable on any terminal
    return refused


JUNK = [None, True, -1, 0, 1, 2**31, 2**63, 2**64, 10**30, 10**400, 1.5, 1e300, "", "F32", "U8", "é", [], [0], [-1, 2],
        [0, 0], [2**40, 2**40], {}, {"dtype": "F32"}, [[]], "\x00", "x" * 300]


def spoil(value, rng):
    """A copy of a JSON value with one place, at any depth, replaced, doubled or taken away."""
    if isinstance(value, (dict, list)) and value and rng.random() < 0.8:
        copy = value.copy()
        key = rng.choice(list(copy) if isinstance(copy, dict) else range(len(copy)))
        kind = rng.random()
        if kind < 0.15:
            del copy[key]
        elif kind < 0.3 and isinstance(copy, dict):
            copy[rng.choice(["a", "b", "c", "__metadata__", "dtype", ""])] = copy[key]
        else:
            copy[key] = spoil(copy[key], rng)
        return copy
    return rng.choice(JUNK)


@pytest.fixture
def small_file(tmp_path):
    safetensors_file.write(tmp_path / "s", {"a": np.arange(6, dtype=np.float32), "b": np.ones((2, 3), np.int8)},
                           {"format": "edge-moe-float", "version": FORMAT_VERSION, "model": "{}"})
    return (tmp_path / "s").read_bytes()


def test_every_truncation_is_refused(tmp_path, small_file):
    assert refusals(tmp_path / "f", (small_file[:n] for n in range(len(small_file)))) == 2 * len(small_file)


def test_survives_byte_level_fuzz(tmp_path, small_file):
    rng = random.Random(20)
    cases = []
    for _ in range(600):
        data = bytearray(small_file)
        for _ in range(rng.choice((1, 1, 2, 5))):
            at = rng.randrange(len(data))
            kind = rng.randrange(4)
            if kind == 0:
                data[at] = rng.randrange(256)
            elif kind == 1:
                data[at] ^= 1 << rng.randrange(8)
            elif kind == 2:
                del data[at:at + rng.randrange(1, 9)]
            else:
                data[at:at] = rng.randbytes(rng.randrange(1, 9))
            data = data or bytearray(1)
        cases.append(bytes(data))
    assert refusals(tmp_path / "f", cases) > 600


def test_survives_structure_aware_fuzz(tmp_path, small_file):
    rng = random.Random(21)
    length = int.from_bytes(small_file[:8], "little")
    usual, data = json.loads(small_file[8:8 + length]), small_file[8 + length:]
    cases = [assemble(spoil(usual, rng), rng.choice((data, data, b"", data * 2))) for _ in range(600)]
    assert refusals(tmp_path / "f", cases) > 900
