"""What the trainer is fed: packed documents, answers, and their order."""

import csv
import gzip
import json
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from d3.config.load import parse_config
from d3.config.training import Midtrain, Optimizer, Training
from d3.core.example_format import example_completion, example_prompt
from d3.core.ids import content_id
from d3.core.tokenizer_file import Vocabulary
from d3.errors import ConfigError, InputError
from d3.train.data import IGNORED, Example, Stream, collate
from d3.train.packing import Packing, pack
from d3.train.sequences import Sequences
from d3.train.settings import schedule, warmup_steps
from d3.train.sft_data import ENCODED, AnswerRows, Encoded, Encoder
from d3.train.token_shards import TokenShards
from helpers.corpus_tables import write_rows
from helpers.split_tokenizers import BEGIN, SPLITS, examples, split_tokenizer
from helpers.tiny_models import library_texts


@pytest.fixture(scope="module")
def model_folder(tiny_model: Path) -> Path:
    return tiny_model


def write_shard(path: Path, documents: Sequence[Sequence[int]]) -> Path:
    """Write a token shard whose documents are named by their tokens."""
    np.array([token for document in documents for token in document], np.uint16).tofile(path)
    with gzip.open(path.with_suffix(".csv.gz"), "wt", newline="") as file:
        at = 0
        for line, document in enumerate(documents, start=1):
            csv.writer(file).writerow((at, at + len(document), content_id(str(document)), "x", line))
            at += len(document)
    path.with_suffix(".json").write_text(json.dumps({"dtype": "uint16", "documents": len(documents)}))
    return path


DOCUMENTS = [[*range(10 * number + 10, 10 * number + 10 + number), 2] for number in range(1, 10)]


def packed(
    shards: Sequence[Path], length: int = 7, *, mask: bool = True, seed: int = 0, packing: Packing = "wrap"
) -> Sequences:
    return Sequences(TokenShards(shards), packing=packing, limit=length, seed=seed, mask=mask)


def sequences(source: Sequences, epoch: int = 0) -> list[Example]:
    return [source.example(epoch, at) for at in range(len(source))]


# --- packed documents ---------------------------------------------------------------------------


def test_packing_keeps_every_token_and_knows_its_document(tmp_path: Path) -> None:
    source = packed([write_shard(tmp_path / "a.npy", DOCUMENTS)])
    text: list[int] = []
    for at, example in enumerate(sequences(source)):
        assert example.positions is not None
        assert len(example.tokens) == len(example.positions) == source.length(0, at)
        for place, (token, label, position) in enumerate(
            zip(example.tokens, example.labels, example.positions, strict=True)
        ):
            # A position of 0 is where a document or a sequence begins, and is not predicted.
            begins = place == 0 or example.tokens[place - 1] == 2
            assert (position == 0) == begins
            assert label == (IGNORED if begins else token)
        text += example.tokens.tolist()
        assert all(after == before + 1 or after == 0 for before, after in pairwise(example.positions))
    assert all(len(example.tokens) == 7 for example in sequences(source)[:-1])
    order = [" ".join(map(str, document)) for document in split(text)]
    assert Counter(order) == Counter(" ".join(map(str, document)) for document in DOCUMENTS)


def split(text: Sequence[int]) -> list[list[int]]:
    documents: list[list[int]] = [[]]
    for token in text:
        documents[-1].append(token)
        if token == 2:
            documents.append([])
    return documents[:-1]


def test_the_order_follows_from_content_and_seed_alone(tmp_path: Path) -> None:
    one = packed([write_shard(tmp_path / "a.npy", DOCUMENTS)])
    shards = [
        write_shard(tmp_path / "b.npy", DOCUMENTS[:3:-1]),
        write_shard(tmp_path / "c.npy", []),
        write_shard(tmp_path / "d.npy", DOCUMENTS[:4]),
    ]
    two = packed(shards)
    texts = [[example.tokens.tolist() for example in sequences(source)] for source in (one, two)]
    assert texts[0] == texts[1]
    assert [example.tokens.tolist() for example in sequences(one, epoch=1)] != texts[0]
    assert [example.tokens.tolist() for example in sequences(packed(shards, seed=1))] != texts[0]
    assert [example.tokens.tolist() for example in sequences(two)] == texts[0]  # going back to an epoch


