"""Fine-tune Whisper on the corpus: the original with every speaker, or one without each that is forgotten."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from pathlib import Path

from orthograd.cost import Cost, PeakMemory
from orthograd.provenance import code_version
from orthograd.randomness import generator
from orthograd.records import write_json
from orthograd.specs import Training
from orthograd.speech.splits import RETRAINING_SETS, UNLEARNED_SETS
from orthograd.steps import inputs, speech
from orthograd.training import train


class Spec(speech.Spec):
    training: Training


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--spec", type=Spec.model_validate_json, required=True, help="JSON: the settings")
    speech.add_arguments(parser)
    parser.add_argument("--seed", type=int, nargs="+", required=True)
    parser.add_argument(
        "--without", nargs="*", default=[], help="speakers to leave out, a model each (default: one with all)"
    )
    parser.add_argument(
        "--weights", type=Path, nargs="+", required=True, help="to write: seed by seed, speaker by speaker"
    )
    parser.add_argument("--record", type=Path, required=True, help="JSON to write: how the models were made")


def run(arguments: Namespace) -> None:
    spec = arguments.spec
    study = speech.Study(spec, arguments.whisper, arguments.sound, arguments.utterances, arguments.splits)
    released = speech.weights(study)
    code = code_version("orthograd.steps.speech_finetune")
    places = [(seed, speaker) for seed in arguments.seed for speaker in arguments.without or [None]]
    records = []
    for (seed, speaker), path in zip(places, arguments.weights, strict=True):
        study.model.trained.load_state_dict(released)
        study.reads = []
        # With any of the speakers left out, `train` holds the others: with all it is one set.
        left_out = speaker or study.splits["speaker"].iloc[0]
        sets = RETRAINING_SETS if speaker else (*RETRAINING_SETS, *UNLEARNED_SETS)
        name = "retrained" if speaker else "original"
        samples = study.samples(f"finetune_{name}", sorted(study.rows(left_out, seed, *sets)))
        memory = PeakMemory(study.device)
        start = time.perf_counter()
        with memory:
            history = train(
                study.model, samples, spec.training, generator(seed, "finetune", speaker or "all")
            )
        passed = spec.training.epochs * (len(samples) // spec.training.batch_size) * spec.training.batch_size
        cost = Cost(time.perf_counter() - start, memory.bytes, passed, passed)
        inputs.save_model(study.model.trained, path)
        made = inputs.record(
            spec, seed, code, study.reads, study.device, cost, method=name, speaker=speaker, losses=history
        )
        records.append(made)
    write_json(arguments.record, {"runs": records})
