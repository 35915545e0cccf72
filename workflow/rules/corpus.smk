"""The corpus: source shards in, kept files and rejected rows with their reasons out."""


rule contamination:
    """Find the source files of the batch {wildcards.shard} that contain tasks of benchmarks."""
    input:
        shards=shard_input,
        tasks=TASK_FILES,
    output:
        f"{DIR['contamination']}/{{shard}}.jsonl",
    log:
        "logs/contamination/{shard}.log",
    resources:
        **needs(CHAIN, "contamination").of_rule(),
    params:
        against=AGAINST,
        stale=stale_when("contamination", "benchmarks"),
    shell:
        """
        d3 contamination --settings {params.stale[settings]:q} \
            --shard {input.shards:q} \
            {params.against:q} \
            --out {output:q} \
            2>&1 | tee {log:q}
        """


rule corpus:
    """Filter the source shards of the batch {wildcards.shard}."""
    input:
        shards=shard_input,
        contamination=f"{DIR['contamination']}/{{shard}}.jsonl",
    output:
        kept=f"{DIR['corpus']}/{{shard}}.parquet",
        rejected=f"{DIR['corpus']}/rejected/{{shard}}.parquet",
    log:
        "logs/corpus/{shard}.log",
    benchmark:
        "logs/usage/corpus/{shard}.tsv"
    resources:
        **needs(CHAIN, "corpus").of_rule(),
    params:
        opt_out=OPT_OUT,
        opted_out=CHAIN.opted_out,
        stale=stale_when("corpus"),
    shell:
        """
        d3 corpus --settings {params.stale[settings]:q} \
            --shard {input.shards:q} \
            --contamination {input.contamination:q} \
            --out {output.kept:q} \
            --rejected {output.rejected:q} \
            {params.opt_out:q} \
            2>&1 | tee {log:q}
        """


rule fingerprints:
    """Compute what near-duplicates of the files of {wildcards.shard} are found by."""
    input:
        f"{DIR['corpus']}/{{shard}}.parquet",
    output:
        f"{DIR['fingerprints']}/{{shard}}.parquet",
    log:
        "logs/fingerprints/{shard}.log",
    resources:
        **needs(CHAIN, "fingerprints").of_rule(),
    params:
        stale=stale_when("fingerprints"),
    shell:
        """
        d3 fingerprints --settings {params.stale[settings]:q} \
            --corpus {input:q} \
            --out {output:q} \
            2>&1 | tee {log:q}
        """


rule near_duplicates:
    """List the files of all batches that are near-duplicates of one that is kept."""
    input:
        shard_files(f"{DIR['fingerprints']}/{{shard}}.parquet"),
    output:
        f"{DIR['near_duplicates']}/near_duplicates.parquet",
    log:
        "logs/near_duplicates.log",
    resources:
        **needs(CHAIN, "near_duplicates").of_rule(),
    params:
        stale=stale_when("near_duplicates"),
    shell:
        """
        d3 near-duplicates --settings {params.stale[settings]:q} \
            --fingerprints {input:q} \
            --out {output:q} \
            2>&1 | tee {log:q}
        """


rule duplicates:
    """List for every batch the files that go on in another one, or in none."""
    input:
        corpus=shard_files(f"{DIR['corpus']}/{{shard}}.parquet"),
        near_duplicates=f"{DIR['near_duplicates']}/near_duplicates.parquet",
    output:
        shard_files(f"{DIR['duplicates']}/{{shard}}.txt"),
    log:
        "logs/duplicates.log",
    resources:
        **needs(CHAIN, "duplicates").of_rule(),
    params:
        folder=lambda wildcards, output: Path(output[0]).parent,
        stale=stale_when("duplicates"),
    shell:
        """
        d3 duplicates --settings {params.stale[settings]:q} \
            --corpus {input.corpus:q} \
            --near-duplicates {input.near_duplicates:q} \
            --out {params.folder:q} \
            2>&1 | tee {log:q}
        """


rule pairs:
    """Take docstring -> function pairs from the held-out files of {wildcards.shard}."""
    input:
        corpus=f"{DIR['corpus']}/{{shard}}.parquet",
        duplicates=f"{DIR['duplicates']}/{{shard}}.txt",
    output:
        f"{DIR['pairs']}/{{shard}}.parquet",
    log:
        "logs/pairs/{shard}.log",
    resources:
        **needs(CHAIN, "pairs").of_rule(),
    params:
        stale=stale_when("pairs"),
    shell:
        """
        d3 pairs --settings {params.stale[settings]:q} \
            --corpus {input.corpus:q} \
            --duplicates {input.duplicates:q} \
            --out {output:q} \
            2>&1 | tee {log:q}
        """


rule pair_contamination:
    """List for every batch the functions that contain tasks of benchmarks."""
    input:
        pairs=shard_files(f"{DIR['pairs']}/{{shard}}.parquet"),
        tasks=TASK_FILES,
    output:
        shard_files(f"{DIR['pair_contamination']}/{{shard}}.jsonl"),
    log:
        "logs/pair_contamination.log",
    resources:
        **needs(CHAIN, "pair_contamination").of_rule(),
    params:
        folder=lambda wildcards, output: Path(output[0]).parent,
        against=AGAINST,
        stale=stale_when("pair_contamination", "benchmarks"),
    shell:
        """
        d3 pair-contamination --settings {params.stale[settings]:q} \
            --pairs {input.pairs:q} \
            {params.against:q} \
            --out {params.folder:q} \
            2>&1 | tee {log:q}
        """


rule pair_duplicates:
    """List for every batch the functions that go on in another one."""
    input:
        shard_files(f"{DIR['pairs']}/{{shard}}.parquet"),
    output:
        shard_files(f"{DIR['pair_duplicates']}/{{shard}}.txt"),
    log:
        "logs/pair_duplicates.log",
    resources:
        **needs(CHAIN, "pair_duplicates").of_rule(),
    params:
        folder=lambda wildcards, output: Path(output[0]).parent,
        stale=stale_when("pair_duplicates"),
    shell:
        """
        d3 pair-duplicates --settings {params.stale[settings]:q} \
            --pairs {input:q} \
            --out {params.folder:q} \
            2>&1 | tee {log:q}
        """
