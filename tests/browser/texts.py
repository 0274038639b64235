# SPDX-License-Identifier: Apache-2.0
"""Texts of drawings that lie on each other, by their boxes in a browser."""

from playwright.sync_api import Page

TOUCH = 0.5
"""Pixels by which boxes of neighbouring lines may meet."""
BOXES = """(touch) => [...document.querySelectorAll("svg")].flatMap((svg) => {
  const frame = svg.getBoundingClientRect();
  const texts = [...svg.querySelectorAll("text")].filter((text) => text.textContent.trim());
  const boxes = texts.map((text) => [text.textContent, text.getBoundingClientRect()]);
  const apart = (a, b) => a.right <= b.left + touch || b.right <= a.left + touch || a.bottom <= b.top + touch
    || b.bottom <= a.top + touch;
  const inside = (a) => a.left >= frame.left - touch && a.right <= frame.right + touch && a.top >= frame.top - touch
    && a.bottom <= frame.bottom + touch;
  return boxes.flatMap(([one, a], i) => [
    ...(inside(a) ? [] : [`${one} leaves its drawing`]),
    ...boxes.slice(i + 1).filter(([_, b]) => !apart(a, b)).map(([other]) => `${one} lies on ${other}`)]);
})"""


def collisions(page: Page) -> list[str]:
    """What is wrong with the texts of a page's drawings: pairs of them that overlap, those that are cut off."""
    return page.evaluate(BOXES, TOUCH)
