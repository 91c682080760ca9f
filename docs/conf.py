"""The site of the documentation: `make docs` builds it from the pages that are read on GitHub too."""

import os
import sys
from pathlib import Path

import django

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "testproject")]
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
django.setup()

from django_delayed import __version__  # noqa: E402

project = "django_delayed"
version = release = __version__
copyright = "the django_delayed contributors"

extensions = ["myst_parser", "sphinx.ext.autodoc"]
# Pages link to files outside of docs/, as GitHub has it, so the source is the whole repository.
root_doc = "docs/index"
include_patterns = ["docs/**", "benchmarks/README.md", "CHANGELOG.md", "CONTRIBUTING.md"]
exclude_patterns = [".*", "build"]
html_theme = "furo"
html_title = "django_delayed"
html_additional_pages = {"index": "to_the_index.html"}
templates_path = ["templates"]
html_static_path = ["static"]
html_css_files = ["site.css"]

myst_heading_anchors = 4
# The first backticks of a docstring are code, as in Markdown.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "none"
# Names of Python and Django, whose documentation is not fetched.
nitpick_ignore_regex = [("py:.*", r"(?!django_delayed).*")]
