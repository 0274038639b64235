# SPDX-License-Identifier: Apache-2.0
"""The documentation site: pages of the repository, generated references and notebooks, built by Sphinx (`make site`).

``pages`` holds what is written for the site only. Everything else stays where it is and is placed by :data:`PLACES`.
"""

from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = Path(__file__).parent / "pages"
PACKAGES = ("golden", "host", "hw", "sim")
"""Packages whose public names the site lists."""

PLACES = {
    "README.md": "project/overview",
    "CHANGELOG.md": "project/changelog",
    "CONTRIBUTING.md": "project/contributing",
    "golden/README.md": "reference/numerics",
    "golden/doc/README.md": "decisions/numerics",
    "hw/README.md": "project/gateware",
    "hw/doc/README.md": "decisions/gateware",
    "hw/platform/README.md": "project/platform-kits",
    "hw/synthesis/README.md": "project/synthesis",
    "host/README.md": "project/host",
    "host/doc/add-an-activation.md": "tutorials/add-an-activation",
    "host/doc/other-networks.md": "project/other-networks",
    "sim/README.md": "project/simulation",
    "tests/README.md": "verification",
} | {str(path.relative_to(ROOT)): f"decisions/{path.parts[-3]}-{path.stem}"
     for folder in ("golden/doc", "hw/doc") for path in sorted((ROOT / folder).glob("[0-9]*.md"))
} | {str(path.relative_to(ROOT)): f"project/{path.parent.name}"
     for package in ("host", "sim") for path in sorted((ROOT / package).glob("*/README.md"))}
"""Page of the repository -> its name in the site. They are included as they are, but for their links."""

CUT = {"golden/README.md": "## Generated from the spec", "hw/README.md": "## Generated from the spec"}
"""Heading from which a page is left out: the site has pages of their own for these tables."""


def places() -> dict[str, str]:
    """Every page of the repository that the site shows, those written for it included, and its name there."""
    own = {str(path.relative_to(ROOT)): str(path.relative_to(PAGES).with_suffix(""))
           for path in sorted(PAGES.rglob("*")) if path.suffix in (".md", ".ipynb")}
    return PLACES | own
