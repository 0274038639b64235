# SPDX-License-Identifier: Apache-2.0
"""Networks of timm, seeded: features and class scores equal the library's, or the refusal names the property."""

import re

import pytest
import torch

from golden.files.errors import AmbiguousModel, ModelFileError, UnsupportedModel
from golden.model.float_model import M3ViT, to_pixels
from host.importers.timm.names import known
from tests.host.importers.libraries.compare import CLOSE, features, imported, picture, prepared, save, seeded

timm = pytest.importorskip("timm", exc_type=ImportError)

ACCEPTED = (
    "test_vit", "vit_tiny_patch16_224", "vit_tiny_patch16_384", "vit_small_patch8_224", "vit_small_patch16_224",
    "vit_small_patch32_224", "vit_base_patch16_224_miil", "vit_base_patch32_224", "vit_base_patch16_plus_240",
    "vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2", "vit_base_patch14_reg1_tipsv2", "flexivit_small",
    "deit_tiny_patch16_224", "deit_small_distilled_patch16_224", "deit3_small_patch16_224",
    "deit3_medium_patch16_224", "vit_medium_patch16_gap_240", "vit_betwixt_patch16_gap_256",
    "vit_wee_patch16_reg1_gap_256", "vit_little_patch16_reg4_gap_256", "vit_so150m_patch16_reg4_gap_256",
    "vit_base_patch16_siglip_224", "vit_base_patch32_siglip_gap_256", "test_vit2", "test_vit3", "vit_base_patch8_224",
    "vit_base_patch16_siglip_gap_224", "vit_base_patch16_reg4_gap_256", "deit_base_distilled_patch16_384",
    "deit3_base_patch16_384", "vit_medium_patch16_reg4_gap_256", "flexivit_base", "vit_base_patch14_reg4_dinov2")
AVERAGED = {"vit_tiny_patch16_224": {"global_pool": "avg"}, "deit_tiny_patch16_224": {"global_pool": "avg"},
            "vit_small_patch16_224": {"global_pool": "avg", "fc_norm": False},
            "vit_medium_patch16_gap_240": {"fc_norm": True}, "vit_small_patch14_reg4_dinov2": {"global_pool": "avg"}}
"""Options of networks whose classifier reads the mean of the patches, with and without a norm of its own."""
KEPT = {"vit_base_patch16_siglip_224", "test_vit3"}
"""Networks whose classifier pools by attention: it stays on the host."""
REFUSED = {
    "vit_xsmall_patch16_clip_224": "LayerNorm before the first block", "vit_base_patch16_rpn_224": "res-post-norm",
    "vit_base_patch32_clip_quickgelu_224": "quick GELU", "vit_small_patch16_rope_ape_224": "rotary positions",
    "vit_small_patch16_rope_224": "rotary positions", "vit_small_patch16_dinov3": "rotary",
    "vit_small_patch16_18x2_224": "in parallel", "vit_dwee_patch16_reg1_gap_256": "differential attention",
    "vit_base_patch16_gap_224": "multiple of 32, not 48", "eva02_tiny_patch14_224": "gated FFNs",
    "naflexvit_base_patch16_gap": "any size", "cait_xxs24_224": "talking heads", "xcit_nano_12_p16_224": "channels",
    "beit_base_patch16_224": "relative positions", "swin_tiny_patch4_window7_224": "relative positions",
    "hiera_tiny_224": "stages", "resnet10t": "stages|convolutions",
    "test_vit4": "RMS norms", "beit3_base_patch16_224": "norms inside attention and FFN"}


PLAIN = ("vit", "deit", "flexivit", "test_vit", "beit", "eva")
"""What the names of plain vision transformers begin with, and of others that have the same options."""


def made(name: str, **more):
    """A network of two blocks for pictures of 4 x 4 patches."""
    patch = int(found[1]) if (found := re.search(r"patch(\d+)", name)) else 16
    more = {"depth": 2, "img_size": 4 * patch, "num_classes": 5} | more
    if not name.startswith(PLAIN):  # these have no such options
        more = {"num_classes": 5}
    network = seeded(timm.create_model(name, **more))
    return network, picture(4 * patch, 4 * patch, more.get("in_chans", 3))


