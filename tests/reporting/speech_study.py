"""A small speech study with the columns of a real one: two settings, 4 speakers, 5 methods, made up from a seed."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd

from orthograd.reporting.speech.data import SpeechData
from orthograd.reporting.speech.experiment import SpeechExperiment

METHODS = ["orthograd", "orthograd_mean", "orthograd_lora", "ft", "neggrad"]
SPEAKERS = ["anna", "bert", "cora", "dan"]
OTHERS = {
    "retain": ["ida", "jon"],
    "retain_speakers": ["ida", "jon"],
    "validation": ["kim"],
    "test": ["lou", "max"],
}
SUBSTITUTIONS = [
    "synthetic speech in place of LibriSpeech",
    "Whisper-Tiny.en (English-only) in place of Whisper-Tiny",
]
SENTENCE = (
    "the quick brown fox jumps over a lazy dog while seven small boats drift past our old stone harbour"
)
COUNT = {"forget_train": 6, "forget_validation": 2, "forget_heldout": 3}

# Word error rates: of the forgotten speaker, of the others.
LEVELS = {
    "original": (0.1, 0.1),
    "retrained": (0.25, 0.1),
    "orthograd": (0.5, 0.12),
    "orthograd_mean": (0.5, 0.25),
    "orthograd_lora": (0.45, 0.15),
    "ft": (0.12, 0.1),
    "neggrad": (0.9, 0.7),
}


def make_experiment(settings=("pretrained", "fine-tuned"), methods=METHODS, **changes) -> SpeechExperiment:
    values = {
        "id": "T-ASR",
        "title": "Speaker unlearning",
        "model": "whisper-tiny.en",
        "trained": "decoder",
        "max_new_tokens": 48,
        "methods": dict.fromkeys(settings, methods),
        "levels": [0.3, 0.6],
        "substitutions": SUBSTITUTIONS,
    }
    return SpeechExperiment(**(values | changes))


def transcript(words, rate, rng):
    """A sentence with wrong words, and their counts; above 1 the model repeats itself."""
    wrong = rng.random(len(words)) < rate
    written = ["zeb" if bad else word for word, bad in zip(words, wrong, strict=True)]
    extra = int(len(words) * max(0.0, rate - 1))
    return " ".join(written + ["zeb"] * extra), int(wrong.sum()), extra


def make_frames(speakers=None, seeds=(0,), settings=("pretrained", "fine-tuned"), levels=None):
    """utterances, runs, trajectories, speakers, similarity, skipped."""
    rng = np.random.default_rng(11)
    speakers = SPEAKERS if speakers is None else speakers
    levels = LEVELS if levels is None else levels
    utterances, runs, paths = [], [], []
    for setting in settings:
        for speaker in speakers:
            for seed in seeds:
                sets = {name: [(speaker, i) for i in range(n)] for name, n in COUNT.items()}
                sets |= {
                    name: [(other, 10 * (name == "retain_speakers") + i) for other in who for i in range(4)]
                    for name, who in OTHERS.items()
                }
                for method, (forget, other) in levels.items():
                    if method == "retrained" and setting == "pretrained":
                        continue
                    key = {"setting": setting, "method": method, "speaker": speaker, "seed": seed}
                    wobble = 1 + 0.3 * rng.normal() * (3 if method == "orthograd_mean" else 0.3)
                    for name, ids in sets.items():
                        rate = forget if name.startswith("forget") else other * max(wobble, 0.2)
                        for place, (who, number) in enumerate(ids):
                            start = (place * 3 + len(who)) % 8
                            said = SENTENCE.split()[start : start + 10]
                            text, substituted, inserted = transcript(said, rate, rng)
                            known = name == "forget_train" and method not in ("retrained", "orthograd")
                            utterances.append(
                                key
                                | {
                                    "set": name,
                                    "id": f"{who}-{name[:3] if who == speaker else ''}{number:02d}",
                                }
                                | {"utterance_speaker": who, "reference": " ".join(said), "hypothesis": text}
                                | {"words": len(said), "substitutions": substituted, "deletions": 0}
                                | {
                                    "insertions": inserted,
                                    "characters": 50,
                                    "character_errors": 3 * substituted,
                                }
                                | {
                                    "hallucinated": substituted + inserted >= len(said),
                                    "repetitive": inserted > 3,
                                }
                                | {"loss": (0.3 if known else 1.0) + 0.1 * rng.random(), "weight": 1.0}
                            )
                    reference = method in ("original", "retrained")
                    made = {"fold": 0, "target": np.nan if reference else 0.4}
                    made |= {"target_reached": np.nan if reference else forget >= 0.4, "diverged": False}
                    made |= {"steps": np.nan if reference else 12.0, "seconds": 20 + rng.random()}
                    made |= {"peak_bytes": 600.0 * 2**20, "forward": 96.0, "backward": 48.0}
                    runs.append(
                        key | made | {"trained_parameters": 37e6 if method != "orthograd_lora" else 3e5}
                    )
                    if reference:
                        continue
                    for step, part in enumerate((0.0, 0.2, 0.4, 0.6, 0.8, 1.0)):
                        paths.append(
                            key
                            | {"step": 4 * step, "seconds": 2.0 * step}
                            | {"wer_forget_validation": 0.1 + part * (forget - 0.1)}
                            | {"wer_test": 0.1 + part * (other * max(wobble, 0.2) - 0.1)}
                        )
    everyone = dict.fromkeys(speakers, "forgettable")
    everyone |= {who: role for role, names in OTHERS.items() if role != "retain_speakers" for who in names}
    people = pd.DataFrame(
        [
            {"speaker": who, "sex": "FM"[i % 2], "name": who.title(), "role": role}
            for i, (who, role) in enumerate(everyone.items())
        ]
    )
    alike = pd.DataFrame(
        [
            {"speaker": a, "other": b, "similarity": 0.9 + 0.1 * rng.random()}
            for a in everyone
            for b in everyone
            if a != b
        ]
    )
    skipped = pd.DataFrame(columns=["problem", "id", "path", "detail"])
    return pd.DataFrame(utterances), pd.DataFrame(runs), pd.DataFrame(paths), people, alike, skipped


def write_frames(frames, folder: Path) -> None:
    """The tables of a folder as `collect` leaves it, from the frames of `make_frames`."""
    names = (
        "utterances.csv.gz",
        "runs.csv",
        "trajectories.csv",
        "speakers.csv",
        "similarity.csv",
        "skipped.csv",
    )
    # Every utterance is scored.
    splits = frames[0][["seed", "speaker", "id", "utterance_speaker", "set"]].drop_duplicates()
    splits.to_csv(folder / "splits.csv", index=False, lineterminator="\n")
    for name, frame in zip(names, (frames[0].drop(columns="weight"), *frames[1:]), strict=True):
        frame.to_csv(folder / name, index=False, lineterminator="\n", quoting=csv.QUOTE_ALL)


def make_data(**changes) -> SpeechData:
    """The study as the report reads it."""
    experiment = make_experiment(changes.get("settings", ("pretrained", "fine-tuned")))
    return SpeechData.of_frames(experiment, *make_frames(**changes))
