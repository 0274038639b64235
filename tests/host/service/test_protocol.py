# SPDX-License-Identifier: Apache-2.0
"""The Open Inference Protocol: a public client talks to it, and each deviation from it has its own refusal."""

import json
import re

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from golden.device import GoldenDevice
from golden.spec.machine import ZCU102
from host.driver.session import Session
from host.images import fitted
from host.service.models import Model, output_of
from tests.host.support.devices import CLASSIFIER, compiled
from tests.host.support.services import STREET, noise, street

INFER = "/v2/models/street/infer"
TYPE = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def client(streets):
    with triton.InferenceServerClient(f"127.0.0.1:{streets.port}", network_timeout=40) as opened:
        yield opened


@pytest.fixture(scope="module")
def wanted():
    """Result of the picture of seed 1 for a task, from a session of its own."""
    session = Session(street()[1], GoldenDevice(ZCU102))
    return lambda task, pixels=None: session.frame(noise(STREET) if pixels is None else pixels, task)


def given(pixels, binary=True):
    one = triton.InferInput("picture", list(pixels.shape), "UINT8")
    one.set_data_from_numpy(pixels, binary_data=binary)
    return [one]


def test_health_and_metadata(client):
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("street", "1")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data", "model_repository"]
    assert client.get_model_repository_index() == [
        {"name": "street", "version": "1", "state": "READY", "reason": ""}]
    found = client.get_model_metadata("street")
    assert found["inputs"] == [{"name": "picture", "datatype": "UINT8", "shape": [64, 128, 3]}]
    assert {"name": "semseg", "datatype": "UINT8", "shape": [64, 128]} in found["outputs"]
    assert found["parameters"]["default_task"] == "semseg+depth" and "fit" in found["parameters"]
    assert list(found["parameters"]["tasks"]) == ["semseg+depth", "semseg", "depth"]


@pytest.mark.parametrize("binary", [True, False])
def test_all_outputs_are_those_of_a_session(client, wanted, binary):
    outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("features", "semseg", "depth")]
    found = client.infer("street", given(noise(STREET), binary), outputs=outputs, request_id="seventeen")
    result = wanted("semseg+depth")
    for name in ("features", "semseg", "depth"):
        assert found.as_numpy(name).dtype == result[name].dtype
        np.testing.assert_array_equal(found.as_numpy(name), result[name])
    about = found.get_response()
    assert (about["id"], about["model_name"], about["model_version"]) == ("seventeen", "street", "1")
    assert about["parameters"]["task"] == "semseg+depth" and about["parameters"]["device_milliseconds"] > 0


def test_without_a_list_of_outputs_all_of_the_task_come(client, wanted):
    found = client.infer("street", given(noise(STREET)))
    assert [one["name"] for one in found.get_response()["outputs"]] == list(
        client.get_model_metadata("street")["parameters"]["tasks"]["semseg+depth"])
    np.testing.assert_array_equal(found.as_numpy("features.depth"), wanted("semseg+depth").by_task["depth"])


def test_a_task_and_the_outputs_that_were_asked_for(client, wanted):
    found = client.infer("street", given(noise(STREET)), outputs=[triton.InferRequestedOutput("depth")],
                         parameters={"task": "depth"})
    assert [one["name"] for one in found.get_response()["outputs"]] == ["depth"]
    np.testing.assert_array_equal(found.as_numpy("depth"), wanted("depth")["depth"])
    assert found.as_numpy("semseg") is None


def test_a_picture_of_any_size_is_fitted(client, wanted):
    large = np.random.default_rng(4).integers(0, 256, (90, 300, 3), dtype=np.uint8)
    found = client.infer("street", given(large), parameters={"fit": True, "task": "semseg"})
    np.testing.assert_array_equal(found.as_numpy("semseg"), wanted("semseg", fitted(large, STREET))["semseg"])


def test_a_wrong_shape_is_refused_with_the_right_one(client):
    with pytest.raises(InferenceServerException, match=r"has the shape \[64, 128, 3\], not \[64, 128, 1\]") as caught:
        client.infer("street", given(noise(STREET)[:, :, :1]))
    assert caught.value.status() == "400"


def test_other_models_versions_and_tasks(client):
    for name, version in (("avenue", ""), ("street", "2")):
        with pytest.raises(InferenceServerException, match="NoSuch") as caught:
            client.get_model_metadata(name, version)
        assert caught.value.status() == "404"
    with pytest.raises(InferenceServerException, match="NoSuchTask: .* semseg, depth, not 'normals'"):
        client.infer("street", given(noise(STREET)), parameters={"task": "normals"})


def request(**changes):
    """A JSON request; a change to ... leaves a part out."""
    one = {"name": "picture", "datatype": "UINT8", "shape": [64, 128, 3], "data": [0] * (64 * 128 * 3)}
    whole = {"inputs": [one]} | changes.pop("around", {})
    one |= changes
    return json.dumps({key: value for key, value in whole.items() if value is not ...}).encode()