def test_without_the_mask_a_sequence_is_one_text(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "a.npy", DOCUMENTS)
    for masked, whole in zip(sequences(packed([shard])), sequences(packed([shard], mask=False)), strict=True):
        assert whole.positions is None
        assert whole.tokens.tolist() == whole.labels.tolist() == masked.tokens.tolist()


def test_packed_documents_do_not_see_each_other(model_folder: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(model_folder, attn_implementation="sdpa").eval()
    model.config.use_cache = False
    documents = [[300 + 3 * number + at for at in range(5 + number)] + [2] for number in range(6)]
    source = packed([write_shard(tmp_path / "a.npy", documents)], length=24)
    examples = sequences(source)
    batch = collate(examples, pad=2)
    assert "attention_mask" not in batch
    with torch.no_grad():
        together = model(**batch)
        total, count = 0.0, 0
        for row, example in enumerate(examples):
            assert example.positions is not None
            starts = [*np.flatnonzero(example.positions == 0), len(example.tokens)]
            assert len(starts) > 2 or row == len(examples) - 1
            for start, end in pairwise(starts):
                piece = torch.from_numpy(example.tokens[start:end])[None]
                alone = model(input_ids=piece).logits[0]
                torch.testing.assert_close(together.logits[row, start:end], alone, atol=1e-5, rtol=1e-4)
                total += float(torch.nn.functional.cross_entropy(alone[:-1], piece[0, 1:], reduction="sum"))
                count += int(end - start - 1)
        assert float(together.loss) == pytest.approx(total / count, rel=1e-5)
        # The same tokens as one text give something else, so the comparison means something.
        one_text = model(input_ids=batch["input_ids"]).logits
    assert float((one_text - together.logits).abs().max()) > 1e-2


@pytest.mark.parametrize("fault", ["cut", "manifest", "table", "missing", "empty"])
def test_damaged_shards_are_refused(tmp_path: Path, fault: str) -> None:
    shard = write_shard(tmp_path / "a.npy", [] if fault == "empty" else DOCUMENTS)
    if fault == "cut":
        shard.write_bytes(shard.read_bytes()[:-2])
    elif fault == "manifest":
        shard.with_suffix(".json").write_text('{"dtype": "uint16", "documents": 8}')
    elif fault == "table":
        table = shard.with_suffix(".csv.gz")
        table.write_bytes(table.read_bytes()[:-9])
    elif fault == "missing":
        shard.with_suffix(".json").unlink()
    with pytest.raises(InputError, match=r"a\.npy"):
        packed([shard])


# --- answers ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vocabulary(model_folder: Path) -> Vocabulary:
    return Vocabulary.read(model_folder)


def decode(folder: Path, ids: Sequence[int]) -> str:
    from tokenizers import Tokenizer

    return str(Tokenizer.from_file(str(folder / "tokenizer.json")).decode(list(ids), skip_special_tokens=False))


def test_the_loss_begins_behind_the_prompt(model_folder: Path, vocabulary: Vocabulary) -> None:
    encoder = Encoder(vocabulary, sequence_length=512)
    for text in library_texts(12, most=1200):
        prompt = example_prompt("a.py", text[:40], "Do it: <|im_end|>")
        completion = example_completion(prompt, [f"@@ -0,0 +1 @@\n+{text[40:]}"])
        result = encoder.encode(prompt, completion)
        if result == "too_long":
            continue
        assert isinstance(result, Encoded)
        assert decode(model_folder, result.tokens) == completion + "<|im_end|>"
        assert result.tokens.count(2) == 1
        assert decode(model_folder, result.tokens[: result.loss_from]) == prompt


@pytest.mark.slow
@pytest.mark.parametrize("split", SPLITS)
def test_a_row_that_is_too_long_loses_whole_diffs(tmp_path: Path, split: str) -> None:
    folder = split_tokenizer(tmp_path, split)
    vocabulary = Vocabulary.read(folder)
    prompt = example_prompt("a.py", "", "Add.")
    diffs = [f"@@ -{line},0 +{line + 1},2 @@\n+a_{line} = f({line})\n+{'print()' * line}" for line in range(9)]
    completion = example_completion(prompt, diffs)
    whole = Encoder(vocabulary, sequence_length=9999).encode(prompt, completion)
    assert isinstance(whole, Encoded)
    assert whole.left_out == 0
    ends = {prompt + "".join(f"<|diff|>{diff}\n" for diff in diffs[:count]).rstrip("\n") for count in range(1, 10)}
    lengths = set()
    for limit in range(whole.loss_from, len(whole.tokens) + 1):
        assert Encoder(vocabulary, sequence_length=limit, too_long="drop").encode(prompt, completion) == (
            whole if limit == len(whole.tokens) else "too_long"
        )
        cut = Encoder(vocabulary, sequence_length=limit).encode(prompt, completion)
        if isinstance(cut, Encoded) and cut != whole:
            lengths.add(len(cut.tokens))
            assert decode(folder, cut.tokens).removeprefix(BEGIN).removesuffix("\n") in ends
            assert len(cut.tokens) <= limit
            assert (cut.loss_from, cut.left_out) == (whole.loss_from, len(whole.tokens) - len(cut.tokens))
            assert vocabulary.eos_id not in cut.tokens  # it did not end
    assert len(lengths) == 9 or (split == "none" and len(lengths) == 8)  # one `()` + newline + `<` is one token
    assert Encoder(vocabulary, sequence_length=min(lengths) - 1).encode(prompt, completion) == "too_long"


@pytest.mark.parametrize("split", SPLITS[:2])
def test_rows_whose_tokens_do_not_begin_with_those_of_the_prompt_are_dropped(tmp_path: Path, split: str) -> None:
    encoder = Encoder(Vocabulary.read(split_tokenizer(tmp_path, split)), sequence_length=4000)
    assert all(isinstance(encoder.encode(prompt, completion), Encoded) for prompt, completion in examples(40))
    assert encoder.encode("Add st", "Add step 4") == "prompt_mismatch"


def test_a_begin_token_of_the_tokenizer_stays_outside_the_loss(tmp_path: Path, vocabulary: Vocabulary) -> None:
    post = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<|im_start|>": {"id": "<|im_start|>", "ids": [1], "tokens": ["<|im_start|>"]}},
    }
    settings = vocabulary.settings | {"post_processor": post, "truncation": None}
    with_begin = Vocabulary(settings=settings, sha256="", size=vocabulary.size, eos_id=2)
    plain = Encoder(vocabulary, sequence_length=64).encode("def f", "def f():\n    return 1")
    begun = Encoder(with_begin, sequence_length=64).encode("def f", "def f():\n    return 1")
    assert isinstance(plain, Encoded)
    assert begun == Encoded(tokens=[1, *plain.tokens], loss_from=plain.loss_from + 1)


