"""Options of builtin operators, generically: any options table of the schema <-> a mapping of its fields.

An operator that this package does not know therefore survives reading and writing. Vectors are tuples; fields that
the file leaves out carry the schema's default, absent vectors and strings are left out of the mapping.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from keras_hwcompress.errors import ModelFormatError, UnsupportedModelError
from keras_hwcompress.tflite.schema import Budget, checked, names_of, numbers_of, schema

# An operator has two unions of option tables; each table belongs to exactly one of them.
UNIONS = (("BuiltinOptions", "builtinOptions"), ("BuiltinOptions2", "builtinOptions2"))


def read_options(operator: Any, budget: Budget) -> tuple[str, Mapping[str, Any]]:
    """The name and the fields of the options table of an `Operator` view.

    Returns:
        ("Conv2DOptions", {"padding": 0, ...}); ("", {}) for an operator without options.

    Raises:
        ModelFormatError: the table's kind is unknown.
    """
    found = [entry for union, _ in UNIONS if (entry := _read_union(operator, union, budget)) is not None]
    if len(found) > 1:
        raise ModelFormatError("an operator has two tables of options")
    return found[0] if found else ("", MappingProxyType({}))


def write_options(operator: Any, options_type: str, options: Mapping[str, Any]) -> None:
    """Sets the options of an `OperatorT`.

    Raises:
        UnsupportedModelError: the installed schema lacks the table or one of its fields.
    """
    for union, attribute in UNIONS:
        if options_type in numbers_of(union):
            setattr(operator, attribute + "Type", numbers_of(union)[options_type])
            setattr(operator, attribute, _filled(options_type, options))
            return
    if options_type:
        raise UnsupportedModelError(f"the installed TFLite schema has no options table {options_type!r}")


def completed(options_type: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """`options` with the schema's default for every field that is missing, as `read_options` gives them.

    Raises:
        UnsupportedModelError: as `write_options`.
    """
    return dict(_fields(_filled(options_type, options)))


def _read_union(operator: Any, union: str, budget: Budget) -> tuple[str, Mapping[str, Any]] | None:
    number = getattr(operator, f"{union}Type")()
    if number == 0:
        return None
    name = names_of(union).get(number)
    if name is None:
        raise ModelFormatError(f"an operator has options of the unknown kind {number} of {union}")
    table = getattr(operator, union)()
    target = getattr(schema(), name + "T")
    if table is None:
        return name, _fields(target())
    view = getattr(schema(), name)()
    view.Init(table.Bytes, table.Pos)
    return name, _fields(target.InitFromObj(checked(view, budget)))


def _fields(table: Any) -> Mapping[str, Any]:
    plain = {name: _plain(name, value) for name, value in vars(table).items() if value is not None}
    return MappingProxyType(plain)


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return tuple(value.tolist())
    if isinstance(value, float):
        return value + 0.0  # -0.0 equals the default 0.0, which a flatbuffer leaves out
    if isinstance(value, (bool, int, bytes)):
        return value
    raise UnsupportedModelError(f"the option {name} is of a kind that cannot be carried: {type(value).__name__}")


def _filled(options_type: str, options: Mapping[str, Any]) -> Any:
    table = getattr(schema(), options_type + "T")()
    for name, value in options.items():
        if hasattr(table, name):
            setattr(table, name, value)
        elif value:
            # A newer schema's field at its default changes nothing; any other value must not get lost.
            raise UnsupportedModelError(f"the installed TFLite schema has no option {options_type}.{name}")
    return table
