# SPDX-License-Identifier: Apache-2.0
"""Layouts of other libraries, each rewritten to timm's names and then imported as timm's."""

from golden.model.params import FloatModel
from host.importers.facts import Facts
from host.importers.others import google, siglip, torchvision, vitdet
from host.importers.reasons import refuse_foreign
from host.importers.timm import import_timm

LAYOUTS = (google, siglip, torchvision, vitdet)


def import_other(tensors: dict, facts: Facts, config: dict, preprocessor: dict) -> FloatModel | None:
    """The model in a checkpoint of one of :data:`LAYOUTS`; None where it is of none."""
    for layout in LAYOUTS:
        prefix = facts.prefix_of(tensors, layout.ANCHOR)
        if prefix is not None:
            refuse_foreign(tensors)
            plain = facts.without_prefix(tensors, prefix, ("classifier.",))
            return import_timm(layout.as_timm(plain, facts, config, preprocessor), facts, {})
    return None
