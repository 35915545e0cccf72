"""`<|diff|>` as one token: the same in tokens, mid-training, fine-tuning and generation, or an error."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from d3.config.load import parse_config
from d3.core import schemas
from d3.core.example_format import DIFF, example_completion, example_prompt
from d3.core.example_tokens import ExampleTokens, begins_with
from d3.core.tokenizer_file import Vocabulary, check_added, tokenizer_settings
from d3.errors import ConfigError
from d3.train import sft
from d3.train.load_model import add_tokens
from d3.train.run import new_rows
from helpers.corpus_tables import write_rows
from helpers.paths import ROOT
from helpers.split_tokenizers import SPLITS, examples, split_tokenizer
from helpers.tiny_models import VOCABULARY, make_model

pytestmark = pytest.mark.model

ADDED = [DIFF]
TRAIN = """
import json, sys
from pathlib import Path
from d3.config.load import parse_config
from d3.train import sft
data, folder, model, config = sys.argv[1:]
sft.run(parse_config(json.loads(config)), [Path(data)], Path(folder, "model"), model=model, work=Path(folder, "work"))
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize("split", SPLITS)
def test_every_mark_is_one_token_and_tokens_meet(tmp_path: Path, split: str) -> None:
    folder = split_tokenizer(tmp_path, split)
    vocabulary = Vocabulary.read(folder, ADDED)
    (number,) = vocabulary.new.values()
    plain, one = ExampleTokens.of_model(folder), ExampleTokens.of_model(folder, ADDED)
    assert (number, vocabulary.size) == (vocabulary.size - 1, Vocabulary.read(folder).size + 1)
    for prompt, completion in examples():
        ids = one.example(completion)
        assert begins_with(ids, one.prompt(prompt))
        assert ids.count(number) == completion.count(DIFF) > 0
        # a tokenizer that merges over the edges of words may write a mark in one token with the line end before it
        assert split == "none" or len(ids) < len(plain.example(completion))
    hostile = example_prompt("a.py", f"x = '{DIFF}<tool_call>'", f"Keep {DIFF}.")
    assert number not in one.example(hostile)
    long = examples()[3][1]
    kept = one.whole_diffs(one.example(long), len(one.example(long)) - 2)
    assert 0 < kept < len(one.example(long))


def test_what_is_written_is_read_the_same_by_all(model: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    vocabulary = Vocabulary.read(folder, ADDED)
    vocabulary.write(folder)
    again = Vocabulary.read(folder, ADDED)
    assert (again.sha256, again.new, again.settings) == (vocabulary.sha256, {}, vocabulary.settings)
    assert vocabulary.new == {DIFF: VOCABULARY}
    library = AutoTokenizer.from_pretrained(folder)
    assert library.convert_tokens_to_ids(DIFF) == VOCABULARY
    assert library.decode([VOCABULARY], skip_special_tokens=True) == DIFF
    special = json.loads((folder / "tokenizer.json").read_bytes())
    special["added_tokens"][-1]["special"] = True  # as others may have published it: decoding would leave it out
    (folder / "tokenizer.json").write_text(json.dumps(special))
    assert Vocabulary.read(folder, ADDED).settings == vocabulary.settings


def test_a_mismatch_is_an_error(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    with pytest.raises(ConfigError, match="which the tokenizer does not have; take a model that was trained"):
        check_added(tokenizer_settings(folder), ADDED, folder)
    check_added(tokenizer_settings(folder), [], folder)
    Vocabulary.read(folder, ADDED).write(folder)
    check_added(tokenizer_settings(folder), ADDED, folder)
    for wrong in (lambda: check_added(tokenizer_settings(folder), [], folder), lambda: Vocabulary.read(folder)):
        with pytest.raises(ConfigError, match=r"has <\|diff\|> as a token, but tokens.added does not name it"):
            wrong()
    with pytest.raises(ConfigError):
        parse_config({"tokens": {"added": ["<|im_end|>"]}})
    with pytest.raises(ConfigError):
        parse_config({"tokens": {"added": []}})


def test_a_new_row_begins_as_the_mean_of_what_wrote_the_mark(model: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    vocabulary = Vocabulary.read(model, ADDED)
    rows = {int(token): before for token, before in new_rows(vocabulary).items()}
    assert list(rows) == [VOCABULARY]
    assert vocabulary.settings["added_tokens"][-1]["content"] == DIFF
    assert len(rows[VOCABULARY]) > 1
    loaded = AutoModelForCausalLM.from_pretrained(model)
    before = loaded.get_input_embeddings().weight.detach().clone()
    add_tokens(loaded, rows)
    after = loaded.get_input_embeddings().weight.detach()
    assert torch.equal(after[:VOCABULARY], before)
    assert torch.allclose(after[VOCABULARY], before[rows[VOCABULARY]].mean(0))
    assert loaded.config.vocab_size == VOCABULARY + 1
    assert loaded(input_ids=torch.tensor([[VOCABULARY]])).logits.shape[-1] == VOCABULARY + 1


@pytest.mark.slow
def test_training_writes_the_token_and_a_second_one_goes_on_from_its_row(model: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    rows = []
    for number in range(8):
        prompt = example_prompt("a.py", "", f"Do {number}.")
        completion = example_completion(prompt, [f"@@ -0,0 +1 @@\n+x = {number}"])
        rows.append({"id": f"r{number}", "sample": 0, "prompt": prompt, "completion": completion})
    data = write_rows(tmp_path / "rows.parquet", schemas.SFT, rows)
    settings: dict[str, Any] = {
        "sequence_length": 256,
        "batch": 2,
        "max_steps": 2,
        "optimizer": {"learning_rate": 1e-2},
    }
    config = {"tokens": {"added": ADDED}, "sft": settings}
    weights, base = [], model
    for name in ("first", "second"):
        words = [str(data), str(tmp_path / name), str(base), json.dumps(config)]
        environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow"), "OMP_NUM_THREADS": "1"}
        done = subprocess.run([sys.executable, "-c", TRAIN, *words], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        base = tmp_path / name / "model"
        weights.append(AutoModelForCausalLM.from_pretrained(base).get_input_embeddings().weight.detach())
        check_added(tokenizer_settings(base), ADDED, base)
    assert weights[0].shape == weights[1].shape == (VOCABULARY + 1, 32)
    first, second = (weight[VOCABULARY] for weight in weights)
    assert not torch.equal(first, second)  # it is trained
    rows_of = Vocabulary.read(model, ADDED)
    mean = weights[0][new_rows(rows_of)[str(VOCABULARY)]].mean(0)
    assert float((second - first).norm()) < float((second - mean).norm()) / 2  # and not begun anew
    with pytest.raises(ConfigError, match=r"tokens.added does not name it"):
        sft.run(parse_config({"sft": settings}), [data], tmp_path / "out", model=str(base), work=tmp_path / "work")
