"""Topics: what the instructions are about; only the target `topics` asks for it."""


rule topics_shard:
    """Ask what the instructions of {wildcards.shard} are about."""
    input:
        labels=f"{DIR['labels']}/{{shard}}.parquet",
        model=MODELS["topics"],
    output:
        f"{DIR['topics']}/{{shard}}.parquet",
    log:
        "logs/topics/{shard}.log",
    benchmark:
        "logs/usage/topics/{shard}.tsv"
    container:
        image(CHAIN.environment("topics"))
    threads: ALL_CORES
    resources:
        **needs(CHAIN, "topics").of_rule(),
    params:
        environment=CHAIN.environment("topics"),
        model=model_option,
        journal=f"{WORK}/journal/topics",
        stale=stale_when("topics", "topics.price"),
    shell:
        """
        d3 --env {params.environment} topics --settings {params.stale[settings]:q} \
            --labels {input.labels:q} \
            {params.model:q} \
            --journal {params.journal:q} \
            --out {output:q} \
            2>&1 | tee {log:q}
        """


rule topic_counts:
    """Count what the instructions are about."""
    input:
        shard_files(f"{DIR['topics']}/{{shard}}.parquet"),
    output:
        f"{DIR['topic_counts']}/counts.json",
    log:
        "logs/topic_counts.log",
    localrule: True
    params:
        stale=stale_when("topic_counts"),
    shell:
        """
        d3 topic-counts --settings {params.stale[settings]:q} \
            --topics {input:q} \
            --out {output:q} \
            2>&1 | tee {log:q}
        """
