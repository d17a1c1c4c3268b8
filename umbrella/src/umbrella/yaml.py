"""Writes YAML: just what manifests need.

Owns: the form. Invariant: any YAML 1.1 or 1.2 reader gets back what was written.
"""

from __future__ import annotations

import json
import re
from typing import Any

_PLAIN = re.compile(r"[A-Za-z_./][A-Za-z0-9_./-]*")
# Read as something else than a text by one or the other version of YAML.
_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n", "~"}


def document(value: dict[str, Any]) -> str:
    """One document."""
    return "\n".join(_block(value, "")) + "\n"


def documents(values: list[dict[str, Any]]) -> str:
    """Documents with `---` between them."""
    return "---\n".join(document(value) for value in values)


def _block(value: Any, indent: str) -> list[str]:
    lines = []
    if isinstance(value, dict):
        for key, each in value.items():
            lines += _entry(f"{indent}{_text(str(key))}:", each, indent)
    else:
        for each in value:
            if isinstance(each, dict) and each and not _is_flow(each):
                inner = _block(each, indent + "  ")
                lines += [f"{indent}- {inner[0].lstrip()}", *inner[1:]]
            else:
                lines += _entry(f"{indent}-", each, indent)
    return lines


def _entry(head: str, value: Any, indent: str) -> list[str]:
    if isinstance(value, str) and _is_literal(value):
        chomp = "" if value.endswith("\n") else "-"
        body = value.removesuffix("\n").split("\n")
        return [f"{head} |{chomp}", *(f"{indent}  {line}" if line else "" for line in body)]
    if isinstance(value, (dict, list)) and not _is_flow(value):
        inner = indent if isinstance(value, list) else indent + "  "
        return [head, *_block(value, inner)]
    return [f"{head} {_flow(value)}"]


def _is_literal(text: str) -> bool:
    """Whether a text is shown line by line."""
    printable = all(char == "\n" or (char.isprintable() and ord(char) < 0xFFFE) for char in text)
    first = text.split("\n", 1)[0]
    ends_well = not text.endswith("\n\n") and text.strip("\n") != ""
    return "\n" in text and printable and ends_well and first != "" and not first.startswith(" ")


def _is_flow(value: Any) -> bool:
    """Whether it is written on one line: what is empty, lists of scalars, and small maps of scalars."""
    if isinstance(value, dict):
        return not value or (
            len(value) <= 3 and all(_is_small(each) for each in value.values()) and len(_flow(value)) < 60
        )
    if isinstance(value, list):
        return all(_is_small(each) for each in value) and len(_flow(value)) < 100
    return True


def _is_small(value: Any) -> bool:
    if isinstance(value, (dict, list)):
        return not value or (isinstance(value, list) and all(not isinstance(each, (dict, list)) for each in value))
    return not (isinstance(value, str) and "\n" in value)


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_text(str(key))}: {_flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_flow(each) for each in value) + "]"
    return _text(value) if isinstance(value, str) else json.dumps(value)


def _text(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS and not re.fullmatch(r"\.(inf|nan)", text.lower()):
        return text
    return json.dumps(text, ensure_ascii=not text.isprintable())
