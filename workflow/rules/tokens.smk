"""Tokens: the Dolma toolkit turns dataset shards into memory maps of token ids."""


rule tokens:
    """Tokenize the dataset rows of {wildcards.shard}."""
    input:
        dataset=f"{DIR['dataset']}/data/{{shard}}.parquet",
        tokenizer=MODELS["tokens"],
    output:
        tokens=f"{DIR['tokens']}/{{shard}}.npy",
        documents=f"{DIR['tokens']}/{{shard}}.csv.gz",
        manifest=f"{DIR['tokens']}/{{shard}}.json",
    log:
        "logs/tokens/{shard}.log",
    benchmark:
        "logs/usage/tokens/{shard}.tsv"
    container:
        image(CHAIN.environment("tokens"))
    resources:
        **needs(CHAIN, "tokens").of_rule(),
    params:
        stale=stale_when("tokens"),
    shell:
        """
        d3 tokens --settings {params.stale[settings]:q} \
            --dataset {input.dataset:q} \
            --tokenizer {input.tokenizer:q} \
            --out {output.tokens:q} \
            2>&1 | tee {log:q}
        """
