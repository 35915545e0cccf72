"""Evaluation: every arm writes solutions, the sandbox judges them, scores with intervals come out."""


rule generate:
    """Let the arm {wildcards.arm} write solutions for {wildcards.benchmark}."""
    input:
        tasks=tasks_input,
        model=evaluated_model,
    output:
        f"{DIR['generate']}/{{benchmark}}/{{arm}}.parquet",
    log:
        "logs/generate/{benchmark}/{arm}.log",
    benchmark:
        "logs/usage/generate/{benchmark}/{arm}.tsv"
    container:
        image(CHAIN.environment("generate"))
    threads: ALL_CORES
    resources:
        **needs(CHAIN, "generate").of_rule(),
    params:
        environment=CHAIN.environment("generate"),
        benchmark=lambda wildcards: BENCHMARKS[wildcards.benchmark][0],
        arm=lambda wildcards: arm_option(wildcards),
        journal=f"{WORK}/journal/generate",
        stale=line_settings("generate"),
    shell:
        """
        d3 --env {params.environment} generate --settings {params.stale[settings]:q} \
            --benchmark {params.benchmark:q} \
            --tasks {input.tasks:q} \
            --model {input.model:q} {params.arm:q} \
            --journal {params.journal:q} \
            --out {output:q} \
            2>&1 | tee {log:q}
        """


rule execute:
    """Run the solutions of {wildcards.arm} for {wildcards.benchmark} in the sandbox."""
    input:
        tasks=tasks_input,
        samples=f"{DIR['generate']}/{{benchmark}}/{{arm}}.parquet",
    output:
        f"{DIR['execute']}/{{benchmark}}/{{arm}}.parquet",
    log:
        "logs/execute/{benchmark}/{arm}.log",
    benchmark:
        "logs/usage/execute/{benchmark}/{arm}.tsv"
    container:
        image(CHAIN.environment("execute"))
    threads: ALL_CORES
    resources:
        **needs(CHAIN, "execute").of_rule(),
    params:
        benchmark=lambda wildcards: BENCHMARKS[wildcards.benchmark][0],
        journal=f"{WORK}/journal/execute",
        stale=benchmark_settings("execute"),
    shell:
        """
        d3 execute --settings {params.stale[settings]:q} \
            --benchmark {params.benchmark:q} \
            --tasks {input.tasks:q} \
            --samples {input.samples:q} \
            --journal {params.journal:q} \
            --workers {threads} \
            --out {output:q} \
            2>&1 | tee {log:q}
        """


rule gate:
    """Examine the tasks of {wildcards.benchmark}: references pass, nothing else does."""
    input:
        tasks=tasks_input,
    output:
        f"{DIR['gate']}/{{benchmark}}.json",
    log:
        "logs/gate/{benchmark}.log",
    benchmark:
        "logs/usage/gate/{benchmark}.tsv"
    container:
        image(CHAIN.environment("gate"))
    threads: ALL_CORES
    resources:
        **needs(CHAIN, "gate").of_rule(),
    params:
        benchmark=lambda wildcards: BENCHMARKS[wildcards.benchmark][0],
        stale=benchmark_settings("gate"),
    shell:
        """
        d3 gate --settings {params.stale[settings]:q} \
            --benchmark {params.benchmark:q} \
            --tasks {input.tasks:q} \
            --workers {threads} \
            --out {output:q} \
            2>&1 | tee {log:q}
        """


rule scores:
    """Score the arm {wildcards.arm} on {wildcards.benchmark}."""
    input:
        gate=f"{DIR['gate']}/{{benchmark}}.json",
        samples=f"{DIR['generate']}/{{benchmark}}/{{arm}}.parquet",
        verdicts=f"{DIR['execute']}/{{benchmark}}/{{arm}}.parquet",
    output:
        scores=f"{DIR['scores']}/{{benchmark}}/{{arm}}.json",
        lines=f"{DIR['scores']}/{{benchmark}}/{{arm}}.jsonl",
    log:
        "logs/scores/{benchmark}/{arm}.log",
    resources:
        **needs(CHAIN, "scores").of_rule(),
    params:
        benchmark=lambda wildcards: BENCHMARKS[wildcards.benchmark][0],
        arm=lambda wildcards: ARMS[wildcards.arm][0],
        stale=line_settings("scores"),
    shell:
        """
        d3 scores --settings {params.stale[settings]:q} \
            --benchmark {params.benchmark:q} \
            --arm {params.arm:q} \
            --samples {input.samples:q} \
            --verdicts {input.verdicts:q} \
            --gate {input.gate:q} \
            --out {output.scores:q} \
            --lines {output.lines:q} \
            2>&1 | tee {log:q}
        """
