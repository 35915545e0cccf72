"""Training: one mid-training on the dataset, then one fine-tuning for every arm."""


rule midtrain:
    """Mid-train the base model on the tokens of all shards."""
    input:
        tokens=expand(f"{DIR['tokens']}/{{shard}}.npy", shard=SHARDS),
        documents=expand(f"{DIR['tokens']}/{{shard}}.csv.gz", shard=SHARDS),
        manifests=expand(f"{DIR['tokens']}/{{shard}}.json", shard=SHARDS),
        model=BASE,
    output:
        directory(f"{DIR['midtrain']}/model"),
    log:
        "logs/midtrain.log",
    params:
        work=f"{WORK}/{Path(DIR['midtrain']).relative_to('results')}",
        stale=stale_when("midtrain"),
    shell:
        """
        d3 midtrain --config {params.stale[config]:q} \
            --tokens {input.tokens:q} \
            --model {input.model:q} \
            --work {params.work:q} \
            --out {output:q} \
            2>&1 | tee {log:q}
        """


rule sft:
    """Fine-tune the model of the arm {wildcards.arm}."""
    input:
        examples=expand(f"{DIR['sft_data']}/{{shard}}.parquet", shard=SHARDS),
        model=trained_on,
    output:
        directory(f"{DIR['sft']}/{{arm}}"),
    log:
        "logs/sft/{arm}.log",
    params:
        work=f"{WORK}/{Path(DIR['sft']).relative_to('results')}/{{arm}}",
        stale=arm_settings,
    shell:
        """
        d3 sft --config {params.stale[config]:q} \
            --examples {input.examples:q} \
            --model {input.model:q} \
            --work {params.work:q} \
            --out {output:q} \
            2>&1 | tee {log:q}
        """
