# SPDX-License-Identifier: Apache-2.0
"""The headless browser starts, and runs a page's script."""

from tests.browser.launch import browser


def test_it_runs_a_page():
    with browser() as opened:
        page = opened.new_page()
        page.set_content("<p id=sum></p><script>document.getElementById('sum').textContent = 20 + 22</script>")
        assert page.inner_text("#sum") == "42"


def test_two_that_hold_it_have_one_browser():
    with browser() as first:
        with browser() as second:
            assert second is first
        assert first.is_connected()
