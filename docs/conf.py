"""Settings of Sphinx. `python3 ci/website.py` builds the pages; what _ext/pages.py makes goes to docs/generated."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "_ext"))

import pages  # noqa: E402

import fastact  # noqa: E402

pages.make()


def setup(app):
    app.connect("source-read", pages.lead_to_generated)


project = "fastact"
author = "The fastact developers"
copyright = author  # the theme wants this name
version = release = fastact.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "mathml"]
default_role = "code"
exclude_patterns = ["_ext", "data"]
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
highlight_language = "python"

nb_execution_mode = "force"  # a cache would not see that fastact has changed
nb_execution_timeout = 120
nb_execution_raise_on_error = True
nb_merge_streams = True

html_theme = "furo"
html_title = f"fastact {release}"
html_static_path = ["_static"]
html_css_files = ["fastact.css"]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
