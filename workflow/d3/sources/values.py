"""One judgement of values for all formats: what a column of The Stack takes, and what makes a row unreadable.

Parquet and JSON differ in what they can spell, not in what is accepted: a count may be a NaN (pandas writes
missing counts so: it is null), a whole float or digits, a time may be a timestamp (it becomes ISO 8601), a license may
stand alone. Anything else of another type makes the row, not its shard, unreadable.
"""

import datetime
import decimal
import json
import math
import re
from typing import Any, NamedTuple

import pyarrow as pa

from d3.core.ids import canonical_json
from d3.core.opt_out import REPOSITORY_COLUMNS, repositories_of
from d3.core.schemas import STACK
from d3.core.tables import Row

SURROGATE = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")
"""Half a character outside the basic plane, as some encoders write it; no valid UTF-8."""
FIELDS = [(field.name, field.type) for field in STACK]


class Broken(NamedTuple):
    """A row that cannot be read."""

    reason: str
    detail: str
    hexsha: str | None = None
    repositories: tuple[str, ...] = ()
    """Repositories that it names, as far as they can be read."""


def stack_row(values: Row) -> Row | Broken:
    """Return a row with exactly the columns of The Stack, or why it is none; columns that are absent are null.

    Texts may be bytes in UTF-8.
    """
    row: Row = {}
    for name, kind in FIELDS:
        value = values.get(name)
        try:
            row[name] = None if value is None else fitted(value, kind)
        except UnicodeDecodeError as error:
            reason = "lone_surrogate" if SURROGATE.match(error.object, error.start) else "invalid_utf8"
            return Broken(reason, f"column {name}, byte {error.start}", **known_of(values))
        except TypeError:
            return Broken("wrong_type", f"column {name} is {value!r:.80}, not {kind}", **known_of(values))
    try:
        json.dumps({**row, "content": None}, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return Broken("lone_surrogate", "a string contains half a character", **known_of(values))
    return row


def fitted(value: Any, kind: pa.DataType) -> Any:
    """Return a value as one of a column's type; raise TypeError, or UnicodeDecodeError for bytes that are no text."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if pa.types.is_list(kind):
        return [fitted(item, kind.value_type) for item in (value if isinstance(value, list) else [value])]
    if pa.types.is_string(kind):
        return _text(value)
    if isinstance(value, str | bytes) and re.fullmatch(r"-?\d{1,19}", _text(value)):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float | decimal.Decimal) or not math.isfinite(value):
        raise TypeError
    if pa.types.is_floating(kind):
        return float(value)
    if value != int(value) or abs(value) >= 2 ** (kind.bit_width - 1):
        raise TypeError
    return int(value)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, datetime.datetime):
        if value.tzinfo is None:
            return value.isoformat(timespec="milliseconds")
        return value.astimezone(datetime.UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, str):
        return value
    raise TypeError


def known_of(values: Row) -> dict[str, Any]:
    """Return what is known of a broken row: its hexsha and its repositories."""
    sound: Row = {}
    for name in ("hexsha", *REPOSITORY_COLUMNS):
        value = values.get(name)
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        sound[name] = value if isinstance(value, str) and (name != "hexsha" or value.isascii()) else None
    try:
        canonical_json(sound).encode()
    except UnicodeEncodeError:
        return {}
    return {"hexsha": sound["hexsha"], "repositories": tuple(repositories_of(sound))}
