"""the-stack-smol: a sample of The Stack under other names."""

from d3.sources.spec import Layout, of_repository, same_names

SPEC = Layout(
    name="the-stack-smol",
    needs=frozenset({"content", "repository_name"}),
    columns=same_names() | of_repository(("repository_name",), ("path",), ("licenses",)),
)
