# SPDX-License-Identifier: Apache-2.0
"""Implementation targets are data: every file is read, complete, cited; a bad one is refused in a sentence."""

import pytest

from sim.implementation.pnr import part
from sim.implementation.synth import resources
from sim.implementation.targets import Family, Part, TargetError, read_target

FILES = {resources.TARGET_FILE: Family, part.TARGET_FILE: Part}
GOOD = part.TARGET_FILE.read_text()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_target_is_what_its_file_says(path):
    assert list(path.parent.glob("*.toml")) == [path]
    assert read_target(path, FILES[path]) in (resources.TARGET, part.TARGET)


def test_what_is_counted_is_known():
    assert set(part.TARGET.columns.values()) == set(part.TARGET.has)
    assert set(resources.TARGET.blocks.values()) <= set(resources.COLUMNS)


@pytest.mark.parametrize("before, after, wanted", [
    ("seed = 1", "", "must give seed, not None"), ("seed = 1", 'seed = "one"', "must give seed, not 'one'"),
    ("seed = 1", "seed = 1\ncolour = 2", "gives colour, which nothing reads"), ("seed = 1", "seed = ", "is not TOML"),
    ('seed = "any', 'sead = "any', "does not say in [sources] where seed comes from")])
def test_a_bad_file_is_refused_by_name(before, after, wanted, tmp_path):
    path = tmp_path / "mine.toml"
    assert before in GOOD
    path.write_text(GOOD.replace(before, after))
    with pytest.raises(TargetError) as caught:
        read_target(path, Part)
    assert str(caught.value).startswith(f"mine.toml {wanted}")
