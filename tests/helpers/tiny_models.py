"""A tiny Llama with a tiny tokenizer, made on the spot, for tests of what models are used for."""

import glob
import sysconfig
from collections.abc import Iterable
from pathlib import Path

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
VOCABULARY = 600
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def library_texts(count: int, *, most: int = 3000) -> list[str]:
    """Return the texts of small standard library modules, stripped."""
    folder = sysconfig.get_paths()["stdlib"]
    texts = []
    for path in sorted(glob.glob(f"{folder}/*.py")):
        text = Path(path).read_text(encoding="utf-8").strip()
        if 0 < len(text) <= most:
            texts.append(text)
    return texts[:count]


def make_tokenizer(folder: Path, texts: Iterable[str] | None = None) -> Path:
    """Write a byte-level BPE tokenizer with 600 tokens, three of them special, into `folder`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(library_texts(20) if texts is None else texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=SPECIAL[1], eos_token=SPECIAL[2], pad_token=SPECIAL[2]
    )
    fast.save_pretrained(str(folder))
    return folder


def make_model(folder: Path, *, seed: int = 0, length: int = 512, hidden: int = 32) -> Path:
    """Write a random two-layer Llama and its tokenizer into `folder`."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    make_tokenizer(folder)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=length,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def chat_model(folder: Path, *, length: int = 2048, seed: int = 0, hidden: int = 32) -> Path:
    """Write a tiny random Llama whose tokenizer has a chat template."""
    import torch
    from transformers import AutoTokenizer

    torch.set_num_threads(1)  # a second thread only costs time in matrices of this size
    make_model(folder, length=length, seed=seed, hidden=hidden)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(str(folder))
    return folder
