"""The formats in which an arm is asked, so that other models can be measured beside those trained on diffs.

| format | prompt | answer |
|---|---|---|
| `diff` | that of the dataset | diffs (`d3.evals.answer`) |
| `base` | the beginning of a program, as the benchmark gives it | its continuation, up to a stop string |
| `instruct` | the instruction in the model's own chat template | code between fences |

The last two are read by `d3.evals.code_answer`.
"""

from typing import Any

from d3.config.training import Format
from d3.core.example_format import CODE_END, example_prompt
from d3.core.example_tokens import ExampleTokens
from d3.errors import ConfigError
from d3.evals.answer import Built, build
from d3.evals.code_answer import continued, extracted
from d3.evals.task_file import docstring_prompt
from d3.evals.tasks import Task
from d3.llm.prompt import CHAT_CONSTANTS, encoder_of

DIFF_STOP = (f"\n{CODE_END}",)
FUNCTION_STOP = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
"""What follows a function [M. Chen et al., "Evaluating Large Language Models Trained on Code" (arXiv:2107.03374)]."""
PROGRAM_STOP = ('\n"""', "\nassert", "\nif __name__", "\nprint", "\n# ")
"""What follows a whole program that a docstring asks for: our default, as MBPP's prompts need."""
BASE_STOP = ("\n```", "\n</code>", "<|endoftext|>", "<|file_sep|>")
"""What ends a program in any case: our default."""
MESSAGE_MARK = "\ue000message\ue001"
"""Stands for the message while the chat template is filled in."""


def prompt_of(form: Format, task: Task) -> str:
    """Return the text that a model is shown of a task; of a chat, that of the message."""
    if form == "diff":
        return example_prompt(task.name, task.start, task.instruction)
    if form == "base":
        return _context(task) + beginning(task)
    return message(task)


def prompt_ids(form: Format, prompt: str, tokens: ExampleTokens, tokenizer: Any) -> tuple[int, ...]:
    """Return the tokens of a prompt; its text is never read as control tokens. Raise ConfigError for an `instruct`
    model without a chat template.
    """
    if form == "diff":
        return tuple(tokens.prompt(prompt))
    if form == "base":
        return tuple(tokens.example(prompt))
    if not getattr(tokenizer, "chat_template", None):
        raise ConfigError("the model has no chat template", remedy="take an instruction-tuned model, or format: base")
    text: str = tokenizer.apply_chat_template(
        [{"role": "user", "content": MESSAGE_MARK}], tokenize=False, add_generation_prompt=True, **CHAT_CONSTANTS
    )
    before, mark, after = text.partition(MESSAGE_MARK)
    if not mark:
        raise ConfigError("the model's chat template does not show the message", remedy="take another model")
    encode = tokenizer.encode
    return (
        *encode(before, add_special_tokens=False),
        *encoder_of(tokenizer).ids(prompt),
        *encode(after, add_special_tokens=False),
    )


def stop_of(form: Format, task: Task) -> tuple[str, ...]:
    """Return the strings before which an answer ends."""
    if form == "diff":
        return DIFF_STOP
    if form == "instruct":
        return ()
    opened = f"def {task.entry_point}" in beginning(task)
    return (*(FUNCTION_STOP if opened else PROGRAM_STOP), *BASE_STOP)


def program_of(form: Format, task: Task, text: str, finish_reason: str) -> Built:
    """Return what an answer was worth."""
    if form == "diff":
        return build(task.start, text, finish_reason)
    if form == "base":
        return continued(beginning(task), text, stop_of(form, task), finish_reason)
    return extracted(text, task.entry_point, finish_reason)


def beginning(task: Task) -> str:
    """Return the beginning of the program that a base model continues: the benchmark's, or the instruction."""
    return task.prompt or docstring_prompt(task.instruction)


def message(task: Task) -> str:
    """Return the message of a chat: what is asked, the start program if there is one, and how to answer."""
    parts = [task.instruction.strip()]
    if task.start:
        fence = "```"
        while fence in task.start:
            fence += "`"
        parts.append(f"The file {task.name} contains:\n\n{fence}python\n{task.start}\n{fence}")
    parts.append(f"Answer with the whole program, which must define `{task.entry_point}`, in one block of Python code.")
    return "\n\n".join(parts)


def _context(task: Task) -> str:
    """Return what stands before the beginning where a program is to be changed: that program, and what to do."""
    if not task.start:
        return ""
    asked = "\n".join(f"# {line}".rstrip() for line in task.instruction.strip().split("\n"))
    return f"{task.start}\n\n\n{asked}\n"
