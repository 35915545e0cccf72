"""A plan as a table for a terminal."""

from d3.core.printable import printable
from d3.core.terminal import table_text
from d3.operate.plan import Plan, StagePlan
from d3.operate.training_memory import TrainingMemory
from d3.train.disk_room import KEPT_CHECKPOINTS

COLUMNS = ("stage", "jobs", "rows", "tokens", "GPU-h", "CPU-h", "h a job", "disk", "files", "rates")


def plan_table(found: Plan) -> str:
    """Write a plan for a terminal."""
    rows = [COLUMNS, *(_row(stage) for stage in found.stages)]
    total = found.total
    rows.append(
        (
            "all",
            f"{total('jobs'):,.0f}",
            "",
            "",
            hours(total("gpu_hours")),
            hours(total("cpu_hours")),
            "",
            size(total("bytes")),
            f"{total('files'):,.0f}",
            "",
        )
    )
    head = f"Run {found.run}: {total('done'):,.0f} of {total('jobs'):,.0f} jobs are done; figures are of all"
    table = table_text(rows, right=range(1, len(COLUMNS) - 1))
    text = ["", *map(_training, found.trainings)] if found.trainings else []
    text += map(str, found.detectable)
    if journals := sum(stage.journal_bytes for stage in found.stages):
        text.append(f"journals of responses: about {size(journals)} more in work/journal")
    priced = [stage for stage in found.stages if stage.cost is not None]
    if priced:
        each = ", ".join(f"{stage.stage} {stage.cost:.4g}" for stage in priced)
        text.append(f"expected cost of requests: {sum(stage.cost or 0 for stage in priced):.4g} ({each})")
    text += [f"warning: {warning}" for warning in found.warnings]
    return "\n".join([printable(head), "", table, *map(printable, text)])


def _row(stage: StagePlan) -> tuple[str, ...]:
    tokens = stage.tokens or stage.prompt_tokens + stage.answer_tokens
    return (
        stage.stage,
        f"{stage.jobs:,}",
        f"{stage.rows:,.0f}" if stage.rows else "-",
        f"{tokens:,.0f}" if tokens else "-",
        hours(stage.gpu_hours),
        hours(stage.cpu_hours),
        hours(stage.hours_a_job),
        size(stage.bytes),
        f"{stage.files:,}",
        stage.rates,
    )


def _training(memory: TrainingMemory) -> str:
    """Return a line about the memory and the checkpoints of a training."""
    parts = ("weights", "gradients", "states", "activations", "logits", "buckets")
    shown = ", ".join(f"{name} {size(getattr(memory, name))}" for name in parts if getattr(memory, name))
    needed = KEPT_CHECKPOINTS * memory.checkpoint
    room = f"checkpoints up to {size(needed)}, {size(memory.free_disk)} free"
    short = "; too little disk" if needed > memory.free_disk else ""
    each = "each GPU" if memory.gpus > 1 else "the GPU (or host)"
    return f"{memory.stage}: {size(memory.each_gpu)} on {each} ({shown}); {room}{short}"


def hours(value: float) -> str:
    """Write hours with as many digits as they deserve."""
    return "-" if not value else f"{value:,.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.3f}"


def size(value: float) -> str:
    """Write bytes as kB, MB, GB or TB."""
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return "-" if not value else f"{value:,.0f} {unit}" if value >= 10 or unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"
