"""Stand-ins for classes and objects of the other side of the channel.

A class is described by its name, bases and methods, and becomes a class here, so that `isinstance`,
`except` and subclass checks work. What is done to a stand-in is done to the object itself, by a
request. An instance of a subclass of a builtin type ("hybrid") holds the exact value of that type.

In the tests' process (`strict`), a stand-in never decides about a builtin value: `stand_in == 5` is
False without a request, a hybrid compares as what it contains, and neither ordering against a number
nor subtracting one is left to the program.
"""

import inspect
import types
from typing import Any

UNARY = ("neg", "pos", "abs", "invert", "int", "float", "complex", "index", "round", "trunc", "floor", "ceil")
BINARY = ("add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "divmod", "pow", "lshift", "rshift", "and",
          "or", "xor")  # fmt: skip
ORDER = ("lt", "le", "gt", "ge")
OTHERS = ("call", "len", "getitem", "setitem", "delitem", "contains", "iter", "reversed", "next", "enter", "exit",
          "bool", "str", "repr", "format", "bytes", "missing", "aiter", "anext", "aenter", "aexit", "fspath",
          "length_hint", "await", "get", "set", "delete", "set_name")  # fmt: skip
ARITHMETIC = frozenset(f"__{prefix}{name}__" for name in BINARY for prefix in ("", "r", "i"))
ORDERING = frozenset(f"__{name}__" for name in ORDER)
DIFFERENCES = frozenset(f"__{prefix}{name}__" for name in ("sub", "and", "or", "xor") for prefix in ("", "r", "i"))
"""Operators that can make an expected value out of any other one."""
SPECIAL = ARITHMETIC | ORDERING | {f"__{name}__" for name in (*UNARY, *OTHERS)} | {"__eq__", "__hash__"}
"""Methods that Python looks up on a class, which its stand-in therefore has to have."""
OF_HYBRIDS = frozenset(
    f"__{name}__" for name in ("call", "missing", "enter", "exit", "str", "repr", "format", "setitem", "delitem")
)
"""Those of them that the subclass of a builtin type may define anew for the other side."""
OF_ASYNC_GENERATORS = ("async_generator_asend", "async_generator_athrow", "anext_awaitable")
"""Awaitables that end with StopAsyncIteration."""


class Unsupported(BaseException):
    """What cannot be carried over the channel."""


def link(value: Any) -> Any:
    """Return the channel and the number of a stand-in."""
    return object.__getattribute__(value, "_d3_link")


def is_remote(value: Any) -> bool:
    """Return whether a value stands for an object of the other side."""
    return isinstance(value, RemoteClass) or isinstance(type(value), RemoteClass)


def request(value: Any, kind: str, *parts: Any) -> Any:
    """Ask the other side to do something with the object that a stand-in stands for."""
    channel, _ = link(value) if not isinstance(value, RemoteClass) else type.__getattribute__(value, "_d3_class")
    return channel.exchange(kind, value, *parts)


class RemoteClass(type):
    """The class of stand-ins for classes."""

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> Any:
        """Make a class from a description, which alone has the link; raise Unsupported for others."""
        if "_d3_class" not in namespace:
            raise Unsupported(f"the tests derive {name} from a class of the program")
        return type.__new__(cls, name, bases, namespace)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """Make an instance on the other side."""
        return request(cls, "call", None, args, tuple(kwargs.items()))

    def __getattr__(cls, name: str) -> Any:
        return get(cls, name)

    def __setattr__(cls, name: str, value: Any) -> None:
        request(cls, "set", name, value)

    def __delattr__(cls, name: str) -> None:
        request(cls, "del", name)

    def __iter__(cls) -> Any:
        return request(cls, "call", "__iter__", (), ())

    def __len__(cls) -> int:
        return request(cls, "call", "__len__", (), ())  # type: ignore[no-any-return]

    def __bool__(cls) -> bool:
        return True

    def __contains__(cls, item: Any) -> bool:
        return bool(request(cls, "call", "__contains__", (item,), ()))

    def __getitem__(cls, key: Any) -> Any:
        return request(cls, "item", key)


def get(value: Any, name: str) -> Any:
    """Return an attribute of the object itself."""
    if name.startswith(("__array", "__dlpack", "__buffer", "_d3_")):  # what numpy would let decide
        raise AttributeError(name)
    if name == "__signature__":
        return signature(value)
    return request(value, "get", name)


def signature(value: Any) -> inspect.Signature:
    """Return the parameters of a function or class of the other side."""
    parts = request(value, "sign")
    if parts is None:
        raise AttributeError("__signature__")
    parameters, result = parts
    return inspect.Signature(
        [
            inspect.Parameter(
                name,
                inspect._ParameterKind(kind),
                default=default[0] if default else inspect.Parameter.empty,
                annotation=annotation[0] if annotation else inspect.Parameter.empty,
            )
            for name, kind, default, annotation in parameters
        ],
        return_annotation=result[0] if result else inspect.Signature.empty,
    )


def signature_parts(value: Any) -> Any:
    """Return what `signature` builds a signature from, or None for what has none."""
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return None
    empty = inspect.Parameter.empty
    parameters = tuple(
        (
            parameter.name,
            int(parameter.kind),
            () if parameter.default is empty else (parameter.default,),
            () if parameter.annotation is empty else (parameter.annotation,),
        )
        for parameter in found.parameters.values()
    )
    return parameters, () if found.return_annotation is empty else (found.return_annotation,)


