"""Exact values: how what crosses between a program and its tests is taken apart and built again.

Immutable values ("atoms") are written in place: as JSON, or as a list that begins with a tag.
Mutable containers have a number on the channel (`table.py`), and their contents are written beside
it, so that aliases, cycles and later changes arrive. Contents are read and written by the methods of
the builtin types alone: a subclass whose `==`, `len` or iteration lies is what it contains.

What builds a value checks it: the other side may be a program that writes what it likes.
"""

import array
import collections
import datetime
import decimal
import fractions
import math
import operator
import pathlib
import sys
import types
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

PLAIN = frozenset({type(None), bool, int, float, str})
LONG = 2**63
"""Whole numbers from here on are written in base 16, which takes linear time."""
NUMPY_KINDS = "biufcSUmM"
"""Kinds of numpy's types whose bytes are their value."""


def is_plain(items: list[Any]) -> bool:
    """Return whether all items are written in JSON as they are."""
    kinds = set(map(type, items))
    if not kinds <= PLAIN:
        return False
    if str in kinds and not all(map(str.isascii, (item for item in items if type(item) is str))):
        return False
    if float in kinds and any(map(operator.ne, items, items)):  # nan has an identity
        return False
    numbers = [item for item in items if type(item) is int] if len(kinds) > 1 else items
    return int not in kinds or (max(numbers) < LONG and min(numbers) >= -LONG)


# --- mutable containers -----------------------------------------------------------------------------


class Kind(NamedTuple):
    """A builtin mutable type: how its contents are read, replaced, and what an empty one needs."""

    contents: Callable[[Any], list[Any]]
    fill: Callable[[Any, list[Any]], None]
    header: Callable[[Any], list[Any]] = lambda _: []
    """Values, fixed for its life, that `make` takes."""
    make: Callable[..., Any] | None = None


def fill_dict(value: Any, items: list[Any]) -> None:
    """Replace the contents of a dict: keys, then values."""
    half = len(items) // 2
    dict.clear(value)
    for key, item in zip(items[:half], items[half:], strict=True):
        dict.__setitem__(value, key, item)


def fill_ordered(value: Any, items: list[Any]) -> None:
    """Replace the contents of an ordered dict."""
    half = len(items) // 2
    collections.OrderedDict.clear(value)
    for key, item in zip(items[:half], items[half:], strict=True):
        collections.OrderedDict.__setitem__(value, key, item)


def fill_set(value: Any, items: list[Any]) -> None:
    """Replace the contents of a set."""
    set.clear(value)
    set.update(value, items)


def fill_deque(value: Any, items: list[Any]) -> None:
    """Replace the contents of a deque."""
    collections.deque.clear(value)
    collections.deque.extend(value, items)


def fill_array(value: Any, items: list[Any]) -> None:
    """Replace the contents of an array."""
    del value[:]
    array.array.frombytes(value, items[0])


def dict_contents(value: Any) -> list[Any]:
    """Return keys, then values."""
    return [*dict.keys(value), *dict.values(value)]


def ordered_contents(value: Any) -> list[Any]:
    """Return keys, then values, of an ordered dict."""
    return [*collections.OrderedDict.keys(value), *collections.OrderedDict.values(value)]


KINDS: dict[type, Kind] = {
    list: Kind(list.copy, lambda value, items: list.__setitem__(value, slice(None), items)),
    set: Kind(lambda value: [*set.__iter__(value)], fill_set),
    dict: Kind(dict_contents, fill_dict),
    collections.Counter: Kind(dict_contents, fill_dict),
    collections.OrderedDict: Kind(ordered_contents, fill_ordered),
    collections.defaultdict: Kind(
        dict_contents, fill_dict, lambda value: [value.default_factory], collections.defaultdict
    ),
    collections.deque: Kind(
        lambda value: [*collections.deque.__iter__(value)],
        fill_deque,
        lambda value: [value.maxlen],
        lambda maxlen: collections.deque(maxlen=maxlen),
    ),
    bytearray: Kind(
        lambda value: [bytes(bytearray.__getitem__(value, slice(None)))],
        lambda value, items: bytearray.__setitem__(value, slice(None), items[0]),
    ),
    array.array: Kind(
        lambda value: [array.array.tobytes(value)], fill_array, lambda value: [value.typecode], array.array
    ),
}
"""The kinds of mutable containers; a subclass of one is a `hybrid` of the channel."""
KIND_NAMES = {kind: kind.__name__ for kind in KINDS}
NAMES = {name: kind for kind, name in KIND_NAMES.items()}


