"""A tiny speech study for tests: a corpus of noise, a Whisper with random weights, and the real steps over them."""

import json
from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import soundfile
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

from orthograd.steps import (
    speech_collect,
    speech_encode,
    speech_finetune,
    speech_split,
    speech_transcribe,
    speech_unlearn,
)

WORDS = ["the", "cat", "saw", "a", "dog", "near", "that", "old", "red", "house"]
SPEAKERS = ["11", "12", "13", "14", "15"]
ROLES = {"forgettable": ["11", "12"], "retain": ["13"], "validation": ["14"], "test": ["15"]}
SIZES = {
    "forget": 10, "forget_validation": 2, "train": 4, "retain": 2, "retain_speakers": 1, "validation": 2, "test": 2,
    "scored": 2,
}  # fmt: skip
POLICY = dict.fromkeys(
    ["broken_audio", "wrong_format", "too_long", "missing_transcript", "missing_audio", "unknown_speaker"],
    "refuse",
)
CORPUS = {"kind": "folder", "name": "noise", "path": "-", "subsets": ["dev-clean"], "policy": POLICY}
COMMON = {
    "device": "cpu", "threads": 1, "corpus": "noise", "decoding": {"batch_size": 4, "max_new_tokens": 6}, "scored": 2,
    "trained": "decoder",
}  # fmt: skip
TRAINING = {
    "epochs": 2, "batch_size": 4, "learning_rate": 0.05, "momentum": 0.9, "weight_decay": 0.0, "warmup": 0.5
}  # fmt: skip
FT = {"learning_rate": 0.05, "momentum": 0.0, "weight_decay": 0.0, "batch_size": 2, "passes": None}


def write_corpus(root: Path, utterances: Mapping[tuple[str, str, int], tuple[str, float]]) -> Path:
    """A corpus on disk: `utterances` maps (speaker, chapter, number) to (transcript, seconds)."""
    lines = [
        f"{speaker:<4} | F | dev-clean        | 8.05  | Reader {speaker}" for speaker, _, _ in utterances
    ]
    header = [";Some pipe(|) separated metadata", ";ID  |SEX| SUBSET           |MINUTES| NAME"]
    root.mkdir()
    (root / "SPEAKERS.TXT").write_text("\n".join([*header, *dict.fromkeys(lines)]) + "\n", encoding="utf-8")
    generator = np.random.default_rng(0)
    for (speaker, chapter, number), (transcript, seconds) in utterances.items():
        folder = root / "dev-clean" / speaker / chapter
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{speaker}-{chapter}-{number:04d}"
        noise = generator.integers(-3000, 3000, round(seconds * 16_000)).astype(np.int16)
        soundfile.write(folder / f"{name}.flac", noise, 16_000, format="FLAC", subtype="PCM_16")
        with (folder / f"{speaker}-{chapter}.trans.txt").open("a", encoding="utf-8") as stream:
            stream.write(f"{name} {transcript}\n")
    return root


