"""``MODULE:APP`` names an app, or the error says in one line what is wrong with it; what the module
itself raises is not hidden."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from poolhttp.apploader import AppError, load_app

SOURCE = """
class Namespace:
    pass

def application(environ, start_response):
    return ["application"]

def app(environ, start_response):
    return ["app"]

def factory(*args, **kwargs):
    return lambda environ, start_response: [args, kwargs]

def no_app():
    return 5

space = Namespace()
space.inner = app
number = 5
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory, with modules that are forgotten afterwards."""
    (tmp_path / "loader_app.py").write_text(SOURCE)
    (tmp_path / "loader_short.py").write_text("app = lambda e, s: ['short']\n")
    (tmp_path / "loader_empty.py").write_text("")
    (tmp_path / "loader_broken.py").write_text("import loader_missing_dependency\n")
    (tmp_path / "loader_raises.py").write_text("raise KeyError('boom')\n")
    (tmp_path / "loader_syntax.py").write_text("def\n")
    (tmp_path / "loader_package").mkdir()
    (tmp_path / "loader_package" / "__init__.py").write_text("")
    (tmp_path / "loader_package" / "wsgi.py").write_text("app = lambda e, s: ['package']\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    for name in [each for each in sys.modules if each.startswith("loader_")]:
        del sys.modules[name]


def _call(spec: str) -> Any:
    app: Any = load_app(spec)
    return app({}, None)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("loader_app", ["application"]),
        ("loader_app:", ["application"]),
        ("loader_short", ["short"]),
        ("loader_app:app", ["app"]),
        ("loader_app:space.inner", ["app"]),
        ("loader_package.wsgi:app", ["package"]),
        ("loader_app:factory()", [(), {}]),
        ("loader_app:factory(1, 'a', b=[2])", [(1, "a"), {"b": [2]}]),
    ],
)
def test_a_spec_finds_its_app(here: Path, spec: str, said: list[Any]) -> None:
    assert _call(spec) == said


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("loader_nowhere", "no module named 'loader_nowhere'"),
        ("loader_nowhere.wsgi:app", "no module named 'loader_nowhere'"),
        ("loader_package.nothing:app", "no module named 'loader_package.nothing'"),
        ("loader_app:nothing", "no attribute 'nothing'"),
        ("loader_app:space.nothing", "no attribute 'space.nothing'"),
        ("loader_app:number", "not callable, but int"),
        ("loader_app:no_app()", "not callable, but int"),
        ("loader_app:factory(x)", "literals"),
        ("loader_app:factory(", "not an attribute or a factory call"),
        ("loader_app:a b", "not an attribute or a factory call"),
        ("loader_empty", "neither 'application' nor 'app'"),
        ("", "not a module name"),
        (":app", "not a module name"),
        (".relative:app", "not a module name"),
    ],
)
def test_a_wrong_spec_is_explained_in_one_line(here: Path, spec: str, message: str) -> None:
    with pytest.raises(AppError, match=message.replace("'", "['\"]")) as caught:
        load_app(spec)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("loader_broken", ModuleNotFoundError, "loader_missing_dependency"),
        ("loader_raises", KeyError, "boom"),
        ("loader_syntax", SyntaxError, "loader_syntax"),
    ],
)
def test_what_the_module_raises_is_passed_on(
    here: Path, spec: str, error: type[Exception], message: str
) -> None:
    """The traceback points into the user's own code."""
    with pytest.raises(error, match=message):
        load_app(spec)


@pytest.mark.parametrize(
    "spec", ["loader_app:factory(*[1])", "loader_app:factory(**{})", "loader_app:app[0]"]
)
def test_what_is_no_plain_call_is_refused(here: Path, spec: str) -> None:
    """Silently dropped arguments would give another app than the one that was named."""
    with pytest.raises(AppError):
        load_app(spec)


def test_the_current_directory_is_importable_once(here: Path) -> None:
    load_app("loader_app")
    load_app("loader_app")
    assert sys.path.count(str(here)) == 1
