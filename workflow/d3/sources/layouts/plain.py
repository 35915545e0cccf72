"""Any table with a column `content`; repository, path and license under the names that data sets of code use."""

from d3.sources.spec import Layout, of_repository, same_names

SPEC = Layout(
    name="plain",
    needs=frozenset({"content"}),
    columns=same_names()
    | of_repository(
        ("max_stars_repo_name", "repo_name", "repository_name", "repo"),
        ("max_stars_repo_path", "path", "file_path"),
        ("max_stars_repo_licenses", "licenses", "detected_licenses", "license"),
    )
    | {"lang": ("lang", "language")},
)
