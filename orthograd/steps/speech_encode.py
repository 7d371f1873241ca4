"""Compute what models get of the sound of the utterances that are used, once; and how alike the voices are."""

from __future__ import annotations

import hashlib
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from orthograd.speech.corpus import read_audio
from orthograd.speech.specs import Trained
from orthograd.speech.transcription import SoundCache, encode
from orthograd.speech.whisper import load
from orthograd.steps import inputs


class Spec(inputs.Spec):
    trained: Trained


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--spec", type=Spec.model_validate_json, required=True, help="JSON: the settings")
    parser.add_argument("--corpus", type=Path, required=True, help="folder with SPEAKERS.TXT")
    parser.add_argument("--utterances", type=Path, required=True, help="CSV of the utterances that are used")
    parser.add_argument("--whisper", type=Path, required=True, help="the model's folder")
    parser.add_argument("--sound", type=Path, required=True, help="array to write, its names beside it")
    parser.add_argument(
        "--hashes", type=Path, required=True, help="CSV to write: SHA-256 of what each utterance holds"
    )
    parser.add_argument("--similarity", type=Path, required=True, help="CSV to write: how alike voices are")


def run(arguments: Namespace) -> None:
    trained = arguments.spec.trained
    device = inputs.set_up(arguments.spec)
    utterances = pd.read_csv(
        arguments.utterances, dtype={"id": str, "speaker": str, "transcript": str}, keep_default_na=False
    )
    whisper = load(arguments.whisper)
    whisper.model.to(device)
    names = utterances["id"].tolist()
    heard: list[str] = []

    def audio() -> Iterator[np.ndarray]:
        for path in utterances["path"]:
            samples = read_audio(arguments.corpus / path)
            heard.append(content_hash(samples))
            yield samples

    SoundCache.write(arguments.sound, whisper, names, audio(), device, trained)
    rows = SoundCache(arguments.sound).rows
    hashes = [
        content_hash(row.numpy(), text) for row, text in zip(rows, utterances["transcript"], strict=True)
    ]
    table = pd.DataFrame({"id": names, "audio": heard, "sha256": hashes})
    table.to_csv(arguments.hashes, index=False, lineterminator="\n")
    # What is said stands in the first seconds; the rest is the silence that every utterance is padded with.
    positions = whisper.model.config.max_source_positions
    counts = np.ceil(utterances["seconds"].to_numpy() * positions / 30).astype(int)
    means = []
    for row, count in zip(rows, counts, strict=True):
        encoded = row if trained == "decoder" else encode(whisper.model, row[None].to(device))[0].cpu()
        means.append(encoded.numpy()[:count].mean(axis=0))
    similarity(utterances["speaker"].tolist(), np.stack(means)).to_csv(
        arguments.similarity, index=False, lineterminator="\n"
    )


def content_hash(array: np.ndarray, text: str = "") -> str:
    """SHA-256 of the bytes of an array, and of a text behind them.

    Of an utterance: of its samples (n,), or of what models get, a row of `SoundCache` with the transcript; both
    float32.
    """
    return hashlib.sha256(np.ascontiguousarray(array).tobytes() + text.encode()).hexdigest()


def similarity(speakers: list[str], means: np.ndarray) -> pd.DataFrame:
    """`speaker`, `other`, `similarity`: the cosine of the speakers' mean encoder outputs, without what all share.

    Args:
        speakers: of each utterance.
        means: (n, width), the mean encoder output of each utterance.
    """
    by_speaker = pd.DataFrame(means.astype(np.float64)).groupby(speakers, sort=False).mean()
    # All speech lies in one direction: only what differs from the mean voice tells voices apart.
    centred = by_speaker - by_speaker.mean()
    unit = centred.div(np.sqrt((centred**2).sum(axis=1)), axis=0)
    cosines = unit.to_numpy() @ unit.to_numpy().T
    names = list(by_speaker.index)
    return pd.DataFrame(
        [
            (speaker, other, float(cosines[row, column]))
            for row, speaker in enumerate(names)
            for column, other in enumerate(names)
            if row != column
        ],
        columns=["speaker", "other", "similarity"],
    )
