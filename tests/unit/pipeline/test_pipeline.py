from pathlib import Path

import pytest

from d3.config.load import load_config, parse_config
from d3.config.models import Config
from d3.errors import ConfigError
from d3.pipeline.pipeline import Chain
from d3.pipeline.registry import STAGES
from d3.provenance.code_digest import module_path
from helpers.paths import ROOT


def chain(**changes: object) -> Chain:
    return Chain(parse_config(changes))


def keys(chosen: Chain) -> dict[str, str]:
    return {stage: chosen.key(stage) for stage in STAGES}


def changed(**changes: object) -> set[str]:
    """Return the stages that another setting moves."""
    before, after = keys(chain()), keys(chain(**changes))
    return {stage for stage in STAGES if before[stage] != after[stage]}


AFTER_LABELS = {
    "labels",
    "label_contamination",
    "label_duplicates",
    "topics",
    "topic_counts",
    "dataset",
    "file_counts",
    "tokens",
    "midtrain",
    "losses",
}
AFTER_DIFFS = {"diffs"} | AFTER_LABELS
GRADED = {"grades", "grade_repeats", "judge_health"}
AFTER_SFT = {"sft", "losses", "generate", "execute", "scores", "report"}


@pytest.mark.parametrize(
    ("change", "stages"),
    [
        ({"grades": {"threshold": 2}}, {"pregrader"} | AFTER_DIFFS),
        ({"grades": {"sampling": {"max_tokens": 9}}}, GRADED | AFTER_DIFFS),
        ({"grades": {"mode": "none"}}, GRADED | {"pregrader"} | AFTER_DIFFS),
        ({"grades": {"threshold_on": "score"}}, AFTER_DIFFS),
        ({"judge_health": {"action": "stop"}}, {"judge_health"}),
        ({"judge_health": {"repeats": 9}}, {"judge_health", "grade_repeats"}),
        ({"judge_health": {"reference": ["by-hand.jsonl"]}}, set()),
        ({"labels": {"checks": {"names": "count", "max_words": 60}}}, set()),
        ({"labels": {"checks": {"names": "drop"}}}, AFTER_LABELS),
        ({"labels": {"sub_trajectories": 2}}, AFTER_LABELS),
        ({"labels": {"mode": "none"}}, AFTER_LABELS),
        ({"labels": {"mode": "constant"}}, AFTER_LABELS),
        ({"labels": {"constant": "Write it."}}, set()),
        ({"topics": {"read_out": "parse"}}, {"topics", "topic_counts"}),
        ({"topics": {"price": [1, 2]}}, set()),
        ({"midtrain": {"batch": 8}}, {"midtrain", "losses"}),
        ({"sft": {"batch": 8}}, AFTER_SFT),
        (
            {"pairs": {"sample": 2}},
            {"pairs", "pair_duplicates", "pair_contamination", "pair_diffs", "sft_data"} | AFTER_SFT,
        ),
        ({"contamination": {"files": ["tasks.jsonl"]}}, set()),
        ({"generate": {"temperature": 0.8}}, {"generate", "execute", "scores", "report"}),
        ({"execute": {"memory_mb": 512}}, {"gate", "execute", "scores", "report"}),
        ({"scores": {"confidence": 0.9}}, {"scores", "report"}),
        ({"run": "other"}, {"report", "run_record"}),
    ],
)
def test_a_setting_moves_its_stage_and_what_follows(change: dict[str, object], stages: set[str]) -> None:
    assert changed(**change) == stages


