"""A Whisper that forgets a speaker: from the corpus to the tables of the speech experiment."""

STUDY = PROFILE.speech
SPEECH = f"{RESULTS}/speech"
WHISPER = f"results/data/whisper/{STUDY.whisper}"
SPOKEN_HERE = STUDY.corpus.kind == "synthetic"
CORPUS = f"{SPEECH}/corpus" if SPOKEN_HERE else STUDY.corpus.path
FINETUNED = f"{SPEECH}/models/original/seed{{seed}}.safetensors"
FINETUNED_WITHOUT = f"{SPEECH}/models/retrained/seed{{seed}}/{{speaker}}.safetensors"
SPEECH_RUN = f"{SPEECH}/runs/{{setting}}/{{speech_method}}"
FORGETTABLE = STUDY.speakers.forgettable
SPEECH_METHODS = {method for section in STUDY.methods.values() for method in section}


wildcard_constraints:
    setting="|".join(STUDY.methods),
    speech_method="|".join(sorted({"original", "retrained", *SPEECH_METHODS})),


def speech_runs(name, references=True):
    """A file of every (setting, method), with or without the reference models."""
    return [
        f"{SPEECH_RUN}/{name}".format(setting=setting, speech_method=method)
        for setting, method in STUDY.runs
        if references or method in SPEECH_METHODS
    ]


def speech_spec(wildcards, **values):
    """The settings of a step that works with a speech model."""
    return as_json(
        corpus=STUDY.corpus.name,
        setting=wildcards.get("setting", "fine-tuned"),
        decoding=dumped(STUDY.decoding),
        scored=STUDY.sizes.scored,
        **values,
        **runtime_spec(),
    )


def speech_split_spec(wildcards):
    sections = ("corpus", "speakers", "sizes")
    return as_json(
        seeds=STUDY.seeds, **{name: dumped(getattr(STUDY, name)) for name in sections}
    )


def synthesis_spec(wildcards):
    return as_json(sentences=STUDY.corpus.sentences, seed=STUDY.corpus.seed)


def registered_speech_model(wildcards):
    """What the registry says of the model: another version is fetched."""
    return as_json(**dumped(registry().speech_model(STUDY.whisper)))


def encoding_spec(wildcards):
    return as_json(**runtime_spec())


def finetuning_spec(wildcards):
    return speech_spec(wildcards, training=dumped(STUDY.finetuning))


def transcription_spec(wildcards):
    return speech_spec(wildcards, name=wildcards.speech_method)


def speech_unlearning_spec(wildcards):
    stopping = dumped(STUDY.stopping)
    return speech_spec(
        wildcards,
        method=wildcards.speech_method,
        params=STUDY.methods[wildcards.setting][wildcards.speech_method],
        pretrained_target=stopping.pop("pretrained_target"),
        stopping=stopping,
    )


def speech_method_code(wildcards):
    return code_version(
        "orthograd.steps.speech_unlearn", methods.module(wildcards.speech_method)
    )


def transcribed_decoders(wildcards):
    """The models of a reference: none is the released one."""
    if wildcards.setting == "pretrained":
        return []
    if wildcards.speech_method == "original":
        return expand(FINETUNED, seed=STUDY.seeds)
    return expand(FINETUNED_WITHOUT, seed=STUDY.seeds, speaker=FORGETTABLE)


def unlearned_decoders(wildcards):
    """The models that the runs of a setting start from: none is the released one."""
    return (
        [] if wildcards.setting == "pretrained" else expand(FINETUNED, seed=STUDY.seeds)
    )


def speech_targets(wildcards):
    """Transcripts of the retrained models, which set the targets of the fine-tuned setting."""
    path = f"{SPEECH_RUN}/utterances.csv"
    return (
        []
        if wildcards.setting == "pretrained"
        else path.format(setting=wildcards.setting, speech_method="retrained")
    )


if SPOKEN_HERE:

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
        # No code: the weights are verified against the registry.
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
        "--utterances {output.utterances} --speakers {output.speakers} > {log} 2>&1"


rule speech_encode:
    input:
        corpus=CORPUS,
        whisper=WHISPER,
        utterances=f"{SPEECH}/utterances.csv",
    output:
        encoded=f"{SPEECH}/encoded.npy",
        names=f"{SPEECH}/encoded.npy.names",
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
        "--utterances {input.utterances} --whisper {input.whisper} --encoded {output.encoded} "
        "--hashes {output.hashes} --similarity {output.similarity} > {log} 2>&1"


rule speech_finetune_original:
    input:
        whisper=WHISPER,
        encoded=f"{SPEECH}/encoded.npy",
        utterances=f"{SPEECH}/utterances.csv",
        splits=f"{SPEECH}/splits.csv",
    output:
        decoders=expand(FINETUNED, seed=STUDY.seeds),
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
        "--encoded {input.encoded} --utterances {input.utterances} --splits {input.splits} --seed {params.seeds} "
        "--without {params.without} --decoder {output.decoders} --record {output.record} > {log} 2>&1"


use rule speech_finetune_original as speech_finetune_retrained with:
    output:
        decoders=expand(FINETUNED_WITHOUT, seed=STUDY.seeds, speaker=FORGETTABLE),
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
        encoded=f"{SPEECH}/encoded.npy",
        utterances=f"{SPEECH}/utterances.csv",
        splits=f"{SPEECH}/splits.csv",
        decoders=transcribed_decoders,
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
        "--encoded {input.encoded} --utterances {input.utterances} --splits {input.splits} --seed {params.seeds} "
        "--speaker {params.speakers} --decoder {input.decoders} --out {output.transcripts} "
        "--record {output.record} > {log} 2>&1"


rule speech_unlearn:
    input:
        whisper=WHISPER,
        encoded=f"{SPEECH}/encoded.npy",
        utterances=f"{SPEECH}/utterances.csv",
        splits=f"{SPEECH}/splits.csv",
        decoders=unlearned_decoders,
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
        "--encoded {input.encoded} --utterances {input.utterances} --splits {input.splits} --seed {params.seeds} "
        "--speaker {params.speakers} --decoder {input.decoders} --retrained {input.retrained} "
        "--out {output.transcripts} --runs {output.runs} --trajectories {output.trajectories} "
        "--record {output.record} > {log} 2>&1"


rule speech_collect:
    input:
        corpus=CORPUS,
        utterances=f"{SPEECH}/utterances.csv",
        speakers=f"{SPEECH}/speakers.csv",
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
        "--speakers {input.speakers} --splits {input.splits} --hashes {input.hashes} "
        "--similarity {input.similarity} --transcripts {input.transcripts} --runs {input.runs} "
        "--trajectories {input.trajectories} --records {input.records} --out {output.collected} > {log} 2>&1"
