rule collect:
    input:
        metrics=experiment_runs("metrics.json"),
        scores=experiment_runs("scores.npz"),
    output:
        runs=f"{COLLECTED}/runs.csv",
        costs=f"{COLLECTED}/costs.csv",
        trajectories=f"{COLLECTED}/trajectories.csv",
        controls=f"{COLLECTED}/controls.csv",
        conditions=f"{COLLECTED}/conditions.json",
        evidence=f"{COLLECTED}/evidence.json",
    log:
        f"{RESULTS}/logs/collect/{{experiment}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/collect/{{experiment}}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
        gpu=0,
    params:
        code=code_version("orthograd.steps.collect"),
    shell:
        "python -m orthograd collect --metrics {input.metrics} --runs {output.runs} --costs {output.costs} "
        "--trajectories {output.trajectories} --controls {output.controls} --conditions {output.conditions} "
        "--evidence {output.evidence} > {log} 2>&1"


rule merge:
    input:
        runs=each_collection(f"{COLLECTED}/runs.csv"),
        costs=each_collection(f"{COLLECTED}/costs.csv"),
        trajectories=each_collection(f"{COLLECTED}/trajectories.csv"),
        controls=each_collection(f"{COLLECTED}/controls.csv"),
    output:
        runs=report(
            f"{REPORT}/runs.csv",
            caption="../report/runs.rst",
            category="All runs",
            labels={"table": "runs"},
        ),
        costs=f"{REPORT}/costs.csv",
        trajectories=f"{REPORT}/trajectories.csv",
        controls=f"{REPORT}/controls.csv",
    log:
        f"{RESULTS}/logs/merge.log",
    benchmark:
        f"{RESULTS}/benchmarks/merge.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
        gpu=0,
    params:
        code=code_version("orthograd.steps.merge"),
    shell:
        "python -m orthograd merge --runs {input.runs} --costs {input.costs} "
        "--trajectories {input.trajectories} --controls {input.controls} "
        "--out {output.runs} {output.costs} {output.trajectories} {output.controls} > {log} 2>&1"


rule tables:
    input:
        runs=f"{REPORT}/runs.csv",
        costs=f"{REPORT}/costs.csv",
        trajectories=f"{REPORT}/trajectories.csv",
        controls=f"{REPORT}/controls.csv",
    output:
        csv=report(
            expand(
                f"{REPORT}/tables/{{{{experiment}}}}.{{table}}.csv", table=TABLE_NAMES
            ),
            caption="../report/table.rst",
            category="Tables",
            subcategory="{experiment}",
        ),
        other=expand(
            f"{REPORT}/tables/{{{{experiment}}}}.{{table}}.{{format}}",
            table=TABLE_NAMES,
            format=["md", "tex"],
        ),
    log:
        f"{RESULTS}/logs/tables/{{experiment}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/tables/{{experiment}}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
        gpu=0,
    params:
        code=code_version("orthograd.steps.tables"),
        experiment=experiment_spec,
        out=lambda wildcards, output: Path(output[0]).parent.parent,
        step="tables",
    shell:
        "python -m orthograd {params.step} --experiment {params.experiment:q} --runs {input.runs} "
        "--costs {input.costs} --trajectories {input.trajectories} --controls {input.controls} --out {params.out} > {log} 2>&1"


use rule tables as figures with:
    output:
        png=report(
            expand(
                f"{REPORT}/figures/{{{{experiment}}}}.{{figure}}.png",
                figure=FIGURE_NAMES,
            ),
            caption="../report/figure.rst",
            category="Figures",
            subcategory="{experiment}",
        ),
        svg=expand(
            f"{REPORT}/figures/{{{{experiment}}}}.{{figure}}.svg", figure=FIGURE_NAMES
        ),
    log:
        f"{RESULTS}/logs/figures/{{experiment}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/figures/{{experiment}}.tsv"
    params:
        code=code_version("orthograd.steps.figures"),
        experiment=experiment_spec,
        out=lambda wildcards, output: Path(output[0]).parent.parent,
        step="figures",


