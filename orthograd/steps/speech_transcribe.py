"""Transcribe with the reference models: the original one, and those that never heard the speaker."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

import pandas as pd

from orthograd.cost import Cost
from orthograd.provenance import code_version
from orthograd.records import write_json
from orthograd.steps import inputs, speech


class Spec(speech.Spec):
    name: str


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--spec", type=Spec.model_validate_json, required=True, help="JSON: the settings")
    speech.add_arguments(parser)
    parser.add_argument("--seed", type=int, nargs="+", required=True)
    parser.add_argument("--speaker", nargs="+", required=True, help="those that are forgotten")
    parser.add_argument(
        "--weights",
        type=Path,
        nargs="*",
        default=[],
        help="fine-tuned, one a seed, or seed by seed one a speaker; none: the released model",
    )
    parser.add_argument("--out", type=Path, required=True, help="CSV to write: the transcripts")
    parser.add_argument("--record", type=Path, required=True, help="JSON to write")


def run(arguments: Namespace) -> None:
    spec = arguments.spec
    study = speech.Study(spec, arguments.whisper, arguments.sound, arguments.utterances, arguments.splits)
    # The models, each with the runs that it is the reference of.
    runs = [(seed, speaker) for seed in arguments.seed for speaker in arguments.speaker]
    weights = arguments.weights
    count = max(1, len(weights))
    if len(runs) % count:
        raise ValueError(
            f"weights of {count} models for {len(runs)} runs: give one a seed, one a run, or none"
        )
    size = len(runs) // count
    code = code_version("orthograd.steps.speech_transcribe")
    tables, records = [], []
    for place in range(count):
        if weights:
            speech.load_weights(study, weights[place])
        own = runs[place * size : (place + 1) * size]
        wanted = pd.concat([study.scored(speaker, seed) for seed, speaker in own])["row"].tolist()
        study.reads = []
        study.note("transcribed", sorted(set(wanted)))
        transcripts = study.transcripts(wanted)
        tables += [study.table(spec.name, speaker, seed, transcripts) for seed, speaker in own]
        records += [
            inputs.record(
                spec, seed, code, study.reads, study.device, Cost(), method=spec.name, speaker=speaker
            )
            for seed, speaker in own
        ]
    speech.write_transcripts(tables, arguments.out)
    write_json(arguments.record, {"runs": records})
