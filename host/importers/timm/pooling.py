# SPDX-License-Identifier: Apache-2.0
"""What a timm classifier reads: class tokens or the mean of the patches; one that reads anything else is left out."""

import re

from host.importers.build import TOKENS, Tensors
from host.importers.facts import Facts
from host.importers.timm import names as timm_names

_TRAINING_ONLY = re.compile(r"mask_tokens?|decoder_.*|head\.(mlp|last_layer|\d+)\..*|(dino|ibot)_head\..*")
_KINDS = {"token": "class", "avg": "mean"}
"""timm's ``global_pool``, to names of :data:`golden.spec.model.POOLS`."""


def take_classifier(raw: Tensors, rest: Tensors, facts: Facts, config: dict, architecture: str) -> list[str]:
    """Tells ``facts`` what the classifier reads. Removes from ``raw`` one that reads what is not supported, and says
    so; returns what of ``rest`` is unknown.
    """
    trained = [name for name in rest if _TRAINING_ONLY.fullmatch(name)]
    facts.left_out(trained, "for training only")
    attention = [name for name in rest if name.startswith("attn_pool.")]
    kind = _kind(config, facts, architecture, raw)
    why = _unsupported(raw, bool(attention), kind, config)
    left = attention + [name for name in raw if name.startswith(("head", "fc_norm")) and why]
    if left:
        facts.note(f"the classifier ({', '.join(sorted(left)[:4])}) {why or 'has a part that pools by attention'}: "
                   f"it is left out, and stays on the host.")
    for name in left:
        raw.pop(name, None)
    return sorted(set(rest) - set(attention) - set(trained))


def _kind(config: dict, facts: Facts, architecture: str, raw: Tensors) -> str:
    """timm's name of the pooling; tells it to ``facts``."""
    arguments = config.get("model_args")
    said = config.get("global_pool")
    said = arguments.get("global_pool", said) if isinstance(arguments, dict) else said
    averaged = "cls_token" not in raw or "fc_norm.weight" in raw
    shown = "head.weight" in raw
    if isinstance(said, str) and said:
        facts.told("config.json", pool=_KINDS.get(said, None) if shown and said != "token" else None)
    elif timm_names.averages(architecture):
        said = "avg"
        facts.told(f"the name {architecture}", pool="mean" if shown else None)
    else:
        said = "avg" if averaged and "dist_token" not in raw else "token"
        if shown and said == "avg":
            facts.guess("as there is no class token" if "cls_token" not in raw
                        else "as fc_norm follows the mean of the patches", pool="mean")
    chosen = facts.options.pool
    return said if chosen is None else next((name for name, pool in _KINDS.items() if pool == chosen), chosen)


def _unsupported(raw: Tensors, attention: bool, kind: str, config: dict) -> str:
    """Why a classifier cannot be computed, completing "the classifier ..."; empty where it can."""
    arguments = config.get("model_args")
    everything = isinstance(arguments, dict) and arguments.get("pool_include_prefix") is True
    if attention or kind == "map":
        return "pools the patches by attention"
    if kind not in _KINDS and kind not in _KINDS.values() and kind != "class_mean":
        return f"pools by {kind!r}, where a mean or a class token is supported"
    if kind == "avg" and everything and any(name in raw for name in TOKENS):
        return "reads the mean of all tokens, the class token included"
    if "head.weight" not in raw:
        return "normalises pooled features, and has no weights" if "fc_norm.weight" in raw else ""
    if "fc_norm.weight" in raw and ("norm.weight" in raw or kind != "avg"):
        return "normalises features a second time (fc_norm)"
    if "fc_norm.weight" not in raw and "norm.weight" not in raw:
        return "reads features that are not normalised"
    return ""