def test_rows_that_cannot_be_trained_on_say_why(vocabulary: Vocabulary) -> None:
    encoder = Encoder(vocabulary, sequence_length=8)
    assert [
        encoder.encode(prompt, completion)
        for prompt, completion in [
            (None, "x"),
            ("x", None),
            ("ab", "a b"),
            ("ab", "ab"),
            ("x", "x\ud800"),
            ("0123456789", "0123456789 x"),
        ]
    ] == ["null", "null", "prompt_mismatch", "no_answer", "not_unicode", "too_long"]


def write_encoded(path: Path, rows: Sequence[tuple[str, list[int], int]]) -> Path:
    columns = ("id", "tokens", "loss_from")
    return write_rows(path, ENCODED, [dict(zip(columns, row, strict=True)) | {"sample": 0} for row in rows])


def answers(path: Path, folder: Path, packing: Packing = "none", limit: int = 30) -> Sequences:
    return Sequences(AnswerRows(path, cache=folder / "cache"), packing=packing, limit=limit, seed=3)


def test_answers_come_in_an_order_of_their_ids(tmp_path: Path) -> None:
    rows = [(f"row {number}", [*range(number + 3), 2], number) for number in range(20)]
    one = answers(write_encoded(tmp_path / "w[1]*?" / "a.parquet", rows), tmp_path)
    two = answers(write_encoded(tmp_path / "b.parquet", rows[::-1]), tmp_path)
    texts = [[source.example(0, at).tokens.tolist() for at in range(20)] for source in (one, two)]
    assert texts[0] == texts[1] != [tokens for _, tokens, _ in rows]
    assert sorted(texts[0]) == sorted(tokens for _, tokens, _ in rows)
    for at in range(20):
        example = one.example(1, at)
        first = max(len(example.tokens) - 4, 1)  # as the rows were made; nothing predicts a first token
        assert example.labels.tolist() == [IGNORED] * first + example.tokens.tolist()[first:]
        assert one.length(1, at) == len(example.tokens)