def numpy_kind() -> Kind:
    """Return the kind of numpy's arrays; raise ImportError without numpy."""
    import numpy

    def fill(value: Any, items: list[Any]) -> None:
        value[...] = numpy.frombuffer(items[0], value.dtype).reshape(value.shape)

    def make(dtype: str, *shape: int) -> Any:
        if numpy.dtype(dtype).kind not in NUMPY_KINDS:
            raise ValueError(f"an array of {dtype}")
        return numpy.zeros(shape, dtype)

    def contents(value: Any) -> list[Any]:
        return [numpy.ndarray.tobytes(value)]

    return Kind(contents, fill, lambda value: [value.dtype.str, *value.shape], make)


def kind_of(name: str) -> tuple[type, Kind]:
    """Return the type and kind of a name; raise KeyError for others."""
    if name == "ndarray":
        import numpy

        return numpy.ndarray, numpy_kind()
    return NAMES[name], KINDS[NAMES[name]]


def kind_name(value: Any) -> str | None:
    """Return the name of a value's kind if its type is exactly one, else None."""
    name = KIND_NAMES.get(type(value))
    if name is not None:
        return name
    if (numpy := sys.modules.get("numpy")) and type(value) is numpy.ndarray and value.dtype.kind in NUMPY_KINDS:
        return "ndarray"
    return None


def same(old: list[Any], new: list[Any]) -> bool:
    """Return whether contents are unchanged: the same objects, or equal bytes."""
    if len(old) != len(new):
        return False
    return all(map(operator.is_, old, new)) or (len(old) == 1 and type(old[0]) is bytes and old[0] == new[0])


# --- atoms --------------------------------------------------------------------------------------------

Parts = Callable[[Any], list[Any]]


def _text(value: str) -> list[Any]:
    return [ord(character) for character in value]


def _time(value: Any) -> list[Any]:
    return [value.hour, value.minute, value.second, value.microsecond, value.tzinfo, value.fold]


ATOMS: dict[type, tuple[Parts, Callable[..., Any]]] = {
    tuple: (lambda value: [*tuple.__iter__(value)], lambda *items: items),
    frozenset: (lambda value: [*frozenset.__iter__(value)], lambda *items: frozenset(items)),
    int: (lambda value: [hex(value)], lambda digits: int(digits, 16)),
    str: (_text, lambda *codes: "".join(map(chr, codes))),
    bytes: (lambda value: [bytes.hex(value)], bytes.fromhex),
    complex: (lambda value: [value.real, value.imag], complex),
    range: (lambda value: [value.start, value.stop, value.step], range),
    slice: (lambda value: [value.start, value.stop, value.step], slice),
    decimal.Decimal: (lambda value: [str(value)], decimal.Decimal),
    fractions.Fraction: (lambda value: [value.numerator, value.denominator], fractions.Fraction),
    datetime.date: (lambda value: [value.year, value.month, value.day], datetime.date),
    datetime.datetime: (
        lambda value: [value.year, value.month, value.day, *_time(value)],
        lambda *parts: datetime.datetime(*parts[:8], fold=parts[8]),
    ),
    datetime.time: (_time, lambda *parts: datetime.time(*parts[:5], fold=parts[5])),
    datetime.timedelta: (lambda value: [value.days, value.seconds, value.microseconds], datetime.timedelta),
    datetime.timezone: (
        lambda value: [value.utcoffset(None), value.tzname(None)],
        lambda offset, name: datetime.timezone(offset, name) if offset else datetime.UTC,
    ),
    uuid.UUID: (lambda value: [value.int], lambda number: uuid.UUID(int=number)),
    pathlib.PosixPath: (lambda value: [str(value)], pathlib.PosixPath),
    pathlib.PurePosixPath: (lambda value: [str(value)], pathlib.PurePosixPath),
    memoryview: (lambda value: [value.tobytes()], memoryview),
    type({}.keys()): (lambda value: [tuple(value)], lambda items: dict.fromkeys(items).keys()),
    type({}.values()): (lambda value: [tuple(value)], lambda items: dict(enumerate(items)).values()),
    type({}.items()): (lambda value: [tuple(value)], lambda items: dict(items).items()),
}
"""Immutable types: how a value is taken apart, and built from its parts."""
BUILDERS = {kind.__name__: build for kind, (_, build) in ATOMS.items()}
SINGLE = {"Ellipsis": ..., "NotImplemented": NotImplemented}


