"""The objects that a channel knows: how values are written for the other side, and built from what it wrote.

**By reference.** A list, dict, set or other builtin container that crosses has a number and lives on
both sides. Before a message is sent, what changed in one since the last message goes along, and the
other side changes its own: what a call does to an argument is done to the tests' object. A container
that only this table still holds is forgotten, on both sides.

**Handles.** What is no exact value (`values.py`) stays where it is, and a stand-in (`remote.py`) crosses.
"""

import contextlib
import gc
import sys
import types
from collections import abc
from collections.abc import Iterator
from typing import Any

from d3.evals.sandbox import values
from d3.evals.sandbox.remote import SPECIAL, RemoteClass, Unsupported, make_class

INTERNAL = (types.FrameType, types.CodeType, types.TracebackType, types.ModuleType)
NAMED = (type, types.BuiltinFunctionType)
FUNCTIONS = (types.FunctionType, types.MethodDescriptorType, types.WrapperDescriptorType, types.BuiltinFunctionType)
CHAINED = 16
"""Causes and contexts of an exception that cross with it."""


class Entry:
    """What the table knows of one numbered object."""

    __slots__ = ("contents", "kind", "name", "own", "value")

    def __init__(self, value: Any, *, own: bool, name: str = "", kind: values.Kind | None = None) -> None:
        self.value, self.own, self.name, self.kind = value, own, name, kind
        self.contents: list[Any] = []