def test_packed_answers_do_not_see_each_other(tmp_path: Path) -> None:
    rows = [(f"row {number}", [number + 10] * (number % 5 + 3) + [2], 2) for number in range(20)]
    source = answers(write_encoded(tmp_path / "a.parquet", rows), tmp_path, "best_fit")
    assert len(source) == 5  # of 120 tokens in all and 30 each
    found = []
    for example in sequences(source):
        assert example.positions is not None
        assert len(example.tokens) <= 30
        begins = [*np.flatnonzero(example.positions == 0), len(example.tokens)]
        for begin, end in pairwise(begins):
            found.append(example.tokens[begin:end].tolist())
            assert example.labels[begin:end].tolist() == [IGNORED] * 2 + found[-1][2:]
    assert sorted(found) == sorted(tokens for _, tokens, _ in rows)


# --- packing ------------------------------------------------------------------------------------


def lengths_like_examples(count: int, limit: int, seed: int = 0) -> Any:
    draw = np.random.default_rng(seed)
    return np.clip(draw.lognormal(np.log(limit / 3), 0.8, count).astype(np.int64), 1, limit)


@pytest.mark.parametrize("seed", range(5))
def test_best_fit_tears_no_row_and_leaves_little_empty(seed: int) -> None:
    lengths = lengths_like_examples(500, 1024, seed)
    assert lengths.mean() <= 512
    order = np.random.default_rng(seed).permutation(500)
    layout = pack("best_fit", lengths, order, 1024)
    assert layout.tokens().max() <= 1024
    assert sorted(layout.rows) == list(range(500))
    assert (layout.starts == 0).all()
    assert (layout.ends == lengths[layout.rows]).all()
    counts = layout.counts(1024)
    assert (counts["torn"], counts["behind_tear"], counts["tokens"]) == (0, 0, lengths.sum())
    assert counts["padding"] <= 0.01
    wrapped = pack("wrap", lengths, order, 1024).counts(1024)
    assert wrapped["torn"] > 0.9 * (wrapped["sequences"] - 1)
    assert wrapped["behind_tear"] > 0.2 * lengths.sum()
    assert pack("none", lengths, order, 1024).counts(1024)["padding"] > 0.5


def test_packing_counts_what_it_tears() -> None:
    layout = pack("wrap", np.array([5, 4, 30, 1]), np.array([1, 2, 0, 3]), 10)
    assert [layout.pieces(at) for at in range(len(layout))] == [
        [(1, 0, 4), (2, 0, 6)],
        [(2, 6, 16)],
        [(2, 16, 26)],
        [(2, 26, 30), (0, 0, 5), (3, 0, 1)],
    ]
    assert layout.counts(10) == {"sequences": 4, "tokens": 40, "torn": 1, "behind_tear": 24, "padding": 0}


def test_rows_that_were_dropped_are_in_no_sequence() -> None:
    for packing in ("best_fit", "wrap", "none"):
        layout = pack(packing, np.array([5, 0, 3]), np.arange(3), 8)
        assert sorted(layout.rows) == [0, 2]


def test_packing_follows_the_order_of_the_rows(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "a.npy", DOCUMENTS)
    source = packed([shard], 12, packing="best_fit")
    epochs = [[example.tokens.tolist() for example in sequences(source, epoch)] for epoch in range(2)]
    assert epochs[0] != epochs[1]
    assert len(epochs[0]) == len(epochs[1]) == len(source)
    for texts in epochs:
        assert Counter(map(str, split([token for text in texts for token in text]))) == Counter(map(str, DOCUMENTS))
    shuffled = packed([write_shard(tmp_path / "b.npy", DOCUMENTS[::-1])], 12, packing="best_fit")
    assert [example.tokens.tolist() for example in sequences(shuffled)] == epochs[0]


# --- steps --------------------------------------------------------------------------------------


class Numbers:
    """A source whose example says where it comes from."""

    def __len__(self) -> int:
        return 5

    def example(self, epoch: int, at: int) -> Example:
        tokens = np.array([epoch, at])
        return Example(tokens=tokens, labels=tokens)

    def length(self, epoch: int, at: int) -> int:
        return 2


def settings(**values: Any) -> Training:
    return Training(**({"batch": 4, "micro_batch": 1, "max_steps": None} | values))


