"""The guard on pylint and astroid: sampling starts with the versions that `d3.lintseq` was written against.

`d3.lintseq` calls and replaces private names of both, which may change in any release:

- `linter`: `astroid.builder` (`_parse_string`, `AstroidBuilder._post_build`), `astroid.rebuilder`, and of
  pylint's checkers `TypeChecker._compiled_generated_members` and `class_checker.ScopeAccessMap`;
- `checkers`: the methods named in `NOT_CALLED`, `MUTED` and `REPLACED`, and `_protocol_map` of pylint's
  special methods;
- `inference`: `astroid.nodes.node_ng`, `scoped_nodes` and `_base_nodes`, `astroid.bases._infer_stmts`,
  `astroid.constraint`, `astroid.transforms`, `astroid.context` (`_INFERENCE_CACHE`, `_invalidate_cache`),
  and `brain_builtin_inference._builtin_filter_predicate`;
- `library`: `AstroidManager.brain`, `_mod_file_cache` and `ast_from_module_name`, `_can_assign_attr` and
  `AstroidBuilder.delayed_assattr` of `astroid.builder`, `astroid.inference_tip._CURRENTLY_INFERRING`, and
  the caches of all functions of both packages.

To move to other versions, change them here and in `envs/*.in`, and let the differential test compare every
message with the untouched pylint.
"""

from importlib.metadata import PackageNotFoundError, version

from d3.errors import ToolError

PINNED = {"pylint": "4.1.4", "astroid": "4.3.4"}


def check_versions() -> None:
    """Raise ToolError if pylint or astroid is not installed in the pinned version."""
    for name, pinned in PINNED.items():
        try:
            found = version(name)
        except PackageNotFoundError:
            found = "none"
        if found != pinned:
            raise ToolError(
                f"the linter needs {name} {pinned} exactly (got {found})",
                where="lintseq",
                remedy="install the environment again from its lock: make setup, or make images",
            )
