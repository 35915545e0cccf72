"""The trees of importable modules, built once and lent to one file after the other.

Building the tree of a module costs more than linting most files, but astroid's trees remember: an
attribute that one file assigns on a module or class is there for all that come later, and a module
that is built may write into another one in the same way. So that every file finds what a fresh
process would find,

- a module is built in a clean state, in which nothing but the builtins is loaded, and what its
  building wrote into other modules is taken back and noted;
- a session begins with no module loaded. The first import of a module lends its tree and repeats
  the notes, in the order of the building;
- every write of the session into a tree that is not its own is noted, and taken back at its end,
  when also all caches that can hold an answer are emptied.

There is one library in a process, since astroid has one cache.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import _lru_cache_wrapper, cache
from itertools import chain
from operator import attrgetter
from typing import Any

import astroid
from astroid import bases, context, nodes, objects, util
from astroid.builder import AstroidBuilder, _can_assign_attr
from astroid.exceptions import AstroidImportError, InferenceError
from astroid.inference_tip import _CURRENTLY_INFERRING, clear_inference_tip_cache
from astroid.manager import AstroidManager

from d3.lintseq import inference

Names = dict[str, list[Any]]
"""The `locals` or `instance_attrs` of a node."""

explicit_inference = attrgetter("_explicit_inference")

FILE_FINDING = ("astroid.interpreter._import", "astroid.modutils")
"""Modules whose caches only say where files lie, which does not change."""
PATHS_KEPT = 1000


@dataclass(slots=True)
class _Write:
    """A node that was put into the names of a tree that is not its own."""

    names: Names
    name: str
    node: Any

    def do(self) -> None:
        values = self.names.setdefault(self.name, [])
        if self.node not in values:
            values.append(self.node)

    def undo(self) -> None:
        values = self.names.get(self.name, [])
        for at in range(len(values) - 1, -1, -1):
            if values[at] is self.node:
                del values[at]
                break
        if not values:
            self.names.pop(self.name, None)


class _Shape:
    """What a tree is like when nobody has written into it: its names, and how its nodes are inferred.

    Some inferences of astroid replace names of the class that they look at, or their own way of
    inferring; `restore` puts both back.
    """

    def __init__(self, module: nodes.Module) -> None:
        self.dicts: list[Names] = []
        self.nodes: list[Any] = []
        waiting: list[Any] = [module]
        while waiting:
            node = waiting.pop()
            if isinstance(node, nodes.LocalsDictNodeNG):
                self.dicts.append(node.locals)
                names = getattr(node, "instance_attrs", None)
                if names is not None:
                    self.dicts.append(names)
            if node._explicit_inference is not None:
                self.nodes.append(node)
            waiting += node.get_children()
        self.sizes = list(map(len, self.dicts))
        self.keys = list(chain.from_iterable(self.dicts))
        self.values = self._values()
        self.tips = list(map(explicit_inference, self.nodes))

    def _values(self) -> list[list[Any]]:
        return list(chain.from_iterable(map(dict.values, self.dicts)))

    def is_as_it_was(self) -> bool:
        """Return whether nothing was written."""
        return (
            list(map(len, self.dicts)) == self.sizes
            and self._values() == self.values
            and list(map(explicit_inference, self.nodes)) == self.tips
        )

    def restore(self) -> None:
        """Put everything back."""
        if self.is_as_it_was():
            return
        at = 0
        for names, size in zip(self.dicts, self.sizes, strict=True):
            names.clear()
            names.update(zip(self.keys[at : at + size], self.values[at : at + size], strict=True))
            at += size
        for node, tip in zip(self.nodes, self.tips, strict=True):
            node._explicit_inference = tip


@dataclass(slots=True)
class _Book:
    """A module's tree, and what its building did besides: loads of modules and foreign writes."""

    name: str
    module: nodes.Module | None = None
    events: list[str | _Write] = field(default_factory=list)
    shape: _Shape | None = None


class _Loaded(dict[str, nodes.Module]):
    """astroid's cache of modules: asking for a module that the library has lends it."""

    def __init__(self, library: "Library", modules: dict[str, nodes.Module]) -> None:
        super().__init__(modules)
        self.library = library

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or self.library.lend(str(name))

    def setdefault(self, name: str, module: Any = None) -> Any:
        """Take in a module that was built."""
        if not super().__contains__(name):
            super().__setitem__(name, module)
            self.library.built(name, module)
        return super().__getitem__(name)


