"""Paths that tests import their helpers from, and what all tests share."""

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "unit"), str(HERE / "workflow")]
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of a tiny random Llama with its tokenizer and a chat template."""
    from tiny import make_model

    folder = make_model(tmp_path_factory.mktemp("model") / "tiny", length=2048)
    turn = "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    begun = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    template = "{% for message in messages %}" + turn + "{% endfor %}" + begun
    (folder / "chat_template.jinja").write_text(template)
    return folder
