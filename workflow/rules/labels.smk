"""Labels: a language model writes the instruction of every whole program and sub-trajectory."""


rule labels:
    """Label the diff sequences of {wildcards.shard}."""
    input:
        corpus=f"{DIR['corpus']}/{{shard}}.parquet",
        diffs=f"{DIR['diffs']}/{{shard}}.parquet",
        adopted=ADOPTED["labels"],
        model=MODELS["labels"],
    output:
        f"{DIR['labels']}/{{shard}}.parquet",
    log:
        "logs/labels/{shard}.log",
    benchmark:
        "logs/usage/labels/{shard}.tsv"
    container:
        image(CHAIN.environment("labels"))
    threads: ALL_CORES
    resources:
        **needs(CHAIN, "labels").of_rule(),
    params:
        environment=CHAIN.environment("labels"),
        model=model_option,
        adopted=option("--adopted", "adopted"),
        journal=f"{WORK}/journal/labels",
        stale=stale_when("labels"),
    shell:
        """
        d3 --env {params.environment} labels --settings {params.stale[settings]:q} \
            --corpus {input.corpus:q} \
            --diffs {input.diffs:q} \
            {params.model:q} \
            {params.adopted:q} \
            --journal {params.journal:q} \
            --out {output:q} \
            2>&1 | tee {log:q}
        """
