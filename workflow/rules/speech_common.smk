"""The speech experiment: its paths, and what its rules look up. No science here."""

from orthograd.speech.registry import speech_registry

STUDY = PROFILE.speech
SPEECH = f"{RESULTS}/speech"
WHISPER = f"results/data/whisper/{STUDY.whisper}"
CORPUS_KIND = STUDY.corpus.kind
CORPUS = STUDY.corpus.path if CORPUS_KIND == "folder" else f"{SPEECH}/corpus"
# Of a published corpus: each subset as it was fetched.
FETCHED = f"results/data/speech/{STUDY.corpus.name}/{{subset}}"
FINETUNED = f"{SPEECH}/models/original/seed{{seed}}.safetensors"
FINETUNED_WITHOUT = f"{SPEECH}/models/retrained/seed{{seed}}/{{speaker}}.safetensors"
SPEECH_RUN = f"{SPEECH}/runs/{{setting}}/{{speech_method}}"
FORGETTABLE = STUDY.speakers.forgettable
SPEECH_METHODS = {method for section in STUDY.methods.values() for method in section}

if CORPUS_KIND == "folder" and not Path(CORPUS).is_dir():
    raise WorkflowError(
        f"speech.corpus.path: {CORPUS} does not exist. Mend: put {STUDY.corpus.name} there, in LibriSpeech's layout "
        "(<subset>/<speaker>/<chapter>/<utterance>.flac with .trans.txt, and SPEAKERS.TXT), or name another folder"
    )


wildcard_constraints:
    subset="|".join(STUDY.corpus.subsets),
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
        trained=STUDY.trained,
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


def registered_corpus(wildcards):
    """What the registry says of the corpus: another version is fetched and verified."""
    return as_json(**dumped(speech_registry().corpus(STUDY.corpus.name)))


def registered_speech_model(wildcards):
    """What the registry says of the model: another version is fetched."""
    return as_json(**dumped(speech_registry().model(STUDY.whisper)))


def encoding_spec(wildcards):
    return as_json(trained=STUDY.trained, **runtime_spec())


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


def transcribed_weights(wildcards):
    """The models of a reference: none is the released one."""
    if wildcards.setting == "pretrained":
        return []
    if wildcards.speech_method == "original":
        return expand(FINETUNED, seed=STUDY.seeds)
    return expand(FINETUNED_WITHOUT, seed=STUDY.seeds, speaker=FORGETTABLE)


def unlearned_weights(wildcards):
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
