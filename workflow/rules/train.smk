"""Training: one mid-training on the dataset, then one fine-tuning for every arm.

The launcher `d3-train` enters the image itself, inside of `srun` where the profile gives several
nodes, so these rules have no container of Snakemake's. A signal that reaches all processes of a job
asks the training for a checkpoint; the shell and tee outlive it, so that there is time to write one.
"""

LAUNCH = ["d3-train"]
if IMAGES:
    LAUNCH += ["--image", image("train")]
    LAUNCH += ["--apptainer-args", workflow.deployment_settings.apptainer_args]


rule midtrain:
    """Mid-train the base model on the tokens of all shards."""
    input:
        tokens=expand(f"{DIR['tokens']}/{{shard}}.npy", shard=SHARDS),
        documents=expand(f"{DIR['tokens']}/{{shard}}.csv.gz", shard=SHARDS),
        manifests=expand(f"{DIR['tokens']}/{{shard}}.json", shard=SHARDS),
        model=MODELS["midtrain"],
    output:
        directory(f"{DIR['midtrain']}/model"),
    log:
        "logs/midtrain.log",
    benchmark:
        "logs/usage/midtrain.tsv"
    container:
        outside_of("train")
    threads: ALL_CORES
    resources:
        **needs(CHAIN, "midtrain").of_rule(),
        nodes=1,
        interface="",
    params:
        launch=LAUNCH,
        work=f"{WORK}/{Path(DIR['midtrain']).relative_to('results')}",
        metrics="logs/midtrain.metrics.jsonl",
        stale=stale_when("midtrain"),
    shell:
        """
        trap : TERM USR1
        D3_THREADS={threads} {params.launch:q} --nodes {resources.nodes} --interface '{resources.interface}' \
            midtrain --settings {params.stale[settings]:q} \
            --tokens {input.tokens:q} \
            --model {input.model:q} \
            --work {params.work:q} \
            --metrics {params.metrics:q} \
            --out {output:q} \
            2>&1 | bash -c 'trap "" TERM USR1; exec tee "$1"' - {log:q}
        """


rule sft:
    """Fine-tune the model of the arm {wildcards.arm}."""
    input:
        examples=expand(f"{DIR['sft_data']}/{{shard}}.parquet", shard=SHARDS),
        model=trained_on,
        same_tokens=as_long_as,
    output:
        directory(f"{DIR['sft']}/{{arm}}"),
    log:
        "logs/sft/{arm}.log",
    benchmark:
        "logs/usage/sft/{arm}.tsv"
    container:
        outside_of("train")
    threads: ALL_CORES
    resources:
        **needs(CHAIN, "sft").of_rule(),
        nodes=1,
        interface="",
    params:
        launch=LAUNCH,
        work=f"{WORK}/{Path(DIR['sft']).relative_to('results')}/{{arm}}",
        metrics="logs/sft/{arm}.metrics.jsonl",
        same_tokens=lambda wildcards, input: (
            f"--same-tokens {input.same_tokens}" if input.same_tokens else ""
        ),
        stale=arm_settings,
    shell:
        """
        trap : TERM USR1
        D3_THREADS={threads} {params.launch:q} --nodes {resources.nodes} --interface '{resources.interface}' \
            sft --settings {params.stale[settings]:q} \
            --examples {input.examples:q} \
            --model {input.model:q} \
            {params.same_tokens} \
            --work {params.work:q} \
            --metrics {params.metrics:q} \
            --out {output:q} \
            2>&1 | bash -c 'trap "" TERM USR1; exec tee "$1"' - {log:q}
        """


rule losses:
    """Measure the loss of held-out rows before and after every training."""
    input:
        tokens=expand(f"{DIR['tokens']}/{{shard}}.npy", shard=SHARDS),
        documents=expand(f"{DIR['tokens']}/{{shard}}.csv.gz", shard=SHARDS),
        manifests=expand(f"{DIR['tokens']}/{{shard}}.json", shard=SHARDS),
        model=MODELS["losses"],
        midtrained=MIDTRAINED,
        trained=expand(f"{DIR['sft']}/{{arm}}", arm=CHAIN.trained),
    output:
        f"{DIR['losses']}/losses.json",
    log:
        "logs/losses.log",
    benchmark:
        "logs/usage/losses.tsv"
    container:
        image(CHAIN.environment("losses"))
    threads: ALL_CORES
    resources:
        **needs(CHAIN, "losses").of_rule(),
    params:
        trained=[
            f"{name}={DIR['sft']}/{arm}" for arm, (name, _) in CHAIN.trained.items()
        ],
        midtrained=lambda wildcards, input: (
            f"--midtrained {input.midtrained}" if input.midtrained else ""
        ),
        stale=stale_when("losses"),
    shell:
        """
        d3 losses --settings {params.stale[settings]:q} \
            --tokens {input.tokens:q} \
            --model {input.model:q} \
            {params.midtrained} \
            --trained {params.trained:q} \
            --out {output:q} \
            2>&1 | tee {log:q}
        """
