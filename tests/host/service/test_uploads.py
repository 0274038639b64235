# SPDX-License-Identifier: Apache-2.0
"""Uploads of every kind, hostile ones among them: a result, or a named refusal with a status of the client's; the
service goes on."""

import json
import re
import struct
import time
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host.service import bodies, page
from host.service.service import Limits
from tests.host.support.services import STREET, Held, form, nano, noise, png

RUN = "/api/run"
GOOD = png(noise(STREET))


def refused(running, body, kind, status=400, name="BadRequest"):
    found = running.refused(RUN, body, {"Content-Type": kind})
    assert found[:2] == (status, name), found
    return found[2]


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def claims(width, height):
    """A PNG whose header promises more than its few bytes hold."""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + chunk(
        b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF"])
@pytest.mark.parametrize("size", [(64, 128, 3), (7, 5), (300, 50, 4)])
def test_pictures_of_every_format_and_size_have_a_result(streets, kind, size):
    pixels = np.random.default_rng(1).integers(0, 256, size, dtype=np.uint8)
    if kind in ("JPEG", "BMP", "GIF") and size[2:] == (4,):
        pixels = pixels[:, :, :3]
    found = streets.upload(png(np.ascontiguousarray(pixels), kind), experts="false", task="semseg")
    assert found["maps"][0]["kind"] == "semseg" and found["input"].startswith("data:image/png;base64,")


@pytest.mark.parametrize("data, words", [
    (b"", "no picture"), (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no picture"), (b"%PDF-1.7", "no picture"),
    (b"\x89PNG\r\n\x1a\n", "no picture"), (bytes(10_000), "no picture"), (GOOD[:200], "cannot be read"),
    (GOOD[:60] + bytes(40) + GOOD[100:], "cannot be read"), (b"II*\0" + bytes(200), "no picture"),
    (claims(64, 128), "cannot be read"), (claims(60_000, 60_000), "more than 16,777,216"),
    (claims(1 << 31 - 1, 1), "more than|cannot be read|no picture"), (claims(5_000, 4_000), "5,000 x 4,000 pixels"),
    (png(np.zeros((5_000, 4_000), np.uint8)), "4,000 x 5,000 pixels"), (claims(0, 0), "picture"),
], ids=range(14))
def test_what_is_no_picture_is_said_to_be_none(streets, data, words):
    status, name, sentence = streets.upload(data)
    assert (status, name) == (400, "PictureError") and re.search(words, sentence), sentence


@pytest.mark.parametrize("fields, words", [
    ({"model": "avenue"}, "NoSuchModel"), ({"task": "normals"}, "NoSuchTask"),
    ({"experts": "perhaps"}, "true or false"), ({"wheels": "4"}, "not 'wheels'"),
    ({"model": "x" * 2000}, "exceeded"), ({f"field{n}": "" for n in range(20)}, "Too many fields")], ids=range(6))
def test_wrong_fields(streets, fields, words):
    status, name, sentence = streets.upload(GOOD, **fields)
    assert status in (400, 404) and words in f"{name} {sentence}"


def test_broken_forms(streets):
    body, kind = form(GOOD)
    edge = kind.partition("boundary=")[2].encode()
    assert "boundary" in refused(streets, body, "multipart/form-data")
    refused(streets, body, "multipart/form-data; boundary=another")
    refused(streets, body, "multipart/form-data; boundary=" + "x" * 300)
    refused(streets, body.replace(b'name="picture"', b"nameless"), kind)
    refused(streets, body.replace(b'name="picture"', b'name="image"'), kind)
    refused(streets, body.replace(b'; filename="picture.png"', b""), kind)
    refused(streets, body[:-200], kind)
    refused(streets, body.replace(b"Content-Type", b"X" * 100_000), kind)
    refused(streets, body.replace(b"\r\n--" + edge + b"--", b"\r\n" + body), kind)
    refused(streets, b"", kind)
    refused(streets, GOOD, kind)
    assert streets.refused(RUN, GOOD, {"Content-Type": "image/png"})[:2] == (415, "UnsupportedType")
    assert streets.refused(RUN, body, {"Content-Type": kind, "Content-Encoding": "br"})[:2] == (
        415, "UnsupportedEncoding")
    odd = body.replace(b'"picture.png"', b'"../../\xff\xfe\x01.png"')
    assert streets.ask(RUN, odd, {"Content-Type": f"{kind}; charset=no-such-thing"})[0] == 200


@settings(max_examples=80, deadline=None)
@given(st.one_of(st.binary(max_size=300), st.builds(
    lambda at, patch: GOOD[:at] + patch + GOOD[at + len(patch):], st.integers(0, 400), st.binary(max_size=20))),
       st.booleans())
def test_any_bytes_end_in_a_result_or_a_named_refusal(nanos, data, as_form):
    body, kind = form(data, experts="false") if as_form else (data, "multipart/form-data; boundary=edge-of-the-tests")
    status, _, answer = nanos.ask(RUN, body, {"Content-Type": kind})
    assert status in (200, 400), answer[:200]
    assert status == 200 or json.loads(answer)["name"] in ("BadRequest", "PictureError")


@settings(max_examples=40, deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
                        ["inputs", "outputs", "name", "shape", "data", "datatype", "parameters", "id", "picture"]),
                        inner, max_size=5), max_leaves=12))
