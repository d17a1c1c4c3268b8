"""What is written as YAML is read back as it was."""

from __future__ import annotations

from typing import Any

import pytest
import yaml as reader

from umbrella import yaml

VALUES: list[Any] = [
    {"a": 1, "b": None, "c": True, "d": 1.5, "e": []},
    {"text": "no", "word": "yes", "tilde": "~", "empty": "", "number": "12", "float": "1e3", "date": "2026-01-01"},
    {"colon": "a: b", "hash": "a #b", "star": "*a", "quote": 'it\'s "so"', "tab": "a\tb", "control": "\x00\x1f\x7f"},
    {"umbrella": "🌂 grüße", "spaces": "  a  ", "line": "\u2028", "bom": "\ufeff"},
    {"code": "def f():\n    return 1\n", "open": "a\nb", "many": "a\n\n\n", "indented": "  a\nb\n", "cr": "a\r\nb\n"},
    {"blank lines": "a\n\n  b\n\nc\n", "trailing": "a  \nb\t\n", "only": "\n", "tab first": "\ta\nb\n"},
    {"list": [1, "two", None, [3, [4]], {"five": 6}], "deep": {"a": {"b": {"c": [{"d": [{"e": "f\ng\n"}]}]}}}},
    {"maps": [{"a": 1}, {"b": {"c": 2}}, {}], "null": None, "True": "key", "1": "key"},
]


@pytest.mark.parametrize("value", VALUES)
def test_values_come_back(value: dict[str, Any]) -> None:
    assert reader.safe_load(yaml.document(value)) == value


def test_several_documents_come_back() -> None:
    assert list(reader.safe_load_all(yaml.documents(VALUES))) == VALUES
