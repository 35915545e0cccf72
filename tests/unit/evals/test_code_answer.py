"""Answers with code: which block is the program, what is repaired, where a continuation ends; nothing raises."""

import random

import pytest

from d3.evals.code_answer import FENCE_REPAIRS, continued, defines, extracted
from d3.evals.formats import BASE_STOP, FUNCTION_STOP, PROGRAM_STOP

F = "```"
ADD = "def add(a, b):\n    return a + b"
WRONG = "def add(a, b):\n    return a - b"
BLOCK = f"{F}python\n{ADD}\n{F}"
HELPED = "def add(a, b):\n    return plus(a, b)"
PLUS = "def plus(a, b):\n    return a + b"
DOCUMENTED = 'def add(a, b):\n    """Add.\n\n    >>> add(1, 2)\n    3\n    """\n    return a + b'
OK, NO_CODE = "ok", "no_code"

# name: (answer, finish reason, status or the repairs, program)
CHATS: dict[str, tuple[str, str, str, str | None]] = {
    # whole answers
    "one block": (BLOCK, "stop", OK, ADD),
    "talk around it": (f"Sure!\n\n{BLOCK}\n\nThis adds two numbers.", "stop", OK, ADD),
    "no language": (f"{F}\n{ADD}\n{F}", "stop", OK, ADD),
    "the language py": (f"{F}py\n{ADD}\n{F}", "stop", OK, ADD),
    "the language in capitals": (f"{F} Python\n{ADD}\n{F}", "stop", OK, ADD),
    "words after the language": (f"{F}python title=add.py\n{ADD}\n{F}", "stop", OK, ADD),
    "tildes": (f"~~~python\n{ADD}\n~~~", "stop", OK, ADD),
    "a longer fence": (f"````python\n{ADD}\n````", "stop", OK, ADD),
    "a longer fence at the end": (f"{F}python\n{ADD}\n`````", "stop", OK, ADD),
    "a fence inside of a longer one": (f"````\n{ADD}\n\nS = '''\n{F}\n'''\n````", "stop", OK,
                                       f"{ADD}\n\nS = '''\n{F}\n'''"),
    "blank lines inside": (f"{F}python\n\n\n{ADD}\n\n{F}", "stop", OK, ADD),
    "a list item": (f"1. Write:\n   {F}python\n   def add(a, b):\n       return a + b\n   {F}", "stop", OK, ADD),
    "in a quoted bullet": (f"- {F}python\n{ADD}\n{F}", "stop", OK, ADD),
    "a class": (f"{F}python\nclass add:\n    pass\n{F}", "stop", OK, "class add:\n    pass"),
    "a name that is assigned": (f"{F}python\nadd = lambda a, b: a + b\n{F}", "stop", OK, "add = lambda a, b: a + b"),
    "a name that is imported": (f"{F}python\nfrom operator import add\n{F}", "stop", OK, "from operator import add"),
    "an asynchronous function": (f"{F}python\nasync def add(a, b):\n    return a + b\n{F}", "stop", OK,
                                 "async def add(a, b):\n    return a + b"),
    "a block that does not parse": (f"{F}python\ndef add(a, b)\n    return a + b\n{F}", "stop", OK,
                                    "def add(a, b)\n    return a + b"),
    "a block that ends in the middle": (f"{F}python\n{ADD}\n\ndef more(:\n{F}", "stop", OK, f"{ADD}\n\ndef more(:"),
    "doctests in it": (f"{F}python\n{DOCUMENTED}\n{F}", "stop", OK, DOCUMENTED),
    "cut off after the block": (f"{BLOCK}\n\nThe time is li", "length", OK, ADD),
    # several blocks
    "an example of use after it": (f"{BLOCK}\n\nUse it:\n{F}python\nprint(add(1, 2))\n{F}", "stop", OK, ADD),
    "an example of use before it": (f"You want\n{F}python\nadd(1, 2) == 3\n{F}\nso:\n{BLOCK}", "stop", OK, ADD),
    "output after it": (f"{BLOCK}\n{F}\n3\n{F}", "stop", OK, ADD),
    "a shell command before it": (f"{F}bash\npip install x\n{F}\n{BLOCK}", "stop", OK, ADD),
    "a better version": (f"{F}python\n{WRONG}\n{F}\nThat subtracts. Right:\n{BLOCK}", "stop", OK, ADD),
    "tests that define another name": (f"{BLOCK}\n{F}python\ndef test_add():\n    assert add(1, 2) == 3\n{F}", "stop",
                                       OK, ADD),
    # reasoning
    "reasoning before it": (f"<think>\n{F}python\n{WRONG}\n{F}\n</think>\n{BLOCK}", "stop", OK, ADD),
    "reasoning that the template began": (f"Let me see.\n{F}python\n{WRONG}\n</think>\n{BLOCK}", "stop", OK, ADD),
    "reasoning without an end": (f"<think>\n{BLOCK}", "length", NO_CODE, None),
    "reasoning and nothing else": (f"<think>\n{BLOCK}\n</think>\n", "stop", NO_CODE, None),
    # repairs
    "no fences": (ADD, "stop", "no_fence", ADD),
    "no fences, with blank lines": (f"\n\n{ADD}\n\n", "stop", "no_fence", ADD),
    "no end of the block": (f"{F}python\n{ADD}\n", "stop", "open_fence", ADD),
    "cut off in the block": (f"{F}python\n{ADD}\n\ndef mo", "length", "open_fence", f"{ADD}\n\ndef mo"),
    "carriage returns": (BLOCK.replace("\n", "\r\n"), "stop", "carriage_returns", ADD),
    "an indented program": (f"{F}python\n    def add(a, b):\n        return a + b\n{F}", "stop", "indented_block", ADD),
    "another language": (f"{F}java\n{ADD}\n{F}", "stop", "other_language", ADD),
    "a helper in a block of its own": (f"First\n{F}python\n{PLUS}\n{F}\nthen\n{F}python\n{HELPED}\n{F}", "stop",
                                       "several_blocks", f"{PLUS}\n\n{HELPED}"),
    "an import in a block of its own": (f"{F}python\nimport math\n{F}\n{F}python\ndef add(a, b):\n    "
                                        f"return math.fsum([a, b])\n{F}", "stop", "several_blocks",
                                        "import math\n\ndef add(a, b):\n    return math.fsum([a, b])"),
    "several repairs": (f"{F}java\r\n{ADD}".replace("\n", "\r\n"), "stop",
                        "carriage_returns open_fence other_language", ADD),
    # no program
    "nothing": ("", "stop", NO_CODE, None),
    "blanks": (" \n\n", "stop", NO_CODE, None),
    "words": ("I cannot do that.", "stop", NO_CODE, None),
    "words that name it": ("You could use `def add(a, b)` here.", "stop", NO_CODE, None),
    "another function": (f"{F}python\n{PLUS}\n{F}", "stop", NO_CODE, None),
    "a nested function": (f"{F}python\ndef outer():\n    def add(a, b):\n        return a + b\n{F}", "stop", NO_CODE,
                          None),
    "the body alone": (f"{F}python\n    return a + b\n{F}", "stop", NO_CODE, None),
    "an empty block": (f"{F}python\n{F}", "stop", NO_CODE, None),
    "fences alone": (f"{F}\n{F}\n{F}", "stop", NO_CODE, None),
    "a longer name": (f"{F}python\ndef addition(a, b):\n    return a + b\n{F}", "stop", NO_CODE, None),
    "code and words without fences": (f"Here it is:\n{ADD}\nIt adds.", "stop", NO_CODE, None),
    "a diff": ("<|diff|>@@ -0,0 +1,2 @@\n+def add(a, b):\n+    return a + b\n</code>", "stop", NO_CODE, None),
    "NUL": (f"{F}python\n{ADD}  # \0\n{F}", "stop", NO_CODE, None),
    "half of a surrogate pair": (f"{F}python\n{ADD}  # \ud800\n{F}", "stop", NO_CODE, None),
    "too long": ("x" * 2_000_001, "length", NO_CODE, None),
    "deep brackets": (f"{F}python\n{'(' * 100_000}\n{F}", "stop", NO_CODE, None),
    "very many fences": (f"{F}\n" * 100_000, "stop", NO_CODE, None),
}  # fmt: skip


