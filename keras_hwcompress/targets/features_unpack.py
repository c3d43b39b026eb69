"""Counts of unpacking weight rows, by format; all arms share the decoders."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from keras_hwcompress.formats import entropy_model
from keras_hwcompress.formats.blob import split, unpack_header
from keras_hwcompress.formats.table import table
from keras_hwcompress.targets.features_direct import is_wide, lists_of
from keras_hwcompress.targets.features_windows import Counts, ceil

_GROUP = 4
# Bits that the entropy decoder looks up at a time.
_LOOKUP = 7
# Weights that an entry of its table can stand for, at most.
_MOST_ADVANCE = 15
_NARY_LOOPS = (2, 3, 4, 6, 15, 16)
_NARY_PER_BYTE = {2: 8, 3: 5, 4: 4, 6: 3, 15: 2, 16: 2}


def unpack_counts(name: str, blob: bytes, values: np.ndarray, at_once: int) -> tuple[str, Counts]:
    """(loop, counts) of unpacking all rows.

    Args:
        name: of the format. values: int8 (rows, row_length), what `blob` holds. at_once: rows per call.
    """
    rows, length = values.shape
    counts = {
        "calls": ceil(rows, at_once),
        "rows": rows,
        "weights": rows * length,
        "bytes": len(blob),
        "nonzeros": int(np.count_nonzero(values)),
    }
    loop, more = _FORMATS[name](blob, values, at_once) if name in _FORMATS else ("-", {})
    return loop, counts | more


def _before(rows: int, at_once: int) -> int:
    """Rows in front of the first one of every call."""
    return sum(range(0, rows, at_once))


def _nary(blob: bytes, values: np.ndarray, at_once: int) -> tuple[str, Counts]:
    levels = unpack_header(blob).param & ~table().constants["NARY_PER_CHANNEL"]
    limit = next(limit for limit in _NARY_LOOPS if levels <= limit)
    rows, (whole, rest) = len(values), divmod(values.shape[1], _NARY_PER_BYTE[limit])
    return str(limit), {"whole bytes": rows * whole, "rests": rows * (rest > 0), "weights in rests": rows * rest}


def _runs(blob: bytes, values: np.ndarray, at_once: int) -> tuple[str, Counts]:
    """A call goes through the groups of all rows in front of its first."""
    lists = lists_of(blob)
    skipped = _before(lists.rows, at_once) * lists.groups / lists.rows
    counts = {"groups": lists.groups, "lists": lists.lists, "words": lists.words, "entries": lists.entries, "groups skipped": skipped}
    return "wide" if is_wide(blob) else "narrow", counts


def _entropy(blob: bytes, values: np.ndarray, at_once: int) -> tuple[str, Counts]:
    """Gaps and levels, or, where the payload begins with the nibble of an empty gap code, a level for every weight.

    A call prepares a table, finds its first tile, and unpacks that from its first row on.
    """
    header, rows = unpack_header(blob), len(values)
    of_tile = 1 << (header.param & 7)
    tiles = ceil(rows, of_tile)
    again, walked, begun = 0, 0, 0
    for first in range(0, rows, at_once):
        last = min(first + at_once, rows)
        again += first % of_tile
        walked += tiles - first // of_tile
        begun += ceil(last, of_tile) - first // of_tile
    share = (rows + again) / rows
    model = entropy_model.unpack(split(blob)[1], bool(header.param & table().constants["ENTROPY_LISTED"]))[0]
    tokens = {name: share * count for name, count in _tokens(model, values, of_tile).items()}
    counts = tokens | {
        "rows": rows + again,
        "weights": values.size * share,
        "bytes": len(blob) * share,
        "nonzeros": np.count_nonzero(values) * share,
        "tiles": begun,
        "tiles walked": walked,
    }
    counts |= {f"{name} x calls": ceil(rows, at_once) * count for name, count in _tables(model).items()}
    return "levels" if len(model.gaps) == 1 else "gaps", counts


def _tables(model: entropy_model.Model) -> Counts:
    """What the tables of a call are made of: spans of equal entries, entries looked at to join a run with what follows it.

    The second table, of values alone, is there only for values that some gap leaves no room for.
    """
    spans, joins, is_complete = 0, 0, True
    for symbol, length in zip(model.gaps, model.gap_lengths, strict=True):
        window = _LOOKUP - length
        if symbol >= entropy_model.RUN:
            joins = 1 << window if window >= 0 and symbol - entropy_model.RUN < _MOST_ADVANCE else 0
        elif window >= 0 and symbol < _MOST_ADVANCE:
            fitting = sum(length <= window for length in model.value_lengths)
            spans, is_complete = spans + fitting, is_complete and fitting == len(model.value_lengths)
    of_values = 0 if is_complete else sum(length <= _LOOKUP for length in model.value_lengths)
    lengths = max(model.gap_lengths) + max(model.value_lengths)
    return {
        "levels": len(model.levels), "gaps": len(model.gaps), "code lengths": lengths, "spans": spans, "joins": joins,
        "tables of values": not is_complete, "spans of values": of_values,
    }  # fmt: skip


def _tokens(model: entropy_model.Model, values: np.ndarray, rows_of_tile: int) -> Counts:
    """Tokens: runs of zeros, and weights with the gap in front of them; those that one look at the table does not find."""
    of_level = np.zeros(256, int)
    of_level[np.array(model.levels[::-1]) & 255] = model.value_lengths[::-1]
    flat = values.reshape(-1)
    if len(model.gaps) == 1:
        lengths = of_level[flat.view(np.uint8)]
        return {"tokens": flat.size} | _long(lengths, lengths)
    run = next(symbol for symbol in model.gaps if symbol >= entropy_model.RUN)
    period = run - entropy_model.RUN + 1
    of_gap = dict(zip(model.gaps, model.gap_lengths, strict=True))
    at = np.flatnonzero(flat)
    first = at // (rows_of_tile * values.shape[1]) * rows_of_tile * values.shape[1]
    gaps = at - np.maximum(np.concatenate([[-1], at[:-1]]) + 1, first)
    of_value = of_level[flat[at].view(np.uint8)]
    lengths = np.array([of_gap.get(gap, 0) for gap in range(period)])[gaps % period] + of_value
    runs, joined = int((gaps // period).sum()), (gaps >= period) & (lengths + of_gap[run] <= _LOOKUP)
    far = int((gaps % period >= _MOST_ADVANCE).sum()) + (runs if period > _MOST_ADVANCE else 0)
    counts = {"tokens": len(at) + runs, "runs": runs, "joined runs": int(joined.sum()), "far tokens": far}
    return counts | _long(lengths, of_value)


def _long(lengths: np.ndarray, of_value: np.ndarray) -> Counts:
    """Tokens and values whose codes are longer than what is looked up, and how many bits longer."""
    beyond = np.maximum(of_value - _LOOKUP, 0)
    return {"long tokens": int((lengths > _LOOKUP).sum()), "long values": int((beyond > 0).sum()), "bits of long values": int(beyond.sum())}


def _bitmap(blob: bytes, values: np.ndarray, at_once: int) -> tuple[str, Counts]:
    """A call adds up the counts of all rows in front of its first."""
    (rows, length), param, code_bits = values.shape, unpack_header(blob).param, 3
    in_groups = bool(param & table().constants["BITMAP_GROUPS"])
    of_unit = _GROUP if in_groups else 1
    units = ceil(length, of_unit)
    filled = np.pad(values, ((0, 0), (0, units * of_unit - length))).reshape(rows, units, of_unit).any(axis=2)
    counts = {
        "map bytes": rows * ceil(units, 8),
        "units": rows * units,
        "units used": int(np.count_nonzero(filled)),
        "rows skipped": _before(rows, at_once),
    }
    return f"{'groups' if in_groups else 'weights'} as {'they are' if param & code_bits == code_bits else 'codes'}", counts


_FORMATS: dict[str, Callable[[bytes, np.ndarray, int], tuple[str, Counts]]] = {
    "nary": _nary, "runs": _runs, "entropy": _entropy, "bitmap": _bitmap,
}  # fmt: skip