def atom_parts(value: Any) -> tuple[str, list[Any]] | None:
    """Return the tag and parts of an atom, or None for what is none."""
    kind = type(value)
    if kind in ATOMS:
        return kind.__name__, ATOMS[kind][0](value)
    if value is ... or value is NotImplemented:
        return str(value), []
    numpy = sys.modules.get("numpy")
    if numpy and isinstance(value, numpy.generic) and value.dtype.kind in NUMPY_KINDS:
        return "numpy", [value.dtype.str, value.tobytes()]
    return None


def build_atom(tag: str, parts: list[Any]) -> Any:
    """Return the atom of a tag and its built parts; raise for everything that is none."""
    if tag in SINGLE:
        return SINGLE[tag]
    if tag == "numpy":
        import numpy

        if numpy.dtype(parts[0]).kind not in NUMPY_KINDS:
            raise ValueError(f"a number of {parts[0]}")
        return numpy.frombuffer(parts[1], parts[0])[0]
    return BUILDERS[tag](*parts)


# --- instances of subclasses of atoms ----------------------------------------------------------------

EXACT: dict[Any, Any] = {
    int: int.__pos__,
    float: float.__pos__,
    str: str.__str__,
    bytes: lambda value: bytes.__getitem__(value, slice(None)),
    tuple: lambda value: tuple(tuple.__iter__(value)),
    frozenset: lambda value: frozenset(frozenset.__iter__(value)),
}


def exact(base: Any, value: Any) -> Any:
    """Return what an instance of a subclass of an immutable builtin type contains."""
    if base in EXACT:
        return EXACT[base](value)
    parts, build = ATOMS[base]
    return build(*parts(value))


def make_instance(base: Any, kind: Any, value: Any) -> Any:
    """Return an instance of a subclass of an immutable builtin type with a value."""
    if base in (datetime.datetime, datetime.time):
        *parts, fold = ATOMS[base][0](value)
        return base.__new__(kind, *parts, fold=fold)
    if base in (datetime.date, datetime.timedelta):
        return base.__new__(kind, *ATOMS[base][0](value))
    return base.__new__(kind, value)


# --- names of the standard library --------------------------------------------------------------------


def global_name(value: Any) -> tuple[str, str] | None:
    """Return the module and name by which the standard library has a class or function, or None."""
    if value is type(None):  # which has no name among the builtin ones
        return "types", "NoneType"
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or module.split(".")[0] not in sys.stdlib_module_names:
        return None
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return (module, name) if found is value else None


def global_value(module: str, name: str) -> Any:
    """Return what the standard library has under a name; raise for what is not there."""
    if module.split(".")[0] not in sys.stdlib_module_names:
        raise ValueError(f"{module} is not of the standard library")
    __import__(module)
    found: Any = sys.modules[module]
    for part in name.split("."):
        found = getattr(found, part)
    return found


PURE = frozenset(
    {("builtins", name) for name in ("abs", "all", "any", "ascii", "bin", "callable", "chr", "divmod", "format", "hex",
                                     "isinstance", "issubclass", "iter", "len", "max", "min", "next", "oct", "ord",
                                     "pow", "repr", "round", "sorted", "sum")}
    | {("math", name) for name in dir(math) if not name.startswith("_")}
)  # fmt: skip
"""Builtin functions that a program may answer with: what they do, it could do itself."""


FIELDS: dict[type[BaseException], tuple[str, ...]] = {
    AttributeError: ("name",),
    NameError: ("name",),
    ImportError: ("name", "path"),
    OSError: ("filename", "filename2"),
}


def field_names(error: BaseException) -> tuple[str, ...]:
    """Return the fields of a builtin exception that are neither in its arguments nor in its `__dict__`."""
    return next((names for kind, names in FIELDS.items() if isinstance(error, kind)), ())


def exception_fields(error: BaseException) -> dict[str, Any]:
    """Return those of an exception's fields that are set."""
    return {name: item for name in field_names(error) if (item := getattr(error, name)) is not None}


def is_data_class(value: Any) -> bool:
    """Return whether a value is a class of plain data or of exceptions, safe to call with anything."""
    if not isinstance(value, type):
        return False
    return value in KINDS or value in ATOMS or value in PLAIN or value is object or issubclass(value, BaseException)


BUILTIN_TYPES: dict[str, type] = {
    kind.__name__: kind for kind in vars(types).values() if isinstance(kind, type) and kind.__module__ == "builtins"
}
"""Builtin types without a builtin name, such as generators and functions."""
