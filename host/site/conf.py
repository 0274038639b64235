# SPDX-License-Identifier: Apache-2.0
"""Sphinx' configuration of the documentation site; ``make site`` uses it."""

import os
from importlib.metadata import version as version_of

os.environ.setdefault("OMP_NUM_THREADS", "2")

project = "edge-moe"
author = "The maintainers"
project_copyright = "the maintainers, Apache-2.0"
release = version = version_of("edge-moe")
language = "en"
smartquotes = False  # what is typed is what is shown

extensions = ["sphinx.ext.autodoc", "myst_nb", "sphinx_design", "sphinx_copybutton", "host.site.references"]
highlight_language = "text"
pygments_style, pygments_dark_style = "friendly", "github-dark"

autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False  # those of other packages speak of names that are not here
autodoc_typehints_format = "short"
autodoc_use_type_comments = False
add_module_names = False
toc_object_entries = False  # the packages have hundreds of names; the search finds them

myst_enable_extensions = ["colon_fence", "deflist", "linkify", "attrs_inline"]
myst_linkify_fuzzy_links = False
myst_heading_anchors = 4
suppress_warnings = [
    "myst.header",  # pages of the repository may begin a section with a smaller heading
]
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True
nb_ipywidgets_js = {}  # nothing is fetched when a page is read

html_theme = "furo"
html_title = "edge-moe"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_logo = "static/logo.svg"
html_favicon = "static/logo.svg"
html_copy_source = html_show_sourcelink = False
html_show_sphinx = False
html_use_index = html_domain_indices = False  # lists of nine thousand names; the search finds them
MONOSPACE = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', 'Liberation Mono', monospace"
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#1d5f8a", "color-brand-content": "#1d5f8a",
                            "font-stack--monospace": MONOSPACE, "color-api-name": "#1d5f8a",
                            "color-api-pre-name": "#1d5f8a"},
    "dark_css_variables": {"color-brand-primary": "#7cc4f0", "color-brand-content": "#7cc4f0",
                           "color-api-name": "#7cc4f0", "color-api-pre-name": "#7cc4f0"},
}
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True
copybutton_selector = "div:not(.output) > div.highlight pre"
