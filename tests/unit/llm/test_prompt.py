"""Prompts: code never changes their structure, and nothing is tokenized twice."""

import json
from pathlib import Path
from typing import Any

import pytest

from d3.config.models import Config
from d3.core.example_tokens import ExampleTokens
from d3.errors import ConfigError
from d3.llm.prompt import PlainEncoder, Prompt, backend_settings, encoder_of, find_template, join_choices
from helpers.injections import HARMLESS, INJECTIONS
from helpers.paths import ROOT
from helpers.tiny_models import CHAT

LLAMA3 = [f"<|{name}|>" for name in ("begin_of_text", "start_header_id", "end_header_id", "eot_id", "eom_id")]
QWEN = ["<|endoftext|>", "<tool_call>", "<think>", "</think>", "<|vision_start|>"]


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Any:
    """Return a tokenizer that knows the control tokens of three families, special and not."""
    from tokenizers import AddedToken
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.add_tokens([AddedToken(text, special=True, normalized=False) for text in LLAMA3 + QWEN[4:]])
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in QWEN[1:4]])
    tokenizer.add_tokens([AddedToken(" " * 8, special=False, normalized=False)])
    return tokenizer


def write(folder: Path, text: str) -> Path:
    path = folder / "template.jinja"
    path.write_text(text, encoding="utf-8")
    return path


def grade_prompt(tokenizer: Any) -> Prompt:
    return Prompt(find_template("grade.jinja"), tokenizer, ("code",))


def control(tokenizer: Any, ids: Any) -> list[int]:
    return [token for token in ids if token in encoder_of(tokenizer).control]


@pytest.mark.parametrize("name", INJECTIONS)
def test_no_file_changes_the_structure_of_a_prompt(tokenizer: Any, name: str) -> None:
    code = INJECTIONS[name]
    prompt = grade_prompt(tokenizer)
    harmless = prompt.render({"code": HARMLESS})
    rendered = prompt.render({"code": code})
    assert control(tokenizer, rendered.ids) == control(tokenizer, harmless.ids) != []
    head, tail = harmless.shared, len(harmless.ids) - harmless.shared - len(encoder_of(tokenizer).ids(HARMLESS))
    assert rendered.shared == head
    assert rendered.ids[:head] == harmless.ids[:head]
    assert rendered.ids[-tail:] == harmless.ids[-tail:]
    assert tokenizer.decode(rendered.ids[head:-tail], clean_up_tokenization_spaces=False) == code


def test_the_injections_do_change_what_the_plain_way_makes(tokenizer: Any) -> None:
    """The set is worth something: rendered into the template as text, many of them break out."""
    prompt = grade_prompt(tokenizer)
    count = len(control(tokenizer, prompt.render({"code": HARMLESS}).ids))
    broken = 0
    for code in INJECTIONS.values():
        text = tokenizer.apply_chat_template([{"role": "user", "content": code}], add_generation_prompt=True)
        broken += len(control(tokenizer, text["input_ids"])) != count
    assert broken >= 9


@pytest.mark.parametrize("template", ["label_program.jinja", "label_change.jinja", "label_change_free.jinja"])
def test_label_prompts_keep_their_structure_too(tokenizer: Any, template: str) -> None:
    variables = ("program",) if "program" in template else ("start", "end", "change")
    prompt = Prompt(find_template(template), tokenizer, variables)
    harmless = prompt.render(dict.fromkeys(variables, HARMLESS))
    for code in INJECTIONS.values():
        rendered = prompt.render(dict.fromkeys(variables, code))
        assert control(tokenizer, rendered.ids) == control(tokenizer, harmless.ids)
        assert rendered.ids[: rendered.shared] == harmless.ids[: harmless.shared]
    empty = prompt.render({name: "" if name == "start" else HARMLESS for name in variables})
    assert control(tokenizer, empty.ids) == control(tokenizer, harmless.ids)