if PROXIED and not PROFILE.from_scores:

    rule proxy:
        input:
            unpack(proxied_data),
        output:
            svg=f"{REPORT}/figures/{{experiment}}.proxy.svg",
            png=report(
                f"{REPORT}/figures/{{experiment}}.proxy.png",
                caption="../report/figure.rst",
                category="Figures",
                subcategory="{experiment}",
            ),
        log:
            f"{RESULTS}/logs/proxy/{{experiment}}.log",
        benchmark:
            f"{RESULTS}/benchmarks/proxy/{{experiment}}.tsv"
        conda:
            ENVIRONMENT
        threads: 1
        resources:
            mem_mb=2000,
            runtime=10,
            gpu=0,
        params:
            code=code_version("orthograd.steps.proxy"),
            experiment=experiment_spec,
            spec=lambda wildcards: as_json(
                proxy=dumped(PROFILE.proxies[EXPERIMENTS[wildcards.experiment].proxy])
            ),
            seed=SEEDS[0],
            out=lambda wildcards, output: Path(output[0]).parent.parent,
        shell:
            "python -m orthograd proxy --experiment {params.experiment:q} --spec {params.spec:q} --seed {params.seed} "
            "--data {input.dataset} --proxy-data {input.proxy_data} --split {input.split} --out {params.out} "
            "> {log} 2>&1"


if SHADOW_STUDY:

    rule ulira:
        input:
            scores=shadow_scores(),
        output:
            results=ULIRA,
            csv=report(
                f"{REPORT}/tables/{SHADOWED.id}.ulira.csv",
                caption="../report/table.rst",
                category="Tables",
                subcategory=SHADOWED.id,
            ),
            other=expand(
                f"{REPORT}/tables/{SHADOWED.id}.ulira.{{format}}", format=["md", "tex"]
            ),
        log:
            f"{RESULTS}/logs/ulira.log",
        benchmark:
            f"{RESULTS}/benchmarks/ulira.tsv"
        conda:
            ENVIRONMENT
        threads: 1
        resources:
            mem_mb=4000,
            runtime=30,
            gpu=0,
        params:
            code=code_version("orthograd.steps.ulira"),
            experiment=SHADOWED.model_dump_json(),
            study=SHADOW_STUDY.model_dump_json(),
            names=list(shadow_kinds()),
            out=lambda wildcards, output: Path(output[0]).parent,
        shell:
            "python -m orthograd ulira --experiment {params.experiment:q} --study {params.study:q} "
            "--name {params.names} --scores {input.scores} --results {output.results} --out {params.out} "
            "> {log} 2>&1"


if SWEEPS:

    rule sweep:
        input:
            runs=f"{REPORT}/runs.csv",
            costs=f"{REPORT}/costs.csv",
            trajectories=f"{REPORT}/trajectories.csv",
            controls=f"{REPORT}/controls.csv",
        output:
            csv=report(
                f"{REPORT}/tables/{{experiment}}.sizes.csv",
                caption="../report/table.rst",
                category="Tables",
                subcategory="{experiment}",
            ),
            other=expand(
                f"{REPORT}/tables/{{{{experiment}}}}.sizes.{{format}}",
                format=["md", "tex"],
            ),
            svg=f"{REPORT}/figures/{{experiment}}.sizes.svg",
            png=report(
                f"{REPORT}/figures/{{experiment}}.sizes.png",
                caption="../report/figure.rst",
                category="Figures",
                subcategory="{experiment}",
            ),
        log:
            f"{RESULTS}/logs/sweep/{{experiment}}.log",
        benchmark:
            f"{RESULTS}/benchmarks/sweep/{{experiment}}.tsv"
        conda:
            ENVIRONMENT
        threads: 1
        resources:
            mem_mb=1000,
            runtime=10,
            gpu=0,
        params:
            code=code_version("orthograd.steps.sweep"),
            sweep=lambda wildcards: SWEEPS[wildcards.experiment].model_dump_json(),
            out=lambda wildcards, output: Path(output[0]).parent.parent,
        shell:
            "python -m orthograd sweep --sweep {params.sweep:q} --runs {input.runs} --costs {input.costs} "
            "--trajectories {input.trajectories} --controls {input.controls} --out {params.out} > {log} 2>&1"


