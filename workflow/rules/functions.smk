"""What rules take their inputs and options from: functions of the wildcards, and lists of files."""


def model_option(wildcards, input):
    """Return the option that names the model of a stage, if it asks one."""
    return ["--model", input.model] if input.model else []


def option(flag, name):
    """Return a function: the option for the files of an input that only some configurations have."""
    return lambda wildcards, input: [flag, *files] if (files := input[name]) else []


def shard_input(wildcards):
    """Return the source files of a batch of shards."""
    return SHARDS[wildcards.shard]


def as_long_as(wildcards):
    """Return the mid-trained model whose number of tokens an arm is trained on in addition, if it is."""
    return MIDTRAINED if ARMS[wildcards.arm][1].same_tokens else []


def trained_on(wildcards):
    """Return the model that an arm's fine-tuning begins with."""
    if ARMS[wildcards.arm][1].midtrain:
        return f"{DIR['midtrain']}/model"
    return MODELS["sft"]


def arm_settings(wildcards):
    """Return what reruns an arm's fine-tuning."""
    return stale_when("sft", f"arms.{ARMS[wildcards.arm][0]}")


def benchmark_settings(stage):
    """Return a function of the wildcards: what reruns a stage of the evaluation."""
    return lambda wildcards: stale_when(
        stage, f"benchmarks.{BENCHMARKS[wildcards.benchmark][0]}"
    )


def line_settings(stage):
    """Return a function of the wildcards: what reruns a stage that an arm's format decides, where it has one."""
    return lambda wildcards: stale_when(
        stage,
        f"benchmarks.{BENCHMARKS[wildcards.benchmark][0]}",
        *(
            f"arms.{ARMS[wildcards.arm][0]}.{name}"
            for name in ("midtrain", "format", "model")
            if arm_option(wildcards)
        ),
    )


def arm_option(wildcards):
    """Return the option that names the arm, if it is not asked in the format of the dataset."""
    name, arm = ARMS[wildcards.arm]
    return ["--arm", name] if arm.format != "diff" or arm.model else []


def evaluated_model(wildcards):
    """Return the model of an arm: the trained one, or one that is evaluated as it is."""
    return CHAIN.model_of_arm(ARMS[wildcards.arm][1]) or f"{DIR['sft']}/{wildcards.arm}"


def tasks_input(wildcards):
    """Return the task file of a benchmark."""
    return CHAIN.tasks_path(BENCHMARKS[wildcards.benchmark][1])


def shard_files(pattern):
    """Return one file a shard."""
    return expand(pattern, shard=SHARDS)


def built(pattern):
    """Return a list of a batch's file, empty if the dataset is adopted: then nothing is graded, sampled or labeled."""
    return [] if ADOPTED["dataset"] else [pattern]


def adopted_inputs(kind):
    """Return what a table made outside of the pipeline is matched to, and the table."""
    return {
        "corpus": shard_files(f"{DIR['corpus']}/{{shard}}.parquet"),
        "rejected": shard_files(f"{DIR['corpus']}/rejected/{{shard}}.parquet"),
        "duplicates": shard_files(f"{DIR['duplicates']}/{{shard}}.txt"),
        "adopted": CHAIN.adopted_files(f"adopt.{kind}"),
    }


def line_files(stage, suffix):
    """Return one file for every (benchmark, arm), benchmarks outermost as in the configuration."""
    return expand(
        f"{DIR[stage]}/{{benchmark}}/{{arm}}.{suffix}", benchmark=BENCHMARKS, arm=ARMS
    )


def named_lines(stage):
    """Return `BENCHMARK/ARM=FILE` for every line of the evaluation."""
    lines = [(benchmark, arm) for benchmark in BENCHMARKS for arm in ARMS]
    return [
        f"{BENCHMARKS[b][0]}/{ARMS[a][0]}={DIR[stage]}/{b}/{a}.parquet"
        for b, a in lines
    ]


def figures(part, content):
    """Return the page with the figures of one part, as `snakemake --report` lists it."""
    return report(
        f"{DIR['report']}/figures/{part}.html",
        caption=f"../report/{part}.rst",
        category="Figures",
        subcategory=part.capitalize(),
        labels={"run": CHAIN.config.run, "content": content},
    )
