rule train_original:
    input:
        dataset=DATA + "/dataset.safetensors",
        splits=each_seed(BASE_SPLIT),
    output:
        models=each_seed(ORIGINAL + "/model.safetensors"),
        records=each_seed(ORIGINAL + "/training.json"),
    log:
        RESULTS + "/logs/train_original/{dataset}/{model}.log",
    benchmark:
        RESULTS + "/benchmarks/train_original/{dataset}/{model}.tsv"
    params:
        code=code_version("orthograd.steps.train"),
        spec=training_spec,
        seeds=SEEDS,
    threads: PROFILE.threads
    resources:
        mem_mb=4000,
        runtime=600,
        gpu=GPU,
    priority: 2
    conda:
        ENVIRONMENT
    shell:
        "python -m orthograd train --spec {params.spec:q} --train-on train --seed {params.seeds} "
        "--data {input.dataset} --split {input.splits} --model {output.models} --record {output.records} "
        "> {log} 2>&1"


rule train_retrained:
    input:
        dataset=DATA + "/dataset.safetensors",
        splits=each_seed(SPLIT),
    output:
        models=each_reference(RETRAINED + "/model.safetensors"),
        records=each_reference(RETRAINED + "/training.json"),
    log:
        RESULTS + "/logs/train_retrained/{dataset}/{model}/{scenario}.log",
    benchmark:
        RESULTS + "/benchmarks/train_retrained/{dataset}/{model}/{scenario}.tsv"
    params:
        code=code_version("orthograd.steps.train"),
        spec=training_spec,
        seeds=SEEDS,
        replicates=len(REPLICATES),
    threads: PROFILE.threads
    resources:
        mem_mb=4000,
        runtime=1200,
        gpu=GPU,
    # The longest jobs: started first, so that the cores are busy to the end.
    priority: 1
    conda:
        ENVIRONMENT
    shell:
        "python -m orthograd train --spec {params.spec:q} --train-on retain --replicates {params.replicates} "
        "--seed {params.seeds} --data {input.dataset} --split {input.splits} --model {output.models} "
        "--record {output.records} > {log} 2>&1"
