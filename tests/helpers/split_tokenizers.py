"""Small tokenizers that cut text as large ones do, learned from D3 examples so that they merge what those would."""

import json
from collections.abc import Sequence
from pathlib import Path

from d3.core.example_format import example_completion, example_prompt

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
BEGIN, END = "<|begin_of_text|>", "<|end_of_text|>"
SPLITS = ("smollm2", "llama3", "none")


def examples(count: int = 200) -> list[tuple[str, str]]:
    """Return prompts and completions of many shapes: start programs, names, instructions, line ends."""
    rows = []
    for number in range(count):
        start = "\n".join(f"value_{line} = ({line},)" for line in range(number % 7))
        ends = (")", ".", "!", "`x`", "?)", "é", "\t", ">")[number % 8]
        prompt = example_prompt(f"f{number}-_.py"[-12:], start, f"Add step {number}{ends}")
        diffs = [
            f"@@ -{number},0 +{number + 1} @@\n+print({number}){' ' * (number % 3)}" for _ in range(number % 4 + 1)
        ]
        rows.append((prompt, example_completion(prompt, diffs)))
    return rows


def split_tokenizer(folder: Path, split: str) -> Path:
    """Write a tokenizer with the split pattern of a family (`SPLITS`) into `folder`; Llama's has a begin token."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytes_alone = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    before: dict[str, Sequence[pre_tokenizers.PreTokenizer]] = {
        "smollm2": [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)],
        "llama3": [pre_tokenizers.Split(Regex(LLAMA3), "isolated"), bytes_alone],
        "none": [bytes_alone],
    }
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(list(before[split]))
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=[BEGIN, END],
        initial_alphabet=alphabet,
        max_token_length=12,
        show_progress=False,
    )
    tokenizer.train_from_iterator([completion for _, completion in examples()], trainer)
    tokenizer.add_tokens([AddedToken("<tool_call>", special=False)])
    if split == "llama3":
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{BEGIN} $A", pair=f"{BEGIN} $A $B", special_tokens=[(BEGIN, 0)]
        )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": END, "bos_token": BEGIN}))
    return folder
