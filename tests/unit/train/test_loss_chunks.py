"""A loss in chunks: the same losses and gradients, with the logits of few tokens in memory."""

from pathlib import Path
from typing import Any

import pytest

from d3.errors import ConfigError
from d3.train.data import IGNORED
from d3.train.load_model import load_model
from d3.train.loss_chunks import chunk_loss, chunks_of
from helpers.tiny_models import make_model

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def largest(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Collect the number of rows of every call of the cross entropy."""
    rows: list[int] = []
    real = torch.nn.functional.cross_entropy

    def counting(logits: Any, *more: Any, **named: Any) -> Any:
        rows.append(len(logits))
        return real(logits, *more, **named)

    monkeypatch.setattr(torch.nn.functional, "cross_entropy", counting)
    return rows


def packed_batch() -> dict[str, Any]:
    """Return two sequences of two documents each, with tokens that the loss leaves out."""
    ids = torch.randint(3, 600, (2, 37), generator=torch.Generator().manual_seed(1))
    labels = ids.clone()
    labels[0, :9] = labels[1, 30:] = IGNORED
    positions = torch.cat([torch.arange(20), torch.arange(17)]).expand(2, -1)
    return {"input_ids": ids, "labels": labels, "position_ids": positions}


@pytest.mark.parametrize("chunk", [1000, 30, 7, 1])
@pytest.mark.parametrize("items", [None, 113])
def test_loss_and_gradients_are_those_of_all_logits_at_once(
    folder: Path, largest: list[int], chunk: int, items: int | None
) -> None:
    batch = packed_batch()
    found = []
    for parts in (None, chunks_of(2 * 37, chunk)):
        model = load_model(str(folder), "float32").train()
        if parts:
            chunk_loss(model, parts)
        largest.clear()
        output = model(**batch, num_items_in_batch=items)
        output.loss.backward()
        assert max(largest) == (74 if parts is None else min(74, -(-74 // parts)))
        assert parts is None or (max(largest) <= chunk and output.logits is None)
        found.append((output.loss.detach(), {name: weight.grad for name, weight in model.named_parameters()}))
    (loss, gradients), (chunked, others) = found
    torch.testing.assert_close(chunked, loss, rtol=1e-6, atol=1e-6)
    for name, gradient in gradients.items():
        torch.testing.assert_close(
            others[name], gradient, rtol=1e-4, atol=1e-7, msg=lambda text, name=name: name + text
        )


def test_a_short_batch_has_as_many_chunks(folder: Path, largest: list[int]) -> None:
    """Processes of ZeRO-3 gather the last layer together: none may do it less often than another."""
    model = load_model(str(folder), "float32").train()
    chunk_loss(model, 12)
    whole = load_model(str(folder), "float32").train()
    ids = torch.arange(3, 8)[None]
    largest.clear()
    loss = model(input_ids=ids, labels=ids).loss
    assert len(largest) == 12
    torch.testing.assert_close(loss, whole(input_ids=ids, labels=ids).loss)


def test_without_labels_a_model_gives_its_logits(folder: Path) -> None:
    model, plain = load_model(str(folder), "float32"), load_model(str(folder), "float32")
    chunk_loss(model, 3)
    ids = torch.arange(3, 9)[None]
    assert torch.equal(model(input_ids=ids).logits, plain(input_ids=ids).logits)


def test_a_model_that_caps_its_logits_is_refused(folder: Path) -> None:
    model = load_model(str(folder), "float32").train()
    real = model.forward

    def capped(*words: Any, **named: Any) -> Any:
        output = real(*words, **named)
        output.logits = 0.1 * torch.tanh(output.logits / 0.1)
        return output

    model.forward = capped
    chunk_loss(model, 2)
    ids = torch.arange(3, 9)[None]
    with pytest.raises(ConfigError, match="set loss_chunk to null"):
        model(input_ids=ids, labels=ids)
