"""The dataset: labels and diffs become rows in the columns of the released D3, with our ids beside."""


rule label_contamination:
    """Find the labels of {wildcards.shard} that contain tasks of benchmarks."""
    input:
        labels=built(f"{DIR['labels']}/{{shard}}.parquet") + ADOPTED["dataset"],
        tasks=TASK_FILES,
    output:
        f"{DIR['label_contamination']}/{{shard}}.jsonl",
    log:
        "logs/label_contamination/{shard}.log",
    resources:
        **needs(CHAIN, "label_contamination").of_rule(),
    params:
        against=AGAINST,
        stale=stale_when("label_contamination", "benchmarks"),
    shell:
        """
        d3 label-contamination --settings {params.stale[settings]:q} \
            --labels {input.labels:q} \
            {params.against:q} \
            --out {output:q} \
            2>&1 | tee {log:q}
        """


rule label_duplicates:
    """List for every batch the labels that repeat a sentence of another file."""
    input:
        shard_files(f"{DIR['labels']}/{{shard}}.parquet"),
    output:
        shard_files(f"{DIR['label_duplicates']}/{{shard}}.txt"),
    log:
        "logs/label_duplicates.log",
    resources:
        **needs(CHAIN, "label_duplicates").of_rule(),
    params:
        folder=lambda wildcards, output: Path(output[0]).parent,
        stale=stale_when("label_duplicates"),
    shell:
        """
        d3 label-duplicates --settings {params.stale[settings]:q} \
            --labels {input:q} \
            --out {params.folder:q} \
            2>&1 | tee {log:q}
        """


rule dataset_shard:
    """Assemble the dataset rows of {wildcards.shard}."""
    input:
        corpus=f"{DIR['corpus']}/{{shard}}.parquet",
        diffs=built(f"{DIR['diffs']}/{{shard}}.parquet"),
        labels=built(f"{DIR['labels']}/{{shard}}.parquet"),
        adopted=ADOPTED["dataset"],
        contamination=f"{DIR['label_contamination']}/{{shard}}.jsonl",
        duplicates=LABEL_DUPLICATES,
    output:
        data=f"{DIR['dataset']}/data/{{shard}}.parquet",
        rows=f"{DIR['dataset']}/rows/{{shard}}.parquet",
        unused=f"{DIR['dataset']}/unused/{{shard}}.parquet",
    log:
        "logs/dataset/{shard}.log",
    resources:
        **needs(CHAIN, "dataset").of_rule(),
    params:
        diffs=option("--diffs", "diffs"),
        labels=option("--labels", "labels"),
        adopted=option("--adopted", "adopted"),
        duplicates=lambda wildcards, input: (
            ["--label-duplicates", input.duplicates] if input.duplicates else []
        ),
        stale=stale_when("dataset"),
    shell:
        """
        d3 dataset --settings {params.stale[settings]:q} \
            --corpus {input.corpus:q} \
            {params.diffs:q} \
            {params.labels:q} \
            {params.adopted:q} \
            --contamination {input.contamination:q} \
            {params.duplicates:q} \
            --out {output.data:q} \
            --rows {output.rows:q} \
            --unused {output.unused:q} \
            2>&1 | tee {log:q}
        """


rule sft_data:
    """Make the fine-tuning examples of {wildcards.shard}."""
    input:
        pairs=f"{DIR['pairs']}/{{shard}}.parquet",
        diffs=f"{DIR['pair_diffs']}/{{shard}}.parquet",
    output:
        f"{DIR['sft_data']}/{{shard}}.parquet",
    log:
        "logs/sft_data/{shard}.log",
    resources:
        **needs(CHAIN, "sft_data").of_rule(),
    params:
        stale=stale_when("sft_data"),
    shell:
        """
        d3 sft-data --settings {params.stale[settings]:q} \
            --pairs {input.pairs:q} \
            --diffs {input.diffs:q} \
            --out {output:q} \
            2>&1 | tee {log:q}
        """


rule file_counts:
    """Count what becomes of every source file, from the shards to the rows of the dataset."""
    input:
        corpus=shard_files(f"{DIR['corpus']}/{{shard}}.parquet"),
        rejected=shard_files(f"{DIR['corpus']}/rejected/{{shard}}.parquet"),
        duplicates=shard_files(f"{DIR['duplicates']}/{{shard}}.txt"),
        grades=shard_files(built(f"{DIR['grades']}/{{shard}}.parquet")),
        diffs=shard_files(built(f"{DIR['diffs']}/{{shard}}.parquet")),
        labels=shard_files(built(f"{DIR['labels']}/{{shard}}.parquet")),
        rows=shard_files(f"{DIR['dataset']}/rows/{{shard}}.parquet"),
        unused=shard_files(f"{DIR['dataset']}/unused/{{shard}}.parquet"),
    output:
        numbers=f"{DIR['file_counts']}/attrition.json",
        table=f"{DIR['file_counts']}/attrition.tsv",
    log:
        "logs/file_counts.log",
    resources:
        **needs(CHAIN, "file_counts").of_rule(),
    params:
        grades=option("--grades", "grades"),
        diffs=option("--diffs", "diffs"),
        labels=option("--labels", "labels"),
        stale=stale_when("file_counts"),
    shell:
        """
        d3 file-counts --settings {params.stale[settings]:q} \
            --corpus {input.corpus:q} \
            --rejected {input.rejected:q} \
            --duplicates {input.duplicates:q} \
            {params.grades:q} \
            {params.diffs:q} \
            {params.labels:q} \
            --row-ids {input.rows:q} \
            --unused-labels {input.unused:q} \
            --out {output.numbers:q} \
            --table {output.table:q} \
            2>&1 | tee {log:q}
        """
