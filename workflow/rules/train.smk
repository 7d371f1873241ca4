rule train_original:
    input:
        dataset=f"{DATA}/dataset.safetensors",
        splits=each_seed(BASE_SPLIT),
    output:
        models=each_seed(f"{ORIGINAL}/model.safetensors"),
        records=each_seed(f"{ORIGINAL}/training.json"),
    log:
        f"{RESULTS}/logs/train_original/{{dataset}}/{{model}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train_original/{{dataset}}/{{model}}.tsv"
    priority: 2
    conda:
        ENVIRONMENT
    threads: PROFILE.threads
    resources:
        mem_mb=4000,
        runtime=600,
        gpu=GPU,
    params:
        code=code_version("orthograd.steps.train"),
        spec=training_spec,
        seeds=SEEDS,
    shell:
        "python -m orthograd train --spec {params.spec:q} --train-on train --seed {params.seeds} "
        "--data {input.dataset} --split {input.splits} --model {output.models} --record {output.records} "
        "> {log} 2>&1"


rule train_retrained:
    input:
        dataset=f"{DATA}/dataset.safetensors",
        splits=each_seed(SPLIT),
    output:
        models=each_reference(f"{RETRAINED}/model.safetensors"),
        records=each_reference(f"{RETRAINED}/training.json"),
    log:
        f"{RESULTS}/logs/train_retrained/{{dataset}}/{{model}}/{{scenario}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train_retrained/{{dataset}}/{{model}}/{{scenario}}.tsv"
    # The longest jobs: started first, so that the cores are busy to the end.
    priority: 1
    conda:
        ENVIRONMENT
    threads: PROFILE.threads
    resources:
        mem_mb=4000,
        runtime=1200,
        gpu=GPU,
    params:
        code=code_version("orthograd.steps.train"),
        spec=training_spec,
        seeds=SEEDS,
        replicates=len(REPLICATES),
    shell:
        "python -m orthograd train --spec {params.spec:q} --train-on retain --replicates {params.replicates} "
        "--seed {params.seeds} --data {input.dataset} --split {input.splits} --model {output.models} "
        "--record {output.records} > {log} 2>&1"
