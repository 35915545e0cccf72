"""A linear model of a file's text that estimates whether a judge would find it good enough, and its error bound.

Features are hashed words and pairs of neighboring words, and the layout of the file. Nothing is fitted but one weight
per feature, so that a model is one array. Training is LIBLINEAR's trust region Newton method
(`LogisticRegression(solver="liblinear")`): one thread, no random numbers, equal bytes for equal rows in equal order.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from d3.errors import InputError, ToolError

if TYPE_CHECKING:
    from numpy.typing import NDArray

HASHED = 2**17
"""Features of words and pairs of words."""
CHARACTERS = 20_000
"""Only so many characters of a file are read: what a judge sees first."""
REGULARIZATION = 10.0
"""`C` of the logistic regression."""
DIGITS = 6
"""Decimals of a score."""
PIECE = r"[^\W\d_]+|\d+|_+|[^\w\s]"
STARTS = tuple(
    re.compile(rf"^{start}", re.MULTILINE)
    for start in (
        *(rf"[ \t]*(?:{word})\b" for word in ("def|async def", "class", "import|from", "return", "if")),
        *(rf"[ \t]*{mark}" for mark in ("#", "@", "\"\"\"|[ \t]*'''", "$")),
        *(r"\S", "(?:def|class) ", " {8}"),
    )
)
"""How lines begin that are counted."""
LAYOUT = 2 * len(STARTS) + 8


def layout(text: str) -> list[float]:
    """Return `LAYOUT` numbers between 0 and 1 about the layout of a text: counts, lengths and shares of lines."""
    lines = text.split("\n")
    size, count = max(len(text), 1), len(lines)
    found = [len(start.findall(text)) for start in STARTS]
    return [
        *(each / count for each in found),
        *(min(each, 100) / 100 for each in found),
        min(count, 1500) / 1500,
        min(size, CHARACTERS) / CHARACTERS,
        min(size / count, 100) / 100,
        min(max(map(len, lines)), 500) / 500,
        sum(map(str.isalpha, text)) / size,
        sum(map(str.isdigit, text)) / size,
        sum(map(str.isspace, text)) / size,
        sum(text.count(mark) for mark in "\"'") / size,
    ]


def features(texts: Iterable[str]) -> Any:
    """Return the features of texts as a sparse matrix of shape (texts, HASHED + LAYOUT), float64.

    Raise ToolError without scikit-learn.
    """
    try:
        from sklearn.feature_extraction.text import HashingVectorizer
    except ImportError:
        raise ToolError("scikit-learn is not installed", where="pregrade", remedy="run `make setup`") from None
    from scipy.sparse import csr_array, hstack

    seen = [text[:CHARACTERS] for text in texts]
    words = HashingVectorizer(token_pattern=PIECE, ngram_range=(1, 2), n_features=HASHED, alternate_sign=False)
    shapes = np.array([layout(text) for text in seen]).reshape(len(seen), LAYOUT)
    return csr_array(hstack([words.transform(seen), csr_array(shapes)], format="csr"))


def fit(matrix: Any, good: Sequence[bool]) -> "NDArray[np.float64]":
    """Return the weights of a model that tells good texts from others, shape (HASHED + LAYOUT + 1,), the bias last.

    `matrix` is that of `features`. Both classes count alike, however rare one is. Raise InputError if all texts are of
    one class.
    """
    if len(set(good)) < 2:
        raise InputError(
            f"the pre-grader must learn of files of both kinds (got {sum(good):,} that reach the threshold "
            f"and {len(good) - sum(good):,} that do not)",
            remedy="grade a larger sample, or change grades.threshold",
        )
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=REGULARIZATION, solver="liblinear", class_weight="balanced", max_iter=1000)
    model.fit(matrix, np.array(good))
    return np.concatenate([model.coef_[0], model.intercept_]).astype(np.float64)


def scores(weights: "NDArray[np.float64]", matrix: Any) -> list[float]:
    """Return the score of each text, the logarithm of its odds to be good, rounded to `DIGITS` decimals."""
    return [round(float(value), DIGITS) for value in matrix @ weights[:-1] + weights[-1]]


def save(weights: "NDArray[np.float64]", path: Path) -> None:
    """Write weights as an `.npy` file."""
    with path.open("wb") as file:
        np.save(file, weights, allow_pickle=False)


def load(path: Path) -> "NDArray[np.float64]":
    """Read the weights of a model; raise InputError for a file that holds none."""
    try:
        weights = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"contains no weights ({error})", where=str(path), remedy="run `pregrader` again") from None
    if weights.dtype != np.float64 or weights.shape != (HASHED + LAYOUT + 1,):
        raise InputError("contains other weights", where=str(path), remedy="run `pregrader` again")
    return np.asarray(weights, dtype=np.float64)


def rank_of_bound(calibration: int, share: float, confidence: float) -> int:
    """Return which of the sorted scores of `calibration` good texts is the threshold, counted from 1.

    Of good texts, the share below the k-th smallest of n scores follows Beta(k, n + 1 - k), so it is at most `share`
    with probability P(Binomial(n, share) >= k); ties only lower it. The largest k whose probability is at least
    `confidence` is returned, 0 if there is none: n is too small. Source: Vovk, "Conditional validity of inductive
    conformal predictors" (2012), proposition 2a. Texts must be drawn like those that are judged later.
    """
    from scipy.stats import binom

    rank = 0
    while rank < calibration and binom.sf(rank, calibration, share) >= confidence:
        rank += 1
    return rank


def fewest_for_bound(share: float, confidence: float) -> int:
    """Return how many good texts `rank_of_bound` needs to return 1 at least."""
    needed = 1
    while rank_of_bound(needed, share, confidence) < 1:
        needed += 1
    return needed
