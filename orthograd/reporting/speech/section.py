"""What the page says of a speech experiment beside its tables and figures."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from orthograd.reporting.experiment import ORIGINAL, ORTHOGRAD, RETRAINED
from orthograd.reporting.speech.comparison import best_baselines
from orthograd.reporting.speech.data import HELD_OUT, TEST, SpeechData
from orthograd.reporting.speech.experiment import FINE_TUNED, SpeechExperiment
from orthograd.reporting.speech.statistics import significance_text
from orthograd.reporting.speech.tables import Utterance, transcripts
from orthograd.reporting.text import method_label, number
from orthograd.speech.specs import Setting

AUDIO_FORMATS = (".flac", ".wav")
_NAMED = 3  # utterances of a kind that the page names; the table has all


@dataclass(frozen=True, eq=False)
class SpeechNotes:
    """One speech experiment of the page and how it was made.

    Attributes:
        data: its results.
        commands: that make them.
        audio: the sound of some utterances: path relative to the page, by id.
    """

    data: SpeechData
    commands: Sequence[str]
    audio: Mapping[str, str]


@dataclass(frozen=True)
class Spoken:
    """A row of the table with players."""

    utterance: Utterance
    source: str
    """URL relative to the page."""


def audio_files(folder: Path) -> list[Path]:
    """The sound files in a folder, by name."""
    return sorted(path for path in folder.iterdir() if path.suffix in AUDIO_FORMATS)


def copy_audio(collected: Path, report: Path, experiment: SpeechExperiment) -> list[str]:
    """Copy the sound that `collect` left in `audio/` to the folder of the page; the utterances' ids."""
    target = report / experiment.audio
    target.mkdir(parents=True, exist_ok=True)
    files = audio_files(collected / "audio")
    for path in files:
        shutil.copyfile(path, target / path.name)
    return [path.stem for path in files]


def audio_of(report: Path, experiment: SpeechExperiment) -> dict[str, str]:
    """The sound beside the page, by id of the utterance."""
    return {path.stem: f"{experiment.audio}/{path.name}" for path in audio_files(report / experiment.audio)}


def spoken(notes: SpeechNotes, setting: Setting) -> list[Spoken]:
    """The utterances with players, and what the models write of them."""
    return [
        Spoken(utterance, quote(notes.audio[utterance.id]))
        for utterance in transcripts(notes.data, setting, list(notes.audio))
    ]


def opening(studies: Sequence[SpeechData]) -> str:
    """One sentence on what was run."""
    runs = sum(
        len(data.runs_of(setting, method))
        for data in studies
        for setting in data.experiment.settings
        for method in data.experiment.methods[setting]
    )
    return f"On speech: {runs} unlearning runs, each of which forgets one speaker." if studies else ""


def stop_text(data: SpeechData) -> str:
    """What stopping looks at, with the targets of the runs."""
    parts = []
    for setting in data.experiment.settings:
        targets = 100 * data.runs.loc[data.runs["setting"] == setting, "target"]
        low, high = number(targets.min(), 1), number(targets.max(), 1)
        where = "what the retrained model has there" if setting == FINE_TUNED else "a given one"
        parts.append(
            f"{setting} {where}, {low}%" + ("" if low == high else f" to {high}%, depending on the run")
        )
    return (
        "A run stops with the first step after which the word error rate on some of the utterances that it unlearns "
        f"(forget_validation) is found at or above its target; a rise that is undone between two checks is not seen: "
        f"{'; '.join(parts)}. Nothing else is "
        "looked at. A run that does not get there counts as 'target not reached'."
    )


def corpus_text(data: SpeechData) -> str:
    """What of the corpus could not be used."""
    if data.skipped.empty:
        return "Every utterance of the corpus could be used."
    kinds = []
    for problem, rows in data.skipped.groupby("problem"):
        more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
        named = ", ".join(rows["path"].head(_NAMED))
        kinds.append(f"{str(problem).replace('_', ' ')}: {len(rows)} ({named}{more})")
    return (
        f"{len(data.skipped)} utterances of the corpus could not be used and were left out, as the config says "
        f"(skipped.csv, beside the other tables of the runs, names each): {'; '.join(kinds)}."
    )


def verdict(data: SpeechData, setting: Setting) -> str:
    """What forgetting a speaker did, with what stands in for the paper's data and model."""

    def percent(method: str, group: str) -> str:
        return f"{number(100 * float(data.rate(setting, method, group).mean()), 1)}%"

    reached = data.reached(setting, ORTHOGRAD)
    sentences = [
        "OrthoGrad takes the word error rate on held-out utterances of the forgotten speaker from "
        f"{percent(ORIGINAL, HELD_OUT)} to {percent(ORTHOGRAD, HELD_OUT)}, and on the test speakers from "
        f"{percent(ORIGINAL, TEST)} to {percent(ORTHOGRAD, TEST)} (means over speakers); it reaches its target in "
        f"{reached.sentence if reached else 'no run'}."
    ]
    if setting == FINE_TUNED:
        sentences.append(
            f"The model retrained without the speaker: {percent(RETRAINED, HELD_OUT)} and {percent(RETRAINED, TEST)}."
        )
    for method in best_baselines(data, setting, 1):
        count = data.reached(setting, method)
        sentences.append(
            f"{method_label(method)}, of the baselines with most runs at their target "
            f"({count.sentence if count else 'no run'}) the one with the lowest test word error rate: "
            f"{percent(method, HELD_OUT)} and {percent(method, TEST)}."
        )
    if data.experiment.substitutions:
        sentences.append(f"With {'; '.join(data.experiment.substitutions)}.")
    return " ".join([*sentences, f"{significance_text(data.n(setting))}."])
