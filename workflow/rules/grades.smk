"""Grades: a language model judges every file that may go to mid-training; the certificate of this judge."""


rule pregrader:
    """Train the pre-grader on the graded files of a sample."""
    input:
        corpus=shard_files(f"{DIR['corpus']}/{{shard}}.parquet"),
        graded=CHAIN.adopted_files("pregrade.graded"),
    output:
        sample=f"{DIR['pregrader']}/sample.parquet",
        facts=f"{DIR['pregrader']}/pregrader.json",
        weights=f"{DIR['pregrader']}/weights.npy",
    log:
        "logs/pregrader.log",
    resources:
        **needs(CHAIN, "pregrader").of_rule(),
    params:
        stale=stale_when("pregrader"),
    shell:
        """
        d3 pregrader --settings {params.stale[settings]:q} \
            --corpus {input.corpus:q} \
            --graded {input.graded:q} \
            --out {output.facts:q} \
            --weights {output.weights:q} \
            --sample {output.sample:q} \
            2>&1 | tee {log:q}
        """


rule pregrade:
    """Score the files of {wildcards.shard}, and list which of them the judge does not see."""
    input:
        corpus=f"{DIR['corpus']}/{{shard}}.parquet",
        duplicates=f"{DIR['duplicates']}/{{shard}}.txt",
        pregrader=f"{DIR['pregrader']}/pregrader.json",
        weights=f"{DIR['pregrader']}/weights.npy",
        sample=f"{DIR['pregrader']}/sample.parquet",
    output:
        f"{DIR['pregrade']}/{{shard}}.parquet",
    log:
        "logs/pregrade/{shard}.log",
    resources:
        **needs(CHAIN, "pregrade").of_rule(),
    params:
        stale=stale_when("pregrade"),
    shell:
        """
        d3 pregrade --settings {params.stale[settings]:q} \
            --corpus {input.corpus:q} \
            --duplicates {input.duplicates:q} \
            --pregrader {input.pregrader:q} \
            --weights {input.weights:q} \
            --sample {input.sample:q} \
            --out {output:q} \
            2>&1 | tee {log:q}
        """


rule grades:
    """Grade the files of {wildcards.shard}."""
    input:
        corpus=f"{DIR['corpus']}/{{shard}}.parquet",
        duplicates=f"{DIR['duplicates']}/{{shard}}.txt",
        pregrades=PREGRADES,
        adopted=ADOPTED["grades"],
        model=MODELS["grades"],
    output:
        f"{DIR['grades']}/{{shard}}.parquet",
    log:
        "logs/grades/{shard}.log",
    benchmark:
        "logs/usage/grades/{shard}.tsv"
    container:
        image(CHAIN.environment("grades"))
    threads: ALL_CORES
    resources:
        **needs(CHAIN, "grades").of_rule(),
    params:
        environment=CHAIN.environment("grades"),
        model=model_option,
        pregrades=option("--pregrades", "pregrades"),
        adopted=option("--adopted", "adopted"),
        journal=f"{WORK}/journal/grades",
        stale=stale_when("grades"),
    shell:
        """
        d3 --env {params.environment} grades --settings {params.stale[settings]:q} \
            --corpus {input.corpus:q} \
            --duplicates {input.duplicates:q} \
            {params.model:q} \
            {params.pregrades:q} \
            {params.adopted:q} \
            --journal {params.journal:q} \
            --out {output:q} \
            2>&1 | tee {log:q}
        """


rule grade_repeats:
    """Grade a sample of the files twice more."""
    input:
        corpus=shard_files(f"{DIR['corpus']}/{{shard}}.parquet"),
        grades=shard_files(f"{DIR['grades']}/{{shard}}.parquet"),
        model=MODELS["grade_repeats"],
    output:
        f"{DIR['grade_repeats']}/grade_repeats.parquet",
    log:
        "logs/grade_repeats.log",
    benchmark:
        "logs/usage/grade_repeats.tsv"
    container:
        image(CHAIN.environment("grade_repeats"))
    threads: ALL_CORES
    resources:
        **needs(CHAIN, "grade_repeats").of_rule(),
    params:
        environment=CHAIN.environment("grade_repeats"),
        model=model_option,
        journal=f"{WORK}/journal/grade_repeats",
        stale=stale_when("grade_repeats"),
    shell:
        """
        d3 --env {params.environment} grade-repeats --settings {params.stale[settings]:q} \
            --corpus {input.corpus:q} \
            --grades {input.grades:q} \
            {params.model:q} \
            --journal {params.journal:q} \
            --out {output:q} \
            2>&1 | tee {log:q}
        """


rule judge_health:
    """Measure the judge, and compare it with its bounds."""
    input:
        corpus=shard_files(f"{DIR['corpus']}/{{shard}}.parquet"),
        grades=shard_files(f"{DIR['grades']}/{{shard}}.parquet"),
        repeats=REPEATS,
        reference=REFERENCES,
    output:
        f"{DIR['judge_health']}/judge_health.json",
    log:
        "logs/judge_health.log",
    resources:
        **needs(CHAIN, "judge_health").of_rule(),
    params:
        repeats=lambda wildcards, input: (
            ["--repeats", input.repeats] if input.repeats else []
        ),
        reference=lambda wildcards, input: (
            ["--reference", *input.reference] if input.reference else []
        ),
        stale=stale_when("judge_health"),
    shell:
        """
        d3 judge-health --settings {params.stale[settings]:q} \
            --corpus {input.corpus:q} \
            --grades {input.grades:q} \
            {params.repeats:q} \
            {params.reference:q} \
            --out {output:q} \
            2>&1 | tee {log:q}
        """
