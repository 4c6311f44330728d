"""The documentation site: `make docs` builds it, strictly, into build/docs."""

import importlib.metadata

project = "unskew"
copyright = "the unskew developers"  # noqa: A001 Sphinx names it so
release = importlib.metadata.version("unskew")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
myst_fence_as_directive = ["math"]
# Pages of the repository outside docs/: they read as well there, and links to them go to the repository.
suppress_warnings = ["myst.xref_missing", "myst.header"]
exclude_patterns = ["*.py"]
html_theme = "furo"
html_title = "unskew"
autodoc_default_options = {
    "members": True,
    "imported-members": True,
    "member-order": "bysource",
    "exclude-members": "set_fit_request, set_score_request",
}
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
