"""Tables made outside of the pipeline: their rows, batch by batch, for the stages that they take the place of."""


rule adopted_grades:
    """Match grades that were made outside of the pipeline to the files of the corpus."""
    input:
        **adopted_inputs("grades"),
    output:
        shard_files(f"{DIR['adopted_grades']}/{{shard}}.parquet"),
    log:
        "logs/adopted_grades.log",
    resources:
        **needs(CHAIN, "adopted_grades").of_rule(),
    params:
        folder=lambda wildcards, output: os.path.dirname(output[0]),
        stale=stale_when("adopted_grades"),
    shell:
        """
        d3 adopted-grades --settings {params.stale[settings]:q} \
            --corpus {input.corpus:q} \
            --rejected {input.rejected:q} \
            --duplicates {input.duplicates:q} \
            --adopted {input.adopted:q} \
            --out {params.folder:q} \
            2>&1 | tee {log:q}
        """


rule adopted_labels:
    """Match labels that were made outside of the pipeline to the files of the corpus."""
    input:
        **adopted_inputs("labels"),
    output:
        shard_files(f"{DIR['adopted_labels']}/{{shard}}.parquet"),
    log:
        "logs/adopted_labels.log",
    resources:
        **needs(CHAIN, "adopted_labels").of_rule(),
    params:
        folder=lambda wildcards, output: os.path.dirname(output[0]),
        stale=stale_when("adopted_labels"),
    shell:
        """
        d3 adopted-labels --settings {params.stale[settings]:q} \
            --corpus {input.corpus:q} \
            --rejected {input.rejected:q} \
            --duplicates {input.duplicates:q} \
            --adopted {input.adopted:q} \
            --out {params.folder:q} \
            2>&1 | tee {log:q}
        """


rule adopted_dataset:
    """Match dataset rows that were made outside of the pipeline to the files of the corpus."""
    input:
        **adopted_inputs("dataset"),
    output:
        shard_files(f"{DIR['adopted_dataset']}/{{shard}}.parquet"),
    log:
        "logs/adopted_dataset.log",
    resources:
        **needs(CHAIN, "adopted_dataset").of_rule(),
    params:
        folder=lambda wildcards, output: os.path.dirname(output[0]),
        stale=stale_when("adopted_dataset"),
    shell:
        """
        d3 adopted-dataset --settings {params.stale[settings]:q} \
            --corpus {input.corpus:q} \
            --rejected {input.rejected:q} \
            --duplicates {input.duplicates:q} \
            --adopted {input.adopted:q} \
            --out {params.folder:q} \
            2>&1 | tee {log:q}
        """
