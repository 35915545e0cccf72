"""The figures of the report: inline SVG that is the same bytes for the same numbers.

Colours are placeholders while matplotlib draws and CSS variables afterwards, so that the page's
light and dark colours apply to the figures too. The palette is Okabe and Ito's, made for
colour-blind readers; arms also differ by their marker and line style, and bars carry their count.
"""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

from d3.report.results import VERDICTS

INK, GRID = "#000001", "#000002"
"""Placeholders of the text colour and of the pale lines."""
SERIES = ("#00000a", "#00000b", "#00000c", "#00000d", "#00000e", "#00000f")
"""Placeholders of the page's `--s0` to `--s5`."""
PALE = "#000003"
"""Placeholder of what is not there: dropped rows, missing values."""
MARKERS = ("o", "s", "^", "D", "v", "P")
LINES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (6, 1.5, 1, 1.5)), (0, (3, 1)), "-")
WIDTH = 7.2
"""Inches; the page scales figures to its column."""
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "d3",
    "font.family": "sans-serif",
    "font.size": 9.5,
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
}
Svg = str


def _new(height: float) -> tuple[Any, Any]:
    """Give a figure that no window system knows of, and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.add_subplot()


def _svg(figure: Any, name: str, description: str) -> Svg:
    """Write a figure as an SVG element whose ids begin with `name`."""
    from html import escape

    file = io.StringIO()
    figure.savefig(
        file,
        format="svg",
        transparent=True,
        metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
    )
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', text)
    text = re.sub(r"font: (?:normal )?([0-9.]+px) [^;\"]*", r"font: \1 system-ui, sans-serif", text)
    text = text.replace(INK, "currentColor").replace(GRID, "var(--grid)").replace(PALE, "var(--pale)")
    for number, colour in enumerate(SERIES):
        text = text.replace(colour, f"var(--s{number})")
    box = re.search(r'viewBox="[^"]+"', text)
    start = f'<svg {box.group() if box else ""} role="img" aria-label="{escape(description)}" '
    start += 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
    return start + text[text.index(">") + 1 :].rstrip()


def _plain(text: Any, longest: int = 32) -> str:
    """Give a name as a label: no mathematics in dollar signs, not too long."""
    name = str(text)
    name = name if len(name) <= longest else name[: longest - 1] + "…"
    return name.replace("$", r"\$")


def _whole(axis: Any) -> None:
    """Let an axis have ticks at whole numbers only."""
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    axis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def draw(numbers: Mapping[str, Any]) -> dict[str, Svg]:
    """Draw every figure that the numbers of a run allow, by its name on the page."""
    import matplotlib

    figures: dict[str, Svg] = {}
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever a matplotlibrc on this machine says
        matplotlib.rcParams.update(STYLE)
        if numbers["attrition"]:
            figures["attrition"] = attrition(numbers["attrition"])
        if numbers["grades"]["rows"]:
            figures["grades"] = grades(numbers["grades"])
        if numbers["rejected"]["reasons"]:
            figures["rejected"] = rejected(numbers["rejected"]["reasons"])
        if numbers["diffs"]["per_sequence"]["counts"]:
            figures["diffs"] = diffs(numbers["diffs"]["per_sequence"])
        for kind in ("midtrain", "sft"):
            runs = [run for run in numbers["training"] if run["stage"] == kind and run["history"]]
            if runs:
                figures[f"loss-{kind}"] = losses(kind, runs)
        for number, benchmark in enumerate(numbers["benchmarks"]):
            if any(arm["pass"] for arm in benchmark["arms"]):
                figures[f"pass-{number}"] = passes(f"pass-{number}", benchmark)
            if any(arm["verdicts"] for arm in benchmark["arms"]):
                figures[f"verdicts-{number}"] = verdicts(f"verdicts-{number}", benchmark)
    return figures


def attrition(stages: Sequence[Mapping[str, Any]]) -> Svg:
    """Draw the share of its rows that every stage kept."""
    figure, axes = _new(0.5 + 0.36 * len(stages))
    for place, stage in enumerate(stages):
        share = stage["kept"] / stage["read"] if stage["read"] else 0.0
        axes.barh(place, 100, height=0.62, color=PALE)
        axes.barh(place, 100 * share, height=0.62, color=SERIES[0])
        said = f"{stage['kept']:,} of {stage['read']:,} {stage['unit']}"
        axes.text(101.5, place, said, va="center", ha="left")
    axes.set(xlim=(0, 140), ylim=(len(stages) - 0.5, -0.5), xlabel="kept (% of what the stage read)")
    axes.set_xticks(range(0, 101, 25))
    axes.set_yticks(range(len(stages)), [_plain(stage["stage"], 40) for stage in stages])
    axes.spines["bottom"].set_bounds(0, 100)
    said = "; ".join(f"{stage['stage']} {stage['kept']} of {stage['read']} {stage['unit']}" for stage in stages)
    return _svg(figure, "attrition", f"Bar chart of what each stage kept: {said}.")


def grades(numbers: Mapping[str, Any]) -> Svg:
    """Draw how many files got each score, and how many none."""
    counts = {**numbers["scores"], "missing": numbers["missing"]}
    figure, axes = _new(2.4)
    colours = [SERIES[0]] * len(numbers["scores"]) + [SERIES[1]]
    _labelled(axes, axes.bar(list(counts), list(counts.values()), width=0.7, color=colours))
    axes.set(xlabel="score", ylabel="files", ylim=(0, 1.15 * max(*counts.values(), 1)))
    _whole(axes.yaxis)
    said = ", ".join(f"{name}: {count}" for name, count in counts.items())
    return _svg(figure, "grades", f"Bar chart of files by score. {said}.")


def _labelled(axes: Any, bars: Any) -> None:
    axes.bar_label(bars, fmt="{:,.0f}", padding=2)


def rejected(reasons: Mapping[str, int]) -> Svg:
    """Draw how many files the corpus stage rejected for each reason, the largest first."""
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    figure, axes = _new(0.55 + 0.3 * len(ordered))
    bars = axes.barh(range(len(ordered)), [count for _, count in ordered], height=0.66, color=SERIES[1])
    _labelled(axes, bars)
    axes.set_yticks(range(len(ordered)), [_plain(reason) for reason, _ in ordered])
    axes.set(ylim=(len(ordered) - 0.5, -0.5), xlim=(0, 1.12 * max(count for _, count in ordered)), xlabel="files")
    _whole(axes.xaxis)
    said = ", ".join(f"{reason}: {count}" for reason, count in ordered)
    return _svg(figure, "rejected", f"Bar chart of rejected files by reason. {said}.")


def diffs(numbers: Mapping[str, Any], most_bars: int = 40) -> Svg:
    """Draw the histogram of diffs per sequence; long ranges are put in bins of equal width."""
    counts = {int(length): count for length, count in numbers["counts"].items()}
    low, high = min(counts), max(counts)
    width = -(-(high - low + 1) // most_bars)
    bins = [0] * ((high - low) // width + 1)
    for length, count in counts.items():
        bins[(length - low) // width] += count
    centres = [low + width * place + (width - 1) / 2 for place in range(len(bins))]
    figure, axes = _new(2.4)
    axes.bar(centres, bins, width=0.86 * width, color=SERIES[2])
    axes.axvline(numbers["median"], color=INK, linewidth=1, linestyle=(0, (4, 2)))
    axes.annotate(
        f"median {numbers['median']:g}",
        (numbers["median"], 1),
        xycoords=("data", "axes fraction"),
        xytext=(4, -9),
        textcoords="offset points",
    )
    per_bar = "" if width == 1 else f" ({width} values a bar)"
    axes.set(xlabel=f"diffs in a sequence{per_bar}", ylabel="sequences", ylim=(0, 1.2 * max(bins)))
    axes.set_xlim(low - 0.6 * width - 0.4, max(high, centres[-1]) + 0.6 * width + 0.4)
    _whole(axes.xaxis)
    _whole(axes.yaxis)
    said = f"{sum(bins)} sequences of {low} to {high} diffs, median {numbers['median']:g}"
    return _svg(figure, "diffs", f"Histogram of diffs per sequence: {said}.")


def losses(kind: str, runs: Sequence[Mapping[str, Any]]) -> Svg:
    """Draw training loss against steps, one line for each run."""
    figure, axes = _new(2.6)
    said = []
    for number, run in enumerate(runs):
        steps = [step["step"] for step in run["history"]]
        # A loss that is no finite number is null in the numbers; matplotlib leaves a gap for nan.
        values = [float("nan") if step["loss"] is None else step["loss"] for step in run["history"]]
        place = number % len(SERIES)
        axes.plot(
            steps,
            values,
            color=SERIES[place],
            linestyle=LINES[place],
            linewidth=1.8,
            marker=MARKERS[place],
            markersize=4.5 if len(steps) <= 60 else 0,
            label=_plain(run["name"]),
        )
        said.append(f"{run['name']} from {_said(run['first_loss'])} to {_said(run['last_loss'])}")
    axes.grid(axis="y")
    axes.set(xlabel="optimizer step", ylabel="training loss (nats per token)")
    _whole(axes.xaxis)
    axes.margins(x=0.03, y=0.12)
    if len(runs) > 1:
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), handlelength=3)
    return _svg(figure, f"loss-{kind}", f"Line chart of training loss: {'; '.join(said)}.")


def _said(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def passes(name: str, benchmark: Mapping[str, Any]) -> Svg:
    """Draw pass@k of every arm with its interval."""
    arms = [arm for arm in benchmark["arms"] if arm["pass"]]
    ks = sorted({score["k"] for arm in arms for score in arm["pass"]})
    figure, axes = _new(2.6)
    said = []
    for number, arm in enumerate(arms):
        place = number % len(SERIES)
        offset = (number - (len(arms) - 1) / 2) * min(0.3, 0.8 / len(arms))
        for score in arm["pass"]:
            x, y = ks.index(score["k"]) + offset, 100 * score["value"]
            axes.vlines(x, 100 * score["low"], 100 * score["high"], color=SERIES[place], linewidth=2.2)
            axes.plot(x, y, MARKERS[place], color=SERIES[place], markersize=8)
            axes.annotate(f"{y:.1f}", (x, y), xytext=(8, 0), textcoords="offset points", va="center")
            said.append(
                f"{arm['arm']} pass@{score['k']} {y:.1f} % ({100 * score['low']:.1f} to {100 * score['high']:.1f})"
            )
        axes.plot([], [], MARKERS[place], color=SERIES[place], markersize=8, label=_plain(arm["arm"]))
    top = max(score["high"] for arm in arms for score in arm["pass"])
    axes.set(ylabel="tasks solved (%)", xlim=(-0.6, len(ks) - 0.4), ylim=(-2, min(104, max(10, 118 * top + 4))))
    axes.set_xticks(range(len(ks)), [f"pass@{k}" for k in ks])
    axes.grid(axis="y")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return _svg(figure, name, f"Scores with intervals on {benchmark['benchmark']}: {'; '.join(said)}.")


def verdicts(name: str, benchmark: Mapping[str, Any]) -> Svg:
    """Draw what became of every arm's programs, as shares of all its samples."""
    kinds = list(benchmark["verdict_kinds"])
    colours = dict(zip(VERDICTS, SERIES, strict=False))
    arms = benchmark["arms"]
    figure, axes = _new(0.9 + 0.42 * len(arms))
    said = []
    for row, arm in enumerate(arms):
        total, left = sum(arm["verdicts"].values()), 0.0
        for kind in kinds:
            count = arm["verdicts"].get(kind, 0)
            share = 100 * count / total if total else 0.0
            colour = colours.get(kind, PALE)
            label = _plain(kind) if row == 0 else None
            axes.barh(row, share, left=left, height=0.62, color=colour, edgecolor=INK, linewidth=0.4, label=label)
            if share >= 4:
                # Dark text on a pale plate can be read on every colour of the palette.
                box = {"boxstyle": "round,pad=0.15", "facecolor": "#ffffff", "edgecolor": "none", "alpha": 0.85}
                axes.text(left + share / 2, row, f"{count:,}", ha="center", va="center", color="#111111", bbox=box)
            left += share
        said.append(f"{arm['arm']}: " + ", ".join(f"{kind} {count}" for kind, count in arm["verdicts"].items()))
    axes.set(xlim=(0, 100), ylim=(len(arms) - 0.5, -0.5), xlabel="samples (%)")
    axes.set_yticks(range(len(arms)), [_plain(arm["arm"]) for arm in arms])
    figure.legend(loc="outside upper left", ncols=min(len(kinds), 6), handlelength=1)
    return _svg(figure, name, f"What became of the samples on {benchmark['benchmark']}: {'; '.join(said)}.")
