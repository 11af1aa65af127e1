"""A setting is in its range or the message names it; texts from command lines and environments
become values of the field's type, and a name that is none is an error."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest

from poolhttp.settings import (
    PREFIX,
    Settings,
    SettingsError,
    environment_settings,
    parse_setting,
)

NUMBERS = [each.name for each in fields(Settings) if each.type in {"int", "float"}]
AT_LEAST_ONE = ("worker_connections", "threads")
CHOICES = {
    "header_map": ("drop", "refuse", "dangerous"),
    "proxy_protocol": ("off", "v1", "v2", "auto"),
    "buffers": ("pooled", "unpooled"),
}


def _settings(name: str, value: Any) -> Settings:
    return Settings(**{name: value})


def test_the_defaults_are_in_range() -> None:
    Settings()


@pytest.mark.parametrize("name", NUMBERS)
def test_a_negative_number_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name}: .*-1"):
        _settings(name, -1)


@pytest.mark.parametrize("name", NUMBERS)
def test_zero_is_off_or_refused(name: str) -> None:
    if name in AT_LEAST_ONE:
        with pytest.raises(SettingsError, match=f"^{name}: .*at least 1"):
            _settings(name, 0)
    else:
        assert getattr(_settings(name, 0), name) == 0


@pytest.mark.parametrize(("name", "allowed"), CHOICES.items())
def test_a_choice_is_one_of_its_words(name: str, allowed: tuple[str, ...]) -> None:
    for word in allowed:
        assert getattr(_settings(name, word), name) == word
    with pytest.raises(SettingsError, match=f"^{name}: 'other' .*{allowed[0]}"):
        _settings(name, "other")


def test_settings_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings().keepalive = 5  # type: ignore[misc]


def test_two_settings_share_no_dict() -> None:
    assert Settings().secure_scheme_headers is not Settings().secure_scheme_headers


@pytest.mark.parametrize(
    ("given_line", "line"), [(0, 8190), (1, 1), (8190, 8190), (8191, 8190), (1 << 40, 8190)]
)
def test_the_line_limit_has_a_ceiling(given_line: int, line: int) -> None:
    assert Settings(limit_request_line=given_line).max_line == line


@pytest.mark.parametrize(
    ("given_count", "count"), [(0, 32768), (1, 1), (32768, 32768), (32769, 32768)]
)
def test_the_number_of_fields_has_a_ceiling(given_count: int, count: int) -> None:
    assert Settings(limit_request_fields=given_count).max_fields == count


def test_the_head_holds_whatever_each_limit_allows() -> None:
    settings = Settings(limit_request_line=10, limit_request_fields=3, limit_request_field_size=20)
    assert settings.max_field_size == 20
    assert settings.max_head >= (10 + 2) + 3 * 20 + 2
    assert Settings(limit_request_field_size=0).max_field_size == 8190


TEXTS: tuple[tuple[str, str, Any], ...] = (
    ("backlog", "5", 5),
    ("backlog", " 5 ", 5),
    ("keepalive", "2.5", 2.5),
    ("keepalive", "2", 2.0),
    ("require_host", "1", True),
    ("require_host", "TRUE", True),
    ("require_host", "off", False),
    ("server_header", "", ""),
    ("server_header", "x y", "x y"),
    ("body_dir", "a/b", "a/b"),
    ("forwarded_allow_ips", "127.0.0.1, ::1,", ("127.0.0.1", "::1")),
    ("forwarded_allow_ips", "", ()),
)


@pytest.mark.parametrize(("name", "text", "value"), TEXTS)
def test_a_text_becomes_a_value(name: str, text: str, value: Any) -> None:
    parsed = parse_setting(name, text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("backlog", "x", "'x' is not a number"),
        ("backlog", "2.5", "'2.5' is not a number"),
        ("backlog", "", "'' is not a number"),
        ("keepalive", "2s", "'2s' is not a number"),
        ("require_host", "maybe", "'maybe' is neither"),
        ("nonsense", "1", "no such setting"),
        ("secure_scheme_headers", "{}", "no such setting"),
        ("__class__", "1", "no such setting"),
    ],
)
def test_a_wrong_text_is_named(name: str, text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name}: {message}"):
        parse_setting(name, text)


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e400"])
def test_a_timeout_is_a_finite_number(text: str) -> None:
    """A NaN compares with nothing: no deadline would ever be reached, or each at once."""
    with pytest.raises(SettingsError, match=r"^keepalive: "):
        Settings(keepalive=parse_setting("keepalive", text))


def test_the_environment_gives_settings() -> None:
    environ = {"PATH": "/bin", "POOLHTTP_BACKLOG": "7", "POOLHTTP_KEEPALIVE": "0.5"}
    assert environment_settings(environ) == {"backlog": 7, "keepalive": 0.5}
    assert Settings(**environment_settings(environ)).backlog == 7


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("POOLHTTP_BACKLOGS", "1", "no such setting"),
        ("POOLHTTP_", "1", "no such setting"),
        ("POOLHTTP_BACKLOG", "many", "'many' is not a number"),
    ],
)
def test_a_variable_that_is_no_setting_is_named(variable: str, text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=f"^{variable}: {message}"):
        environment_settings({variable: text})
    assert variable.startswith(PREFIX)