# The trials stand in the repository; by its absolute path the file is no output of the search, which the report must not start.
TRIALS_SHOWN = [str(Path(workflow.basedir) / PROFILE.trials)] if PROFILE.trials else []
TRIALS_TABLES = expand(
    f"{REPORT}/tables/search.{{scenario}}.csv",
    scenario=dict.fromkeys(scenario for scenario, _ in searches()),
)
TRIALS_FIGURE = f"{REPORT}/figures/search.trials.svg"


if PROFILE.trials:

    rule trials:
        input:
            trials=TRIALS_SHOWN,
        output:
            csv=report(
                TRIALS_TABLES,
                caption="../report/search.rst",
                category="Tables",
                subcategory="search",
            ),
            other=[
                path.removesuffix("csv") + format
                for path in TRIALS_TABLES
                for format in ("md", "tex")
            ],
            svg=TRIALS_FIGURE,
            png=report(
                TRIALS_FIGURE.removesuffix("svg") + "png",
                caption="../report/search.rst",
                category="Figures",
                subcategory="search",
            ),
        log:
            f"{RESULTS}/logs/trials.log",
        benchmark:
            f"{RESULTS}/benchmarks/trials.tsv"
        conda:
            ENVIRONMENT
        threads: 1
        resources:
            mem_mb=1000,
            runtime=10,
            gpu=0,
        params:
            code=code_version("orthograd.steps.trials"),
            tuning=TUNING.model_dump_json(),
            out=lambda wildcards, output: Path(output[0]).parent.parent,
        shell:
            "python -m orthograd trials --tuning {params.tuning:q} --trials {input.trials} --out {params.out} "
            "> {log} 2>&1"


# What the report shows of speech, in the order of SPEECH_EXPERIMENTS.
SPOKEN = [SpeechExperiment.of(PROFILE.speech)] if SPEECH_EXPERIMENTS else []
SPOKEN_SPECS = [experiment.model_dump_json() for experiment in SPOKEN]
SPEECH_SHOWN = [
    f"{REPORT}/{kind}s/{experiment.id}.{name}.{format}"
    for experiment in SPOKEN
    for kind, names, format in (
        ("table", experiment.tables, "csv"),
        ("figure", experiment.figures, "svg"),
    )
    for name in names
]


if SPOKEN:

    rule speech_report:
        input:
            collected=SPEECH_EXPERIMENTS,
        output:
            shown=SPEECH_SHOWN,
            other=[
                path.removesuffix(suffix) + format
                for path in SPEECH_SHOWN
                for suffix, formats in (("csv", ("md", "tex")), ("svg", ("png",)))
                if path.endswith(suffix)
                for format in formats
            ],
            audio=[directory(f"{REPORT}/{experiment.audio}") for experiment in SPOKEN],
        log:
            f"{RESULTS}/logs/speech_report.log",
        benchmark:
            f"{RESULTS}/benchmarks/speech_report.tsv"
        conda:
            ENVIRONMENT
        threads: 1
        resources:
            mem_mb=2000,
            runtime=20,
            gpu=0,
        params:
            code=code_version("orthograd.steps.speech_report"),
            speech=SPOKEN_SPECS,
            out=lambda wildcards, output: Path(output[0]).parent.parent,
        shell:
            "python -m orthograd speech_report --speech {params.speech:q} --collected {input.collected} "
            "--out {params.out} > {log} 2>&1"


# What the search noted that it read stands beside its trials, if it was made with a version that notes it.
SEARCH_READ = [
    path.removesuffix("csv") + "json"
    for path in TRIALS_SHOWN
    if Path(path).with_suffix(".json").is_file()
]


