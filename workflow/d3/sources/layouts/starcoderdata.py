"""starcoderdata: repository, path and stars of The Stack; it has a folder a language and no column for it."""

from d3.sources.spec import Layout, same_names

SPEC = Layout(name="starcoderdata", needs=frozenset({"content", "max_stars_repo_name"}), columns=same_names())
