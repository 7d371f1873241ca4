rule unlearn:
    input:
        dataset=f"{DATA}/dataset.safetensors",
        splits=each_seed(SPLIT),
        originals=each_seed(f"{ORIGINAL}/model.safetensors"),
        proxy_data=proxy_data,
    output:
        models=each_seed(f"{UNLEARNED}/model.safetensors"),
        trajectories=each_seed(f"{UNLEARNED}/trajectory.csv"),
        records=each_seed(f"{UNLEARNED}/unlearning.json"),
    log:
        f"{RESULTS}/logs/unlearn/{{dataset}}/{{model}}/{{scenario}}/{{source}}{{retain_size}}/{{method}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/unlearn/{{dataset}}/{{model}}/{{scenario}}/{{source}}{{retain_size}}/{{method}}.tsv"
    conda:
        ENVIRONMENT
    threads: PROFILE.threads
    resources:
        mem_mb=4000,
        runtime=600,
        gpu=GPU,
    params:
        code=method_code,
        spec=unlearning_spec,
        seeds=SEEDS,
    shell:
        "python -m orthograd unlearn --spec {params.spec:q} --seed {params.seeds} --data {input.dataset} "
        "--split {input.splits} --original {input.originals} --proxy-data {input.proxy_data} --model {output.models} "
        "--trajectory {output.trajectories} --record {output.records} > {log} 2>&1"