@pytest.mark.parametrize("body, words", [
    (b"", "EOF|empty"), (b"[" * 100_000, "recursion"), (b'{"inputs":' * 50_000, "recursion"), (b"\xff\xfe{}", "JSON"),
    (b"null", "body"), (b'{"inputs": []}', "has one input"), (b'{"inputs": 7}', "inputs"),
    (request(around={"extra": 1}), "extra"), (request(around={"inputs": ...}), "inputs"),
    (request(around={"id": 7}), "id"), (request(around={"parameters": {"tsak": "depth"}}), "no parameter 'tsak'"),
    (request(around={"parameters": {"fit": "yes"}}), "'fit' is a bool"),
    (request(around={"parameters": {"task": ["depth"]}}), "'task' is a str"),
    (request(around={"parameters": {"timeout": 0}}), "more than 0"),
    (request(around={"outputs": [{"name": "normals"}]}), "not 'normals'"),
    (request(around={"outputs": [{"name": "depth", "parameters": {"classification": 3}}]}), "not 'classification'"),
    (request(around={"outputs": [{"name": "depth", "parameters": {"binary_data": 1}}]}), "true or false"),
    (request(name="image"), "has image"), (request(datatype="FP32"), "is UINT8, not 'FP32'"),
    (request(shape=[64, 128]), "has the shape"), (request(shape=[64, 128, -3]), "shape"),
    (request(shape=[1 << 62] * 3, around={"parameters": {"fit": True}}), "at most"),
    (request(shape=[10 ** 4200, 1, 3]), "shape"), (request(data=[0] * 5), "24576 whole numbers"),
    (request(data=[256] * (64 * 128 * 3)), "0..255"), (request(data=[0.5] * (64 * 128 * 3)), "whole numbers"),
    (request(data=["0"] * (64 * 128 * 3)), "whole numbers"), (request(data=[[0], [0, 1]]), "whole numbers"),
    (request(data=[10 ** 30] * (64 * 128 * 3)), "whole numbers"), (request(data="AAAA"), "a list of numbers"),
    (request(data=None), "a list of numbers"), (request(parameters={"binary_data_size": 24576}), "send one of them"),
    (request(data=None, parameters={"binary_data_size": 24576}), "0 bytes follow"),
    (request(data=None, parameters={"shared_memory_region": "x"}), "not 'shared_memory_region'"),
], ids=lambda value: None if isinstance(value, bytes) else value[:24])
def test_what_the_protocol_does_not_say_is_refused(streets, body, words):
    status, name, sentence = streets.refused(INFER, body, TYPE)
    assert status == 400 and name == "BadRequest" and re.search(words, sentence), sentence
    assert len(sentence) < 600


@pytest.mark.parametrize("length", ["", "-1", "0", "x", "99999999999999999999", "24577", "²"])
def test_a_wrong_length_of_the_json_is_refused(streets, length):
    connection = streets.raw()
    connection.request("POST", INFER, b"{}", {"Inference-Header-Content-Length": length.encode()} | TYPE)
    answer = connection.getresponse()
    assert answer.status == 400 and b"Inference-Header-Content-Length" in answer.read()
    connection.close()


def test_types_encodings_and_other_methods(streets):
    assert streets.refused(INFER, request(), {"Content-Type": "text/plain"})[:2] == (415, "UnsupportedType")
    assert streets.refused(INFER, request(), {"Content-Type": "application/octet-stream"})[:2] == (
        415, "UnsupportedType")
    assert streets.refused(INFER, request(), TYPE | {"Content-Encoding": "gzip"})[:2] == (415, "UnsupportedEncoding")
    assert streets.refused(INFER)[:2] == (405, "MethodNotAllowed")
    assert streets.refused("/v3")[:2] == (404, "NotFound")
    assert streets.refused("/page/../models.py")[:2] == (404, "NotFound")


def test_a_page_of_another_site_may_not_ask(streets):
    for origin in ("http://elsewhere.example", "null"):
        assert streets.refused(INFER, request(), TYPE | {"Origin": origin})[:2] == (403, "OtherOrigin")
    assert streets.ask(INFER, request(), TYPE | {"Origin": streets.url})[0] == 200


def test_another_name_of_this_computer_is_refused(streets):
    for path, data in ((INFER, request()), ("/v2", None), ("/", None)):
        for host in ("rebound.example", f"rebound.example:{streets.port}", "10.0.0.1", ""):
            found = streets.refused(path, data, TYPE | {"Host": host, "Origin": f"http://{host}"})
            assert found[:2] == (421, "OtherHost")
        assert streets.ask(path, data, TYPE | {"Host": f"localhost:{streets.port}"})[0] == 200


@pytest.mark.parametrize("config, image", [(STREET, lambda: street()[1]),
                                           (CLASSIFIER, lambda: compiled(CLASSIFIER)[1])], ids=["street", "classifier"])
def test_metadata_describe_what_comes(config, image):
    image = image()
    model = Model(config.name, None, image)
    session = Session(image, GoldenDevice(image.machine))
    for task in model.tasks:
        result = session.frame(noise(config), task)
        described = model.outputs(task)
        assert described.keys() >= set(result)
        for name, tensor in described.items():
            found = output_of(result, name)
            assert found.shape == tensor.shape and {"u": "UINT", "f": "FP", "i": "INT"}[found.dtype.kind] + str(
                8 * found.dtype.itemsize) == tensor.datatype, name
