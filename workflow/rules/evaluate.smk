rule evaluate_original:
    input:
        dataset=DATA + "/dataset.safetensors",
        splits=each_seed(SPLIT),
        models=each_seed(ORIGINAL + "/model.safetensors"),
        records=each_seed(ORIGINAL + "/training.json"),
    output:
        metrics=each_seed(ORIGINAL_IN_SCENARIO + "/metrics.json"),
    log:
        RESULTS + "/logs/evaluate/{dataset}/{model}/{scenario}/original.log",
    benchmark:
        RESULTS + "/benchmarks/evaluate/{dataset}/{model}/{scenario}/original.tsv"
    params:
        code=code_version("orthograd.steps.evaluate"),
        spec=evaluation_spec,
        name="original",
    threads: PROFILE.threads
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=GPU,
    conda:
        ENVIRONMENT
    shell:
        "python -m orthograd evaluate --name {params.name} --spec {params.spec:q} --data {input.dataset} "
        "--split {input.splits} --model {input.models} --record {input.records} --metrics {output.metrics} "
        "> {log} 2>&1"


use rule evaluate_original as evaluate_retrained with:
    input:
        dataset=DATA + "/dataset.safetensors",
        splits=each_seed(SPLIT),
        models=each_reference(RETRAINED + "/model.safetensors"),
        records=each_reference(RETRAINED + "/training.json"),
    output:
        metrics=each_reference(RETRAINED + "/metrics.json"),
    log:
        RESULTS + "/logs/evaluate/{dataset}/{model}/{scenario}/retrained.log",
    benchmark:
        RESULTS + "/benchmarks/evaluate/{dataset}/{model}/{scenario}/retrained.tsv"
    params:
        code=code_version("orthograd.steps.evaluate"),
        spec=evaluation_spec,
        name="retrained",


use rule evaluate_original as evaluate_unlearned with:
    input:
        dataset=DATA + "/dataset.safetensors",
        splits=each_seed(SPLIT),
        models=each_seed(UNLEARNED + "/model.safetensors"),
        records=each_seed(UNLEARNED + "/unlearning.json"),
    output:
        metrics=each_seed(UNLEARNED + "/metrics.json"),
    log:
        RESULTS + "/logs/evaluate/{dataset}/{model}/{scenario}/retain{retain_size}/{method}.log",
    benchmark:
        RESULTS + "/benchmarks/evaluate/{dataset}/{model}/{scenario}/retain{retain_size}/{method}.tsv"
    params:
        code=code_version("orthograd.steps.evaluate"),
        spec=evaluation_spec,
        name=lambda wildcards: wildcards.method,
