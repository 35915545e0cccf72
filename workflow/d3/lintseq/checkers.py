"""Which parts of pylint's checkers are run: those that can lead to a message that is kept.

A checker does much work for warnings that pylintseq throws away. The tables name what is left out,
method by method: every one of them, with all that it calls, can only give messages that are dropped,
and keeps no state that a kept message needs. They belong to the pinned version of pylint; `walker`
refuses a pylint that has no such method, and the differential test compares every message with the
unabridged pylint.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from astroid import nodes
from pylint.checkers import typecheck, utils
from pylint.utils import ASTWalker

from d3.errors import ToolError
from d3.lintseq.inference import LEAVES

Callback = Callable[[Any], None]
Events = dict[type, tuple[tuple[Callback, ...], tuple[Callback, ...]]]
NO_CALLBACKS: tuple[tuple[Callback, ...], tuple[Callback, ...]] = ((), ())

NOT_CALLED: Mapping[str, Sequence[str]] = {
    "BasicChecker": ("visit_module", "visit_classdef", "visit_try", "leave_try"),
    "FormatChecker": ("visit_default",),
    "ImportsChecker": (
        *("visit_module", "leave_module", "visit_assign", "visit_assignattr", "visit_ifexp", "visit_comprehension"),
        *("visit_expr", "visit_functiondef", "visit_asyncfunctiondef", "visit_classdef", "visit_for", "visit_while"),
    ),
    "VariablesChecker": ("leave_assign", "leave_with", "leave_for", "visit_arguments"),
}
"""Callbacks of the tree walk that are left out, by checker."""

MUTED: Mapping[str, Sequence[str]] = {
    "ClassChecker": (
        *("_check_typing_final", "_check_unused_private_functions", "_check_unused_private_variables"),
        *("_check_unused_private_attributes", "_check_useless_super_delegation", "_check_property_with_parameters"),
        *("_check_invalid_overridden_method", "_check_redefined_slots", "_check_super_without_brackets"),
        "_check_bases_classes",
    ),
    "ExceptionsChecker": ("_check_raise_missing_from", "_check_try_except_raise"),
    "ImportsChecker": (
        *("_check_misplaced_future", "_check_same_line_imports", "_check_position", "_record_import"),
        *("_check_preferred_module", "_check_import_as_rename", "_check_reimport", "_check_wildcard_imports"),
        *("_check_toplevel", "_add_imported_module", "check_deprecated_module"),
    ),
    "MethodArgsChecker": ("_check_missing_timeout",),
    "StringFormatChecker": ("_detect_vacuous_formatting", "_check_interpolation"),
    "TypeChecker": ("_check_argument_order",),
    "VariablesChecker": (
        *("_loopvar_name", "_check_globals", "_check_imports", "_check_late_binding_closure"),
        *("_store_type_annotation_node", "_store_type_annotation_names", "_check_self_cls_assign"),
    ),
}
"""Helpers of the callbacks that are replaced by nothing, by checker."""


def _nothing(*_: Any, **__: Any) -> None:
    """Stand in for a helper whose messages are all dropped."""


def _basic_call(checker: Any) -> Callback:
    """Return `BasicChecker.visit_call` without unreachable code, `eval` and `exec`."""

    def visit_call(node: nodes.Call) -> None:
        checker._check_misplaced_format_function(node)
        if not (isinstance(node.func, nodes.Name) and node.func.name == "reversed"):
            return
        if not ("reversed" in node.frame() or "reversed" in node.root()):
            checker._check_reversed(node)

    return visit_call


def _stdlib_call(checker: Any) -> Callback:
    """Return `StdlibChecker.visit_call` with the names of environment variables only."""
    from pylint.checkers.stdlib import ENV_GETTERS

    def visit_call(node: nodes.Call) -> None:
        for inferred in utils.infer_all(node.func):
            if isinstance(inferred, nodes.FunctionDef) and inferred.qname() in ENV_GETTERS:
                checker._check_env_function(node, inferred)

    return visit_call


def _special_function(checker: Any) -> Callback:
    """Return `SpecialMethodsChecker.visit_functiondef` without what any other method may return."""

    def visit_functiondef(node: nodes.FunctionDef) -> None:
        if node.name in checker._protocol_map or node.name in utils.PYMETHODS:
            checker.visit_functiondef(node)

    return visit_functiondef


REPLACED: Mapping[tuple[str, str], Callable[[Any], Callback]] = {
    ("BasicChecker", "visit_call"): _basic_call,
    ("SpecialMethodsChecker", "visit_functiondef"): _special_function,
    ("StdlibChecker", "visit_call"): _stdlib_call,
}
"""Callbacks with a shorter form that gives the same kept messages."""

HASHABLE = (str, bytes, int, float, complex, bool, type(None), type(...))
"""Types of constants whose `__hash__` pylint would infer, at length, to be there."""


def _hashable(node: Any) -> bool:
    """Answer as `pylint.checkers.utils.is_hashable`, at once for constants."""
    return (type(node) is nodes.Const and type(node.value) in HASHABLE) or utils.is_hashable(node)


def events(linter: Any, checkers: Iterable[Any]) -> Events:
    """Return the callbacks of every node class on the way down and up; raises ToolError for a pylint
    that does not have what the tables name.
    """
    typecheck.is_hashable = _hashable
    walker = ASTWalker(linter)
    for checker in checkers:
        kind = type(checker).__name__
        for name in (*NOT_CALLED.get(kind, ()), *MUTED.get(kind, ())):
            if not hasattr(checker, name):
                raise ToolError(f"{kind} has no {name}", where="pylint", remedy="install the pinned version of pylint")
        for name in MUTED.get(kind, ()):
            setattr(checker, name, _nothing)
        walker.add_checker(checker)
    table: Events = {}
    for node_class in nodes.ALL_NODE_CLASSES:
        name = node_class.__name__.lower()
        down = _chosen(walker.visit_events.get(name, ()))
        up = _chosen(walker.leave_events.get(name, ()))
        table[node_class] = down, up
    return table


def _chosen(callbacks: Iterable[Any]) -> tuple[Callback, ...]:
    chosen: list[Callback] = []
    for callback in callbacks:
        checker = callback.__self__
        kind, name = type(checker).__name__, callback.__name__
        for alias in (name, *(n for n in dir(type(checker)) if getattr(type(checker), n, None) is callback.__func__)):
            if alias in NOT_CALLED.get(kind, ()):
                break
        else:
            replace = REPLACED.get((kind, name))
            chosen.append(replace(checker) if replace else callback)
    return tuple(chosen)


def walk(node: nodes.NodeNG, table: Events) -> None:
    """Call the callbacks of a tree in pylint's order: down, children, up."""
    down, up = table.get(type(node), NO_CALLBACKS)
    for callback in down:
        callback(node)
    if type(node) not in LEAVES:
        for child in node.get_children():
            walk(child, table)
    for callback in up:
        callback(node)