rule deviations:
    input:
        dataset=audited(f"{DATA}/dataset.safetensors", SEEDS[0]),
        splits=audited(SPLIT),
        originals=audited(f"{ORIGINAL}/model.safetensors"),
    output:
        f"{RESULTS}/deviations.csv",
    log:
        f"{RESULTS}/logs/deviations.log",
    benchmark:
        f"{RESULTS}/benchmarks/deviations.tsv"
    conda:
        ENVIRONMENT
    threads: PROFILE.threads
    resources:
        mem_mb=4000,
        runtime=30,
        gpu=GPU,
    params:
        code=code_version(
            "orthograd.steps.deviations",
            *(
                methods.module(name)
                for name in ("orthograd_copy", "orthograd_mean", ORTHOGRAD)
            ),
        ),
        spec=lambda wildcards: as_json(
            model=AUDITED.models[0],
            retain_size=AUDITED.retain_size,
            # Nothing is stopped here.
            target=0.0,
            proxy=None,
            params=PROFILE.methods[AUDITED.scenario][ORTHOGRAD],
            evaluation_batch=PROFILE.evaluation_batch,
            **runtime_spec(),
        ),
        seeds=SEEDS,
    shell:
        "python -m orthograd deviations --spec {params.spec:q} --seed {params.seeds} --data {input.dataset} "
        "--split {input.splits} --original {input.originals} --out {output} > {log} 2>&1"


rule projections:
    input:
        dataset=audited(f"{DATA}/dataset.safetensors", SEEDS[0]),
        splits=audited(SPLIT),
        originals=audited(f"{ORIGINAL}/model.safetensors"),
        # Say how long the runs are.
        records=audited(f"{UNLEARNED}/unlearning.json"),
    output:
        f"{RESULTS}/projections.csv",
    log:
        f"{RESULTS}/logs/projections.log",
    benchmark:
        f"{RESULTS}/benchmarks/projections.tsv"
    conda:
        ENVIRONMENT
    threads: PROFILE.threads
    resources:
        mem_mb=4000,
        runtime=30,
        gpu=GPU,
    params:
        code=code_version("orthograd.steps.projections"),
        spec=lambda wildcards: as_json(
            model=AUDITED.models[0],
            retain_size=AUDITED.retain_size,
            # The records say where the runs stopped.
            target=0.0,
            proxy=None,
            params=PROFILE.methods[AUDITED.scenario][ORTHOGRAD],
            evaluation_batch=PROFILE.evaluation_batch,
            **runtime_spec(),
        ),
        seeds=SEEDS,
    shell:
        "python -m orthograd projections --spec {params.spec:q} --seed {params.seeds} --data {input.dataset} "
        "--split {input.splits} --original {input.originals} --record {input.records} --out {output} > {log} 2>&1"


rule projections_figure:
    input:
        rules.projections.output,
    output:
        svg=f"{REPORT}/figures/{AUDITED.id}.projections.svg",
        png=report(
            f"{REPORT}/figures/{AUDITED.id}.projections.png",
            caption="../report/figure.rst",
            category="Figures",
            subcategory=AUDITED.id,
        ),
    log:
        f"{RESULTS}/logs/projections_figure.log",
    benchmark:
        f"{RESULTS}/benchmarks/projections_figure.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
        gpu=0,
    params:
        code=code_version("orthograd.steps.projections_figure"),
        experiment=AUDITED.model_dump_json(),
        params=as_json(**PROFILE.methods[AUDITED.scenario][ORTHOGRAD]),
        out=lambda wildcards, output: Path(output[0]).parent.parent,
    shell:
        "python -m orthograd projections_figure --experiment {params.experiment:q} --params {params.params:q} "
        "--projections {input} --out {params.out} > {log} 2>&1"


