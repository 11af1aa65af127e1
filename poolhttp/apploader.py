"""Finds the app that ``MODULE:APP`` names.

Lives here: importing it, and saying in one line why that failed.
"""

from __future__ import annotations

import ast
import importlib
import os
import sys
from typing import Any, cast

from poolhttp.appcontext import App


class AppError(Exception):
    """There is no such app; the message is one line for the person who named it."""


def load_app(spec: str) -> App:
    """Import and return the app.

    Args:
        spec: ``MODULE``, ``MODULE:APP`` (default ``application`` or ``app``) or
            ``MODULE:FACTORY(ARGUMENTS)`` with literal arguments. The current directory is
            importable.

    Raises:
        AppError: no such module or attribute, or it isn't callable. What the module itself raises
            is passed on.
    """
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    module_name, _, expression = spec.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        if exc.name and (module_name == exc.name or module_name.startswith(exc.name + ".")):
            raise AppError(f"no module named {exc.name!r} (looked in {here} too)") from None
        raise
    except (ValueError, TypeError) as exc:
        raise AppError(f"{module_name!r} is not a module name: {exc}") from None
    app = _evaluate(module, module_name, expression)
    if not callable(app):
        raise AppError(f"{spec} is not callable, but {type(app).__name__}")
    return cast("App", app)


def _evaluate(module: Any, module_name: str, expression: str) -> Any:
    if not expression:
        for name in ("application", "app"):
            if hasattr(module, name):
                return getattr(module, name)
        raise AppError(f"module {module_name!r} has neither 'application' nor 'app': name it")
    try:
        node = ast.parse(expression, mode="eval").body
    except SyntaxError:
        raise AppError(f"{expression!r} is not an attribute or a factory call") from None
    if not isinstance(node, ast.Call):
        return _attribute(module, module_name, expression)
    try:
        arguments = [ast.literal_eval(each) for each in node.args]
        keywords = {str(each.arg): ast.literal_eval(each.value) for each in node.keywords}
        if "None" in keywords:
            raise ValueError("**")
    except ValueError:
        raise AppError(f"{expression!r}: a factory's arguments must be literals") from None
    return _attribute(module, module_name, ast.unparse(node.func))(*arguments, **keywords)


def _attribute(module: Any, module_name: str, path: str) -> Any:
    found = module
    for name in path.split("."):
        if not hasattr(found, name):
            raise AppError(f"module {module_name!r} has no attribute {path!r}")
        found = getattr(found, name)
    return found
