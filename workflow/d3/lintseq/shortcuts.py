"""Hot helpers of astroid in a form that does the same with less work.

Each keeps the order of what it visits and, where a deep program could end a recursion, the frames
per level: what astroid gives up on must stay what it gives up on. `take` puts them in place; the
differential test compares the messages with the untouched astroid.
"""

import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import astroid
from astroid import nodes
from astroid.brain.brain_builtin_inference import _builtin_filter_predicate
from astroid.context import _invalidate_cache
from astroid.nodes import node_ng
from astroid.nodes._base_nodes import NoChildrenNode
from astroid.nodes.scoped_nodes import scoped_nodes
from astroid.nodes.scoped_nodes import utils as scope_utils
from astroid.transforms import TransformVisitor

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
    """Give the name of the builtin whose calls are wanted, if that is all that is asked for."""
    if isinstance(wanted, partial) and wanted.func is _builtin_filter_predicate:
        return str(wanted.keywords["builtin_name"])
    return None


def take() -> None:
    """Put the shortcuts in place; all transforms must be registered."""

    def the_manager() -> Any:
        return astroid.MANAGER  # every manager shares its state

    for module in (node_ng, scoped_nodes, scope_utils):
        module.AstroidManager = the_manager
    node_ng.NodeNG.nodes_of_class = nodes_of_class
    ways = _Transforms(astroid.MANAGER._transform)
    TransformVisitor.visit = lambda _, node: ways.visit(node)
