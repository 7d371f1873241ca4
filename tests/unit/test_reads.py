"""Steps note the images that they really load; a step or method that reads too much is caught by what is noted."""

import hashlib
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest
import torch
from tiny_pipeline import PARAMS, RETAIN, SEEDS, Place

from orthograd.data.images import content_hashes, load
from orthograd.data.splits import read_split
from orthograd.methods.base import DataView
from orthograd.reads import Read, digest
from orthograd.steps import inputs
from orthograd.steps.start import Spec, start

Study = tuple[Place, list[dict[str, Any]]]


def _run(study: Study, method: str, seed: int = 0) -> dict[str, Any]:
    (found,) = [run for run in study[1] if run["run"]["method"] == method and run["run"]["seed"] == seed]
    return found


def _digest(rows: pd.DataFrame) -> str:
    """By the definition: SHA-256 over the sorted hashes, one a line."""
    return hashlib.sha256("".join(f"{line}\n" for line in sorted(rows["sha256"])).encode()).hexdigest()


def test_the_digest_is_of_the_set_and_not_of_its_order() -> None:
    assert digest(["b", "a"]) == digest(["a", "b"]) == hashlib.sha256(b"a\nb\n").hexdigest()
    assert digest(["a", "a"]) != digest(["a"])
    assert digest(["ab", "c"]) != digest(["a", "bc"])


def test_what_is_noted_are_the_pixels_and_not_what_the_split_says(study: Study) -> None:
    place, _ = study
    dataset = load(place.data)
    split = read_split(place.split(0))
    rows = split[split["set"] == "forget"].head(3).assign(sha256="0" * 64)
    reader = inputs.Reader(dataset, torch.device("cpu"))
    samples = reader.samples("forget", rows)
    hashes = content_hashes(dataset.train.images[torch.as_tensor(rows["row"].tolist())])
    assert reader.reads == [Read("forget", "fashion-mnist", "train", 3, digest(hashes))]
    assert samples.read == reader.reads[0]
    # Again the same: noted once. Other images under the same name: noted beside it.
    reader.samples("forget", rows)
    assert len(reader.reads) == 1
    reader.samples("forget", rows.head(2))
    assert [read.images for read in reader.reads] == [3, 2]


def test_only_the_sets_that_are_named_are_read(study: Study) -> None:
    place, _ = study
    reader = inputs.Reader(load(place.data), torch.device("cpu"))
    sets = reader.sets(read_split(place.split(0)), ["forget", "validation"])
    assert list(sets) == [read.set for read in reader.reads] == ["forget", "validation"]


def test_a_set_of_two_published_parts_is_refused(study: Study) -> None:
    place, _ = study
    split = read_split(place.split(0))
    with pytest.raises(ValueError, match="a set has one source"):
        inputs.Reader(load(place.data), torch.device("cpu")).samples("all", split)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_step_notes_what_it_read(study: Study, seed: int) -> None:
    split = read_split(study[0].split(seed))
    rows = {str(name): group for name, group in split.groupby("set")}
    subset = split[(split["retain_order"] >= 0) & (split["retain_order"] < RETAIN)]

    def noted(reads: list[dict[str, Any]]) -> dict[str, tuple[str, int, str]]:
        return {read["set"]: (read["source"], read["images"], read["sha256"]) for read in reads}

    def expected(part: pd.DataFrame, source: str = "train") -> tuple[str, int, str]:
        return (source, len(part), _digest(part))

    training = pd.concat([rows["forget"], rows["retain"]])
    assert noted(_run(study, "original", seed)["made_with"]["reads"]) == {"train": expected(training)}
    assert noted(_run(study, "retrained", seed)["made_with"]["reads"]) == {"retain": expected(rows["retain"])}
    measured = {
        "forget": expected(rows["forget"]),
        "validation": expected(rows["validation"]),
        "test": expected(rows["test"], "test"),
    }
    unlearning = measured | {"retain_measured": expected(subset)}
    assert noted(_run(study, "neggrad", seed)["made_with"]["reads"]) == unlearning
    for method in ("ft", "scrub_r"):
        made = _run(study, method, seed)["made_with"]
        assert noted(made["reads"]) == unlearning | {"retain_subset": expected(subset)}
    for method in ("original", "retrained", *PARAMS):
        assert noted(_run(study, method, seed)["evaluated_with"]["reads"]) == measured | {
            "retain": expected(rows["retain"])
        }


def test_a_run_notes_what_its_method_asked_for(study: Study) -> None:
    split = read_split(study[0].split(0))
    validation = _digest(split[split["set"] == "validation"])
    found = {method: _run(study, method)["made_with"] for method in PARAMS}
    assert {method: list(made["method_reads"]) for method, made in found.items()} == {
        "ft": ["retain"],
        "neggrad": ["forget"],
        "scrub_r": ["forget", "heldout", "retain"],
    }
    assert found["scrub_r"]["method_reads"]["heldout"]["sha256"] == validation
    assert found["ft"]["declared"] == ["retain"]


def test_declared_and_never_asked_for_is_not_accessed(study: Study) -> None:
    place, _ = study
    spec = Spec(
        model="small-resnet",
        retain_size=4,
        target=0.0,
        proxy=None,
        evaluation_batch=8,
        device="cpu",
        threads=1,
    )
    reader = inputs.Reader(load(place.data), torch.device("cpu"))
    declared = frozenset({"forget", "retain"})
    begin = start(
        spec,
        reader,
        place.split(0),
        place.run("original", 0, "model.safetensors"),
        declared,
        ["forget"],
        seed=0,
    )
    assert sorted(read.set for read in reader.reads) == ["forget", "retain_subset"]
    view = DataView(begin.data, declared, seed=0, pixels=begin.pixels)
    assert view.accessed == {}
    batches: Iterator[object] = view.batches("retain", 2)
    next(batches)
    assert list(view.accessed) == ["retain"]
    assert view.accessed["retain"].read == next(read for read in reader.reads if read.images == 4)
