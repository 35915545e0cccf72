"""Tests from EvalPlus' own data: inputs, and the answers of the reference to them, compared as EvalPlus compares.

A line of HumanEvalPlus.jsonl or MbppPlus.jsonl has `base_input`, `plus_input`, `atol`, `entry_point`
and `canonical_solution`. The comparison, its special cases and the types of MBPP+'s inputs follow
evalplus 0.3.1 (Apache-2.0), `evalplus/eval` and `evalplus/data/mbpp.py`: an inexact answer must have
the type and the length of the expected one before its numbers are compared.
"""

from collections.abc import Callable
from typing import Any

from d3.evals.task_file import TaskLine

SETS = ("similar_elements", "find_char_long", "common_in_nested_lists", "extract_singly", "larg_nnum",
        "intersection_array", "find_dissimilar", "Diff")  # fmt: skip
"""Functions of MBPP+ whose answers are compared as sets."""
NOT_NONE = ("check_str", "text_match_three", "text_starta_endb")
"""Functions of MBPP+ of whose answers only whether there is one is compared."""

TESTS = """import copy
import math
import numpy as np
from math import inf, nan

_names = {{"__name__": "reference"}}
exec({reference!r}, _names)
_reference = _names[{entry_point!r}]
_inputs = {inputs}


def _is_floats(value):
    if isinstance(value, (list, tuple)) and value:
        return all(isinstance(item, float) for item in value)
    return isinstance(value, float) or isinstance(value, np.ndarray) and value.dtype in (np.float64, np.float32)


def _compare(out, exp, inp, atol):
{special}    if atol == 0 and _is_floats(exp):
        atol = 1e-6
    if not exact and atol != 0:
        assert type(out) == type(exp), "another type"
        if isinstance(exp, (list, tuple)):
            assert len(out) == len(exp), "another length"
        assert np.allclose(out, exp, rtol=1e-07, atol=atol)
    else:
        assert exact


for _input in _inputs:
    _expected = _reference(*copy.deepcopy(_input))
    _compare({entry_point}(*_input), _expected, copy.deepcopy(_input), {atol!r})
"""
EXACT = "    exact = out == exp\n"
SURFACE = """    slant = math.sqrt((inp[0] / 2) ** 2 + inp[1] ** 2)
    exact = out == exp or abs(out - round(inp[0] ** 2 + 4 * (inp[0] * slant) / 2)) <= atol
"""
DIGITS = """    width = max(len(str(inp[0])), len(str(inp[1])))
    pairs = zip(str(inp[0]).zfill(width), str(inp[1]).zfill(width))
    exact = out == exp or out == sum(abs(int(a) - int(b)) for a, b in pairs)
"""
ANSWERED = """    exp = exp is not None
    exact = out == exp if isinstance(out, bool) else exp == (out is not None)
"""
ROOT = """    assert abs(sum(part * math.pow(out, place) for place, part in enumerate(inp[0]))) <= atol
    return
"""
SPECIAL = {
    **dict.fromkeys(SETS, "    exact = set(out) == set(exp)\n"),
    **dict.fromkeys(NOT_NONE, ANSWERED),
    "sum_div": "    exact = out == exp or out == 0\n",
    "surface_Area": SURFACE,
    "digit_distance_nums": DIGITS,
    "find_zero": ROOT,
}
"""How an answer is compared where `==` is not all. EvalPlus takes any answer of `are_equivalent`; we do not."""


def is_evalplus(line: TaskLine) -> bool:
    """Return whether a line is of EvalPlus' own files, and not of the text made from them."""
    return line.has("base_input")


def differential_tests(line: TaskLine, reference: str, *, plus: bool, typed: Callable[[list[Any]], Any] = list) -> str:
    """Return the tests of a line of EvalPlus' own data; `typed` gives an input the types that JSON loses."""
    entry_point = line.text("entry_point")
    inputs = [typed(given) for given in line.lists("base_input") + (line.lists("plus_input") if plus else [])]
    special = SPECIAL.get(entry_point, EXACT)
    return TESTS.format(
        reference=reference, entry_point=entry_point, inputs=repr(inputs), atol=line.decimal("atol"), special=special
    )


# --- types of MBPP+'s inputs --------------------------------------------------------------------------


def _every(value: Any) -> Any:
    return tuple(_every(item) for item in value) if isinstance(value, list) else value


TUPLES = (2, 116, 132, 143, 222, 261, 273, 394, 399, 421, 424, 429, 470, 560, 579, 596, 616, 630, 726, 740, 744, 809)
LISTS_OF_TUPLES = (63, 64, 70, 94, 120, 237, 272, 299, 400, 409, 417, 438, 473, 614, 780)
FIRST_LIST_OF_TUPLES = (75, 413, 444, 753)
SECOND_TUPLE = (106, 750)
FIRST_TUPLE = (250, 307, 405, 446, 617, 720, 763, 808)
TUPLES_OF_TUPLES = (259, 401, 445)
TUPLES_THROUGHOUT = (580, 615, 791)


def mbpp_types(task: int) -> Callable[[list[Any]], Any]:
    """Return how an input of a task of MBPP+ gets its types back."""

    def typed(given: list[Any]) -> Any:
        if task in TUPLES:
            return [tuple(item) for item in given]
        if task in LISTS_OF_TUPLES:
            return [[tuple(item) for item in items] for items in given]
        if task in FIRST_LIST_OF_TUPLES:
            return [[tuple(item) for item in given[0]], given[1]]
        if task in SECOND_TUPLE:
            return [given[0], tuple(given[1])]
        if task in FIRST_TUPLE:
            return [tuple(given[0]), *given[1:]]
        if task in TUPLES_OF_TUPLES:
            return [tuple(tuple(item) for item in items) for items in given]
        if task in TUPLES_THROUGHOUT:
            return _every(given)
        if task == 115:
            return [[set(item) if isinstance(item, list) and item else {} for item in given[0]]]
        if task == 124:
            return (float(given[0]), complex(given[1]))
        if task == 252:
            return [complex(given[0])]
        if task == 278:
            return [tuple(tuple(item) if isinstance(item, list) else item for item in given[0])]
        if task == 722:
            return [{key: tuple(value) for key, value in given[0].items()}, *given[1:]]
        return given

    return typed
