rule evaluate_original:
    input:
        dataset=f"{DATA}/dataset.safetensors",
        splits=each_seed(SPLIT),
        models=each_seed(f"{ORIGINAL}/model.safetensors"),
        originals=each_seed(f"{ORIGINAL}/model.safetensors"),
        retrained=each_reference(f"{RETRAINED}/model.safetensors"),
        records=each_seed(f"{ORIGINAL}/training.json"),
    output:
        scores=each_seed(f"{ORIGINAL_IN_SCENARIO}/scores.npz"),
        metrics=each_seed(f"{ORIGINAL_IN_SCENARIO}/metrics.json"),
    log:
        f"{RESULTS}/logs/evaluate/{{dataset}}/{{model}}/{{scenario}}/original.log",
    benchmark:
        f"{RESULTS}/benchmarks/evaluate/{{dataset}}/{{model}}/{{scenario}}/original.tsv"
    conda:
        ENVIRONMENT
    threads: PROFILE.threads
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=GPU,
    params:
        code=code_version("orthograd.steps.evaluate"),
        spec=evaluation_spec,
        name="original",
    shell:
        "python -m orthograd evaluate --name {params.name} --spec {params.spec:q} --data {input.dataset} "
        "--split {input.splits} --model {input.models} --original {input.originals} "
        "--retrained {input.retrained} --record {input.records} --scores {output.scores} "
        "--metrics {output.metrics} > {log} 2>&1"


use rule evaluate_original as evaluate_retrained with:
    input:
        dataset=f"{DATA}/dataset.safetensors",
        splits=each_seed(SPLIT),
        models=each_reference(f"{RETRAINED}/model.safetensors"),
        originals=each_seed(f"{ORIGINAL}/model.safetensors"),
        retrained=each_reference(f"{RETRAINED}/model.safetensors"),
        records=each_reference(f"{RETRAINED}/training.json"),
    output:
        scores=each_reference(f"{RETRAINED}/scores.npz"),
        metrics=each_reference(f"{RETRAINED}/metrics.json"),
    log:
        f"{RESULTS}/logs/evaluate/{{dataset}}/{{model}}/{{scenario}}/retrained.log",
    benchmark:
        f"{RESULTS}/benchmarks/evaluate/{{dataset}}/{{model}}/{{scenario}}/retrained.tsv"
    params:
        code=code_version("orthograd.steps.evaluate"),
        spec=evaluation_spec,
        name="retrained",


use rule evaluate_original as evaluate_unlearned with:
    input:
        dataset=f"{DATA}/dataset.safetensors",
        splits=each_seed(SPLIT),
        models=each_seed(f"{UNLEARNED}/model.safetensors"),
        originals=each_seed(f"{ORIGINAL}/model.safetensors"),
        retrained=each_reference(f"{RETRAINED}/model.safetensors"),
        records=each_seed(f"{UNLEARNED}/unlearning.json"),
    output:
        scores=each_seed(f"{UNLEARNED}/scores.npz"),
        metrics=each_seed(f"{UNLEARNED}/metrics.json"),
    log:
        f"{RESULTS}/logs/evaluate/{{dataset}}/{{model}}/{{scenario}}/{{source}}{{retain_size}}/{{method}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/evaluate/{{dataset}}/{{model}}/{{scenario}}/{{source}}{{retain_size}}/{{method}}.tsv"
    params:
        code=code_version("orthograd.steps.evaluate"),
        spec=evaluation_spec,
        name=lambda wildcards: wildcards.method,
