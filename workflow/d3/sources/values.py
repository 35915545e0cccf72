"""One judgement of values for all formats: what a column of The Stack takes, and what makes a row unreadable.

Parquet and JSON differ in what they can spell, not in what is accepted: a count may be a NaN (pandas writes
missing counts so: it is null), a whole float or digits, a time may be a timestamp (it becomes ISO 8601), a license may
stand alone. Anything else of another type makes the row, not its shard, unreadable.
"""

import datetime
import decimal
import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import pyarrow as pa

from d3.core.ids import canonical_json
from d3.core.opt_out import REPOSITORY_COLUMNS, repositories_of
from d3.core.schemas import STACK
from d3.core.tables import Row

SURROGATE = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")
"""Half a character outside the basic plane, as some encoders write it; no valid UTF-8."""


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
    for name, fitted in FITTED.items():
        value = values.get(name)
        try:
            row[name] = None if value is None or value != value else fitted(value)  # a NaN is null
        except UnicodeDecodeError as error:
            reason = "lone_surrogate" if SURROGATE.match(error.object, error.start) else "invalid_utf8"
            return Broken(reason, f"column {name}, byte {error.start}", **known_of(values))
        except UnicodeEncodeError as error:
            return Broken("lone_surrogate", f"column {name}, character {error.start}", **known_of(values))
        except (TypeError, ValueError, ArithmeticError):
            detail = f"column {name} is {value!r:.80}, not {STACK.field(name).type}"
            return Broken("wrong_type", detail, **known_of(values))
    return row


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, str):
        value.encode("utf-8")  # JSON can spell half a character
        return value
    if isinstance(value, datetime.datetime):
        if value.tzinfo is None:
            return value.isoformat(timespec="milliseconds")
        return value.astimezone(datetime.UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
    if isinstance(value, datetime.date):
        return value.isoformat()
    raise TypeError


def _texts(value: Any) -> list[str | None]:
    items = value if isinstance(value, list) else [value]
    return [None if item is None else _text(item) for item in items]


def _number(value: Any) -> Any:
    if isinstance(value, str | bytes) and re.fullmatch(r"-?\d{1,19}", _text(value)):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float | decimal.Decimal):
        raise TypeError
    return value


def _count(value: Any) -> int:
    number = _number(value)
    if number != int(number) or abs(number) >= 2**63:
        raise TypeError
    return int(number)


def _share(value: Any) -> float:
    number = float(_number(value))
    if math.isinf(number):
        raise TypeError
    return number


def _fitted(kind: pa.DataType) -> Callable[[Any], Any]:
    """Return the function that makes a value one of a column's type; it raises what `stack_row` expects."""
    if pa.types.is_list(kind):
        return _texts
    return _text if pa.types.is_string(kind) else _share if pa.types.is_floating(kind) else _count


FITTED = {field.name: _fitted(field.type) for field in STACK}


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