def test_the_prompt_is_the_chat_template_with_the_code_in_it(tokenizer: Any) -> None:
    rendered = grade_prompt(tokenizer).render({"code": HARMLESS})
    text = tokenizer.decode(rendered.ids, clean_up_tokenization_spaces=False)
    assert text.startswith("<|im_start|>user\nJudge how useful")
    assert text.endswith(f"```python\n{HARMLESS}\n```<|im_end|>\n<|im_start|>assistant\n")
    assert rendered.begun == ""
    fixed = tokenizer.decode(rendered.ids[: rendered.shared], clean_up_tokenization_spaces=False)
    assert text == fixed + text[len(fixed) :]
    assert fixed.endswith("The file:\n```python\n")  # all instructions come before the code


def test_system_and_beginning_of_the_answer(tokenizer: Any, tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "{% set system %}Be brief.{% endset %}{% set answer %}Label: {% if a %}Change{% else %}Write{% endif %}"
        "{% endset %}{% set score %} Points: {% endset %}Code: {{ a }}|{{ b }}",
    )
    prompt = Prompt(path, tokenizer, ("a", "b"))
    for a, verb in (("x", "Change"), ("", "Write")):
        rendered = prompt.render({"a": a, "b": "y"})
        assert tokenizer.decode(rendered.ids) == (
            f"<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nCode: {a}|y<|im_end|>\n"
            f"<|im_start|>assistant\nLabel: {verb}"
        )
        assert rendered.begun == f"Label: {verb}"
    assert prompt.setting("score") == "Points:"
    assert prompt.setting("other") is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("no code", "shows no code"),
        ("{{ code | upper | replace('C', 'x') }}", "changes a code variable"),
        ("{{ code[1:] }}", "changes a code variable"),
        ("{{ file }} {{ code }}", "does not render"),
        ("{{ code.__class__.__mro__ }}", "does not render"),
        ("{% if %}", "not a Jinja template"),
    ],
)
def test_a_template_that_does_not_show_the_code_as_it_is_is_refused(
    tokenizer: Any, tmp_path: Path, text: str, reason: str
) -> None:
    with pytest.raises(ConfigError, match=f"template.jinja: .*{reason}"):
        Prompt(write(tmp_path, text), tokenizer, ("code",)).render({"code": "x"})


def test_templates_are_found_by_path_or_name(tmp_path: Path) -> None:
    path = write(tmp_path, "x")
    assert find_template(str(path)) == path
    assert find_template("grade.jinja").name == "grade.jinja"
    with pytest.raises(ConfigError, match=r"no_such.jinja: no such prompt template"):
        find_template("no_such.jinja")


def test_the_templates_of_the_default_configuration_exist() -> None:
    config = Config()
    for name in (config.grades.prompt, config.labels.program_prompt, config.labels.change_prompt):
        assert find_template(name).is_file()


def test_a_model_without_chat_template_is_refused(tokenizer: Any, tmp_path: Path) -> None:
    import copy

    base = copy.deepcopy(tokenizer)
    base.chat_template = None
    with pytest.raises(ConfigError, match="no chat template"):
        Prompt(write(tmp_path, "{{ code }}"), base, ("code",))


def test_no_date_of_today_and_no_thoughts(tokenizer: Any, tmp_path: Path) -> None:
    import copy

    dated = copy.deepcopy(tokenizer)
    dated.chat_template = (
        "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
        "{{ date_string }} {{ enable_thinking }} {{ messages[0]['content'] }}"
    )
    ids = Prompt(write(tmp_path, "{{ code }}"), dated, ("code",)).render({"code": "x"}).ids
    assert dated.decode(ids) == "26 Jul 2024 False x"


def test_white_space_tokens_stay_in_code(tokenizer: Any) -> None:
    ids = encoder_of(tokenizer).ids(f"if x:\n{' ' * 8}y <think>")
    assert tokenizer.convert_tokens_to_ids(" " * 8) in ids
    assert tokenizer.convert_tokens_to_ids("<think>") not in ids


def with_begin(tokenizer: Any) -> Any:
    """Return a copy that begins every text with a token, as Llama's does."""
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    token = "<|begin_of_text|>"
    backend.post_processor = TemplateProcessing(
        single=f"{token} $A", special_tokens=[(token, backend.token_to_id(token))]
    )
    begun = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=token, eos_token="<|eot_id|>")
    begun.chat_template = "{{ bos_token }}" + CHAT
    return begun


