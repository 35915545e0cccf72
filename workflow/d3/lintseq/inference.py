"""astroid's hot helpers, its ways up a tree and through an inference, in a form that does the same with less work.

Each returns the same values in the same order, changes the same state at the same moments, and keeps
the frames per level wherever a program decides how deep a recursion goes: what astroid gives up on
must stay what it gives up on. Only what ends within one level (a property, a context manager, a step
to a parent) is done in place. `take` puts them into astroid and pylint; the differential test compares
the messages with the untouched ones.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import astroid
from astroid import bases, constraint, nodes
from astroid.brain.brain_builtin_inference import _builtin_filter_predicate
from astroid.context import _INFERENCE_CACHE, InferenceContext, _invalidate_cache
from astroid.exceptions import InferenceError, NameInferenceError, UseInferenceDefault
from astroid.nodes import node_ng
from astroid.nodes._base_nodes import NoChildrenNode
from astroid.nodes.node_ng import NodeNG
from astroid.nodes.scoped_nodes import scoped_nodes
from astroid.nodes.scoped_nodes import utils as scope_utils
from astroid.nodes.scoped_nodes.utils import builtin_lookup
from astroid.transforms import TransformVisitor
from astroid.util import Uninferable, UninferableBase
from pylint.checkers import utils

# --- down a tree -------------------------------------------------------------------------------------

CLASSES: list[Any] = [kind for kind in nodes.ALL_NODE_CLASSES if isinstance(kind, type)]
LEAVES = frozenset(kind for kind in CLASSES if kind.get_children is NoChildrenNode.get_children)
"""Classes of nodes that never have children."""


def nodes_of_class(self: Any, klass: Any, skip_klass: Any = None) -> Iterator[Any]:
    """Yield what `NodeNG.nodes_of_class` yields, in its order, without a generator for every level."""
    if isinstance(self, klass):
        yield self
    if type(self) in LEAVES:
        return
    waiting = [self.get_children()]
    while waiting:
        for child in waiting[-1]:
            if skip_klass is not None and isinstance(child, skip_klass):
                continue
            if isinstance(child, klass):
                yield child
            if type(child) not in LEAVES:
                waiting.append(child.get_children())
                break
        else:
            waiting.pop()


class _Transforms:
    """The ways of `TransformVisitor` through a tree; the transforms are its own."""

    def __init__(self, visitor: Any) -> None:
        self.table = {kind: list(found) for kind, found in visitor.transforms.items() if found}
        fields = {kind: kind._astroid_fields for kind in CLASSES}
        self.still = {type(None), str, *(kind for kind in fields if not fields[kind] and kind not in self.table)}
        self.calls = self.table.pop(nodes.Call, [])
        self.of_any_call = [at for at, (_, wanted) in enumerate(self.calls) if _builtin(wanted) is None]
        self.of_builtin: dict[str, list[int]] = {}
        for name in filter(None, (_builtin(wanted) for _, wanted in self.calls)):
            self.of_builtin[name] = [
                at for at, (_, wanted) in enumerate(self.calls) if _builtin(wanted) in (None, name)
            ]

    def visit(self, node: Any) -> Any:
        """Transform a node and all below it."""
        still = self.still
        for name in node._astroid_fields:
            value = getattr(node, name)
            if not value or type(value) in still:
                continue
            visited = self._one_or_more(value)
            if visited != value:
                setattr(node, name, visited)
        kind = type(node)
        if kind is nodes.Call:
            return self._change_call(node)
        return self._change(node, self.table[kind]) if kind in self.table else node

    def _one_or_more(self, value: Any) -> Any:
        kind, still = type(value), self.still
        if kind is list:
            return [child if type(child) in still else self._one_or_more(child) for child in value]
        if kind is tuple:
            return tuple([child if type(child) in still else self._one_or_more(child) for child in value])
        try:
            return self.visit(value)
        except RecursionError:  # the frames are as many as astroid's: it leaves the same nodes as they are
            warnings.warn(f"astroid could not transform {type(value)}", stacklevel=0)
            return value

    def _change(self, node: Any, changes: Sequence[tuple[Any, Any]]) -> Any:
        kind = type(node)
        for change, wanted in changes:
            if wanted is None or wanted(node):
                changed = change(node)
                if changed is not None:
                    _invalidate_cache()
                    node = changed
                if type(changed) is not kind:
                    break
        return node

    def _change_call(self, node: Any) -> Any:
        """Change a call; what is for calls of other builtins than the one it may name is passed over."""
        called, calls = node.func, self.calls
        if type(called) is nodes.Name:
            candidates = self.of_builtin.get(called.name, self.of_any_call)
        elif type(called) is nodes.Attribute and called.attrname == "fromkeys":
            return self._change(node, calls)
        else:
            candidates = self.of_any_call
        for at in candidates:
            change, wanted = calls[at]
            if wanted is None or wanted(node):
                changed = change(node)
                if changed is not None:
                    _invalidate_cache()
                if changed is not node:
                    rest = calls[at + 1 :] if type(changed) is nodes.Call else []
                    return self._change(node if changed is None else changed, rest)
        return node


def _builtin(wanted: Any) -> str | None:
    """Return the name of the builtin whose calls are wanted, if that is all that is asked for."""
    if isinstance(wanted, partial) and wanted.func is _builtin_filter_predicate:
        return str(wanted.keywords["builtin_name"])
    return None


# --- up a tree ---------------------------------------------------------------------------------------

FAR = 50
"""So many steps up the original may take by recursion are taken by a loop; further ones are left to it.
So is what lies above anything but a node: an instance may stand between a node and its tree."""

_statement = NodeNG.statement


def statement(self: Any) -> Any:
    """Return what `NodeNG.statement` gives."""
    node = self
    for _ in range(FAR):
        if node.is_statement:
            return node
        above = node.parent
        if not above:
            break
        if getattr(type(above), "statement", None) is not statement:
            return above.statement()
        node = above
    return _statement(node)


def _climbing(name: str) -> Callable[[Any], Any]:
    """Make what gives the same as a method of nodes that asks the parent, where no class has one of its own."""
    original = getattr(NodeNG, name)

    def climb(self: Any) -> Any:
        node = self
        for _ in range(FAR):
            above = node.parent
            if above is None:
                break
            if getattr(type(above), name, None) is not climb:
                return getattr(above, name)()
            node = above
        return original(node)

    return climb


def first_ancestor(node: Any, kinds: Any) -> Any:
    """Return what pylint's `get_node_first_ancestor_of_type` gives."""
    above = node.parent
    while above is not None:
        if isinstance(above, kinds):
            return above
        above = above.parent
    return None