class Doc:
    """The docstring: of the class here, of an instance by a request."""

    def __init__(self, text: str | None) -> None:
        self.text = text

    def __get__(self, value: Any, owner: type) -> Any:
        return self.text if value is None else get(value, "__doc__")


def special(name: str) -> Any:
    """Return the method of a stand-in that asks for a special method of the object."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        value = request(self, "call", None if name == "__call__" else name, args, tuple(kwargs.items()))
        if name == "__anext__" and is_remote(value):
            object.__setattr__(value, "_d3_step", True)
        return value

    method.__name__ = method.__qualname__ = name
    return method


def bound(self: Any, value: Any, owner: Any = None) -> Any:
    """Return the method that a function is where it is an attribute of a class."""
    return self if value is None else types.MethodType(self, value)


def deciding(name: str, *, base: type | None, asks: bool) -> Any:
    """Return a method of two operands that is only asked where no builtin value is decided about."""
    builtin = getattr(base, name, None) if name in DIFFERENCES else None

    def method(self: Any, other: Any) -> Any:
        if is_remote(other) or not link(self)[0].strict:
            return request(self, "call", name, (other,), ()) if asks else NotImplemented
        if name in ("__eq__", "__hash__"):
            return NotImplemented
        if builtin is not None:
            return builtin(self, other)
        if name in ORDERING | DIFFERENCES and type(other).__module__ != "__main__":  # a class of the tests may decide
            kinds = f"{type(self).__name__}.{name} with a {type(other).__name__}"
            raise Unsupported(f"{kinds} would let the program decide")
        return request(self, "call", name, (other,), ())

    method.__name__ = method.__qualname__ = name
    return method


def copied(self: Any) -> Any:
    """Return a stand-in for a copy made by the other side."""
    return request(self, "copy", False)


def copied_deeply(self: Any, _: Any) -> Any:
    """Return a stand-in for a deep copy made by the other side."""
    return request(self, "copy", True)


def set_attribute(self: Any, name: str, value: Any) -> None:
    """Set an attribute of the object itself; Python's own marks on a raised exception stay here."""
    if name in ("__traceback__", "__context__", "__suppress_context__") and isinstance(self, BaseException):
        object.__setattr__(self, name, value)
    else:
        request(self, "set", name, value)


def ends_iteration(self: Any) -> bool:
    """Return whether an awaitable may end with StopAsyncIteration."""
    try:
        return bool(object.__getattribute__(self, "_d3_step"))
    except AttributeError:
        return type(self).__name__ in OF_ASYNC_GENERATORS


def awaited(self: Any) -> Any:
    """Await the object: the other side runs it to its end."""
    return request(self, "step" if ends_iteration(self) else "await")
    yield


def sent(self: Any, _: Any) -> Any:
    """Run a coroutine of the other side to its end, as an event loop does."""
    raise StopIteration(request(self, "await"))


def make_class(channel: Any, number: int, told: dict[str, Any], bases: tuple[type, ...], base: type | None) -> Any:
    """Return the stand-in for a class of the other side from its description; `base` is its builtin base."""
    specials = [name for name in told["specials"] if name in SPECIAL]
    namespace: dict[str, Any] = {
        "_d3_class": (channel, number),
        "__getattr__": get,
        "__setattr__": set_attribute,
        "__delattr__": lambda self, name: request(self, "del", name),
        "__dict__": property(lambda self: get(self, "__dict__")),
        "__doc__": Doc(told["doc"]),
        "__module__": told["module"],
        "__qualname__": told["qualname"],
        "__deepcopy__": copied_deeply,
        "__copy__": copied,
    }
    if base is not None:  # an exact value inside, or an exception
        usable = OF_HYBRIDS if not issubclass(base, BaseException) else {"__str__", "__repr__"}
        specials = [name for name in specials if name in usable or (name in ARITHMETIC and base is not str)]
    for name in specials:
        if name in ARITHMETIC | ORDERING:
            namespace[name] = deciding(name, base=base, asks=True)
        elif name not in ("__eq__", "__hash__"):
            namespace[name] = special(name)
    if base is None:
        namespace["__eq__"] = deciding("__eq__", base=None, asks="__eq__" in specials)
        namespace["__hash__"] = (
            (special("__hash__") if "__hash__" in specials else object.__hash__) if told["hashable"] else None
        )
        if told["real"] is not None:
            namespace["__class__"] = property(lambda self: told["real"])
    for name in told["methods"]:
        if not name.startswith("_"):
            namespace[name] = special(name)
    if told["real"] is types.FunctionType:
        namespace["__get__"] = bound
    if "__await__" in specials and channel.strict:
        namespace["__await__"] = awaited
        if told["real"] is types.CoroutineType:
            namespace["send"] = sent
    if base is not None and type(base) is not type:  # its metaclass and this one do not go together
        raise Unsupported(f"an object of {told['name']}, a subclass of {base.__name__}")
    try:
        return RemoteClass(told["name"], bases or ((base or object),), namespace)
    except TypeError:  # bases whose layouts do not go together here
        return RemoteClass(told["name"], (base or object,), namespace)