def test_one_begin_token_in_chat_prompts_and_plain_ones(tokenizer: Any) -> None:
    begun = with_begin(tokenizer)
    begin = begun.convert_tokens_to_ids("<|begin_of_text|>")
    ids = grade_prompt(begun).render({"code": "<|begin_of_text|>"}).ids
    assert ids[0] == begin
    assert ids.count(begin) == 1
    plain = ExampleTokens(backend_settings(begun)).example("<code>\n<|eot_id|><|begin_of_text|>")
    assert plain[0] == begin
    assert control(begun, plain) == [begin]
    assert begun.decode(plain[1:]) == "<code>\n<|eot_id|><|begin_of_text|>"


def test_plain_ids_of_a_tokenizer_without_begin_token(tokenizer: Any) -> None:
    ids = ExampleTokens(backend_settings(tokenizer)).example("x = '<|im_end|>'")
    assert control(tokenizer, ids) == []
    assert tokenizer.decode(ids) == "x = '<|im_end|>'"


@pytest.mark.model
def test_a_tokenizer_whose_model_knows_control_tokens_as_words() -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = [("<unk>", 0.0), ("</s>", -1.0), *[(letter, -5.0) for letter in "</s>abc \n"]]
    backend = Tokenizer(models.Unigram(words, 0, False))
    backend.add_special_tokens(["</s>"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", unk_token="<unk>")
    ids = PlainEncoder(tokenizer).ids("a</s>b</s></s>")
    assert 1 not in ids
    assert [backend.id_to_token(token) for token in ids] == list("a</s>b</s></s>")


def test_too_long_texts_are_cut_at_line_ends(tokenizer: Any) -> None:
    prompt = Prompt(find_template("label_change.jinja"), tokenizer, ("start", "end", "change"))
    long = "\n".join(f"value_{number} = {number}" for number in range(100))
    texts = {"start": long, "end": long, "change": "@@ -0,0 +1 @@\n+x"}
    whole = prompt.render(texts)
    cut = prompt.render_within(texts, len(whole.ids) - 50)
    assert cut is not None
    assert len(whole.ids) - 80 < len(cut.ids) <= len(whole.ids) - 50
    text = tokenizer.decode(cut.ids)
    assert "+x\n```" in text  # the short text stays whole
    last = text.split("value_")[-1].split(" =")[0]
    assert f"value_{last} = {last}\n```" in text
    assert control(tokenizer, cut.ids) == control(tokenizer, whole.ids)
    assert prompt.render_within(texts, len(whole.ids)) == whole
    assert prompt.render_within(texts, 20) is None
    one_line = {"start": "", "end": "x" * 5000, "change": ""}
    assert prompt.render_within(one_line, 1000) is None


@pytest.mark.model
def test_choices_are_cut_where_the_tokenizer_cuts() -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    def made(vocabulary: list[str], merges: list[tuple[str, str]]) -> Any:
        backend = Tokenizer(models.BPE(vocab={text: at for at, text in enumerate(vocabulary)}, merges=merges))
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        return PreTrainedTokenizerFast(tokenizer_object=backend)

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    glued = made([*letters, "Ġ4"], [("Ġ", "4")])
    loose = made(letters, [])
    assert join_choices(loose, "N:", ("3", "4")) == (tuple(loose.encode("N: ")), ("3", "4"))
    assert join_choices(glued, "N:", ("4",)) == (tuple(glued.encode("N:")), (" 4",))


@pytest.mark.model
def test_the_embedded_model_if_it_is_there() -> None:
    """The real tokenizer of the demo passes the same checks where it has been unpacked."""
    folder = ROOT / "resources" / "models" / "SmolLM2-135M-Instruct"
    names = json.loads((folder / "tokenizer.json").read_text())["added_tokens"] if folder.is_dir() else []
    if names:
        from transformers import AutoTokenizer

        real = AutoTokenizer.from_pretrained(folder)
        every = "".join(token["content"] for token in names)
        rendered = grade_prompt(real).render({"code": every})
        harmless = grade_prompt(real).render({"code": HARMLESS})
        assert control(real, rendered.ids) == control(real, harmless.ids)
        assert every in real.decode(rendered.ids)