@pytest.mark.parametrize("name", CHATS)
def test_hand_made_answers_of_chats(name: str) -> None:
    text, finish, wanted, program = CHATS[name]
    built = extracted(text, "add", finish)
    repaired = wanted not in (OK, NO_CODE)
    assert (built.status, built.program) == ("repaired" if repaired else wanted, program)
    assert built.repairs == (tuple(wanted.split()) if repaired else ())
    assert built.detail is None or "\n" not in built.detail
    assert not repaired or built.detail


def test_every_repair_of_fences_is_in_the_table() -> None:
    assert {kind for _, _, wanted, _ in CHATS.values() for kind in wanted.split()} >= set(FENCE_REPAIRS)


HEAD = 'def add(a, b):\n    """Add."""\n'
BODY = "    return a + b"
ASKED = '"""\nAdd.\nassert add(1, 2) == 3\n"""\n'
# name: (prompt, continuation, finish reason, status, program)
CONTINUED: dict[str, tuple[str, str, str, str, str | None]] = {
    "a body": (HEAD, BODY, "stop", OK, HEAD + BODY),
    "a body and a newline": (HEAD, f"{BODY}\n", "stop", OK, HEAD + BODY),
    "another function": (HEAD, f"{BODY}\n\n\ndef sub(a, b):\n    return 1", "stop", OK, HEAD + BODY),
    "a class": (HEAD, f"{BODY}\nclass A:", "stop", OK, HEAD + BODY),
    "a call": (HEAD, f"{BODY}\nprint(add(1, 2))", "stop", OK, HEAD + BODY),
    "a main guard": (HEAD, f"{BODY}\n\nif __name__ == '__main__':", "stop", OK, HEAD + BODY),
    "a comment": (HEAD, f"{BODY}\n# Test", "stop", OK, HEAD + BODY),
    "a fence": (HEAD, f"{BODY}\n{F}\nDone", "stop", OK, HEAD + BODY),
    "an end of text": (HEAD, f"{BODY}<|endoftext|>def f", "stop", OK, HEAD + BODY),
    "a nested function stays": (HEAD, "    def f():\n        return 1\n    return f()", "stop", OK,
                                f"{HEAD}    def f():\n        return 1\n    return f()"),
    "cut off": (HEAD, "    return a +", "length", OK, f"{HEAD}    return a +"),
    "nothing": (HEAD, "", "stop", NO_CODE, None),
    "blanks": (HEAD, "  \n\n", "stop", NO_CODE, None),
    "a stop string alone": (HEAD, "\ndef f(): pass", "stop", NO_CODE, None),
    "NUL": (HEAD, "    return '\0'", "stop", NO_CODE, None),
    "half of a surrogate pair": (HEAD, "    return '\udc00'", "stop", NO_CODE, None),
    "a whole function": (ASKED, ADD, "stop", OK, ASKED + ADD),
    "two functions": (ASKED, f"{PLUS}\n\n{HELPED}", "stop", OK, f"{ASKED}{PLUS}\n\n{HELPED}"),
    "tests after it": (ASKED, f"{ADD}\n\nassert add(2, 2) == 4", "stop", OK, ASKED + ADD),
    "the next problem": (ASKED, f'{ADD}\n\n"""\nSubtract.', "stop", OK, ASKED + ADD),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTINUED)
