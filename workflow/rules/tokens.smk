"""Tokens: the Dolma toolkit turns dataset shards into memory maps of token ids."""


rule tokens:
    """Tokenize the dataset rows of {wildcards.shard}."""
    input:
        dataset=f"{DIR['dataset']}/data/{{shard}}.parquet",
        tokenizer=model_input(TOKENIZER),
    output:
        tokens=f"{DIR['tokens']}/{{shard}}.npy",
        documents=f"{DIR['tokens']}/{{shard}}.csv.gz",
        manifest=f"{DIR['tokens']}/{{shard}}.json",
    log:
        "logs/tokens/{shard}.log",
    params:
        tokenizer=TOKENIZER,
        stale=stale_when("tokens"),
    shell:
        """
        {D3_DOLMA} tokens --config {params.stale[config]:q} \
            --dataset {input.dataset:q} \
            --tokenizer {params.tokenizer:q} \
            --out {output.tokens:q} \
            2>&1 | tee {log:q}
        """
