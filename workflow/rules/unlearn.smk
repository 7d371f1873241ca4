rule unlearn:
    input:
        dataset=DATA + "/dataset.safetensors",
        splits=each_seed(SPLIT),
        originals=each_seed(ORIGINAL + "/model.safetensors"),
    output:
        models=each_seed(UNLEARNED + "/model.safetensors"),
        trajectories=each_seed(UNLEARNED + "/trajectory.csv"),
        records=each_seed(UNLEARNED + "/unlearning.json"),
    log:
        RESULTS + "/logs/unlearn/{dataset}/{model}/{scenario}/retain{retain_size}/{method}.log",
    benchmark:
        RESULTS + "/benchmarks/unlearn/{dataset}/{model}/{scenario}/retain{retain_size}/{method}.tsv"
    params:
        code=method_code,
        spec=unlearning_spec,
        seeds=SEEDS,
    threads: PROFILE.threads
    resources:
        mem_mb=4000,
        runtime=600,
        gpu=GPU,
    conda:
        ENVIRONMENT
    shell:
        "python -m orthograd unlearn --spec {params.spec:q} --seed {params.seeds} --data {input.dataset} "
        "--split {input.splits} --original {input.originals} --model {output.models} "
        "--trajectory {output.trajectories} --record {output.records} > {log} 2>&1"