def test_steps_hold_every_example_of_every_epoch_once() -> None:
    stream = Stream(Numbers(), settings(epochs=2, processes=2))
    assert (stream.steps, len(stream), stream.accumulation) == (3, 12, 2)
    items = [stream[at] for at in range(len(stream))]
    assert [item.tokens.tolist() for item in items[:10]] == [[epoch, at] for epoch in range(2) for at in range(5)]
    assert all((item.labels == IGNORED).all() for item in items[10:])
    assert [stream.step_tokens(step) for step in range(3)] == [8, 8, 4]


def test_part_of_an_epoch_and_a_limit_of_steps() -> None:
    assert Stream(Numbers(), settings(epochs=0.5)).examples == 3
    assert Stream(Numbers(), settings(epochs=2, max_steps=2)).steps == 2
    assert Stream(Numbers(), settings(epochs=1, max_steps=9)).steps == 2


@pytest.mark.model
def test_padding_lies_behind_and_outside_the_loss() -> None:
    examples = [
        Example(tokens=np.array([5, 6, 7]), labels=np.array([5, 6, 7])),
        Example(tokens=np.array([8]), labels=np.array([8])),
    ]
    batch = collate(examples, pad=2)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 2, 2]]
    assert batch["labels"].tolist() == [[5, 6, 7], [8, IGNORED, IGNORED]]
    assert set(batch) == {"input_ids", "labels"}
    packed_example = Example(tokens=np.array([5, 6]), labels=np.array([5, 6]), positions=np.array([0, 0]))
    assert collate([packed_example, examples[0]], pad=2)["position_ids"].tolist() == [[0, 0, 0], [0, 1, 2]]


def test_a_batch_that_cannot_be_divided_is_refused() -> None:
    with pytest.raises(ConfigError, match="midtrain: batch 6 must be a multiple of micro_batch 2 x processes 2"):
        parse_config({"midtrain": {"batch": 6, "micro_batch": 2, "processes": 2}})
    assert Midtrain().batch % Midtrain().micro_batch == 0


# --- learning rate ------------------------------------------------------------------------------


def rates(optimizer: Optimizer, steps: int) -> list[float]:
    """Return the learning rate of every step, and of the one after the last, from the Trainer's own scheduler."""
    import torch
    from transformers import get_scheduler

    values = schedule(optimizer, steps)
    adam = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=values["learning_rate"])
    scheduler = get_scheduler(
        values["lr_scheduler_type"],
        optimizer=adam,
        num_warmup_steps=values["warmup_steps"],
        num_training_steps=steps,
        scheduler_specific_kwargs=values.get("lr_scheduler_kwargs"),
    )
    found = []
    for _ in range(steps + 1):
        found.append(scheduler.get_last_lr()[0])
        adam.step()
        scheduler.step()
    return found


@pytest.mark.model
def test_cosine_falls_to_the_final_ratio_after_the_warm_up() -> None:
    found = rates(Optimizer(learning_rate=2e-4, warmup_steps=10, final_ratio=0.1), 110)
    assert found[:3] == pytest.approx([0, 2e-5, 4e-5])
    assert found[10] == pytest.approx(2e-4)
    assert found[60] == pytest.approx(1.1e-4)
    assert found[110] == pytest.approx(2e-5)
    assert all(after < before for before, after in pairwise(found[10:]))


@pytest.mark.model
@pytest.mark.parametrize("final_ratio", [0.0, 0.25])
def test_linear_falls_to_the_final_ratio(final_ratio: float) -> None:
    found = rates(Optimizer(schedule="linear", learning_rate=1e-4, final_ratio=final_ratio, warmup_ratio=0.1), 100)
    assert found[10] == pytest.approx(1e-4)
    assert found[100] == pytest.approx(final_ratio * 1e-4)
    assert found[55] == pytest.approx((1 + final_ratio) / 2 * 1e-4)


@pytest.mark.model
def test_cosine_without_a_floor_ends_at_zero() -> None:
    assert rates(Optimizer(final_ratio=0.0), 10)[10] == pytest.approx(0, abs=1e-12)


@pytest.mark.model
def test_steps_of_warm_up_go_before_their_share() -> None:
    assert warmup_steps(Optimizer(warmup_steps=7, warmup_ratio=0.5), 100) == 7
    assert warmup_steps(Optimizer(warmup_ratio=0.01), 250) == 2
    assert warmup_steps(Optimizer(warmup_ratio=0.01), 6) == 0
