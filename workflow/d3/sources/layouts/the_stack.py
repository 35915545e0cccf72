"""the-stack and the-stack-dedup: 29 columns, in any order."""

from d3.sources.spec import Layout, same_names

SPEC = Layout(name="the-stack", needs=frozenset({"content", "hexsha"}), columns=same_names())