def tiny_whisper(folder: Path) -> Path:
    """A Whisper with random weights that knows `WORDS`."""
    # Behind the last one Whisper knows times only.
    names = ["<|endoftext|>", "<|startoftranscript|>", "<unk>", *WORDS, "<|notimestamps|>"]
    tokenizer = Tokenizer(
        models.WordLevel({name: place for place, name in enumerate(names)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([name for name in names if name.startswith("<")])
    tokenizer.save(str(folder / "tokenizer.json"))
    tokens = {"bos_token_id": 1, "decoder_start_token_id": 1, "eos_token_id": 0, "pad_token_id": 0}
    config = WhisperConfig(
        vocab_size=len(names), d_model=8, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=12, decoder_ffn_dim=12, max_target_positions=20, init_std=0.5,
        begin_suppress_tokens=None, suppress_tokens=None, **tokens,
    )  # fmt: skip
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        **tokens,
        is_multilingual=False,
        no_timestamps_token_id=len(names) - 1,
        return_timestamps=False,
        max_length=20,
    )
    model.save_pretrained(folder)
    return folder


def noise(root: Path) -> Path:
    """A corpus of noise, in which each sentence is said once."""
    generator = np.random.default_rng(1)
    sentences: dict[str, None] = {}
    while len(sentences) < len(SPEAKERS) * 12:
        sentences[" ".join(generator.choice(WORDS, 3 + len(sentences) % 3)).upper()] = None
    said = iter(sentences)
    return write_corpus(
        root, {(speaker, "1", number): (next(said), 0.3) for speaker in SPEAKERS for number in range(12)}
    )


def prepare(root: Path, folder: Path, whisper: Path, trained: str = "decoder") -> Path:
    """Into `folder` the sets of a corpus and what models get of its sound."""
    folder.mkdir()
    spec = {"corpus": CORPUS, "speakers": ROLES, "sizes": SIZES, "seeds": [3]}
    run_step(
        speech_split, spec, corpus=root, splits=folder / "splits.csv", utterances=folder / "utterances.csv",
        speakers=folder / "speakers.csv", skipped=folder / "skipped.csv",
    )  # fmt: skip
    run_step(
        speech_encode, {"device": "cpu", "threads": 1, "trained": trained}, corpus=root,
        utterances=folder / "utterances.csv", whisper=whisper, sound=folder / "sound.npy", hashes=folder / "hashes.csv",
        similarity=folder / "similarity.csv",
    )  # fmt: skip
    return folder


def run_step(step, spec: dict | None, **arguments: object) -> None:
    parser = ArgumentParser()
    step.add_arguments(parser)
    line = [] if spec is None else ["--spec", json.dumps(spec)]
    for name, value in arguments.items():
        values = value if isinstance(value, list) else [value]
        line += [f"--{name.replace('_', '-')}", *map(str, values)]
    step.run(parser.parse_args(line))


def study_arguments(study: Path, whisper: Path) -> dict[str, object]:
    names = ("utterances", "splits")
    return {
        "whisper": whisper, "sound": study / "sound.npy", "seed": 3, **{n: study / f"{n}.csv" for n in names}
    }  # fmt: skip


def unlearn(
    study: Path,
    whisper: Path,
    setting: str,
    method: str = "ft",
    params=FT,
    trained: str = "decoder",
    **changes: object,
) -> Path:
    folder = study / f"{setting}-{method}"
    folder.mkdir()
    stopping = {"every": 1, "record_every": 2, "max_steps": 3, "curve_steps": 0}
    spec = {
        **COMMON, "trained": trained, "setting": setting, "method": method, "params": params, "stopping": stopping,
        "pretrained_target": 9.0,
    }  # fmt: skip
    run_step(
        speech_unlearn, spec, **study_arguments(study, whisper), speaker=["11", "12"], out=folder / "utterances.csv",
        runs=folder / "runs.csv", trajectories=folder / "trajectories.csv", record=folder / "records.json", **changes,
    )  # fmt: skip
    return folder


def collect(study: Path, root: Path, whisper: Path, trained: str = "decoder") -> Path:
    """All steps from a prepared study to what is collected, in both settings."""
    heard = study_arguments(study, whisper)
    common = {**COMMON, "trained": trained}
    tuned = {**common, "setting": "fine-tuned"}
    original, without = (
        study / "original.safetensors",
        [study / f"without{name}.safetensors" for name in ("11", "12")],
    )
    run_step(
        speech_finetune,
        {**tuned, "training": TRAINING},
        **heard,
        weights=original,
        record=study / "original.json",
    )
    run_step(
        speech_finetune, {**tuned, "training": TRAINING}, **heard, without=["11", "12"], weights=without,
        record=study / "retrained.json",
    )  # fmt: skip
    folders = []
    for setting, name, weights in (
        ("pretrained", "original", []),
        ("fine-tuned", "original", [original]),
        ("fine-tuned", "retrained", without),
    ):
        folder = study / f"{setting}-{name}"
        folder.mkdir()
        run_step(
            speech_transcribe, {**common, "setting": setting, "name": name}, **heard, speaker=["11", "12"],
            weights=weights, out=folder / "utterances.csv", record=folder / "records.json",
        )  # fmt: skip
        folders.append(folder)
    unlearned = [
        unlearn(study, whisper, "pretrained", trained=trained),
        unlearn(
            study,
            whisper,
            "fine-tuned",
            trained=trained,
            weights=original,
            retrained=folders[2] / "utterances.csv",
        ),
    ]
    names = ("utterances", "speakers", "skipped", "splits", "hashes", "similarity")
    run_step(
        speech_collect, None, corpus=root, **{name: study / f"{name}.csv" for name in names},
        transcripts=[folder / "utterances.csv" for folder in (*folders, *unlearned)],
        runs=[folder / "runs.csv" for folder in unlearned],
        trajectories=[folder / "trajectories.csv" for folder in unlearned],
        records=[folder / "records.json" for folder in (*folders, *unlearned)]
        + [study / f"{name}.json" for name in ("original", "retrained")], out=study / "collected",
    )  # fmt: skip
    return study / "collected"
