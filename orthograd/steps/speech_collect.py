"""Collect the runs of the speech experiment into tidy tables, with a few recordings of the forgotten speakers.

From this folder alone every table and figure of the experiment follows, without corpus and models.
"""

from __future__ import annotations

import csv
import shutil
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from orthograd.reads import digest
from orthograd.records import read_json, write_json
from orthograd.speech.corpus import read_audio, read_transcripts
from orthograd.speech.scores import KEYS
from orthograd.steps.speech_encode import content_hash

# Recordings of the held-out utterances of each forgotten speaker that the page plays.
PLAYED = 3


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--corpus", type=Path, required=True, help="folder with SPEAKERS.TXT")
    for name in ("utterances", "speakers", "skipped", "splits", "hashes", "similarity"):
        parser.add_argument(f"--{name}", type=Path, required=True, help="CSV of the corpus")
    for name in ("transcripts", "runs", "trajectories"):
        parser.add_argument(f"--{name}", type=Path, nargs="+", required=True, help="CSV of each method")
    parser.add_argument("--records", type=Path, nargs="+", required=True, help="JSON of each method")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")


def run(arguments: Namespace) -> None:
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    _together(arguments.transcripts).to_csv(
        out / "utterances.csv.gz",
        index=False,
        lineterminator="\n",
        # As `write_transcripts`; and without the time, so that equal tables have equal bytes.
        quoting=csv.QUOTE_ALL,
        compression={"method": "gzip", "mtime": 0},
    )
    for paths, name in ((arguments.runs, "runs"), (arguments.trajectories, "trajectories")):
        _together(paths).to_csv(out / f"{name}.csv", index=False, lineterminator="\n")
    for name in ("speakers", "skipped", "similarity", "splits"):
        shutil.copyfile(getattr(arguments, name), out / f"{name}.csv")
    records = [
        {"file": str(path)} | record for path in arguments.records for record in read_json(path)["runs"]
    ]
    write_json(
        out / "conditions.json",
        {
            "commits": sorted({record["commit"] for record in records}),
            "machines": list({str(record["machine"]): record["machine"] for record in records}.values()),
        },
    )
    text = {"id": str, "speaker": str, "utterance_speaker": str}
    splits = pd.read_csv(arguments.splits, dtype=text)
    hashes = pd.read_csv(arguments.hashes, dtype=text)
    utterances = pd.read_csv(arguments.utterances, dtype=text | {"transcript": str}, keep_default_na=False)
    sets = _sets(splits, hashes.set_index("id")["sha256"])
    write_json(out / "evidence.json", {"sets": sets, "runs": records})
    contents(utterances, hashes, arguments.corpus).to_csv(
        out / "contents.csv", index=False, lineterminator="\n"
    )
    _recordings(splits, utterances, arguments.corpus, out / "audio")


def _together(paths: Sequence[Path]) -> pd.DataFrame:
    """The tables of all methods, as text, so that no number is written anew."""
    table = pd.concat([pd.read_csv(path, dtype=str, keep_default_na=False) for path in paths])
    first = [*KEYS, *(name for name in ("step", "seconds") if "step" in table)]
    return table[first + [name for name in table if name not in first]]


def _sets(splits: pd.DataFrame, hashes: pd.Series[str]) -> list[dict[str, Any]]:
    """What each set of each run holds, as `orthograd.reads.Read` tells what was read."""
    return [
        {
            "seed": int(str(seed)),
            "speaker": speaker,
            "set": name,
            "utterances": len(rows),
            "sha256": digest(hashes.loc[rows["id"]]),
        }
        for (seed, speaker, name), rows in splits.groupby(["seed", "speaker", "set"])
    ]


def contents(utterances: pd.DataFrame, hashes: pd.DataFrame, corpus: Path) -> pd.DataFrame:
    """What each utterance holds: what models were given of it, and what the corpus holds of it now.

    Returns:
        `id`; `transcript` and `audio` (SHA-256 of the samples) as they were read, `sha256` of what models get, that is
        the encoder's output with the transcript; `corpus_transcript` and `corpus_audio`, read anew.
    """
    said = {
        name: text
        for chapter in utterances["path"].map(lambda path: corpus / Path(path).parent).unique()
        for name, text in read_transcripts(chapter).items()
    }
    return (
        utterances[["id", "transcript"]]
        .merge(hashes, on="id", validate="one_to_one")
        .assign(
            corpus_transcript=[said.get(name, "") for name in utterances["id"]],
            corpus_audio=[content_hash(read_audio(corpus / path)) for path in utterances["path"]],
        )
    )


def _recordings(splits: pd.DataFrame, utterances: pd.DataFrame, corpus: Path, out: Path) -> None:
    """The first held-out utterances of each forgotten speaker, of the first seed."""
    out.mkdir(exist_ok=True)
    paths = utterances.set_index("id")["path"]
    held_out = splits[(splits["set"] == "forget_heldout") & (splits["seed"] == splits["seed"].iloc[0])]
    for name in held_out.groupby("speaker", sort=False).head(PLAYED)["id"]:
        shutil.copyfile(corpus / paths[name], out / f"{name}.flac")
