"""There is one version: the module's, the distribution's and the changelog's; each released one has
its entry."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import poolhttp
from poolhttp.version import __version__

ROOT = Path(__file__).resolve().parent.parent


def test_the_version_is_a_version() -> None:
    """PEP 440, the part of it that Semantic Versioning has too."""
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", __version__)


def test_the_package_says_the_same() -> None:
    assert poolhttp.__version__ == __version__


def test_the_distribution_says_the_same() -> None:
    assert metadata.version("poolhttp") == __version__


def test_the_changelog_has_it() -> None:
    """As long as the first version isn't out, everything is under Unreleased."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[([^]]+)\]", text, re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert __version__ in headings or headings == ["Unreleased"]