class Table:
    """The numbered objects of one side of a channel; the tests' side is `strict` about what it builds."""

    def __init__(self, *, strict: bool) -> None:
        self.strict = strict
        self.objects = False
        """Whether an object of the program has crossed as a handle."""
        self._next = 2 if strict else 1
        self._entries: dict[int, Entry] = {}
        self._numbers: dict[int, int] = {}
        self._rows: list[list[Any]] = []
        self._queue: list[tuple[int, Any]] = []
        self._chained = 0

    # --- what is shared -------------------------------------------------------------------------------

    def write(self, value: Any, *, light: bool) -> dict[str, Any]:
        """Return what is written for a value: itself, the rows of objects that are new or changed, what is forgotten.

        `light` leaves out changes of containers.
        """
        self._rows = []
        forgotten: list[int] = []
        if not light:
            for number, entry in self._entries.items():
                if entry.kind is not None and not values.same(entry.contents, entry.kind.contents(entry.value)):
                    self._queue.append((number, entry.value))  # holds it: a change is sent before it is forgotten
            forgotten = self._forget()
        try:
            with no_collection():
                packed = self.pack(value)
                while self._queue:
                    self._pack_contents(*self._queue.pop())
        except BaseException:
            self._queue = []
            raise
        return {"v": packed, "o": self._rows, "f": forgotten}

    def read(self, message: dict[str, Any]) -> Any:
        """Do what a message says about objects and return its value; raise for what is no value."""
        for number in message["f"]:
            entry = self._entries.get(number)
            if entry is not None and (entry.own or entry.kind is not None):
                self._drop(number)
        with no_collection():
            self._build_rows(message["o"])
        return self.unpack(message["v"])

    def shared_items(self) -> int:
        """Count the items of the containers of both sides."""
        return sum(len(entry.contents) for entry in self._entries.values() if entry.kind is not None)

    def _enter(self, number: int, entry: Entry) -> None:
        self._entries[number] = entry
        self._numbers[id(entry.value)] = number

    def _drop(self, number: int) -> None:
        entry = self._entries.pop(number)
        self._numbers.pop(id(entry.value), None)

    def _forget(self) -> list[int]:
        """Drop what only this table holds: containers of both sides and stand-ins; return their numbers."""
        dropped = []
        for _ in range(2):  # what the dropped ones held is let go
            for number in list(self._entries):
                entry = self._entries[number]
                mine = entry.kind is None and (entry.own or isinstance(entry.value, RemoteClass))
                if not mine and sys.getrefcount(entry.value) <= 2:
                    self._drop(number)
                    dropped.append(number)
        return dropped

    def is_own(self, value: Any) -> bool:
        """Return whether a value is known to the channel as one of this side."""
        number = self._numbers.get(id(value))
        return number is not None and self._entries[number].own

    # --- writing values -------------------------------------------------------------------------------

    def pack(self, value: Any) -> Any:
        """Return what is written for a value; objects that are new to the channel become rows."""
        kind = type(value)
        if value is None or kind is bool:
            return value
        if kind is int and -values.LONG <= value < values.LONG:
            return value
        if kind is float and value == value:
            return value
        if kind is str and (value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)):
            return value
        number = self._numbers.get(id(value))
        if number is not None:
            return [number]
        if kind is float:
            return [self._number(Entry(value, own=True), "nan")]
        name = values.kind_name(value)
        atom = values.atom_parts(value) if name is None else None
        if atom is not None:
            return [atom[0], *map(self.pack, atom[1])]
        if name is not None:
            number = self._number(Entry(value, own=True, name=name, kind=values.kind_of(name)[1]))
            self._queue.append((number, value))
            return [number]
        return self._pack_object(value)

    def _number(self, entry: Entry, *row: Any) -> int:
        """Number an object of this side and write its row, if that is known already."""
        number, self._next = self._next, self._next + 2
        self._enter(number, entry)
        if row:
            self._rows.append([number, *row])
        return number

    def _pack_contents(self, number: int, value: Any) -> None:
        """Write the row of a container: its number, kind, header, items and class, if it is a hybrid."""
        entry = self._entries[number]
        assert entry.kind is not None
        items = entry.contents = entry.kind.contents(value)
        header = [self.pack(part) for part in entry.kind.header(value)]
        packed = items if values.is_plain(items) else [self.pack(item) for item in items]
        extra = self._class(type(value)) if values.kind_name(value) is None and entry.own else None
        self._rows.append([number, entry.name, header, packed, extra])

    def _pack_object(self, value: Any) -> Any:
        """Write a class, a function, an exception, a hybrid or a handle."""
        named = values.global_name(value) if self.strict or isinstance(value, NAMED) else None
        if named and (values.is_data_class(value) or (self.strict and callable(value)) or named in values.PURE):
            return ["global", *named]
        if isinstance(value, types.ModuleType) and value.__name__.split(".")[0] in sys.stdlib_module_names:
            return ["module", value.__name__]
        if isinstance(value, types.TracebackType):
            return None  # it is of this process; what a program may see of an exception is there
        if self.strict and isinstance(value, INTERNAL):
            raise Unsupported(f"the tests pass a {type(value).__name__} to the program")
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, BaseException):
            return [self._pack_exception(value)]
        kind = self._class(type(value))
        base = builtin_base(type(value))
        if base in values.KINDS:
            entry = Entry(value, own=True, name=base.__name__, kind=values.KINDS[base])
            number = self._number(entry)
            self._queue.append((number, value))
            return [number]
        if base is not None:
            return [self._number(Entry(value, own=True), "hybrid", kind, self.pack(values.exact(base, value)))]
        return [self._number(Entry(value, own=True), "object", kind)]

    def _pack_exception(self, error: BaseException) -> int:
        """Write the row of an exception: its class, arguments, other fields, and what it came of."""
        kind = self.pack(type(error))
        group = isinstance(error, BaseExceptionGroup)  # made from its exceptions, which have to be there before
        arguments = [self.pack(tuple(item) if group and type(item) is list else item) for item in error.args]
        fields = {}
        if values.global_name(type(error)):
            fields = {**vars(error), **values.exception_fields(error)}
            fields.pop("from_program", None)
        state = [[str(key), self.pack(item)] for key, item in fields.items()]
        self._chained += 1
        chain = (error.__cause__, error.__context__) if self._chained < CHAINED else (None, None)
        before = [*map(self.pack, chain), error.__suppress_context__]
        self._chained -= 1
        return self._number(Entry(error, own=True), "exception", kind, arguments, state, before)

    def _class(self, kind: type) -> list[int]:
        """Return the reference to a class as stand-ins have it, whether or not the other side has it as well."""
        number = self._numbers.get(id(kind))
        return [self._pack_class(kind) if number is None else number]

    def _pack_class(self, kind: type) -> int:
        """Write the row that describes a class."""
        base = builtin_base(kind)
        own = [part for part in kind.__mro__ if not is_exact_class(part)]
        names = {name: value for part in reversed(own) for name, value in vars(part).items()}
        real = values.global_name(kind)
        if real is None and values.BUILTIN_TYPES.get(kind.__name__) is kind:
            real = "types", next(name for name, found in vars(types).items() if found is kind)
        bases = [
            self.pack(part)
            for part in kind.__bases__
            if part is not object and (part not in own or values.global_name(part) is None)
        ]
        told = {
            "name": kind.__name__,
            "qualname": kind.__qualname__,
            "module": str(kind.__module__),
            "doc": kind.__doc__ if isinstance(kind.__doc__, str) else None,
            "real": real,
            "hashable": getattr(kind, "__hash__", None) is not None,
            "abstract": [part.__name__ for part in kind.__mro__ if getattr(abc, part.__name__, None) is part],
            "specials": [name for name in names if name in SPECIAL and getattr(kind, name, None) is not None],
            "methods": [name for name, value in names.items() if isinstance(value, FUNCTIONS) and name[0] != "_"],
        }
        return self._number(Entry(kind, own=True), "class", told, bases, self.pack(base))

    # --- building values ------------------------------------------------------------------------------

    def _build_rows(self, rows: list[Any]) -> None:
        """Build the objects of a message: first what they are, then what they contain."""
        for row in rows:
            number, name = row[0], row[1]
            if type(number) is not int or (number not in self._entries and number % 2 == self._next % 2):
                raise ValueError("a number of the other side's")
            if name == "class":
                self._enter(number, Entry(self._build_class(number, *row[2:]), own=False))
            elif name == "object":
                self._enter(number, Entry(self._stand_in(number, self.unpack(row[2])), own=False))
            elif name == "nan":
                self._enter(number, Entry(float("nan"), own=False))
            elif name not in ("exception", "hybrid") and number not in self._entries:
                self._enter(number, self._shell(number, *row[1:]))
        for row in rows:
            number, name = row[0], row[1]
            if name == "exception":
                self._enter(number, Entry(self._build_exception(number, *row[2:]), own=False))
            elif name == "hybrid":
                kind, value = map(self.unpack, row[2:])
                self._enter(number, Entry(self._stand_in(number, kind, value), own=False))
            elif name not in ("class", "object", "nan"):
                self._fill(number, name, row[3])

    def _shell(self, number: int, name: str, header: list[Any], _items: list[Any], kind: Any) -> Entry:
        base, how = values.kind_of(name)
        parts = [self.unpack(part) for part in header]
        if kind is None:
            return Entry((how.make or base)(*parts), own=False, name=name, kind=how)
        return Entry(self._stand_in(number, self.unpack(kind)), own=False, name=name, kind=how)

    def _fill(self, number: int, name: str, items: list[Any]) -> None:
        entry = self._entries[number]
        if entry.kind is None or entry.name != name:
            raise ValueError("changes what is no container")
        strange = {type(item) for item in items} - values.PLAIN
        entry.kind.fill(entry.value, [self.unpack(item) for item in items] if strange else items)
        entry.contents = entry.kind.contents(entry.value)

    def _build_class(self, number: int, told: dict[str, Any], bases: list[Any], base: Any) -> Any:
        real = None
        if told["real"] is not None:
            found = values.global_value(*map(str, told["real"]))
            real = found if isinstance(found, type) and not values.is_data_class(found) else None
        texts = {name: str(told[name]) for name in ("name", "qualname", "module")}
        lists = {name: [str(item) for item in told[name]] for name in ("specials", "methods")}
        doc = told["doc"] and str(told["doc"])
        described = {**texts, **lists, "doc": doc, "real": real, "hashable": told["hashable"] is True}
        classes = tuple(self.unpack(item) for item in bases)
        if not all(isinstance(item, RemoteClass) or is_exact_class(item) for item in classes):
            raise ValueError("a base that is no class")
        made = make_class(self, number, described, classes, self.unpack(base))
        for name in told["abstract"]:
            if str(name) in abc.__all__:
                getattr(abc, str(name)).register(made)
        return made

    def _stand_in(self, number: int, kind: Any, *value: Any) -> Any:
        """Return a stand-in of a class; a hybrid is made with its exact value."""
        if not isinstance(kind, RemoteClass):
            raise ValueError("an object of no class")
        base = builtin_base(kind)
        if value and type(value[0]) is not base:
            raise ValueError("another value than its class says")
        make: Any = base or object
        found = values.make_instance(base, kind, value[0]) if value else make.__new__(kind)
        object.__setattr__(found, "_d3_link", (self, number))
        self.objects = self.objects or not isinstance(found, types.FunctionType)
        return found

    def _build_exception(
        self, number: int, kind: Any, arguments: list[Any], state: list[Any], before: list[Any]
    ) -> BaseException:
        kind, args = self.unpack(kind), [self.unpack(item) for item in arguments]
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise ValueError("an exception of no class")
        error: BaseException
        if isinstance(kind, RemoteClass):
            make: Any = (builtin_base(kind) or Exception).__new__
            error = make(kind, *args)
            object.__setattr__(error, "_d3_link", (self, number))
        else:
            try:
                error = kind(*args)
            except TypeError:
                error = kind.__new__(kind, *args)
            for key, item in state:
                if key in values.field_names(error):
                    setattr(error, key, self.unpack(item))
                else:
                    vars(error)[str(key)] = self.unpack(item)
        object.__setattr__(error, "args", tuple(args))
        cause, context, suppressed = map(self.unpack, before)
        for name, value in (("__context__", context), ("__cause__", cause)):
            if value is not None:
                object.__setattr__(error, name, value)
        object.__setattr__(error, "__suppress_context__", suppressed is True)
        return error

    def unpack(self, item: Any) -> Any:
        """Return the value that was written; raise for what is none."""
        if type(item) is not list:
            if type(item) in values.PLAIN:
                return item
            raise ValueError("no value")
        tag, parts = item[0], item[1:]
        if type(tag) is int:
            return self._entries[tag].value
        if tag == "global":
            found = values.global_value(*map(str, parts))
            if self.strict and not values.is_data_class(found) and tuple(parts) not in values.PURE:
                raise ValueError("a name that the program may not send")
            return found
        if tag == "module":
            if str(parts[0]).split(".")[0] not in sys.stdlib_module_names:
                raise ValueError("a module that is not of the standard library")
            return __import__(str(parts[0]), fromlist=["*"])
        return values.build_atom(tag, [self.unpack(part) for part in parts])


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Collect no garbage while many objects are made, none of which is any."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def builtin_base(kind: type) -> Any:
    """Return the builtin data type or the exception that a class is made from, or None."""
    for part in kind.__mro__:
        if part is not object and not isinstance(part, RemoteClass) and is_exact_class(part):
            return part
    return None


def is_exact_class(kind: Any) -> bool:
    """Return whether a class is of both sides: of builtin data or exceptions, or `object`."""
    return values.is_data_class(kind) and values.global_name(kind) is not None
