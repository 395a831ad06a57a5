"""Rows picked and numbers taken out of Arrow without pandas.

`pyarrow.array`, `Array.to_numpy`, times as Python objects and `parquet.read_table` import pandas
wherever it is installed: a second or two that a report, and a run that finds nothing left to do,
need not pay.
"""

from collections.abc import Container, Sequence
from typing import Any

import numpy as np
import pyarrow as pa


def pick(table: pa.Table, places: Sequence[int]) -> pa.Table:
    """The rows of a table at `places`, in that order."""
    content = pa.py_buffer(np.asarray(places, dtype=np.int64).tobytes())
    return table.take(pa.Int64Array.from_buffers(pa.int64(), len(places), [None, content]))


def where(table: pa.Table, column: str, values: Container[str]) -> pa.Table:
    """The rows whose value in a column of texts is among `values`."""
    found = table.column(column).to_pylist()
    return pick(table, [i for i, value in enumerate(found) if value in values])


def records(table: pa.Table, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Some columns as a mapping a row; a time is whole microseconds since 1970."""
    chosen = table.select(list(columns))
    fields = [
        field.with_type(pa.int64()) if pa.types.is_timestamp(field.type) else field
        for field in chosen.schema
    ]
    return chosen.cast(pa.schema(fields)).to_pylist()


def numbers(column: pa.Array) -> np.ndarray:
    """A column of numbers or truth values, none of them null, as NumPy."""
    plain = column.cast(pa.uint8()) if pa.types.is_boolean(column.type) else column
    return np.from_dlpack(plain) if len(plain) else np.empty(0)


def words(column: pa.Array) -> tuple[np.ndarray, list[str]]:
    """A column of texts as the distinct texts, and for each row which of them it is."""
    encoded = column.dictionary_encode()
    return numbers(encoded.indices), encoded.dictionary.to_pylist()


def items(table: pa.Table, column: str) -> tuple[np.ndarray, pa.StructArray]:
    """All structs of a column of lists, and for each in which row of the table it stands."""
    lists = table.column(column).combine_chunks()
    lists = lists.chunk(0) if isinstance(lists, pa.ChunkedArray) else lists
    if len(lists) == 0:
        return np.empty(0, dtype=np.int64), lists.flatten()
    counts = np.diff(numbers(lists.offsets))
    return np.repeat(np.arange(len(lists)), counts), lists.flatten()