# --- inference ---------------------------------------------------------------------------------------


def infer(self: Any, context: Any = None) -> Iterator[Any]:
    """Yield what `NodeNG.infer` yields."""
    if context is None:
        context = InferenceContext()
    elif context.extra_context:
        context = context.extra_context.get(self, context)
    spent = context._nodes_inferred
    if self._explicit_inference is not None:
        try:
            for result in self._explicit_inference(self, context):
                spent[0] += 1
                yield result
            return
        except UseInferenceDefault:
            pass
    key = (self, context.lookupname, context.callcontext, context.boundnode)
    known = _INFERENCE_CACHE.get(key)
    if known is not None:
        yield from known
        return
    results: list[Any] = []
    limit = astroid.MANAGER.max_inferable_values
    for result in self._infer(context=context):
        if len(results) >= limit or spent[0] > context.max_inferred:
            results.append(Uninferable)
            yield Uninferable
            break
        results.append(result)
        yield result
        spent[0] += 1
    _INFERENCE_CACHE[key] = tuple(results)


def infer_stmts(stmts: Any, context: Any, frame: Any = None) -> Iterator[Any]:
    """Yield what `bases._infer_stmts` yields."""
    inferred = failed = False
    name: str | None = None
    limits: dict[Any, Any] = {}
    if context is None:
        context = InferenceContext()
    else:
        name = context.lookupname
        context = context.clone()
        if name is not None:
            limits = context.constraints.get(name, limits)
    for stmt in stmts:
        if isinstance(stmt, UninferableBase):
            yield stmt
            inferred = True
            continue
        context.lookupname = stmt._infer_name(frame, name)
        try:
            held: set[Any] = set()
            for place, possible in limits.items():
                if not place.parent_of(stmt):
                    held.update(possible)
            for value in stmt.infer(context=context):
                if not held or all(one.satisfied_by(value, context) for one in held):
                    yield value
                    inferred = True
                else:
                    failed = True
        except NameInferenceError:
            continue
        except InferenceError:
            yield Uninferable
            inferred = True
    if not inferred and failed:
        yield Uninferable
    elif not inferred:
        raise InferenceError(
            "Inference failed for all members of {stmts!r}.", stmts=stmts, frame=frame, context=context
        )


def ancestors(self: Any, recurs: bool = True, context: Any = None) -> Iterator[Any]:
    """Yield what `ClassDef.ancestors` yields."""
    yielded = {self}
    if context is None:
        context = InferenceContext()
    if not self.bases and self.qname() != "builtins.object":
        yield builtin_lookup("object")[1][0]
        return
    for stmt in self.bases:
        path = set(context.path)
        try:
            for base in stmt.infer(context):
                if not isinstance(base, nodes.ClassDef):
                    if not isinstance(base, bases.Instance):
                        continue
                    base = base._proxied
                if not base.hide:
                    if base in yielded:
                        continue
                    yielded.add(base)
                    yield base
                if not recurs:
                    continue
                for above in base.ancestors(recurs=True, context=context):
                    if above is self:
                        break
                    if above not in yielded:
                        yielded.add(above)
                        yield above
        except InferenceError:
            pass
        context.path = path


LIMITING = (nodes.If, nodes.IfExp, nodes.Comprehension, nodes.ListComp, nodes.SetComp, nodes.DictComp)
_get_constraints = constraint.get_constraints


def get_constraints(expr: Any, frame: Any) -> dict[Any, set[Any]]:
    """Return what `constraint.get_constraints` gives: nothing below a frame without conditions."""
    node = expr
    while node is not None and node is not frame:
        node = node.parent
        if isinstance(node, (*LIMITING, nodes.GeneratorExp)):
            return dict(_get_constraints(expr, frame))
    return {}


def take() -> None:
    """Put them in place; all transforms must be registered.

    Whoever has imported an original by name keeps it, which only costs time.
    """

    def the_manager() -> Any:
        return astroid.MANAGER  # every manager shares its state

    for module in (node_ng, scoped_nodes, scope_utils):
        module.AstroidManager = the_manager
    NodeNG.nodes_of_class = nodes_of_class
    transforms = _Transforms(astroid.MANAGER._transform)
    TransformVisitor.visit = lambda _, node: transforms.visit(node)
    NodeNG.statement = statement
    NodeNG.frame, NodeNG.scope = _climbing("frame"), _climbing("scope")
    NodeNG.infer = infer
    nodes.ClassDef.ancestors = ancestors
    bases._infer_stmts = nodes.node_classes._infer_stmts = infer_stmts
    constraint.get_constraints = get_constraints
    utils.get_node_first_ancestor_of_type = first_ancestor