def test_any_json_ends_in_a_named_refusal(nanos, value):
    status, name, _ = nanos.refused("/v2/models/nano/infer", json.dumps(value).encode(),
                                    {"Content-Type": "application/json"})
    assert (status, name) == (400, "BadRequest")


def test_a_body_that_says_it_is_too_large_is_not_read(streets):
    for path, kind in ((RUN, form(b"")[1]), ("/v2/models/street/infer", "application/json")):
        connection = streets.raw()
        connection.putrequest("POST", path)
        connection.putheader("Content-Type", kind)
        connection.putheader("Content-Length", str(bodies.MOST_BYTES + 1))
        connection.endheaders()
        answer = connection.getresponse()
        assert answer.status == 413 and json.loads(answer.read())["name"] == "BodyTooLarge"
        connection.close()


def test_a_body_that_goes_on_and_on_is_cut(streets, monkeypatch):
    monkeypatch.setattr(bodies, "MOST_BYTES", 1 << 18)
    connection = streets.raw()
    connection.request("POST", "/v2/models/street/infer", iter([bytes(1 << 16)] * 6), {
        "Content-Type": "application/json"}, encode_chunked=True)
    answer = connection.getresponse()
    assert answer.status == 413 and json.loads(answer.read())["name"] == "BodyTooLarge"
    connection.close()


def test_a_body_that_does_not_come_is_not_waited_for(streets, monkeypatch):
    monkeypatch.setattr(bodies, "SECONDS", 0.3)
    connection, began = streets.raw(), time.monotonic()
    connection.putrequest("POST", RUN)
    connection.putheader("Content-Type", form(b"")[1])
    connection.putheader("Content-Length", "100")
    connection.endheaders(b"--edge")
    answer = connection.getresponse()
    assert answer.status == 408 and json.loads(answer.read())["name"] == "BodyTimeout"
    assert time.monotonic() - began < 5
    connection.close()


def test_a_client_that_leaves_in_the_middle_of_its_body(streets):
    connection = streets.raw()
    connection.putrequest("POST", RUN)
    connection.putheader("Content-Type", form(b"")[1])
    connection.putheader("Content-Length", "100000")
    connection.endheaders(b"--edge-of-the-tests\r\n")
    connection.close()
    assert streets.upload(GOOD)["model"] == "street"


def test_too_many_requests_at_a_time(serving):
    running = serving(nano(), Held, Limits(open=1, seconds=20))
    first = running.raw()
    first.putrequest("POST", RUN)
    first.putheader("Content-Type", form(b"")[1])
    first.putheader("Content-Length", "100")
    first.endheaders(b"--edge")
    end = time.monotonic() + 5
    while running.figures()["edge_moe_requests_active"] < 1 and time.monotonic() < end:
        time.sleep(0.01)
    status, headers, body = running.ask(RUN, *_form())
    assert status == 503 and b"TooManyRequests" in body and headers["Retry-After"]
    first.close()


def _form():
    body, kind = form(GOOD)
    return body, {"Content-Type": kind}


def test_samples_and_what_is_none(streets):
    for number in range(len(page.SAMPLES)):
        status, headers, body = streets.ask(f"/samples/{number}.png")
        assert status == 200 and headers["Content-Type"] == "image/png" and body.startswith(b"\x89PNG")
    assert streets.refused("/samples/99.png")[:2] == (404, "NoSuchSample")
    assert streets.refused("/samples/x.png")[:2] == (400, "BadRequest")