rule audit:
    input:
        # Of its numbers too the page says how they compare with the paper's.
        speech=SPEECH_EXPERIMENTS,
        deviations=rules.deviations.output,
        runs=f"{REPORT}/runs.csv",
        costs=f"{REPORT}/costs.csv",
        trajectories=f"{REPORT}/trajectories.csv",
        controls=f"{REPORT}/controls.csv",
        # The page shows the table of the deviations, if the profile has one.
        tables=each_experiment(rules.tables.output.csv),
        evidence=each_collection(f"{COLLECTED}/evidence.json"),
        splits=all_splits(),
        shadow_splits=shadow_audited(SHADOW_SPLIT),
        shadow_scores=shadow_scores(),
        shadow_records=shadow_scores("evidence.json"),
        raw=expand(f"{DATA}/raw", dataset=PROFILE.datasets),
        search=SEARCH_READ,
        tuning_splits=tuning_splits(),
        trials=TRIALS_SHOWN,
        # By their absolute path, as the trials.
        published=sorted(
            str(path)
            for path in Path(workflow.basedir, "config", "published").glob("*.yaml")
        ),
        templates=[
            workflow.source_path("../../orthograd/reporting/templates/audit.html.j2"),
            workflow.source_path("../../orthograd/reporting/templates/macros.html.j2"),
            workflow.source_path("../../orthograd/reporting/templates/style.css"),
        ],
    output:
        csv=report(
            expand(f"{REPORT}/tables/{AUDIT}.{{table}}.csv", table=AUDIT_TABLE_NAMES),
            caption="../report/audit.rst",
            category="Audit",
        ),
        other=expand(
            f"{REPORT}/tables/{AUDIT}.{{table}}.{{format}}",
            table=AUDIT_TABLE_NAMES,
            format=["md", "tex"],
        ),
        summary=f"{REPORT}/{AUDIT}.json",
        page=report(
            f"{REPORT}/{AUDIT_PAGE}",
            caption="../report/audit.rst",
            category="Audit",
            labels={"page": "the audit"},
        ),
    log:
        f"{RESULTS}/logs/audit.log",
    benchmark:
        f"{RESULTS}/benchmarks/audit.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
        gpu=0,
    params:
        code=code_version("orthograd.steps.audit"),
        profile=PROFILE.model_dump_json(exclude={"mirror"}),
        speech=SPOKEN_SPECS,
    shell:
        "python -m orthograd audit --profile {params.profile:q} --runs {input.runs} --costs {input.costs} "
        "--trajectories {input.trajectories} --controls {input.controls} --evidence {input.evidence} "
        "--split {input.splits} --raw {input.raw} --search {input.search} --tuning-split {input.tuning_splits} --published {input.published} "
        "--deviations {input.deviations} --speech {params.speech:q} --collected {input.speech} "
        "--shadow-split {input.shadow_splits} --shadow-scores {input.shadow_scores} "
        "--shadow-record {input.shadow_records} --summary {output.summary} --page {output.page} > {log} 2>&1"


rule notebook_geometry:
    input:
        notebook=f"{workflow.basedir}/notebooks/geometry.ipynb",
        template=workflow.source_path(
            "../../orthograd/reporting/templates/notebook.html.j2"
        ),
        dataset=audited(f"{DATA}/dataset.safetensors", SEEDS[0]),
        split=audited(SPLIT, SEEDS[0]),
        original=audited(f"{ORIGINAL}/model.safetensors", SEEDS[0]),
    output:
        notebook=f"{REPORT}/notebooks/geometry.ipynb",
        page=f"{REPORT}/notebooks/geometry.html",
    log:
        f"{RESULTS}/logs/notebook/geometry.log",
    benchmark:
        f"{RESULTS}/benchmarks/notebook/geometry.tsv"
    conda:
        ENVIRONMENT
    threads: PROFILE.threads
    resources:
        mem_mb=4000,
        runtime=10,
        gpu=GPU,
    params:
        code=notebook_code("geometry"),
        parameters=geometry_parameters,
    shell:
        "python -m orthograd notebook --notebook {input.notebook} --parameters {params.parameters:q} "
        "--out {output.notebook} --page {output.page} > {log} 2>&1"


