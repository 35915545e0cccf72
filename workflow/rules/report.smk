"""The report: one page, its numbers as JSON, the rows of every stage as a table, and pages of figures. The record: what the run is."""


rule run_record:
    """Write what the run is made of, and link its files by name."""
    output:
        RECORD,
    log:
        "logs/run_record.log",
    localrule: True
    container:
        outside_of("data")
    params:
        stale=lambda wildcards: stale_when("run_record") | run_plan(),
    shell:
        """
        d3 run-record --record {params.stale[settings]:q} \
            --out {output:q} \
            2>&1 | tee {log:q}
        """


rule report:
    """Write the report of the run."""
    input:
        contamination=[
            file
            for stage in ("contamination", "pair_contamination", "label_contamination")
            for file in shard_files(f"{DIR[stage]}/{{shard}}.jsonl")
        ],
        corpus=shard_files(f"{DIR['corpus']}/{{shard}}.parquet"),
        rejected=shard_files(f"{DIR['corpus']}/rejected/{{shard}}.parquet"),
        grades=shard_files(built(f"{DIR['grades']}/{{shard}}.parquet")),
        diffs=shard_files(built(f"{DIR['diffs']}/{{shard}}.parquet")),
        labels=shard_files(built(f"{DIR['labels']}/{{shard}}.parquet")),
        dataset=shard_files(f"{DIR['dataset']}/data/{{shard}}.parquet"),
        tokens=shard_files(f"{DIR['tokens']}/{{shard}}.json"),
        midtrained=MIDTRAINED,
        losses=LOSSES,
        health=HEALTH,
        trained=expand(f"{DIR['sft']}/{{arm}}", arm=CHAIN.trained),
        samples=line_files("generate", "parquet"),
        verdicts=line_files("execute", "parquet"),
        scores=line_files("scores", "json"),
        topics=TOPICS,
    output:
        page=report(
            REPORT,
            caption="../report/page.rst",
            category="Results",
            labels={"run": CHAIN.config.run, "content": "report with all figures"},
        ),
        numbers=report(
            f"{DIR['report']}/numbers.json",
            caption="../report/numbers.rst",
            category="Results",
            labels={"run": CHAIN.config.run, "content": "all numbers"},
        ),
        attrition=report(
            f"{DIR['report']}/attrition.tsv",
            caption="../report/attrition.rst",
            category="Results",
            labels={"run": CHAIN.config.run, "content": "rows by stage and reason"},
        ),
        data=figures("data", "files, scores, diff sequences, labels and tokens"),
        training=figures("training", "losses, learning rate, gradients and throughput"),
        evaluation=figures("evaluation", "scores with intervals, verdicts and tasks"),
    log:
        "logs/report.log",
    localrule: True
    params:
        trained=[
            f"{name}={DIR['sft']}/{arm}" for arm, (name, _) in CHAIN.trained.items()
        ],
        written=named_lines("generate"),
        judged=named_lines("execute"),
        grades=option("--grades", "grades"),
        diffs=option("--diffs", "diffs"),
        labels=option("--labels", "labels"),
        midtrained=lambda wildcards, input: (
            f"--midtrained {input.midtrained}" if input.midtrained else ""
        ),
        losses=lambda wildcards, input: (
            f"--losses {input.losses}" if input.losses else ""
        ),
        topics=lambda wildcards, input: (
            f"--topics {input.topics}" if input.topics else ""
        ),
        metrics=[
            *(["midtrain=logs/midtrain.metrics.jsonl"] if MIDTRAINED else []),
            *(
                f"{name}=logs/sft/{arm}.metrics.jsonl"
                for arm, (name, _) in ARMS.items()
            ),
        ],
        health=lambda wildcards, input: (
            f"--judge-health {input.health}" if input.health else ""
        ),
        stale=stale_when("report", *Config.model_fields),
    shell:
        """
        d3 report --settings {params.stale[settings]:q} \
            --contamination {input.contamination:q} \
            --corpus {input.corpus:q} \
            --rejected {input.rejected:q} \
            {params.grades:q} \
            {params.diffs:q} \
            {params.labels:q} \
            --dataset {input.dataset:q} \
            --tokens {input.tokens:q} \
            {params.midtrained} \
            {params.losses} \
            {params.topics} \
            --metrics {params.metrics:q} \
            {params.health} \
            --trained {params.trained:q} \
            --written {params.written:q} \
            --judged {params.judged:q} \
            --scores {input.scores:q} \
            --out {output.page:q} \
            --numbers {output.numbers:q} \
            --attrition {output.attrition:q} \
            --figures "$(dirname {output.data:q})" \
            2>&1 | tee {log:q}
        """