def config_of(network, name: str) -> dict:
    """What timm writes to ``config.json``."""
    pool = getattr(network, "global_pool", "token")
    return {"architecture": name, "num_classes": 5, "global_pool": pool if isinstance(pool, str) else "avg",
            "pretrained_cfg": {key: value for key, value in network.pretrained_cfg.items()
                               if isinstance(value, (str, int, float, list, tuple))}}


@pytest.mark.parametrize("name", ACCEPTED)
def test_features_equal_the_library(name, tmp_path):
    network, image = made(name)
    save(tmp_path, network, config=config_of(network, name))
    model, said = imported(tmp_path)
    fed = prepared(image, network.pretrained_cfg["mean"], network.pretrained_cfg["std"])
    with torch.inference_mode():
        assert (features(model, image) - network.forward_features(fed)).abs().max() < CLOSE
        if name in KEPT:
            assert not model.config.classes and any("by attention: it is left out" in line for line in said)
            return
        assert model.config.classes == 5
        assert model.config.pool == ("mean" if network.global_pool == "avg" else "class")
        scores = M3ViT(model).eval()
        assert (scores.logits(scores(to_pixels(model.config, image))) - network(fed)).abs().max() < CLOSE


@pytest.mark.parametrize("name", AVERAGED)
@pytest.mark.parametrize("told", [True, False], ids=["config", "no_config"])
def test_scores_of_averaged_features_equal_the_library(name, told, tmp_path):
    """With ``config.json``, or by the option ``pool`` where the tensors do not tell."""
    network, image = made(name, **AVERAGED[name])
    save(tmp_path, network, **({"config": config_of(network, name)} if told else {}))
    mean, std = network.pretrained_cfg["mean"], network.pretrained_cfg["std"]
    fc_norm = not isinstance(network.fc_norm, torch.nn.Identity)
    more = {} if told else {"architecture": name, "pixel_mean": mean, "pixel_std": std}
    more |= {} if told or fc_norm else {"pool": "mean"}
    model, said = imported(tmp_path, **more)
    assert (model.config.pool, model.config.fc_norm, model.config.final_norm) == ("mean", fc_norm, not fc_norm)
    assert told is False or any("pool mean" in line and line.startswith("config.json says") for line in said)
    with torch.inference_mode():
        scores, fed = M3ViT(model).eval(), prepared(image, mean, std)
        stream = scores(to_pixels(model.config, image))
        assert (scores.logits(stream) - network(fed)).abs().max() < CLOSE
        assert (network(fed) - network.head(network.fc_norm(network.forward_features(fed)[:, 0]))).abs().max() > CLOSE


@pytest.mark.parametrize("pool", ["max", "avgmax", "map"])
def test_other_pooling_stays_on_the_host(pool, tmp_path):
    network, image = made("vit_tiny_patch16_224", global_pool=pool)
    save(tmp_path, network, config=config_of(network, "vit_tiny_patch16_224"))
    model, said = imported(tmp_path)
    assert not model.config.classes and any("it is left out, and stays on the host" in line for line in said)
    fed = prepared(image, network.pretrained_cfg["mean"], network.pretrained_cfg["std"])
    with torch.inference_mode():
        assert (features(model, image, normed=model.config.final_norm) - network.forward_features(fed)
                ).abs().max() < CLOSE


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_the_property(name, tmp_path):
    network, _ = made(name)
    save(tmp_path, network, config=config_of(network, name))
    with pytest.raises(UnsupportedModel, match=REFUSED[name]):
        imported(tmp_path)


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_without_a_config_name_it_too(name, tmp_path):
    network, _ = made(name)
    save(tmp_path, network)
    with pytest.raises((UnsupportedModel, AmbiguousModel), match="rotary|LayerNorm|positions|parallel|differential|48|"
                                                                 "FFN|RMS|biases|vit_.*_rpn|any size|talking|channels|"
                                                                 "convolutions|stages"):
        imported(tmp_path, heads=16 if "gap_224" in name else 3)


