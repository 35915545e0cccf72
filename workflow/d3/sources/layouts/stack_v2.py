"""The Stack v2 and Stack-Edu, once their texts are there: as published they contain ids of Software Heritage."""

from collections.abc import Iterable

from d3.sources.spec import Layout, of_repository

SPEC = Layout(
    name="the-stack-v2",
    needs=frozenset({"content", "blob_id"}),
    columns={
        **of_repository(("repo_name",), ("path",), ("detected_licenses",)),
        "hexsha": ("blob_id",),
        "size": ("length_bytes",),
        "ext": ("extension",),
        "lang": ("language",),
        "max_stars_repo_head_hexsha": ("revision_id",),
        "max_stars_count": ("star_events_count",),
        "max_forks_count": ("fork_events_count",),
        "content": ("content",),
    },
)
REMEDY = (
    "download the texts from Software Heritage, as the card of bigcode/the-stack-v2 describes (blobs "
    "s3://softwareheritage/content/BLOB_ID, decoded with src_encoding; in bulk they require an agreement with "
    "Software Heritage and INRIA), and write them into a column `content`"
)


def has_ids_alone(names: Iterable[str]) -> bool:
    """Return whether these columns, or those of a repository's files, are ids of Software Heritage without texts."""
    return "blob_id" in names and not {"content", "text"} & set(names)
