"""Equal constants and functions of a generated model are stored once: unrolled recurrent layers repeat theirs."""

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
    """One layer as C: the constants it needs and the statement that runs it.

    body: number of the layer whose C function runs it: an earlier layer that does exactly the same, or this one.
    """

    number: int
    comment: str
    constants: tuple[Constant, ...]
    blob: int | None
    arguments: str
    function: str
    body: int


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


def share_functions(calls: Sequence[Call]) -> list[Call]:
    """The calls of `share_constants`; those that do exactly what an earlier one does take its function."""
    first: dict[tuple[int | None, str, str], int] = {}
    return [replace(call, body=first.setdefault((call.blob, call.function, call.arguments), call.number)) for call in calls]


def _renamed(text: str, names: Mapping[str, str]) -> str:
    return re.sub(r"[a-z]\w*", lambda match: names.get(match[0], match[0]), text) if names else text