def test_pixels_without_a_config_are_guesses_that_are_said(tmp_path):
    network, _ = made("vit_tiny_patch16_224")
    save(tmp_path, network)
    model, said = imported(tmp_path, heads=3)
    assert model.config.pixel_mean == (0.5, 0.5, 0.5)
    assert any("a guess, as most of timm's vit_* models have it" in line and "--pixel-mean" in line for line in said)
    for name, mean in (("deit_tiny.safetensors", 0.485), ("vit_tiny_patch16_224.augreg.safetensors", 0.5),
                       ("dino_vits16.safetensors", 0.485)):
        (tmp_path / name).write_bytes((tmp_path / "model.safetensors").read_bytes())
        model, said = imported(tmp_path / name, heads=3)
        assert model.config.pixel_mean[0] == mean and any("a guess" in line for line in said), name
    model, said = imported(tmp_path / "model.safetensors", architecture="vit_tiny_patch16_224")
    assert model.config.heads == 3 and any("the name vit_tiny_patch16_224 says: heads 3" in line for line in said)


def test_a_contradicted_head_count_is_refused(tmp_path):
    network, _ = made("vit_tiny_patch16_224")
    save(tmp_path, network, config=config_of(network, "vit_tiny_patch16_224"))
    with pytest.raises(AmbiguousModel, match="says 3 attention heads, --heads says 6"):
        imported(tmp_path, heads=6)


def test_one_channel(tmp_path):
    network, image = made("deit_tiny_patch16_224", in_chans=1)
    save(tmp_path, network, config=config_of(network, "deit_tiny_patch16_224"))
    with pytest.raises(AmbiguousModel, match="looks at 1 channel; .* has 3 values: give --pixel-mean and --pixel-std"):
        imported(tmp_path)
    model, _ = imported(tmp_path, pixel_mean=(0.45,), pixel_std=(0.22,))
    fed = prepared(image, (0.45,), (0.22,))
    with torch.inference_mode():
        assert (features(model, image) - network.forward_features(fed)).abs().max() < CLOSE


@pytest.mark.parametrize("name", ["vit_small_patch14_reg4_dinov2", "deit_tiny_distilled_patch16_224"])
def test_another_size_equals_the_library(name, tmp_path):
    network, _ = made(name)
    save(tmp_path, network, config=config_of(network, name))
    patch = network.patch_embed.patch_size[0]
    model, said = imported(tmp_path, image=(6 * patch, 3 * patch))
    assert any("resized from 4 x 4 to 6 x 3 patches (bicubic with antialias)" in line for line in said)
    network.set_input_size((6 * patch, 3 * patch))
    image = picture(6 * patch, 3 * patch)
    fed = prepared(image, network.pretrained_cfg["mean"], network.pretrained_cfg["std"])
    with torch.inference_mode():
        assert (features(model, image) - network.forward_features(fed)).abs().max() < CLOSE


def test_names_tell_heads_and_activation():
    """Every plain ViT of timm whose name we claim to know has the heads, activation and eps that we say."""
    wrong = []
    for name in [n for module in ("vision_transformer", "deit") for n in timm.list_models(module=module)]:
        try:
            with torch.device("meta"):
                network = timm.create_model(name, depth=1)
        except Exception:  # some need arguments that depth changes
            continue
        block = network.blocks[0]
        if not (said := known(name)) or type(block).__name__ != "Block":
            continue
        activation = type(block.mlp.act).__name__
        tanh = "Tanh" in activation or getattr(block.mlp.act, "approximate", "none") == "tanh"
        if not {"clip", "radio"} & set(name.split("_")) and activation.startswith("GELU"):
            has = {"heads": block.attn.num_heads, "activation": "gelu_tanh" if tanh else "gelu", "eps": block.norm1.eps}
            wrong += [(name, said, has)] if said != has else []
    assert not wrong


def test_a_wrong_file_is_a_named_error(tmp_path):
    (tmp_path / "config.json").write_text('{"architecture": 3, "model_args": [], "pretrained_cfg": {"mean": "a"}}')
    network, _ = made("test_vit")
    save(tmp_path, network)
    with pytest.raises(ModelFileError):
        imported(tmp_path)
