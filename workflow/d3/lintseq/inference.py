"""astroid's ways up a tree and through an inference, in a form that does the same with less work.

Each gives the same values in the same order, changes the same state at the same moments, and keeps
the frames per level wherever a program decides how deep a recursion goes; only what ends within one
level (a property, a context manager, a step to a parent) is done in place. `take` puts them into
astroid and pylint; the differential test compares the messages with the untouched ones.
"""

from collections.abc import Callable, Iterator
from typing import Any

import astroid
from astroid import bases, constraint, nodes
from astroid.context import _INFERENCE_CACHE, InferenceContext
from astroid.exceptions import InferenceError, NameInferenceError, UseInferenceDefault
from astroid.nodes.node_ng import NodeNG
from astroid.nodes.scoped_nodes.utils import builtin_lookup
from astroid.util import Uninferable, UninferableBase
from pylint.checkers import utils

FAR = 50
"""So many steps up the original may take by recursion are taken by a loop; further ones are left to it.
So is what lies above anything but a node: an instance may stand between a node and its tree."""

_statement = NodeNG.statement


def statement(self: Any) -> Any:
    """Give what `NodeNG.statement` gives."""
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
    """Give what pylint's `get_node_first_ancestor_of_type` gives."""
    above = node.parent
    while above is not None:
        if isinstance(above, kinds):
            return above
        above = above.parent
    return None


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
    """Give what `constraint.get_constraints` gives: nothing below a frame without conditions."""
    node = expr
    while node is not None and node is not frame:
        node = node.parent
        if isinstance(node, (*LIMITING, nodes.GeneratorExp)):
            return dict(_get_constraints(expr, frame))
    return {}


def take() -> None:
    """Put them in place; whoever has imported an original by name keeps it, which only costs time."""
    NodeNG.statement = statement
    NodeNG.frame, NodeNG.scope = _climbing("frame"), _climbing("scope")
    NodeNG.infer = infer
    nodes.ClassDef.ancestors = ancestors
    bases._infer_stmts = nodes.node_classes._infer_stmts = infer_stmts
    constraint.get_constraints = get_constraints
    utils.get_node_first_ancestor_of_type = first_ancestor
