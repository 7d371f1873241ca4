rule collect:
    input:
        metrics=experiment_runs,
    output:
        runs=RESULTS + "/experiments/{experiment}/runs.csv",
        costs=RESULTS + "/experiments/{experiment}/costs.csv",
        trajectories=RESULTS + "/experiments/{experiment}/trajectories.csv",
    log:
        RESULTS + "/logs/collect/{experiment}.log",
    benchmark:
        RESULTS + "/benchmarks/collect/{experiment}.tsv"
    params:
        code=code_version("orthograd.steps.collect"),
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
        gpu=0,
    conda:
        ENVIRONMENT
    shell:
        "python -m orthograd collect --metrics {input.metrics} --runs {output.runs} --costs {output.costs} "
        "--trajectories {output.trajectories} > {log} 2>&1"