@pytest.mark.parametrize(
    ("section", "mode", "unread", "read"),
    [
        (
            "grades",
            "none",
            {"engine": {"model": "big/judge"}, "sampling": {"max_tokens": 9}, "prompt": "no.jinja", "threshold": 4},
            {"mode": "model"},
        ),
        ("labels", "none", {"engine": {"model": "big/writer"}, "change_prompt": "no.jinja"}, {"ends": "authors"}),
        ("labels", "constant", {"engine": {"model": "big/writer"}}, {"constant": "Write it."}),
    ],
)
def test_what_a_mode_does_not_read_moves_nothing(
    section: str, mode: str, unread: dict[str, object], read: dict[str, object]
) -> None:
    plain, other = chain(**{section: {"mode": mode}}), chain(**{section: {"mode": mode, **unread}})
    assert keys(plain) == keys(other)
    assert plain.settings_file(section) == other.settings_file(section)
    assert other.answering(section) is None
    assert section in changed(**{section: {"mode": mode}})
    assert keys(chain(**{section: {"mode": mode, **read}}))[section] != keys(plain)[section]
    shown = other.settings("report", section)[section]
    assert {name: shown[name] for name in unread} != {name: plain.values[section][name] for name in unread}


def test_keys_leave_the_values_alone(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").touch()
    chosen = chain(source={"shards": [str(tmp_path / "a.parquet")]})
    assert set(keys(chosen)) == set(STAGES)
    assert "shards" not in chosen.settings("corpus")["source"]
    assert chosen.settings("report", "source")["source"]["shards"] == [str(tmp_path / "a.parquet")]


def test_only_arms_that_are_mid_trained_follow_mid_training() -> None:
    before, after = chain().arms, chain(midtrain={"batch": 8}).arms
    assert {name for key, (name, _) in before.items() if key in after} == {"baseline"}


def test_one_more_shard_leaves_the_others_where_they_are(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.parquet").touch()
    one = chain(source={"shards": [str(tmp_path / "a.parquet")], "name": "mine"})
    two = chain(source={"shards": [str(tmp_path / "*.parquet")], "name": "mine"})
    assert keys(one) == keys(two)
    assert list(two.shards) == ["a", "b"]


def test_twin_shard_names_are_refused(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.parquet").touch()
    with pytest.raises(ConfigError, match="share a name"):
        _ = chain(source={"shards": [str(tmp_path / "*/a.parquet")]}).shards


@pytest.mark.parametrize("config", [Config(), load_config(ROOT / "config" / "d3.yaml")], ids=["demo", "d3"])
@pytest.mark.parametrize("stage", STAGES)
def test_the_settings_of_a_stage_are_a_configuration(config: Config, stage: str) -> None:
    chosen = Chain(config)
    settings = chosen.settings(stage)
    read = parse_config(settings).model_dump(mode="json")

    def holds(part: dict[str, object], whole: dict[str, object]) -> bool:
        return all(
            holds(value, whole[key]) if isinstance(value, dict) else whole[key] == value for key, value in part.items()
        )

    assert holds(settings, read)
    assert module_path(STAGES[stage].module) is not None


COMMIT = "0123456789abcdef" * 2 + "01234567"


@pytest.mark.parametrize(
    ("name", "revision", "expected"),
    [
        ("embedded", None, "resources/models/SmolLM2-135M-Instruct@0.1.2"),
        ("meta-llama/Llama-3.2-1B", COMMIT, f"resources/models/meta-llama--Llama-3.2-1B@{COMMIT}"),
    ],
)
def test_models_lie_in_folders_that_carry_their_version(name: str, revision: str | None, expected: str) -> None:
    assert chain().model_path(name, revision) == expected


@pytest.mark.parametrize(
    ("name", "revision", "reason"),
    [
        ("owner/name", None, "has no revision"),
        ("owner/name", "main", "which is not a commit; .*git ls-remote https://huggingface.co/owner/name"),
        ("owner/name", "v1.0", "which is not a commit"),
        ("owner/name", COMMIT[:12], "which is not a commit"),
        ("owner/name", COMMIT + "0", "which is not a commit"),
        ("./nowhere", None, "no such folder"),
    ],
)
def test_other_models_are_refused(name: str, revision: str | None, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        chain().model_path(name, revision)