class Library:
    """The module trees of this process; `the_library` gives the only one."""

    def __init__(self) -> None:
        manager = astroid.MANAGER
        AstroidBuilder(manager)  # loads the builtins
        inference.take()
        self._base = dict(manager.astroid_cache)
        self._base_shapes = [_Shape(module) for module in self._base.values()]
        self._books: dict[str, _Book] = {}
        self._unbuildable: set[str] = set()
        self._stack: list[_Book] = []  # of the modules that are being built
        self._done: list[_Write] = []  # foreign writes since the last clean state, in order
        self.loaded = _Loaded(self, self._base)
        manager.astroid_cache = self.loaded
        AstroidManager.brain["astroid_cache"] = self.loaded
        self._caches = [
            found
            for found in gc.get_objects()
            if isinstance(found, _lru_cache_wrapper)
            and str(found.__module__).startswith(("astroid.", "pylint."))
            and not str(found.__module__).startswith(FILE_FINDING)
        ]
        self._original = AstroidManager.ast_from_module_name
        library = self

        def ast_from_module_name(
            manager: AstroidManager, modname: Any, context_file: Any = None, use_cache: bool = True
        ) -> Any:
            if use_cache and context_file is None and modname and modname != "__main__":
                library.get(manager, modname)
            return library._original(manager, modname, context_file, use_cache)

        AstroidManager.ast_from_module_name = ast_from_module_name
        AstroidBuilder.delayed_assattr = lambda _, node: library.assign(node)

    # --- lending ------------------------------------------------------------------------------------

    def lend(self, name: str) -> bool:
        """Load a module that has been built before; tells whether there is one."""
        book = self._books.get(name)
        if book is None or book.shape is None:
            return False
        dict.__setitem__(self.loaded, name, book.module)
        for event in book.events:
            if isinstance(event, str):
                _ = event in self.loaded
            else:
                event.do()
                self._done.append(event)
        return True

    def get(self, manager: AstroidManager, name: str) -> None:
        """Build a module in a clean state, if it is not known yet, whatever the present state is.

        One that cannot be found or built is left to astroid, which says so to the file that asks.
        """
        if self._stack and name not in self._stack[-1].events:
            self._stack[-1].events.append(name)
        if name in self.loaded or name in self._unbuildable or name in manager.module_denylist:
            return
        try:
            manager.file_from_module_name(name, None)
        except AstroidImportError:
            return
        if self._stack:
            self._build(manager, name)
        else:
            with self._clean_state():
                self._build(manager, name)

    def _build(self, manager: AstroidManager, name: str) -> None:
        self._stack.append(_Book(name))
        try:
            self._original(manager, name)
        except Exception:
            self._unbuildable.add(name)
        finally:
            book = self._stack.pop()
            if book.module is not None:
                self._books[name] = book

    def built(self, name: str, module: nodes.Module) -> None:
        """Note that astroid has made a new tree."""
        if self._stack and name == self._stack[-1].name:
            self._stack[-1].module = module

    def assign(self, node: nodes.AssignAttr) -> None:
        """Do what `AstroidBuilder.delayed_assattr` does, and note writes into other trees."""
        try:
            for inferred in node.expr.infer():
                if isinstance(inferred, util.UninferableBase):
                    continue
                try:
                    if type(inferred) in {bases.Instance, objects.ExceptionInstance}:
                        inferred = inferred._proxied
                        names = inferred.instance_attrs
                        if not _can_assign_attr(inferred, node.attrname):
                            continue
                    elif isinstance(inferred, (bases.Instance, bases.Proxy, util.UninferableBase)):
                        continue
                    elif inferred.is_function:
                        names = inferred.instance_attrs
                    else:
                        names = inferred.locals
                except AttributeError:
                    continue
                values = names.setdefault(node.attrname, [])
                if node in values:
                    continue
                values.append(node)
                if inferred.root() is not node.root():
                    write = _Write(names, node.attrname, node)
                    self._done.append(write)
                    if self._stack:
                        self._stack[-1].events.append(write)
        except InferenceError:
            pass

    # --- states -------------------------------------------------------------------------------------

    @contextmanager
    def _clean_state(self) -> Iterator[None]:
        """Put the present state aside, so that only the builtins are loaded, and bring it back."""
        modules = {name: module for name, module in self.loaded.items() if name not in self._base}
        done = self._done
        cached = dict(context._INFERENCE_CACHE)
        self._take_back()
        try:
            yield
        finally:
            self._take_back()
            dict.update(self.loaded, modules)
            for write in done:
                write.do()
            self._done = done
            context._INFERENCE_CACHE.update(cached)

    def _take_back(self) -> None:
        """Make the state clean: undo foreign writes, unload all modules and forget all inferences."""
        for write in reversed(self._done):
            write.undo()
        self._done = []
        for shape in self._base_shapes:
            shape.restore()
        for name in self.loaded:
            book = self._books.get(name)
            if book is None:
                continue
            if book.shape is None:
                book.shape = _Shape(book.module)
            else:
                book.shape.restore()
        self.loaded.clear()
        dict.update(self.loaded, self._base)
        context._invalidate_cache()
        clear_inference_tip_cache()
        _CURRENTLY_INFERRING.clear()
        for answers in self._caches:
            answers.cache_clear()

    def end_session(self) -> None:
        """Take everything back that was done since the last session."""
        self._take_back()
        paths = astroid.MANAGER._mod_file_cache
        if len(paths) > PATHS_KEPT:
            paths.clear()
        for found in paths.values():
            for error in (found, getattr(found, "error", None)):
                if isinstance(error, Exception):  # its traceback holds on to whole programs
                    error.__traceback__ = error.__context__ = error.__cause__ = None

    def drop_dead(self, name: str) -> None:
        """Forget what was inferred about earlier programs named `name`: nobody can ask for it again."""
        inferred = context._INFERENCE_CACHE
        for key in [key for key in inferred if _belongs(key[0], name) or _belongs(key[3], name)]:
            del inferred[key]

    def names(self) -> list[str]:
        """Return the names of the modules that have been built."""
        return sorted(self._books)


def _belongs(node: Any, name: str) -> bool:
    """Return whether a node lies in a module of this name."""
    try:
        return node is not None and node.root().name == name
    except AttributeError:
        return False


@cache
def the_library() -> Library:
    """Return the library of this process; the first call must come before anything is linted."""
    return Library()