use rule notebook_geometry as notebook_cell with:
    input:
        notebook=f"{workflow.basedir}/notebooks/cell.ipynb",
        template=workflow.source_path(
            "../../orthograd/reporting/templates/notebook.html.j2"
        ),
        table=f"{REPORT}/tables/{AUDITED.id}.accuracy.csv",
        runs=f"{REPORT}/runs.csv",
        dataset=audited(f"{DATA}/dataset.safetensors", SEEDS[0]),
        splits=audited(SPLIT),
        originals=audited(f"{ORIGINAL}/model.safetensors"),
        models=audited(f"{UNLEARNED}/model.safetensors"),
        records=audited(f"{UNLEARNED}/unlearning.json"),
        trajectories=audited(f"{UNLEARNED}/trajectory.csv"),
        scores=audited(f"{UNLEARNED}/scores.npz"),
        metrics=audited(f"{UNLEARNED}/metrics.json"),
    output:
        notebook=f"{REPORT}/notebooks/cell.ipynb",
        page=f"{REPORT}/notebooks/cell.html",
    log:
        f"{RESULTS}/logs/notebook/cell.log",
    benchmark:
        f"{RESULTS}/benchmarks/notebook/cell.tsv"
    params:
        code=notebook_code("cell"),
        parameters=cell_parameters,


rule all_tables:
    input:
        tables=each_experiment(rules.tables.output.csv),
        sweeps=expand(f"{REPORT}/tables/{{experiment}}.sizes.csv", experiment=SWEEPS),
        shadows=[ULIRA] if SHADOW_STUDY else [],
        speech=SPEECH_SHOWN,
        search=TRIALS_TABLES if PROFILE.trials else [],


rule page:
    input:
        audit=f"{REPORT}/{AUDIT}.json",
        audit_page=f"{REPORT}/{AUDIT_PAGE}",
        runs=f"{REPORT}/runs.csv",
        costs=f"{REPORT}/costs.csv",
        trajectories=f"{REPORT}/trajectories.csv",
        controls=f"{REPORT}/controls.csv",
        tables=each_experiment(rules.tables.output.csv),
        figures=each_experiment(rules.figures.output.svg),
        sweeps=expand(f"{REPORT}/figures/{{experiment}}.sizes.svg", experiment=SWEEPS),
        speech=SPEECH_EXPERIMENTS,
        shown=SPEECH_SHOWN,
        proxies=expand(f"{REPORT}/figures/{{experiment}}.proxy.svg", experiment=PROXIED),
        projections=rules.projections.output,
        projected=rules.projections_figure.output.svg,
        shadows=[ULIRA] if SHADOW_STUDY else [],
        conditions=each_collection(f"{COLLECTED}/conditions.json"),
        notebooks=expand(f"{REPORT}/notebooks/{{name}}.html", name=NOTEBOOKS),
        trials=TRIALS_SHOWN,
        search=[*TRIALS_TABLES, TRIALS_FIGURE] if PROFILE.trials else [],
        splits=experiment_splits(),
        raw=expand(f"{DATA}/raw", dataset=PROFILE.datasets),
        template=workflow.source_path(
            "../../orthograd/reporting/templates/index.html.j2"
        ),
        macros=workflow.source_path(
            "../../orthograd/reporting/templates/macros.html.j2"
        ),
        style=workflow.source_path("../../orthograd/reporting/templates/style.css"),
        states=workflow.source_path("../../config/experiments.yaml"),
    output:
        config=f"{REPORT}/config.yaml",
        conditions=f"{REPORT}/conditions.json",
        page=report(
            f"{REPORT}/index.html",
            caption="../report/page.rst",
            category="Page",
            labels={"page": "the whole report"},
        ),
    log:
        f"{RESULTS}/logs/page.log",
    benchmark:
        f"{RESULTS}/benchmarks/page.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
        gpu=0,
    params:
        code=code_version("orthograd.steps.page"),
        profile=PROFILE.model_dump_json(),
        projected=AUDITED.id,
        speech=SPOKEN_SPECS,
    shell:
        "python -m orthograd page --profile {params.profile:q} --runs {input.runs} --costs {input.costs} "
        "--trajectories {input.trajectories} --controls {input.controls} --conditions {input.conditions} --split {input.splits} "
        "--raw {input.raw} --notebooks {input.notebooks} --states {input.states} --audit {input.audit} "
        "--projections {input.projections} --projected {params.projected} "
        "--shadows {input.shadows} --trials {input.trials} --speech {params.speech:q} --collected {input.speech} "
        "--config {output.config} "
        "--made-with {output.conditions} "
        "--page {output.page} > {log} 2>&1"
