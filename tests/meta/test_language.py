# SPDX-License-Identifier: Apache-2.0
"""Language rules: words that only the project's authors understood are not used again.

Each old word stands here with what to say instead. Ordinary English is not meant: only words that had a private sense
in every place where they stood are refused everywhere; the others are refused in the form that was private.
"""

import re
from pathlib import Path

import pytest

from tests.meta.test_rules import ROOT, SOURCES

TEXTS = [path for path in (*SOURCES, *ROOT.rglob("*.md")) if path != Path(__file__) and ".venv" not in path.parts
         and "build" not in path.parts]
OLD_WORDS = {
    r"twins?": "reference model",
    r"census(es)?": "saturation counters, stimulus coverage",
    r"reach[_ ]check(er)?|judge|judges": "bounds check",
    r"stream[_ ]walkers?|StreamWalker": "weight prefetcher",
    r"TokenWalk|token[_ ]walks?|o_walk|i_walk|walkers?": "token iterator, traverse",
    r"AttentionWalk|FfnWalk": "layer-wise quantizer",
    r"send_ahead|(?-i:mults?)|score_mult": "early routing; multiplier",
    r"xhat\w*": "normalized",
    r"beat_plan|beat_issue": "micro-op, issue",
    r"worlds?": "testbench, AXI agents, scoreboard",
    r"rubbish": "uninitialised memory",
    r"boss": "supervisor",
    r"furniture|thriftiest": "support; smallest",
    r"the house": "the project, the repository",
    r"behind|beside": "after, downstream of, next to",
    r"calibration views?|street_views": "calibration crops",
    r"nobody asked for|typed by nobody|no circle of waiting|never woke": "unknown; generated; deadlock-free; inactive",
}
"""Pattern of whole words, in any case -> what to say."""


@pytest.mark.parametrize("pattern", OLD_WORDS)
def test_old_words_stay_out(pattern):
    wanted = re.compile(rf"\b({pattern})\b", re.IGNORECASE)
    found = [f"{path.relative_to(ROOT)}:{number}: {match[0]}" for path in TEXTS
             for number, line in enumerate(path.read_text().splitlines(), 1) for match in wanted.finditer(line)]
    assert not found, f"Say {OLD_WORDS[pattern]!r}: {found}"


def test_the_rule_finds_an_old_word():
    assert re.search(r"\b(twins?)\b", "its twin", re.IGNORECASE) and not re.search(r"\b(mults?)\b", "multiplier")
