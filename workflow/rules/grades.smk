"""Grades: a language model judges every file that may go to mid-training."""


rule grades:
    """Grade the files of {wildcards.shard}."""
    input:
        corpus=f"{DIR['corpus']}/{{shard}}.parquet",
        duplicates=f"{DIR['duplicates']}/{{shard}}.txt",
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
        journal=f"{WORK}/journal/grades",
        stale=stale_when("grades"),
    shell:
        """
        d3 --env {params.environment} grades --settings {params.stale[settings]:q} \
            --corpus {input.corpus:q} \
            --duplicates {input.duplicates:q} \
            {params.model:q} \
            --journal {params.journal:q} \
            --out {output:q} \
            2>&1 | tee {log:q}
        """
