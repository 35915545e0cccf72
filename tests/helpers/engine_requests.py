"""Requests that the engines are compared with."""

from typing import Any

from d3.llm.engine import Request


def requests(count: int = 7, **options: Any) -> list[Request]:
    begin = tuple(range(20, 30))
    return [
        Request(
            **{
                "key": f"r{number}",
                "ids": begin + tuple((number * 37 + at * 11) % 500 + 30 for at in range(3 + number * 5)),
                "max_tokens": 12,
                "seed": number,
                "shared": 10,
                "choices": ("0", "def return", "x"),
                "lead": (40, 41),
                **options,
            }
        )
        for number in range(count)
    ]
