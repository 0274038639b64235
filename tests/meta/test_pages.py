# SPDX-License-Identifier: Apache-2.0
"""Generated tables are current: a page that drifted from the spec is red."""

import pytest

from host.report.pages import PAGES, ROOT, SECTIONS, rewritten


@pytest.mark.parametrize("page", PAGES)
def test_page_is_what_make_docs_would_write(page):
    text = (ROOT / page).read_text()
    assert rewritten(text) == text, f"{page} is stale: run `make docs`."


def test_every_section_stands_on_some_page():
    pages = "".join((ROOT / page).read_text() for page in PAGES)
    missing = [name for name in SECTIONS if f"<!-- begin {name} -->" not in pages]
    assert not missing, f"No page carries {missing}."


def test_a_stale_table_is_noticed():
    assert "RETIRED" in rewritten("<!-- begin registers -->old<!-- end registers -->")
