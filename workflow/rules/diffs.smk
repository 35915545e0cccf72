"""Diffs: LintSeq turns files, and the functions of the fine-tuning pairs, into diff sequences."""


rule diffs:
    """Sample diff sequences for the graded files of {wildcards.shard}."""
    input:
        corpus=f"{DIR['corpus']}/{{shard}}.parquet",
        grades=f"{DIR['grades']}/{{shard}}.parquet",
        duplicates=f"{DIR['duplicates']}/{{shard}}.txt",
    output:
        f"{DIR['diffs']}/{{shard}}.parquet",
    log:
        "logs/diffs/{shard}.log",
    benchmark:
        "logs/usage/diffs/{shard}.tsv"
    threads: ALL_CORES
    resources:
        **needs(CHAIN, "diffs").of_rule(),
    params:
        journal=f"{WORK}/journal/diffs",
        stale=stale_when("diffs"),
    shell:
        """
        d3 diffs --settings {params.stale[settings]:q} \
            --in {input.corpus:q} \
            --grades {input.grades:q} \
            --duplicates {input.duplicates:q} \
            --workers {threads} \
            --journal {params.journal:q} \
            --out {output:q} \
            2>&1 | tee {log:q}
        """


rule pair_diffs:
    """Sample diff sequences for the functions of {wildcards.shard}."""
    input:
        pairs=f"{DIR['pairs']}/{{shard}}.parquet",
        duplicates=f"{DIR['pair_duplicates']}/{{shard}}.txt",
        contamination=f"{DIR['pair_contamination']}/{{shard}}.jsonl",
    output:
        f"{DIR['pair_diffs']}/{{shard}}.parquet",
    log:
        "logs/pair_diffs/{shard}.log",
    benchmark:
        "logs/usage/pair_diffs/{shard}.tsv"
    threads: ALL_CORES
    resources:
        **needs(CHAIN, "pair_diffs").of_rule(),
    params:
        journal=f"{WORK}/journal/pair_diffs",
        stale=stale_when("pair_diffs"),
    shell:
        """
        d3 pair-diffs --settings {params.stale[settings]:q} \
            --in {input.pairs:q} \
            --duplicates {input.duplicates:q} \
            --contamination {input.contamination:q} \
            --workers {threads} \
            --journal {params.journal:q} \
            --out {output:q} \
            2>&1 | tee {log:q}
        """
