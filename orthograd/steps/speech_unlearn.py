"""Unlearn each forgettable speaker with one method, and transcribe with each unlearned model.

The unlearned models are not stored: weights for each speaker, method and setting would be gigabytes.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from orthograd import methods
from orthograd.methods.base import DataView
from orthograd.provenance import code_version
from orthograd.records import write_json
from orthograd.specs import StoppingRule
from orthograd.speech.evaluation import WerWatch
from orthograd.speech.scores import KEYS, rates
from orthograd.speech.splits import UNLEARNED_SETS
from orthograd.steps import inputs, speech
from orthograd.unlearning import unlearn


class Spec(speech.Spec):
    method: str
    params: dict[str, Any]
    stopping: StoppingRule
    pretrained_target: float


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--spec", type=Spec.model_validate_json, required=True, help="JSON: the settings")
    speech.add_arguments(parser)
    parser.add_argument("--seed", type=int, nargs="+", required=True)
    parser.add_argument("--speaker", nargs="+", required=True, help="those that are forgotten, one at a time")
    parser.add_argument(
        "--weights", type=Path, nargs="*", default=[], help="fine-tuned, one a seed; none: the released model"
    )
    parser.add_argument(
        "--retrained", type=Path, nargs="?", help="transcripts of the retrained models, which set the targets"
    )
    for name in ("out", "runs", "trajectories"):
        parser.add_argument(f"--{name}", type=Path, required=True, help="CSV to write")
    parser.add_argument("--record", type=Path, required=True, help="JSON to write")


def run(arguments: Namespace) -> None:
    spec = arguments.spec
    study = speech.Study(spec, arguments.whisper, arguments.sound, arguments.utterances, arguments.splits)
    method = methods.load(spec.method)
    params = method.params.model_validate(spec.params)
    code = code_version("orthograd.steps.speech_unlearn", methods.module(spec.method))
    retrained = (
        None
        if arguments.retrained is None
        else pd.read_csv(arguments.retrained, dtype={"speaker": str}, keep_default_na=False)
    )
    tables, runs, trajectories, records = [], [], [], []
    warm = False
    for index, seed in enumerate(arguments.seed):
        if arguments.weights:
            speech.load_weights(study, arguments.weights[index])
        original = speech.weights(study)
        for speaker in arguments.speaker:
            study.reads = []
            data = {
                "forget": study.samples("unlearned", study.rows(speaker, seed, *UNLEARNED_SETS)),
                "retain": study.samples("retain", study.rows(speaker, seed, "retain")),
            }
            if not warm:
                # A step: what the libraries load and keep at their first use is none of the method's cost.
                view = DataView(data, method.reads, seed, None)
                with closing(method.run(study.model, view, params)) as updates:
                    next(updates)
                study.model.trained.load_state_dict(original)
                warm = True
            watch = WerWatch(
                study.listener,
                steering=study.rows(speaker, seed, "forget_validation"),
                test=study.rows(speaker, seed, "test"),
                target=spec.pretrained_target if retrained is None else _target(retrained, speaker, seed),
            )
            steered_by = study.note("forget_validation", watch.steering)
            study.note("recorded_test", watch.test)
            result = unlearn(
                study.model, method, params, data, watch, None, spec.stopping, own_end=False, seed=seed
            )
            keys = {"setting": spec.setting, "method": spec.method, "speaker": speaker, "seed": seed}
            fold = study.splits.loc[
                (study.splits["speaker"] == speaker) & (study.splits["seed"] == seed), "fold"
            ]
            outcome = {
                "target": result.target,
                "target_reached": result.reached,
                "diverged": result.diverged,
                "steps": result.steps,
            }
            cost = result.cost
            runs.append(
                {
                    **keys,
                    "fold": int(fold.iloc[0]),
                    **outcome,
                    "seconds": cost.seconds,
                    "peak_bytes": cost.peak_bytes,
                    "forward": cost.forward,
                    "backward": cost.backward,
                    "trained_parameters": result.trained,
                }
            )
            trajectories.append(pd.DataFrame(result.trajectory).assign(**keys))
            scored = study.scored(speaker, seed)["row"].tolist()
            study.note("transcribed", scored)
            transcripts = study.transcripts(scored)
            tables.append(study.table(spec.method, speaker, seed, transcripts))
            records.append(
                inputs.record(
                    spec,
                    seed,
                    code,
                    study.reads,
                    study.device,
                    cost,
                    method=spec.method,
                    speaker=speaker,
                    declared=sorted(method.reads),
                    method_reads={
                        name: None if samples.read is None else asdict(samples.read)
                        for name, samples in sorted(result.accessed.items())
                    },
                    steered_by=asdict(steered_by),
                    **outcome,
                )
            )
            study.model.trained.load_state_dict(original)
    speech.write_transcripts(tables, arguments.out)
    pd.DataFrame(runs).to_csv(arguments.runs, index=False, lineterminator="\n")
    table = pd.concat(trajectories)
    first = [*KEYS, "step", "seconds"]
    table[first + [name for name in table if name not in first]].to_csv(
        arguments.trajectories, index=False, lineterminator="\n"
    )
    write_json(arguments.record, {"runs": records})


def _target(retrained: pd.DataFrame, speaker: str, seed: int) -> float:
    """What the model that never heard the speaker scores on the speaker's validation utterances."""
    chosen = (retrained["speaker"] == speaker) & (retrained["seed"] == seed)
    return rates(retrained[chosen & (retrained["set"] == "forget_validation")])["wer"]
