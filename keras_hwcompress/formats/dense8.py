"""dense8: the int8 weights as they are, row after row; the kernel reads them in place.

>>> encode_payload(np.array([[1, -1, 2]], np.int8))
(0, b'\\x01\\xff\\x02\\x00')
"""

from __future__ import annotations

import numpy as np

from keras_hwcompress.errors import BlobError
from keras_hwcompress.formats import blob


def encode_payload(values: np.ndarray) -> tuple[int, bytes]:
    """Param 0 and the bytes of `values` (int8, shape (rows, row_length)) padded to 4."""
    return 0, blob.pad(values.tobytes())


def decode_payload(header: blob.Header, payload: bytes) -> np.ndarray:
    """The int8 values, shape (rows, row_length).

    Raises:
        BlobError: param is not 0, the length is not rows * row_length padded to 4, or padding is not zero.
    """
    if header.param != 0:
        raise BlobError(f"dense8: expected param 0. Received: {header.param}")
    (section,) = blob.split_sections(payload, [header.rows * header.row_length])
    return section.view(np.int8).reshape(header.rows, header.row_length).copy()
