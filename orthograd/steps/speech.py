"""What the speech steps share: how a model and the utterances are loaded, and how transcripts are written."""

from __future__ import annotations

import csv
import ctypes
import os
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch

from orthograd.data.samples import Samples
from orthograd.objective import IGNORED
from orthograd.reads import Read, digest
from orthograd.speech.evaluation import Listener, utterance_losses
from orthograd.speech.model import Speller, Utterances
from orthograd.speech.scores import KEYS
from orthograd.speech.specs import Decoding, Trained
from orthograd.speech.splits import SCORED_SETS
from orthograd.speech.transcription import SoundCache
from orthograd.speech.whisper import load
from orthograd.steps import inputs
from orthograd.steps.speech_encode import content_hash

# Options of glibc's mallopt: how many blocks lie outside the heap, and above which size its free end is given back.
_MMAP_MAX, _TRIM_THRESHOLD = -4, -1


class Spec(inputs.Spec):
    """The settings of a step that works with a speech model."""

    corpus: str
    setting: str
    trained: Trained
    decoding: Decoding
    scored: int


def add_arguments(parser: ArgumentParser) -> None:
    """The arguments that say what a model is and what it hears."""
    parser.add_argument("--whisper", type=Path, required=True, help="the model's folder")
    parser.add_argument("--sound", type=Path, required=True, help="what models get of the utterances' sound")
    parser.add_argument("--utterances", type=Path, required=True, help="CSV of the utterances")
    parser.add_argument("--splits", type=Path, required=True, help="CSV: the set of each utterance")


class Study:
    """A Whisper model, the utterances by their row, and the sets; notes what is read.

    Attributes:
        listener: transcribes with the model.
        model: the model's trained part: its decoder, or all of it.
        splits: as `orthograd.speech.splits.split` makes it, with the column `row`.
        device: where the model is.
        reads: what was read since it was emptied, each set once.

    Raises:
        ValueError: a transcript is longer than the decoder, or than what a model may write.
    """

    def __init__(self, spec: Spec, whisper: Path, sound: Path, utterances: Path, splits: Path) -> None:
        self.device = inputs.set_up(spec)
        keep_freed_memory()
        loaded = load(whisper)
        loaded.model.to(self.device)
        cache = SoundCache(sound)
        rows = {name: row for row, name in enumerate(cache.names)}
        text = {"id": str, "speaker": str, "utterance_speaker": str}
        transcripts = pd.read_csv(utterances, dtype=text, keep_default_na=False)
        references = transcripts.set_index("id").loc[cache.names, "transcript"].tolist()
        table = Utterances.of(loaded, cache.rows, references, self.device)
        longest = int((table.labels != IGNORED).sum(dim=1).max()) - 1  # without its end
        if longest > spec.decoding.max_new_tokens:
            raise ValueError(
                f"the longest transcript of the corpus has {longest} tokens, but no model may write more than "
                f"{spec.decoding.max_new_tokens}, so that the rest would count as deleted: raise "
                "speech.decoding.max_new_tokens"
            )
        self.model = Speller(loaded.model, table, spec.trained)
        self.listener = Listener(loaded, self.model, references, spec.decoding)
        self.splits = pd.read_csv(splits, dtype=text)
        self.splits["row"] = self.splits["id"].map(rows)
        self.reads: list[Read] = []
        self._spec = spec

    def rows(self, speaker: str, seed: int, *sets: str) -> list[int]:
        """The rows of some sets, where a speaker is forgotten."""
        chosen = (self.splits["speaker"] == speaker) & (self.splits["seed"] == seed)
        return self.splits.loc[chosen & self.splits["set"].isin(sets), "row"].tolist()

    def samples(self, name: str, rows: Sequence[int]) -> Samples:
        """Utterances as the methods take them, noted as the set `name`."""
        return self.model.utterances.samples(rows, self.note(name, rows))

    def note(self, name: str, rows: Sequence[int]) -> Read:
        """Note that some utterances, sound and transcript, are read as the set `name`."""
        sound, references = self.model.utterances.sound, self.listener.references
        hashes = [content_hash(sound[row].cpu().numpy(), references[row]) for row in rows]
        read = Read(name, self._spec.corpus, "utterances", len(rows), digest(hashes))
        if read not in self.reads:
            self.reads.append(read)
        return read

    def transcripts(self, rows: Sequence[int]) -> pd.DataFrame:
        """Transcripts, errors and losses of the model as it is, by row."""
        wanted = sorted(set(rows))
        found = self.listener.scores(wanted)
        batch = self._spec.decoding.batch_size
        found["loss"] = utterance_losses(self.model, self.model.utterances, wanted, batch)
        return found.assign(row=wanted)

    def scored(self, speaker: str, seed: int) -> pd.DataFrame:
        """The rows of the splits whose transcripts are scored where a speaker is forgotten."""
        own = self.splits[(self.splits["speaker"] == speaker) & (self.splits["seed"] == seed)]
        parts = []
        for name in SCORED_SETS:
            part = own[own["set"] == name]
            if name in ("forget_train", "retain"):
                part = part.iloc[:: -(-len(part) // self._spec.scored)]
            parts.append(part)
        return pd.concat(parts)

    def table(self, method: str, speaker: str, seed: int, transcripts: pd.DataFrame) -> pd.DataFrame:
        """The rows of one run, for `write_transcripts`, from `transcripts` of all that is scored."""
        merged = self.scored(speaker, seed).merge(transcripts, on="row", validate="one_to_one")
        merged = merged.assign(setting=self._spec.setting, method=method)
        first = [*KEYS, "set", "id", "utterance_speaker"]
        return merged[first + [name for name in transcripts.columns if name != "row"]]


def keep_freed_memory() -> None:
    """Tell the C library to keep the big blocks that are freed for the next ones, where it can (glibc).

    By itself it gives them back at once, and the system fills every page of the next block with zeros. A decoder's
    tensors are that big: a third of the time of an unlearning run on a CPU went there. No result changes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        for option, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1)):
            mallopt(option, value)


def write_transcripts(tables: Sequence[pd.DataFrame], path: Path) -> None:
    """Write the rows of some runs, which `Study.table` made, to one CSV."""
    # Texts in quotation marks: a model that lost its way may write a carriage return, which without them ends its row.
    pd.concat(tables).to_csv(path, index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)


def load_weights(study: Study, path: Path) -> None:
    """Put fine-tuned weights, which `inputs.save_model` wrote of the trained part, into the model."""
    from safetensors.torch import load_file

    study.model.trained.load_state_dict(load_file(path, device=str(study.device)), strict=True)


def weights(study: Study) -> dict[str, torch.Tensor]:
    """A copy of the weights of the trained part."""
    return {name: value.clone() for name, value in study.model.trained.state_dict().items()}
