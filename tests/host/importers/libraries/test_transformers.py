# SPDX-License-Identifier: Apache-2.0
"""Networks of Hugging Face's transformers, seeded: ``last_hidden_state`` and logits equal the library's, or the refusal
names the property."""

import numpy as np
import pytest
import torch

from golden.files.errors import AmbiguousModel, UnsupportedModel
from golden.model.float_model import classify_float, normed, run_float
from tests.host.importers.libraries.compare import CLOSE, features, imported, picture, prepared, save, seeded

transformers = pytest.importorskip("transformers", exc_type=ImportError)

SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128,
         "image_size": 64, "patch_size": 16}
CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
TEXT = {"vocab_size": 8, "max_position_embeddings": 4}
SCORED = {"ViTForImageClassification": "class", "DeiTForImageClassification": "class",
          "DeiTForImageClassificationWithTeacher": "class", "ViTMSNForImageClassification": "class",
          "IJepaForImageClassification": "mean", "SiglipForImageClassification": "mean",
          "Dinov2ForImageClassification": "class_mean", "Dinov2WithRegistersForImageClassification": "class_mean"}
"""Classes with a classifier, and what it reads."""
HALF, IMAGENET = ((0.5,) * 3, (0.5,) * 3), ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
ACCEPTED = {
    "ViTModel": ("ViTConfig", HALF, {}), "ViTForImageClassification": ("ViTConfig", HALF, {"num_labels": 5}),
    "ViTForMaskedImageModeling": ("ViTConfig", HALF, {}), "ViTMAEForPreTraining": ("ViTMAEConfig", IMAGENET, {}),
    "DeiTForMaskedImageModeling": ("DeiTConfig", IMAGENET, {}), "Dinov2Backbone": ("Dinov2Config", IMAGENET, {}),
    "IJepaForImageClassification": ("IJepaConfig", IMAGENET, {"num_labels": 5}),
    "Dinov2WithRegistersBackbone": ("Dinov2WithRegistersConfig", IMAGENET, {"num_register_tokens": 2}),
    "BlipVisionModel": ("BlipVisionConfig", CLIP, {}), "Blip2VisionModel": ("Blip2VisionConfig", CLIP, {}),
    "SiglipForImageClassification": ("SiglipConfig", HALF, {"num_labels": 5}),
    "DPTForSemanticSegmentation": ("DPTConfig", HALF, {"neck_hidden_sizes": [16] * 4, "fusion_hidden_size": 16,
                                                       "backbone_out_indices": [0, 0, 1, 1]}),
    "DeiTModel": ("DeiTConfig", IMAGENET, {}),
    "DeiTForImageClassification": ("DeiTConfig", IMAGENET, {"num_labels": 5}),
    "DeiTForImageClassificationWithTeacher": ("DeiTConfig", IMAGENET, {"num_labels": 5}),
    "ViTMAEModel": ("ViTMAEConfig", IMAGENET, {"mask_ratio": 0.0}),
    "ViTMSNModel": ("ViTMSNConfig", IMAGENET, {}),
    "ViTMSNForImageClassification": ("ViTMSNConfig", IMAGENET, {"num_labels": 5}),
    "IJepaModel": ("IJepaConfig", IMAGENET, {}),
    "Dinov2Model": ("Dinov2Config", IMAGENET, {"mlp_ratio": 2}),
    "Dinov2ForImageClassification": ("Dinov2Config", IMAGENET, {"mlp_ratio": 2, "num_labels": 5}),
    "Dinov2WithRegistersModel": ("Dinov2WithRegistersConfig", IMAGENET, {"mlp_ratio": 2, "num_register_tokens": 4}),
    "Dinov2WithRegistersForImageClassification": ("Dinov2WithRegistersConfig", IMAGENET, {"mlp_ratio": 2}),
    "SiglipVisionModel": ("SiglipVisionConfig", HALF, {}),
    "DPTForDepthEstimation": ("DPTConfig", HALF, {"neck_hidden_sizes": [16] * 4, "fusion_hidden_size": 16,
                                                  "backbone_out_indices": [0, 0, 1, 1]}),
}
REFUSED = {
    "VitPoseBackbone": ("VitPoseBackboneConfig", "border of 2 pixels"),
    "CLIPVisionModel": ("CLIPVisionConfig", "LayerNorm before the first block"),
    "YolosModel": ("YolosConfig", "positions between the blocks"),
    "BeitModel": ("BeitConfig", "relative positions"),
    "DINOv3ViTModel": ("DINOv3ViTConfig", "rotary positions"),
    "ViTHybridModel": ("ViTHybridConfig", "convolutional network"),
    "ASTModel": ("ASTConfig", "overlap"),
    "VideoMAEModel": ("VideoMAEConfig", "several frames"), "VivitModel": ("VivitConfig", "several frames"),
    "RfDetrDinov2Backbone": ("RfDetrDinov2Config", "model_type 'rf_detr_dinov2', which is unknown here"),
    "Data2VecVisionModel": ("Data2VecVisionConfig", "relative positions"),
    "ConvNextModel": ("ConvNextConfig", "convolutions between its layers"),
    "PoolFormerModel": ("PoolFormerConfig", "convolutions between its layers"),
}


