"""The Stack v3: one row a repository, with the list of its files."""

from d3.sources.spec import Layout, of_repository

SPEC = Layout(
    name="the-stack-v3",
    needs=frozenset({"files"}),
    files="files",
    columns={
        **of_repository(
            ("repo_path", "repo_name"),
            ("files.file_path", "files.path"),
            ("files.detected_licenses",),
        ),
        "hexsha": ("files.content_id",),
        "size": ("files.size_bytes",),
        "lang": ("files.language",),
        "max_stars_repo_head_hexsha": ("commit_id",),
        "max_stars_count": ("github_metadata.stars",),
        "max_issues_count": ("github_metadata.issues",),
        "max_forks_count": ("github_metadata.forks",),
        "content": ("files.content",),
    },
)
