"""What can be checked of the shadow models of U-LiRA: their halves, what they read, and what they were judged on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orthograd.audit.checks import Check, Record, also, decide, differing, no_runs
from orthograd.audit.images import (
    REFERENCES,
    Evidence,
    SplitFile,
    equal_seeds,
    files_of,
    original_read,
    retrained_read,
    unlearning_read,
)

HALVES = ("forget", "unseen")


@dataclass(frozen=True, eq=False)
class Scored:
    """The outputs of the shadow models of a kind, as far as the audit looks at them.

    Attributes:
        file: where this record is.
        record: what the step that made them noted.
        labels: (n,) of the images.
        unlearned: (models, n), which model unlearned which image; the other images it never saw.
    """

    file: str
    record: Record
    labels: NDArray[np.int64]
    unlearned: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Shadows:
    """What the audit looks at of shadow models.

    Attributes:
        models: their runs, splits and seeds, as of any models of images; a run's evaluation is that of its kind.
        whole: the split whose forget set they halve; None: it is not there.
        scored: the outputs of each kind, by name.
        studied: the runs of the reported seeds.
    """

    models: Evidence
    whole: SplitFile | None
    scored: Mapping[str, Scored]
    studied: Sequence[Record]


def shadow_runs(place: Mapping[str, Any], scored: Mapping[str, Scored]) -> list[Record]:
    """The shadow models as runs like those of the reported seeds.

    Args:
        place: `dataset`, `model`, `scenario` and `retain_size` of the experiment.
        scored: the outputs of each kind; their records hold how the models were made.
    """
    return [
        {
            "file": kind.file,
            "run": {
                **place,
                "retain_size": None if name in REFERENCES else place["retain_size"],
                "proxy": None,
                "method": name,
                "seed": made["seed"],
                "replicate": made.get("replicate", 0),
            },
            "outcome": {"target": made.get("target")},
            "made_with": made,
            "evaluated_with": kind.record,
        }
        for name, kind in scored.items()
        for made in kind.record["models"]
    ]


def _hashes(split: SplitFile, *sets: str) -> set[str]:
    return set(split.rows.loc[split.rows["set"].isin(sets), "sha256"])


def _judge_split(split: SplitFile, whole: SplitFile) -> list[str]:
    """What is wrong with one split beside the one whose forget set it halves."""
    problems = []
    again = split.rows[split.rows.duplicated(["sha256"], keep=False)]
    if not again.empty:
        sets = ", ".join(sorted(set(again["set"])))
        problems.append(f"{split.file}: {len(again)} images share a content hash (sets {sets})")
    if split.digest(*HALVES) != whole.digest("forget"):
        problems.append(f"{split.file}: its halves together are not the forget set of {whole.file}")
    sizes = [int((split.rows["set"] == half).sum()) for half in HALVES]
    if abs(sizes[0] - sizes[1]) > 1:
        problems.append(
            f"{split.file}: {sizes[0]} images to unlearn and {sizes[1]} unseen ones are no halves"
        )
    others = sorted((set(split.rows["set"]) | set(whole.rows["set"])) - set(HALVES))
    problems += [
        f"{split.file}: its {other} is not that of {whole.file}"
        for other in others
        if split.digest(other) != whole.digest(other)
    ]
    return problems


def halves(shadows: Shadows) -> Check:
    """The halves partition the forget set, and are exchanged within a pair."""
    splits, whole = shadows.models.splits, shadows.whole
    problems = [] if whole is None else [found for split in splits for found in _judge_split(split, whole)]
    problems += [
        f"{second.file}: its halves are not those of {first.file}, exchanged"
        for first, second in zip(splits[::2], splits[1::2], strict=False)
        if (first.digest("forget"), first.digest("unseen"))
        != (second.digest("unseen"), second.digest("forget"))
    ]
    missing = None
    if not splits or whole is None:
        missing = "there are no splits of shadow models in the results"
    elif len(splits) % 2:
        missing = f"{len(splits)} splits are no pairs"
    return decide(
        "shadow splits",
        "In each shadow model's split the half to unlearn and the half that is never seen share no content hash, and "
        "are together the forget set of the first seed; the next model of a pair has them exchanged; all other sets "
        "are those of that split.",
        problems,
        f"{len(splits)} splits",
        [*(split.file for split in splits), *([whole.file] if whole else [])],
        missing,
    )


def originals(shadows: Shadows) -> Check:
    """Before unlearning, a shadow model has read its own half and the retain pool."""
    return replace(
        original_read(shadows.models),
        id="shadow original models",
        claim="Each shadow model, before it unlearns, read exactly its half to unlearn and the retain pool: nothing of "
        "the half that it must never see.",
    )


def retrained(shadows: Shadows) -> Check:
    """Retrained shadow models read neither half."""
    seen = [
        f"{split.file}: {len(both)} images of the unseen half are in the retain pool"
        for split in shadows.models.splits
        if (both := _hashes(split, "unseen") & _hashes(split, "retain"))
    ]
    return replace(
        also(retrained_read(shadows.models), seen),
        id="shadow retrained models",
        claim="Each retrained shadow model read exactly the retain pool, which shares no content hash with either half "
        "of the forget set.",
    )


def unlearning(shadows: Shadows) -> Check:
    """Unlearning read the model's own half, and never the other."""
    return replace(
        unlearning_read(shadows.models),
        id="shadow unlearning data",
        claim="The forget set that a method was handed for a shadow model is its half to unlearn, the retain subset "
        "that of the experiment; no step loaded the other half.",
    )


