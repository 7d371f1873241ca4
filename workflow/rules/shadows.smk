# U-LiRA: shadow models that unlearn one half of the forget set and never see the other, in pairs with the halves exchanged.


rule shadow_splits:
    input:
        split=SPLIT.replace("{seed}", str(SEEDS[0])),
    output:
        trained=each_shadow(SHADOW_TRAINED),
        splits=each_shadow(SHADOW_SPLIT),
    log:
        f"{RESULTS}/logs/shadows/splits/{{dataset}}/{{scenario}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/shadows/splits/{{dataset}}/{{scenario}}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
        gpu=0,
    params:
        code=code_version("orthograd.steps.shadow_splits"),
        seeds=SHADOW_SEEDS,
    shell:
        "python -m orthograd shadow_splits --seed {params.seeds} --split {input.split} --trained {output.trained} "
        "--out {output.splits} > {log} 2>&1"


use rule train_original as shadow_original with:
    input:
        dataset=f"{DATA}/dataset.safetensors",
        splits=each_shadow(SHADOW_TRAINED),
    output:
        models=each_shadow(f"{SHADOWS}/original/seed{{seed}}/model.safetensors"),
        records=each_shadow(f"{SHADOWS}/original/seed{{seed}}/training.json"),
    log:
        f"{RESULTS}/logs/shadows/original/{{dataset}}/{{model}}/{{scenario}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/shadows/original/{{dataset}}/{{model}}/{{scenario}}.tsv"
    params:
        code=code_version("orthograd.steps.train"),
        spec=training_spec,
        seeds=SHADOW_SEEDS,


use rule train_retrained as shadow_retrained with:
    input:
        dataset=f"{DATA}/dataset.safetensors",
        splits=each_shadow(SHADOW_SPLIT),
    output:
        models=each_shadow(f"{SHADOWS}/retrained/seed{{seed}}/model.safetensors"),
        records=each_shadow(f"{SHADOWS}/retrained/seed{{seed}}/training.json"),
    log:
        f"{RESULTS}/logs/shadows/retrained/{{dataset}}/{{model}}/{{scenario}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/shadows/retrained/{{dataset}}/{{model}}/{{scenario}}.tsv"
    params:
        code=code_version("orthograd.steps.train"),
        spec=training_spec,
        seeds=SHADOW_SEEDS,
        replicates=1,


use rule unlearn as shadow_unlearn with:
    input:
        dataset=f"{DATA}/dataset.safetensors",
        splits=each_shadow(SHADOW_SPLIT),
        originals=each_shadow(f"{SHADOWS}/original/seed{{seed}}/model.safetensors"),
        proxy_data=[],
    output:
        models=each_shadow(f"{SHADOW_UNLEARNED}/seed{{seed}}/model.safetensors"),
        trajectories=each_shadow(f"{SHADOW_UNLEARNED}/seed{{seed}}/trajectory.csv"),
        records=each_shadow(f"{SHADOW_UNLEARNED}/seed{{seed}}/unlearning.json"),
    log:
        f"{RESULTS}/logs/shadows/{{dataset}}/{{model}}/{{scenario}}/{{source}}{{retain_size}}/{{method}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/shadows/{{dataset}}/{{model}}/{{scenario}}/{{source}}{{retain_size}}/{{method}}.tsv"
    params:
        code=method_code,
        spec=unlearning_spec,
        seeds=SHADOW_SEEDS,


rule shadow_scores:
    input:
        dataset=f"{DATA}/dataset.safetensors",
        splits=each_shadow(SHADOW_SPLIT),
        models=each_shadow(f"{SHADOWS}/{{kind}}/seed{{seed}}/model.safetensors"),
        records=shadow_records,
    output:
        scores=f"{SHADOWS}/{{kind}}/scores.npz",
        record=f"{SHADOWS}/{{kind}}/evidence.json",
    log:
        f"{RESULTS}/logs/shadows/scores/{{dataset}}/{{model}}/{{scenario}}/{{kind}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/shadows/scores/{{dataset}}/{{model}}/{{scenario}}/{{kind}}.tsv"
    wildcard_constraints:
        # What a shadow model is: one that is unlearned is named by its retain subset and its method.
        kind=r"original|retrained|retain\d+/[\w-]+",
    conda:
        ENVIRONMENT
    threads: PROFILE.threads
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=GPU,
    params:
        code=code_version("orthograd.steps.shadow_scores"),
        spec=shadow_scores_spec,
    shell:
        "python -m orthograd shadow_scores --spec {params.spec:q} --data {input.dataset} --split {input.splits} "
        "--model {input.models} --made {input.records} --out {output.scores} --record {output.record} > {log} 2>&1"