def test_hand_made_continuations(name: str) -> None:
    prompt, text, finish, status, program = CONTINUED[name]
    stop = (*(PROGRAM_STOP if prompt == ASKED else FUNCTION_STOP), *BASE_STOP)
    built = continued(prompt, text, stop, finish)
    assert (built.status, built.program, built.repairs) == (status, program, ())
    assert (built.detail == "cut off at max_tokens") == (name == "cut off")


def test_a_continuation_that_is_too_long_is_no_code() -> None:
    assert continued(HEAD, "x" * 2_000_001, (), "length").status == NO_CODE


def test_a_name_is_defined_at_the_top_level_alone() -> None:
    assert defines("x = 1\nadd: int = 2", "add")
    assert defines("import a.b", "a")
    assert not defines("import a.b", "b")
    assert not defines("class A:\n    def add(self): pass", "add")
    assert defines("def add(:\n", "add")
    assert not defines("# def add(", "add")


def test_no_mutated_answer_raises() -> None:
    draw = random.Random(3)
    letters = [
        "\n",
        "`",
        "~",
        " ",
        "\t",
        "(",
        ")",
        '"',
        "'",
        "\\",
        "\0",
        "\ud800",
        "\r",
        F,
        "python",
        "def add",
        ":",
        "é",
    ]
    for _ in range(3000):
        text = list(draw.choice(list(CHATS.values()))[0][:2000])
        for _ in range(draw.randint(1, 8)):
            at = draw.randint(0, len(text))
            text[at : at + draw.randint(0, 4)] = draw.choices(letters, k=draw.randint(0, 3))
        built = extracted("".join(text), "add", draw.choice(["stop", "length"]))
        assert (built.program is None) == (built.status == NO_CODE)
