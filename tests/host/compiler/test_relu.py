# SPDX-License-Identifier: Apache-2.0
"""A DeiT with ReLU in its FFNs, from timm's file to the instruction-set simulator (the RTL board: ``e2e``)."""

from dataclasses import replace

import numpy as np
import pytest

from golden.iss import run_image
from golden.model.float_model import classify_float, run_float
from golden.model.params import FloatModel
from golden.spec import isa, machine
from golden.spec.activations import ACTIVATIONS
from host.compiler.compile import compile_model
from host.driver.layout import find, prepare_input, read_output
from tests.host.support.relu import imported, pictures, quantized


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return imported(tmp_path_factory.mktemp("relu"))


def sqnr(model, network) -> float:
    """Decibels of the features of pictures that calibration did not see."""
    seen = pictures(4, seed=99)
    wanted = run_float(model, seen)
    came = np.stack([network.features(picture) for picture in seen])
    return float(10 * np.log10((wanted ** 2).sum() / ((came - wanted) ** 2).sum()))


@pytest.mark.parametrize("plan, least", [("fast", 40), ("accurate", 40)])
def test_a_relu_network_from_its_file_to_the_machine(model, plan, least):
    assert model.config.activation == "relu"
    network = quantized(model, plan)
    assert sqnr(model, network) > least
    image = compile_model(network, machine.NANO)
    linears = [fields for word in image.words() for code, fields in [isa.decode(word)] if code is isa.Opcode.LINEAR]
    assert {fields["activation"] for fields in linears} == {0, ACTIVATIONS["relu"].code}
    for picture in pictures(2, seed=3):
        out, wanted = run_image(image, prepare_input(picture, image.input)), network.run(picture)
        np.testing.assert_array_equal(read_output(out, find(image.results(), "features")), wanted)
        logits = read_output(out, find(image.results(), "logits"))
        np.testing.assert_array_equal(logits, network.logits(wanted))
        scores = classify_float(model, picture[None])[0]
        assert logits.argmax() == scores.argmax() or np.ptp(np.sort(scores)[-2:]) < 0.1


def test_relu_is_as_good_as_gelu_with_weights_of_4_bits(model):
    """The same tensors with either activation: ReLU costs nothing on this machine, whose GELU is exact."""
    gelu = FloatModel(replace(model.config, activation="gelu"), model.tensors)
    relu4, gelu4 = (sqnr(m, quantized(m, "fast", weight_bits=4)) for m in (model, gelu))
    assert abs(relu4 - gelu4) < 2 and relu4 > 26
