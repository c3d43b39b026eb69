"""C identifiers: what a user may call a model."""

from __future__ import annotations

import re

_KEYWORDS = frozenset(
    "auto break case char const continue default do double else enum extern float for goto if inline int long main "
    "register restrict return short signed sizeof static struct switch typedef union unsigned void volatile while "
    "asm bool true false class new delete this template namespace hwcmp port".split()
)
_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]{0,30}\Z")


def check_model_name(name: str) -> str:
    """Returns `name` if it can prefix the generated C symbols; ValueError otherwise."""
    if not _IDENTIFIER.match(name) or name in _KEYWORDS or name.startswith("hwcmp_"):
        raise ValueError(
            "a model name must be a C identifier of 1..31 lower-case letters, digits and underscores that starts with "
            f"a letter and is no C keyword. Received: {name!r}"
        )
    return name
