"""Equal constants of a generated model are stored once: the steps of an unrolled recurrent layer repeat theirs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Constant:
    """A static const definition: `static const <declaration> = <value>;`."""

    declaration: str
    value: str

    @property
    def name(self) -> str:
        """The identifier that the declaration declares."""
        return self.declaration.split("[")[0].rsplit(" ", 1)[1]

    @property
    def type(self) -> str:
        """The declaration without the identifier."""
        return self.declaration.replace(self.name, "", 1)


@dataclass(frozen=True, slots=True)
class Call:
    """One layer as C: the constants it needs and the statement that runs it."""

    number: int
    comment: str
    constants: tuple[Constant, ...]
    blob: int | None
    arguments: str
    function: str


def share_constants(calls: Sequence[Call]) -> list[Call]:
    """The calls, in order, each without the constants that an earlier one defines, whose names it uses instead."""
    defined: dict[tuple[str, str], str] = {}
    shared = []
    for call in calls:
        names: dict[str, str] = {}
        kept = []
        for constant in call.constants:
            value = _renamed(constant.value, names)
            name = defined.setdefault((constant.type, value), constant.name)
            if name == constant.name:
                kept.append(replace(constant, value=value))
            else:
                names[constant.name] = name
        shared.append(replace(call, constants=tuple(kept), arguments=_renamed(call.arguments, names)))
    return shared


def _renamed(text: str, names: Mapping[str, str]) -> str:
    return re.sub(r"[a-z]\w*", lambda match: names.get(match[0], match[0]), text) if names else text