def settings(shadows: Shadows) -> Check:
    """Shadow models are made as the models of the experiment are."""
    keys = ("dataset", "model", "scenario", "method", "retain_size", "proxy")

    def places(run: Record) -> tuple[object, ...]:
        return tuple(run["run"].get(key) for key in keys)

    runs = shadows.models.runs
    kinds = {places(run) for run in runs}
    beside = [run for run in shadows.studied if places(run) in kinds]
    alone = kinds - {places(run) for run in beside}
    return decide(
        "shadow settings",
        "Each shadow model was made with the parameters, the stop rule and the budget of the experiment's own runs.",
        differing([*runs, *beside], keys, lambda run: run["made_with"]["spec"], "the settings"),
        f"{len(runs)} shadow models beside {len(beside)} runs",
        files_of([*runs, *beside]),
        no_runs(runs, "shadow model")
        or (f"no run of a reported seed to compare {sorted(map(str, alone))[0]} with" if alone else None),
    )


def evaluation(shadows: Shadows) -> Check:
    """What the attack judges is the forget set, told apart as the splits say."""
    problems = []
    splits = shadows.models.splits
    unread = []
    for kind, scored in shadows.scored.items():
        reads = scored.record["reads"]
        if not reads:
            unread.append(kind)
        elif shadows.whole is not None and (
            [read["sha256"] for read in reads] != [shadows.whole.digest("forget")]
            or reads[0]["source"] != "train"
        ):
            found = ", ".join(f"{read['images']:,} images of the {read['source']} part" for read in reads)
            problems.append(f"{kind}: judged on {found}, which are not exactly the forget set")
        if len(scored.unlearned) != len(splits):
            problems.append(f"{kind}: {len(scored.unlearned)} models are judged, {len(splits)} have a split")
            continue
        for split, unlearned in zip(splits, scored.unlearned, strict=True):
            rows = split.rows[split.rows["set"].isin(HALVES)]
            members = (rows["set"] == "forget").to_numpy()
            if not (
                np.array_equal(unlearned, members) and np.array_equal(scored.labels, rows["label"].to_numpy())
            ):
                problems.append(f"{kind}: members and non-members are not those of {split.file}")
    kinds = {run["run"]["method"] for run in shadows.models.runs}
    missing = None
    if not shadows.scored or not splits or shadows.whole is None:
        missing = "there are no outputs of shadow models in the results"
    elif unread:
        missing = f"nothing is noted of the images that shadow models were judged on: {', '.join(unread)}"
    elif kinds != shadows.scored.keys():
        missing = f"no outputs of the shadow models {sorted(kinds ^ shadows.scored.keys())}"
    return decide(
        "shadow evaluation data",
        "All shadow models were judged on exactly the forget set of the first seed's split, which are training images "
        "that share no content hash with its test set; the images that count as members are those that the model's "
        "split has to unlearn, the others those that it never saw.",
        problems,
        f"{len(shadows.scored)} kinds of {len(splits)} models each",
        [*(scored.file for scored in shadows.scored.values()), *(split.file for split in splits)],
        missing,
    )


def seeds(shadows: Shadows) -> Check:
    """Every kind has a model for each of the config's shadow seeds, and none of them is reported elsewhere."""
    shared = sorted({run["run"]["seed"] for run in shadows.studied} & set(shadows.models.seeds))
    problems = [f"seeds {shared} are also those of reported runs"] if shared else []
    return replace(
        also(equal_seeds(shadows.models), problems),
        id="shadow seeds",
        claim="Every kind of shadow model was made with exactly the shadow seeds of the config, none of which is a "
        "reported seed.",
    )


CHECKS: tuple[Callable[[Shadows], Check], ...] = (
    halves,
    originals,
    retrained,
    unlearning,
    settings,
    evaluation,
    seeds,
)
