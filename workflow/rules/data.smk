rule download:
    output:
        raw=directory(f"{DATA}/raw"),
    log:
        "results/logs/download/{dataset}.log",
    benchmark:
        "results/benchmarks/download/{dataset}.tsv"
    retries: 1
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
        gpu=0,
    params:
        # No code: every file is verified against the registry, so that no code can change what arrives.
        files=registered_files,
    shell:
        "python -m orthograd download --dataset {wildcards.dataset} --out {output.raw} 2>&1 | tee {log}"


rule prepare:
    input:
        raw=f"{DATA}/raw",
    output:
        dataset=f"{DATA}/dataset.safetensors",
    log:
        "results/logs/prepare/{dataset}.log",
    benchmark:
        "results/benchmarks/prepare/{dataset}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=8000,
        runtime=120,
        gpu=0,
    params:
        code=code_version("orthograd.steps.prepare"),
        registered=registered,
        spec=preparation_spec,
    shell:
        "python -m orthograd prepare --spec {params.spec:q} --dataset {wildcards.dataset} --raw {input.raw} "
        "--out {output.dataset} > {log} 2>&1"


rule split:
    input:
        dataset=f"{DATA}/dataset.safetensors",
        apart_from=[],
    output:
        splits=each_seed(BASE_SPLIT),
    log:
        f"{RESULTS}/logs/split/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/split/{{dataset}}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
        gpu=0,
    params:
        code=code_version("orthograd.steps.split"),
        spec=base_split_spec,
        seeds=SEEDS,
    shell:
        "python -m orthograd split --spec {params.spec:q} --seed {params.seeds} --data {input.dataset} "
        "--apart-from {input.apart_from} --out {output.splits} > {log} 2>&1"


rule scenario:
    input:
        splits=each_seed(BASE_SPLIT),
    output:
        splits=each_seed(SPLIT),
    log:
        f"{RESULTS}/logs/scenario/{{dataset}}/{{scenario}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/scenario/{{dataset}}/{{scenario}}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
        gpu=0,
    params:
        code=code_version("orthograd.steps.scenario"),
        spec=scenario_spec,
        seeds=SEEDS,
    shell:
        "python -m orthograd scenario --spec {params.spec:q} --seed {params.seeds} --split {input.splits} "
        "--out {output.splits} > {log} 2>&1"
