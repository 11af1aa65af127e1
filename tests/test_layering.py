"""The layers: imports go to a strictly lower one, and each outside capability has one owner.

This table is the architecture. A module that is not in it, an import that it does not list, or a
second user of an outside capability fails here; so "where is X done?" is answered by one line.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "poolhttp"
MODULES = sorted(PACKAGE.glob("*.py"))
SOURCES = [*MODULES, *sorted(PACKAGE.glob("*.[ch]")), *sorted((ROOT / "bench").rglob("*.py"))]

LAYERS: tuple[dict[str, set[str]], ...] = (
    # 0: know nothing of ours
    {
        "version": set(),
        "errors": set(),
        "settings": set(),
        "states": set(),
        "bufpool": set(),
        "timers": set(),
        "spool": set(),
        "sendfile": set(),
        "filewrapper": set(),
        "listeners": set(),
        "signals": set(),
        "_native_build": set(),
        "baton": set(),
        "inbox": set(),
        "predictor": set(),
        "admission": set(),
        "growth": set(),
        "gilshare": set(),
        "member": set(),
        "flags": set(),
    },
    # 1: one thing each: a grammar, a queue, the kernel
    {
        "target": {"errors"},
        "fields": {"errors", "settings"},
        "proxyprotocol": {"errors"},
        "outbox": {"sendfile"},
        "response": set(),
        "turnmemory": {"_native", "bufpool"},
        "handler": {"timers"},
        "callwatch": {"_native"},
    },
    # 2: requests, what a turn sends, and what surrounds an app
    {
        "collector": {"_native", "handler", "turnmemory"},
        "detached": {"inbox", "outbox", "sendfile"},
        "request": {"errors", "settings", "target"},
        "appcontext": {"baton", "filewrapper", "response", "sendfile", "settings", "timers"},
    },
    # 3: the loop, bytes to requests, items to bytes, names to apps
    {
        "loop": {"_native", "bufpool", "callwatch", "collector", "handler", "inbox", "timers",
                 "turnmemory"},
        "framedbody": {"appcontext", "request", "response", "sendfile"},
        "parser": {"errors", "fields", "request", "settings", "spool"},
        "wholehead": {"errors", "fields", "request", "settings"},
        "apploader": {"appcontext"},
    },
    # 4: the app is called; the threads
    {
        "wsgi": {"filewrapper", "framedbody", "response", "sendfile"},
        "crew": {"baton", "loop", "member"},
    },
    # 5: calls that take too long
    {
        "stuck": {"baton", "crew", "member"},
    },
    # 6: who runs the app, who hears of it
    {
        "scheduler": {"admission", "appcontext", "baton", "crew", "detached", "gilshare",
                      "growth", "loop", "member", "predictor", "settings", "stuck", "wsgi"},
        "access": {"wsgi"},
        "gunicorn_views": {"request", "wsgi"},
        "supervised": {"apploader", "version"},
    },
    # 7: what connections share
    {
        "service": {"fields", "parser", "request", "scheduler", "settings", "states", "timers",
                    "wholehead"},
    },
    # 8: one connection: its states and its bytes
    {
        "peers": {"appcontext", "fields", "listeners", "service", "settings"},
        "transport": {"detached", "loop", "outbox", "response", "sendfile", "service", "states",
                      "timers"},
    },
    # 9: one connection: a request that runs apart
    {
        "offloop": {"detached", "inbox", "request", "response", "service", "states", "transport",
                    "wsgi"},
    },
    # 10: one connection: its requests
    {
        "connection": {"errors", "loop", "offloop", "parser", "request", "response", "service",
                       "states", "transport", "wsgi"},
    },
    # 11: one connection behind a proxy
    {
        "proxied": {"connection", "errors", "proxyprotocol", "request", "service"},
    },
    # 12: the server
    {
        "server": {"appcontext", "baton", "bufpool", "connection", "listeners", "loop", "peers",
                   "proxied", "scheduler", "service", "settings", "states"},
    },
    # 13: the ways in
    {
        "library": {"appcontext", "server", "settings", "signals"},
        "worker": {"access", "appcontext", "gunicorn_views", "loop", "server", "settings", "wsgi"},
        "cli": {"access", "appcontext", "apploader", "flags", "listeners", "loop", "server",
                "settings", "signals", "supervised", "version"},
    },
    {
        "__init__": {"library", "listeners", "server", "settings", "version"},
        "__main__": {"cli"},
    },
)  # fmt: skip
"""Module: what it may import of ours, which is always in a layer above it in this text."""

TYPES_ONLY = {
    "service": {"appcontext", "loop", "settings"},
    "transport": {"parser", "wsgi"},
}
"""Imported for annotations alone; lower, too."""

OWNERS = {
    "httptools": {"parser", "wholehead"},
    "cffi": {"_native_build"},
    "gunicorn": {"worker", "supervised"},
    "argparse": {"cli"},
    "threading": {"appcontext", "crew", "detached", "loop", "member", "server", "signals", "stuck"},
    "signal": {"signals", "worker"},
    "tempfile": {"spool"},
    "resource": {"turnmemory"},
    "poolhttp._native": {"callwatch", "collector", "loop", "sendfile", "turnmemory"},
    "socket.socket": {"listeners", "peers", "server"},
    "select.epoll": {"loop"},
    "select.poll": set(),
    "os.sendfile": {"sendfile"},
    "os.writev": {"sendfile"},
    "fcntl": {"sendfile"},
    "asyncio": set(),
    "subprocess": set(),
    "multiprocessing": set(),
    "ctypes": set(),
}
"""Outside capability: the modules that may use it, by import or by attribute."""

VAGUE = {"util", "utils", "helper", "helpers", "common", "base", "misc", "manager", "tools"}
LONGEST = 400


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), path.name)


def _imports(node: ast.AST) -> Iterator[str]:
    """Full names of what is imported anywhere below the node."""
    for each in ast.walk(node):
        if isinstance(each, ast.Import):
            yield from (alias.name for alias in each.names)
        elif isinstance(each, ast.ImportFrom):
            assert not each.level, "relative import"
            for alias in each.names:
                yield f"{each.module}.{alias.name}"


def _for_types(tree: ast.Module) -> list[ast.If]:
    return [
        each
        for each in ast.walk(tree)
        if isinstance(each, ast.If)
        and isinstance(each.test, ast.Name)
        and each.test.id == "TYPE_CHECKING"
    ]


def _ours(names: Iterator[str]) -> set[str]:
    """The modules of ours among imported names."""
    found = set()
    for name in names:
        package, _, rest = name.partition(".")
        if package == "poolhttp":
            found.add(rest.partition(".")[0] or "__init__")
    return found


def _uses(tree: ast.Module) -> set[str]:
    """Dotted names that are imported or taken as an attribute of an imported module."""
    used = set(_imports(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            used.add(f"{node.value.id}.{node.attr}")
    return used


ALLOWED = {module: allowed for layer in LAYERS for module, allowed in layer.items()}
LAYER = {module: i for i, layer in enumerate(LAYERS) for module in layer} | {"_native": 0}


def test_the_table_has_each_module_once() -> None:
    assert sum(map(len, LAYERS)) == len(ALLOWED)
    assert set(ALLOWED) == {path.stem for path in MODULES}


@pytest.mark.parametrize("module", ALLOWED)
def test_the_table_itself_goes_downwards(module: str) -> None:
    """So there can't be a cycle."""
    for imported in ALLOWED[module] | TYPES_ONLY.get(module, set()):
        assert LAYER[imported] < LAYER[module], f"{module} imports {imported}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_imports_are_in_the_table(path: Path) -> None:
    tree = _tree(path)
    typed: set[str] = set()
    for block in _for_types(tree):
        typed |= _ours(_imports(block))
        block.body = [ast.Pass()]
    allowed = ALLOWED.get(path.stem, set())
    assert _ours(_imports(tree)) <= allowed
    assert typed <= allowed | TYPES_ONLY.get(path.stem, set())


@pytest.mark.parametrize("capability", OWNERS)
def test_a_capability_has_its_owner(capability: str) -> None:
    users = {
        path.stem
        for path in MODULES
        if any(f"{name}.".startswith(f"{capability}.") for name in _uses(_tree(path)))
    }
    assert users <= OWNERS[capability]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_file_fits_the_head(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_name_says_what_it_is(path: Path) -> None:
    assert not VAGUE & set(path.stem.lower().split("_"))
    if path.suffix == ".py":
        classes = [each.name for each in ast.walk(_tree(path)) if isinstance(each, ast.ClassDef)]
        assert not [name for name in classes if name.lower().endswith(("manager", "helper"))]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_module_says_what_lives_in_it(path: Path) -> None:
    assert ast.get_docstring(_tree(path))


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.[ch]")), ids=lambda path: path.name)
def test_native_code_knows_no_python(path: Path) -> None:
    """So that it can be run alone, under sanitizers."""
    assert "Python.h" not in path.read_text(encoding="utf-8")
