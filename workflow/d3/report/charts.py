"""The figures of the report as Vega-Lite specifications, made with Altair; the page draws them with Vega.

Colors are CSS variables of the page, so that figures follow its light and dark colors. The colors of arms are Okabe
and Ito's, made for color-blind readers; verdicts have colors of their own. Axes of counts and shares begin at 0.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from d3.report.evidence import spread_bins

Spec = dict[str, Any]

ARM_COLORS = tuple(f"var(--s{number})" for number in range(6))
ARM_DASHES = ([1, 0], [6, 3], [2, 2], [8, 2, 2, 2], [4, 4], [10, 3])
ARM_SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross")
VERDICT_COLORS = {
    "passed": "var(--v-passed)",
    "failed": "var(--v-failed)",
    "error": "var(--v-error)",
    "timeout": "var(--v-timeout)",
    "memory": "var(--v-memory)",
    "crashed": "var(--v-crashed)",
    "no_program": "var(--v-none)",
    "unsupported": "var(--v-other)",
}
PALE_VERDICTS = ("no_program",)
"""Verdicts of a pale color in light mode and a dark one in dark mode; numbers on them are the other way around."""
BAR, FADED, INK = "var(--bar)", "var(--faded)", "var(--ink)"
MOST_BARS = 25
"""Categories of a bar chart; the rest is one bar."""
MOST_POINTS = 400
"""Steps of a training curve."""
CURVES = {
    "loss": "loss (nats per token)",
    "learning_rate": "learning rate",
    "grad_norm": "gradient norm",
}
RATE = "tokens per second"


TOPIC_FIGURES = ("topics", "topic_libraries", "difficulty", "task_type")
"""What a model said of the instructions; see the stage `topics`."""


def draw(numbers: Mapping[str, Any]) -> dict[str, Spec]:
    """Return every figure that the numbers of a run allow, by its name on the page."""
    charts: dict[str, Any] = {}
    if any(row["files"] for row in numbers["funnel"]):
        charts["funnel"] = _funnel(numbers["funnel"])
    grades = numbers["grades"]
    if grades["rows"]:
        charts["grades"] = _scores(grades)
    for name, bins, across, count in (
        ("diffs", spread_bins(numbers["diffs"]["per_sequence"]["counts"]), "diffs in a sequence", "sequences"),
        ("words", spread_bins(numbers["labels"]["words"]["counts"]), "words in a label", "labels"),
        ("lines", spread_bins(numbers["dataset"]["lines_changed"]["counts"]), "lines changed by a row", "rows"),
        ("lengths", numbers["tokens"]["lengths"], "tokens in a document", "documents"),
    ):
        if bins:
            charts[name] = _histogram(bins, across, count)
    for name, counts, unit in (
        ("verbs", numbers["labels"]["verbs"], "labels"),
        ("libraries", numbers["diffs"]["libraries"], "files"),
        *((name, (numbers["topics"] or {}).get(name), "instructions") for name in TOPIC_FIGURES),
    ):
        if counts:
            charts[name] = _bars(counts, unit)
    throughput = numbers["execution"]["throughput"]
    for stage in ("midtrain", "sft"):
        runs = [run for run in numbers["training"] if run["stage"] == stage and run["history"]]
        rates = [
            {"name": run["name"], "history": found["steps"]}
            for run in runs
            if (found := throughput.get(speed_name(run))) and found["steps"]
        ]
        if rates:
            charts[f"tokens_per_second-{stage}"] = _curve(rates, "tokens_per_second", RATE)
        for column in CURVES:
            if any(step.get(column) is not None for run in runs for step in run["history"]):
                charts[f"{column}-{stage}"] = _curve(runs, column, CURVES[column])
    if numbers["execution"]["stage_seconds"]:
        charts["time"] = _bars(numbers["execution"]["stage_seconds"], "seconds")
    held_out = (numbers.get("learning") or {}).get("held_out") or {}
    if held_out.get("models"):
        charts["held-out"] = _held_out(held_out["models"])
    for number, benchmark in enumerate(numbers["benchmarks"]):
        if any(arm["pass"] for arm in benchmark["arms"]):
            charts[f"pass-{number}"] = _forest(benchmark)
        if any(arm["verdicts"] for arm in benchmark["arms"]):
            charts[f"verdicts-{number}"] = _verdicts(benchmark)
    return {name: _finished(chart) for name, chart in charts.items()}


def speed_name(run: Mapping[str, Any]) -> str:
    """Return the name of a training run among the throughputs: that of its arm, or its stage."""
    return str(run["name"] if run["stage"] == "sft" else run["stage"])


def _finished(chart: Any) -> Spec:
    """Return a chart as a specification as wide as its place on the page."""
    spec: Spec = chart.properties(width="container").configure_view(stroke=None).to_dict()
    return spec


def _chart(rows: Sequence[Mapping[str, Any]]) -> Any:
    import altair

    return altair.Chart(altair.Data(values=list(rows)))


def _axis(title: str | None = None, **more: Any) -> Any:
    import altair

    return altair.Axis(title=title, **more)


def _counts_axis(title: str, most: float) -> Any:
    """Return the axis of counts: whole numbers, grid lines, few ticks."""
    return _axis(title, tickCount=min(5, max(1, int(most))), format="~s" if most >= 10_000 else ",d", grid=True)


def _funnel(steps: Sequence[Mapping[str, Any]]) -> Any:
    import altair

    whole = max(step["files"] for step in steps)
    first = steps[0]["files"] or whole
    rows = [
        {
            "step": step["step"],
            "files": step["files"],
            "text": f"{step['files']:,} ({100 * step['files'] / first:.3g} %)",
        }
        for step in steps
    ]
    base = _chart(rows).encode(
        y=altair.Y("step:N", sort=[row["step"] for row in rows], axis=_axis(None, labelLimit=150, domain=False)),
        x=altair.X("files:Q", scale=altair.Scale(domain=[0, whole * 1.75]), axis=None),
        tooltip=["step:N", "files:Q"],
    )
    text = base.mark_text(align="left", dx=5).encode(text="text:N")
    return (base.mark_bar(color=BAR) + text).properties(height=altair.Step(28))


def _bars(counts: Mapping[str, int], unit: str) -> Any:
    import altair

    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rest = sum(count for _, count in ordered[MOST_BARS:])
    shown = [*ordered[:MOST_BARS], *([(f"{len(ordered) - MOST_BARS} more", rest)] if rest else [])]
    rows = [{"name": name, "count": count, "text": f"{count:,}"} for name, count in shown]
    most = max(count for _, count in shown)
    base = _chart(rows).encode(
        y=altair.Y("name:N", sort=[name for name, _ in shown], axis=_axis(None, labelLimit=150, domain=False)),
        x=altair.X("count:Q", scale=altair.Scale(domain=[0, most * 1.2]), axis=_counts_axis(unit, most)),
        tooltip=["name:N", "count:Q"],
    )
    text = base.mark_text(align="left", dx=4).encode(text="text:N")
    return (base.mark_bar(color=BAR) + text).properties(height=altair.Step(22))


def _scores(grades: Mapping[str, Any]) -> Any:
    """Return the bars of the scores, those of files that reach the threshold below the others."""
    import altair

    counts = {**grades["scores"], "none": grades["missing"]}
    rows = []
    for name, count in counts.items():
        kept = grades["passing"].get(name, 0)
        parts = {"none": count} if name == "none" else {"kept": kept, "below the threshold": count - kept}
        shown = {kind: files for kind, files in parts.items() if files} or {next(reversed(parts)): 0}
        total = {"score": name, "total": count}
        rows += [{**total, "files": files, "kind": kind, "text": ""} for kind, files in shown.items()]
        rows[-1]["text"] = f"{count:,}"
    most = max(*counts.values(), 1)
    base = _chart(rows).encode(
        x=altair.X("score:N", sort=list(counts), axis=_axis("score", labelAngle=0)),
        y=altair.Y("files:Q", scale=altair.Scale(domain=[0, most * 1.15]), axis=_counts_axis("files", most)),
        tooltip=["score:N", "files:Q", "kind:N"],
    )
    bars = base.mark_bar().encode(
        color=altair.Color(
            "kind:N",
            scale=altair.Scale(domain=["kept", "below the threshold", "none"], range=[BAR, FADED, "var(--missing)"]),
            legend=altair.Legend(title=None, orient="top"),
        )
    )
    totals = base.mark_text(dy=-7).encode(y=altair.Y("total:Q", stack=None), text="text:N")
    return (bars + totals).properties(height=200)


def _histogram(bins: Sequence[Mapping[str, Any]], across: str, unit: str) -> Any:
    import altair

    rows = [
        {"start": row["low"] - 0.5, "end": row["high"] + 0.5, "count": row["count"], "values": _range(row)}
        for row in bins
    ]
    most, low, high = max(row["count"] for row in bins), bins[0]["low"], bins[-1]["high"]
    ticks = max(1, min(8, high - low))
    return (
        _chart(rows)
        .mark_bar(color=BAR, binSpacing=1)
        .encode(
            x=altair.X(
                "start:Q",
                scale=altair.Scale(domain=[low - 0.5, high + 0.5], nice=False, zero=False),
                axis=_axis(across, tickCount=ticks, tickMinStep=1, format=",d", grid=False),
            ),
            x2="end:Q",
            y=altair.Y("count:Q", scale=altair.Scale(domainMin=0), axis=_counts_axis(unit, most)),
            y2=altair.datum(0),
            tooltip=[altair.Tooltip("values:N", title=across), altair.Tooltip("count:Q", title=unit)],
        )
        .properties(height=180)
    )


def _range(row: Mapping[str, Any]) -> str:
    return f"{row['low']:,}" if row["low"] == row["high"] else f"{row['low']:,} to {row['high']:,}"


def _curve(runs: Sequence[Mapping[str, Any]], column: str, title: str) -> Any:
    import altair

    rows = []
    for run in runs:
        history = [step for step in run["history"] if step.get(column) is not None]
        rows += [{"step": step["step"], "value": step[column], "run": run["name"]} for step in _thinned(history)]
        if column == "loss":
            held = [step for step in run["history"] if step.get("held_out_loss") is not None]
            rows += [
                {"step": step["step"], "value": step["held_out_loss"], "run": f"{run['name']}, held out"}
                for step in _thinned(held)
            ]
    names = list(dict.fromkeys(row["run"] for row in rows))
    places = {run["name"]: number for number, run in enumerate(runs)}
    colors = [ARM_COLORS[places[_run_of(name, places)] % len(ARM_COLORS)] for name in names]
    dashes = [[2, 2] if name not in places else ARM_DASHES[places[name] % len(ARM_DASHES)] for name in names]
    legend = altair.Legend(title=None, orient="top", symbolType="stroke", symbolSize=300) if len(names) > 1 else None
    few = max(sum(row["run"] == name for row in rows) for name in names) <= 60
    steps = [row["step"] for row in rows]
    return (
        _chart(rows)
        .mark_line(point={"size": 26} if few else False, strokeWidth=1.8, clip=False)
        .encode(
            x=altair.X(
                "step:Q",
                scale=altair.Scale(domain=[min(steps), max(max(steps), min(steps) + 1)], nice=False, zero=False),
                axis=_axis("optimizer step", tickMinStep=1, format=",d", grid=False, tickCount=6),
            ),
            y=altair.Y(
                "value:Q",
                scale=altair.Scale(zero=column != "loss", domainMin=altair.Undefined if column == "loss" else 0),
                axis=_axis(title, tickCount=5, format=".1e" if column == "learning_rate" else ".4~g"),
            ),
            color=altair.Color("run:N", scale=altair.Scale(domain=names, range=colors), legend=legend),
            strokeDash=altair.StrokeDash("run:N", scale=altair.Scale(domain=names, range=dashes), legend=legend),
            tooltip=["run:N", "step:Q", altair.Tooltip("value:Q", title=title, format=".4g")],
        )
        .properties(height=200)
    )


def _held_out(models: Sequence[Mapping[str, Any]]) -> Any:
    import altair

    rows = [
        {
            "model": row["model"],
            "loss": row["loss"],
            "low": row["loss"] if row.get("low") is None else row["low"],
            "high": row["loss"] if row.get("high") is None else row["high"],
            "text": f"{row['loss']:.3f}",
        }
        for row in models
    ]
    base = _chart(rows).encode(
        y=altair.Y("model:N", sort=[row["model"] for row in rows], axis=_axis(None, labelLimit=150, domain=False)),
        x=altair.X("loss:Q", scale=altair.Scale(zero=False, nice=True), axis=_axis("nats per token", tickCount=5)),
        tooltip=["model:N", "loss:Q", "low:Q", "high:Q"],
    )
    lines = base.mark_rule(strokeWidth=2.5, color=BAR).encode(x="low:Q", x2="high:Q")
    points = base.mark_point(size=80, filled=True, opacity=1, color=BAR)
    return (lines + points + base.mark_text(dy=-13).encode(text="text:N")).properties(height=altair.Step(46))


def _run_of(name: str, places: Mapping[str, int]) -> str:
    return name if name in places else name.removesuffix(", held out")


def _thinned(history: Sequence[Any]) -> list[Any]:
    """Return at most so many steps at equal distances, the last one among them."""
    stride = -(-len(history) // MOST_POINTS) or 1
    return [step for place, step in enumerate(history) if (len(history) - 1 - place) % stride == 0]


def _forest(benchmark: Mapping[str, Any]) -> Any:
    import altair

    arms = [arm["arm"] for arm in benchmark["arms"]]
    rows = [
        {
            "row": f"{arm['arm']}, pass@{score['k']}",
            "arm": arm["arm"],
            "value": 100 * score["value"],
            "low": 100 * score["low"],
            "high": 100 * score["high"],
            "text": f"{100 * score['value']:.1f} % ({100 * score['low']:.1f} to {100 * score['high']:.1f})",
        }
        for arm in benchmark["arms"]
        for score in arm["pass"]
    ]
    top = min(100.0, max(10.0, 1.1 * max(row["high"] for row in rows)))
    color = altair.Color("arm:N", scale=altair.Scale(domain=arms, range=_colors(arms)), legend=None)
    base = _chart(rows).encode(
        y=altair.Y(
            "row:N",
            sort=[row["row"] for row in rows],
            axis=_axis(None, labelLimit=150, labelPadding=14, domain=False),
        ),
        x=altair.X(
            "value:Q", scale=altair.Scale(domain=[0, top], nice=False), axis=_axis("tasks solved (%)", grid=True)
        ),
        color=color,
        tooltip=["row:N", "text:N"],
    )
    shapes = [ARM_SHAPES[number % len(ARM_SHAPES)] for number in range(len(arms))]
    lines = base.mark_rule(strokeWidth=2.5).encode(x="low:Q", x2="high:Q")
    points = base.mark_point(size=80, filled=True, opacity=1).encode(
        shape=altair.Shape("arm:N", scale=altair.Scale(domain=arms, range=shapes), legend=None)
    )
    middle = {"expr": f"datum.value > {top / 2} ? 'right' : 'left'"}
    text = base.mark_text(align=middle, dy=-13).encode(text="text:N", color=altair.value(INK))
    return (lines + points + text).properties(height=altair.Step(46))


def _colors(arms: Sequence[str]) -> list[str]:
    return [ARM_COLORS[number % len(ARM_COLORS)] for number in range(len(arms))]


def _verdicts(benchmark: Mapping[str, Any]) -> Any:
    import altair

    kinds = list(benchmark["verdict_kinds"])
    rows = [
        {
            "arm": arm["arm"],
            "verdict": kind,
            "order": kinds.index(kind),
            "samples": count,
            "share": count / sum(arm["verdicts"].values()),
            "text": f"{count:,}" if count / sum(arm["verdicts"].values()) > 0.07 else "",
            "ink": "var(--v-on-pale)" if kind in PALE_VERDICTS else "var(--v-on)",
        }
        for arm in benchmark["arms"]
        for kind, count in arm["verdicts"].items()
        if count
    ]
    colors = [VERDICT_COLORS.get(kind, "var(--v-other)") for kind in kinds]
    base = _chart(rows).encode(
        y=altair.Y(
            "arm:N", sort=[arm["arm"] for arm in benchmark["arms"]], axis=_axis(None, labelLimit=150, domain=False)
        ),
        order="order:Q",
        tooltip=["arm:N", "verdict:N", "samples:Q", altair.Tooltip("share:Q", format=".1%")],
    )
    bars = base.mark_bar(stroke="var(--paper)", strokeWidth=1).encode(
        x=altair.X(
            "share:Q",
            stack="zero",
            scale=altair.Scale(domain=[0, 1]),
            axis=_axis("share of samples", format=".0%", tickCount=5),
        ),
        color=altair.Color(
            "verdict:N",
            scale=altair.Scale(domain=kinds, range=colors),
            legend=altair.Legend(title=None, orient="top"),
        ),
    )
    counts = base.mark_text().encode(
        x=altair.X("share:Q", stack="zero", bandPosition=0.5), text="text:N", color=altair.Color("ink:N", scale=None)
    )
    return (bars + counts).properties(height=altair.Step(34))


def described(name: str, spec: Spec) -> str:
    """Return what a figure shows in words, for readers who do not see it."""
    rows = spec["data"]["values"]
    parts = [
        ", ".join(
            f"{key} {_short(value)}"
            for key, value in row.items()
            if key not in ("order", "text", "ink", "start", "end")
        )
        for row in rows[:40]
    ]
    more = f"; and {len(rows) - 40} more" if len(rows) > 40 else ""
    return f"Figure {name}: {'; '.join(parts)}{more}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
