# The search for parameters, apart from the default run: `snakemake tune`. Its seeds are none of the reported ones.


use rule split as tuning_split with:
    input:
        dataset=f"{DATA}/dataset.safetensors",
        apart_from=each_seed(BASE_SPLIT) if TUNING.images == "apart" else [],
    output:
        splits=each_tuning_seed(BASE_SPLIT),
    log:
        f"{RESULTS}/logs/tuning/split/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/tuning/split/{{dataset}}.tsv"
    params:
        code=code_version("orthograd.steps.split"),
        spec=base_split_spec,
        seeds=TUNING_SEEDS,


use rule scenario as tuning_scenario with:
    input:
        splits=each_tuning_seed(BASE_SPLIT),
    output:
        splits=each_tuning_seed(SPLIT),
    log:
        f"{RESULTS}/logs/tuning/scenario/{{dataset}}/{{scenario}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/tuning/scenario/{{dataset}}/{{scenario}}.tsv"
    params:
        code=code_version("orthograd.steps.scenario"),
        spec=scenario_spec,
        seeds=TUNING_SEEDS,


use rule train_original as tuning_original with:
    input:
        dataset=f"{DATA}/dataset.safetensors",
        splits=each_tuning_seed(BASE_SPLIT),
    output:
        models=each_tuning_seed(f"{ORIGINAL}/model.safetensors"),
        records=each_tuning_seed(f"{ORIGINAL}/training.json"),
    log:
        f"{RESULTS}/logs/tuning/train_original/{{dataset}}/{{model}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/tuning/train_original/{{dataset}}/{{model}}.tsv"
    params:
        code=code_version("orthograd.steps.train"),
        spec=training_spec,
        seeds=TUNING_SEEDS,


use rule train_retrained as tuning_retrained with:
    input:
        dataset=f"{DATA}/dataset.safetensors",
        splits=each_tuning_seed(SPLIT),
    output:
        models=each_tuning_seed(f"{RETRAINED_ONCE}/model.safetensors"),
        records=each_tuning_seed(f"{RETRAINED_ONCE}/training.json"),
    log:
        f"{RESULTS}/logs/tuning/train_retrained/{{dataset}}/{{model}}/{{scenario}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/tuning/train_retrained/{{dataset}}/{{model}}/{{scenario}}.tsv"
    params:
        code=code_version("orthograd.steps.train"),
        spec=training_spec,
        seeds=TUNING_SEEDS,
        replicates=1,


rule tune_method:
    input:
        dataset=f"{DATA}/dataset.safetensors",
        splits=each_tuning_seed(SPLIT),
        originals=each_tuning_seed(f"{ORIGINAL}/model.safetensors"),
        retrained=each_tuning_seed(f"{RETRAINED_ONCE}/model.safetensors"),
    output:
        trials=f"{TRIALS}.csv",
        record=f"{TRIALS}.json",
    log:
        f"{RESULTS}/logs/tune/{{dataset}}/{{model}}/{{scenario}}/retain{{retain_size}}/{{method}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/tune/{{dataset}}/{{model}}/{{scenario}}/retain{{retain_size}}/{{method}}.tsv"
    conda:
        ENVIRONMENT
    threads: PROFILE.threads
    resources:
        mem_mb=4000,
        runtime=600,
        gpu=GPU,
    params:
        code=tuning_code,
        spec=tuning_spec,
        seeds=TUNING_SEEDS,
    shell:
        "python -m orthograd tune --spec {params.spec:q} --seed {params.seeds} --data {input.dataset} "
        "--split {input.splits} --original {input.originals} --retrained {input.retrained} "
        "--trials {output.trials} --record {output.record} > {log} 2>&1"


rule tune:
    input:
        trials=tuning_trials(),
        records=[path.removesuffix("csv") + "json" for path in tuning_trials()],
    output:
        tuned=f"config/tuned/{PROFILE.profile}.yaml",
        table=f"config/tuned/{PROFILE.profile}.csv",
        reads=f"config/tuned/{PROFILE.profile}.json",
    log:
        f"{RESULTS}/logs/tune.log",
    benchmark:
        f"{RESULTS}/benchmarks/tune.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
        gpu=0,
    params:
        code=code_version("orthograd.steps.tuned"),
        scenarios=[scenario for scenario, _ in searches()],
    shell:
        "python -m orthograd tuned --trials {input.trials} --scenario {params.scenarios} "
        "--record {input.records} --tuned {output.tuned} --table {output.table} --reads {output.reads} > {log} 2>&1"