def made(name: str, config: str, **more):
    if not hasattr(transformers, name):
        pytest.skip(f"this transformers has no {name}")
    given = {"vision_config": SMALL, "text_config": SMALL | TEXT} | more if config == "SiglipConfig" else SMALL | more
    return seeded(getattr(transformers, name)(getattr(transformers, config)(**given)))


def backbone_of(network) -> torch.nn.Module:
    """The part whose ``last_hidden_state`` is the features."""
    return getattr(network, "vision_model", None) or getattr(network, network.base_model_prefix, network)


@pytest.mark.parametrize("name", ACCEPTED)
@pytest.mark.parametrize("told", [True, False], ids=["preprocessor", "no_preprocessor"])
def test_last_hidden_state_equals_the_library(name, told, tmp_path):
    config, pixels, more = ACCEPTED[name]
    network = made(name, config, **more)
    files = {"config": network.config.to_dict()}
    if told:
        pixels = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
        files["preprocessor_config"] = {"image_mean": pixels[0], "image_std": pixels[1], "do_normalize": True,
                                        "do_rescale": True, "rescale_factor": 1 / 127.5}
    save(tmp_path, network, **files)
    model, said = imported(tmp_path)
    image = picture(64, 64)
    fed = prepared(image, *pixels, 127.5 if told else 255.0)
    backbone = backbone_of(network)
    with torch.inference_mode():
        if name.startswith("ViTMAE"):
            backbone.config.mask_ratio = 0.0
            wanted = backbone(fed, noise=torch.arange(16)[None].float()).last_hidden_state
        elif name.endswith("Backbone"):
            wanted = backbone(fed).feature_maps[-1].flatten(2).mT
        else:
            wanted = backbone(fed).last_hidden_state
        scores = network(fed).logits if name in SCORED else None
    got = features(model, image)
    got = got[:, model.config.extra_tokens:] if name.endswith("Backbone") else got
    assert got.shape == wanted.shape and (got - wanted).abs().max() < CLOSE
    whole = torch.from_numpy(normed(model, run_float(model, image)))
    assert torch.allclose(whole[:, -got.shape[1]:], got, atol=1e-6)
    assert bool(model.config.classes) == (name in SCORED)
    if scores is not None:
        assert model.config.pool == SCORED[name]
        assert np.abs(classify_float(model, image) - scores.numpy()).max() < CLOSE
    assert told or any("a guess" in line and "pixel mean" in line for line in said)


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_the_property(name, tmp_path):
    config, words = REFUSED[name]
    network = made(name, config, **({"image_size": [64, 64]} if name == "YolosModel" else {}))
    save(tmp_path, network, config=network.config.to_dict())
    with pytest.raises(UnsupportedModel, match=words):
        imported(tmp_path)


def test_vitpose_without_its_config_is_refused(tmp_path):
    network = made("VitPoseBackbone", "VitPoseBackboneConfig")
    save(tmp_path, network)
    with pytest.raises(UnsupportedModel, match="border of 2 pixels"):
        imported(tmp_path, heads=2, image=(64, 64))


@pytest.mark.parametrize("preprocessor, mean, std, scale", [
    ({"do_normalize": False}, (0, 0, 0), (1, 1, 1), 255.0), ({"rescale_factor": 1 / 127.5, "image_mean": [1, 1, 1],
     "image_std": [1, 1, 1]}, (1, 1, 1), (1, 1, 1), 127.5), ({"do_rescale": False, "image_mean": 0.5, "image_std": 0.5},
     (0.5,) * 3, (0.5,) * 3, 1.0)], ids=["not_normalized", "rescale_factor", "not_rescaled"])
def test_preprocessor(preprocessor, mean, std, scale, tmp_path):
    network = made("ViTModel", "ViTConfig")
    save(tmp_path, network, config=network.config.to_dict(), preprocessor_config=preprocessor)
    model, said = imported(tmp_path)
    assert (model.config.pixel_mean, model.config.pixel_std, model.config.pixel_scale) == (mean, std, scale)
    assert any(line.startswith("preprocessor_config.json says") for line in said)


@pytest.mark.parametrize("name", ["ViTModel", "Dinov2Model"])
def test_another_size_equals_the_library(name, tmp_path):
    config, pixels, more = ACCEPTED[name]
    network = made(name, config, **more)
    save(tmp_path, network, config=network.config.to_dict())
    model, _ = imported(tmp_path, image=(96, 48))
    image = picture(96, 48)
    with torch.inference_mode():
        asked = {"interpolate_pos_encoding": True} if name == "ViTModel" else {}
        wanted = network(prepared(image, *pixels), **asked).last_hidden_state
    assert (features(model, image) - wanted).abs().max() < CLOSE


def test_a_contradicted_head_count_is_refused(tmp_path):
    network = made("ViTModel", "ViTConfig")
    save(tmp_path, network, config=network.config.to_dict())
    with pytest.raises(AmbiguousModel, match="config.json says 2 attention heads, --heads says 1"):
        imported(tmp_path, heads=1)
