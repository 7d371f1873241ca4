"""The audit of shadow models passes on what real steps wrote, and every planted violation fails its check."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from tiny_pipeline import RETAIN, SEEDS, SHADOW_SEEDS, SHADOWED, Place

from orthograd.audit import Evidence, Scored, Shadows, SplitFile, audit, failed, shadow_runs
from orthograd.audit.shadows import CHECKS
from orthograd.reads import digest
from orthograd.records import read_json
from orthograd.scores import read_shadow_scores

KINDS = ("original", "retrained", SHADOWED)
NO_IMAGES = Evidence([], [], [], [], None)


def _split(place: Place, seed: int) -> SplitFile:
    return SplitFile(str(place.split(seed)), "fashion-mnist", "random", seed, pd.read_csv(place.split(seed)))


@pytest.fixture
def shadows(study: tuple[Place, list[dict[str, Any]]]) -> Shadows:
    place, studied = study
    scored = {}
    for kind in KINDS:
        folder = place.folder / f"shadows/{kind}"
        scores = read_shadow_scores(folder / "scores.npz")
        record = read_json(folder / "evidence.json")
        scored[kind] = Scored(str(folder / "evidence.json"), record, scores.labels, scores.unlearned)
    where = {"dataset": "fashion-mnist", "model": "small-resnet", "scenario": "random", "retain_size": RETAIN}
    splits = [_split(place, seed) for seed in SHADOW_SEEDS]
    models = Evidence(shadow_runs(where, scored), splits, SHADOW_SEEDS, [], None)
    return Shadows(models, _split(place, SEEDS[0]), scored, copy.deepcopy(studied))


def _statuses(shadows: Shadows) -> dict[str, str]:
    return {check.id: check.status for check in (check(shadows) for check in CHECKS)}


def test_all_checks_pass_on_what_the_steps_wrote(shadows: Shadows) -> None:
    checks = [check(shadows) for check in CHECKS]
    assert {check.status for check in checks} == {"passed"}, failed(checks)
    assert all(check.files and check.reason and check.claim for check in checks)
    assert len({check.id for check in checks}) == len(checks) == 7
    shown = audit(NO_IMAGES, shadows)
    assert {check.id for check in checks} < {check.id for check in shown}
    assert not {check.id for check in checks} & {check.id for check in audit(NO_IMAGES)}


def test_a_pair_halves_the_forget_set(shadows: Shadows) -> None:
    """What the checks compare: each image of the forget set is unlearned by one model and unseen by the other."""
    assert shadows.whole is not None
    whole = shadows.whole.rows
    halves = [set(split.rows.loc[split.rows["set"] == "forget", "sha256"]) for split in shadows.models.splits]
    assert halves[0] | halves[1] == set(whole.loc[whole["set"] == "forget", "sha256"])
    assert not halves[0] & halves[1]
    assert (shadows.scored[SHADOWED].unlearned.sum(axis=0) == 1).all()


def _made(shadows: Shadows, kind: str) -> dict[str, Any]:
    """What the first shadow model of a kind noted."""
    made: dict[str, Any] = shadows.scored[kind].record["models"][0]
    return made


def _half(shadows: Shadows, *sets: str) -> str:
    rows = shadows.models.splits[0].rows
    return digest(rows.loc[rows["set"].isin(sets), "sha256"])


def _move(one: str, other: str) -> Callable[[Shadows], None]:
    def plant(shadows: Shadows) -> None:
        rows = shadows.models.splits[0].rows
        rows.loc[rows.index[rows["set"] == one][0], "set"] = other

    return plant


def _same_content(one: str, other: str) -> Callable[[Shadows], None]:
    def plant(shadows: Shadows) -> None:
        rows = shadows.models.splits[0].rows
        first, second = (rows.index[rows["set"] == name][0] for name in (one, other))
        rows.loc[first, "sha256"] = rows.loc[second, "sha256"]

    return plant


def _not_exchanged(shadows: Shadows) -> None:
    first, second = shadows.models.splits
    for column in first.rows:
        second.rows[column] = first.rows[column]


def _trained_on(kind: str, *sets: str) -> Callable[[Shadows], None]:
    def plant(shadows: Shadows) -> None:
        _made(shadows, kind)["reads"][0]["sha256"] = _half(shadows, *sets)

    return plant


def _method_got(name: str, *sets: str) -> Callable[[Shadows], None]:
    def plant(shadows: Shadows) -> None:
        made = _made(shadows, SHADOWED)
        made["declared"] = ["forget", "retain"]
        made["method_reads"][name] = dict(made["reads"][0], set=sets[0], sha256=_half(shadows, *sets))

    return plant


def _step_read(name: str, *sets: str) -> Callable[[Shadows], None]:
    def plant(shadows: Shadows) -> None:
        reads = _made(shadows, SHADOWED)["reads"]
        kept = [read for read in reads if read["set"] != name]
        reads[:] = [*kept, dict(reads[0], set=name, sha256=_half(shadows, *sets))]

    return plant


def _other_settings(*keys: str, value: object) -> Callable[[Shadows], None]:
    def plant(shadows: Shadows) -> None:
        place = _made(shadows, SHADOWED)["spec"]
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    return plant


def _other_training(shadows: Shadows) -> None:
    for made in shadows.scored["retrained"].record["models"]:
        made["spec"]["training"]["epochs"] += 1


def _judged_on(*sets: str, source: str = "train") -> Callable[[Shadows], None]:
    def plant(shadows: Shadows) -> None:
        (read,) = shadows.scored["retrained"].record["reads"]
        read |= {"sha256": _half(shadows, *sets), "source": source}

    return plant


def _member_that_is_none(shadows: Shadows) -> None:
    shadows.scored[SHADOWED].unlearned[0, 0] ^= True


def _other_label(shadows: Shadows) -> None:
    shadows.scored[SHADOWED].labels[0] += 1


def _seed_missing(shadows: Shadows) -> None:
    assert isinstance(shadows.models.runs, list)
    del shadows.models.runs[0]


def _reported_seed(shadows: Shadows) -> None:
    shadows.studied[0]["run"]["seed"] = SHADOW_SEEDS[0]


@pytest.mark.parametrize(
    ("plant", "check", "reason"),
    [
        (_move("unseen", "retain"), "shadow splits", "its halves together are not the forget set"),
        (_move("unseen", "retain"), "shadow splits", "its retain is not that of"),
        (_move("unseen", "forget"), "shadow splits", "7 images to unlearn and 5 unseen ones are no halves"),
        (_same_content("unseen", "forget"), "shadow splits", "share a content hash (sets forget, unseen)"),
        (_same_content("validation", "test"), "shadow splits", "its validation is not that of"),
        (_not_exchanged, "shadow splits", "exchanged"),
        (_trained_on("original", "forget", "unseen", "retain"), "shadow original models", "not exactly forget"),
        (_trained_on("retrained", "forget", "retain"), "shadow retrained models", "not exactly retain"),
        (_trained_on("retrained", "unseen", "retain"), "shadow retrained models", "not exactly retain"),
        (_same_content("unseen", "retain"), "shadow retrained models", "1 images of the unseen half are in the"),
        (_method_got("forget", "unseen"), "shadow unlearning data", "is not the forget set"),
        (_method_got("retain", "unseen"), "shadow unlearning data", "is not the retain subset of 16 images"),
        (_step_read("unseen", "unseen"), "shadow unlearning data", "loaded unseen"),
        (_step_read("forget", "forget", "unseen"), "shadow unlearning data", "the step's forget"),
        (_step_read("retain_measured", "unseen"), "shadow unlearning data", "the step's retain_measured"),
        (_other_settings("params", "learning_rate", value=9.0), "shadow settings", "2 values of the settings"),
        (_other_settings("stopping", "max_steps", value=9), "shadow settings", "2 values of the settings"),
        (_other_training, "shadow settings", "2 values of the settings, for example of retrained"),
        (_judged_on("forget"), "shadow evaluation data", "retrained: judged on 12 images of the train part"),
        (_judged_on("test"), "shadow evaluation data", "not exactly the forget set"),
        (_judged_on("forget", "unseen", source="test"), "shadow evaluation data", "12 images of the test part"),
        (_member_that_is_none, "shadow evaluation data", "ft: members and non-members are not those of"),
        (_other_label, "shadow evaluation data", "ft: members and non-members are not those of"),
        (_seed_missing, "shadow seeds", "original: seeds [101]"),
        (_reported_seed, "shadow seeds", "seeds [100] are also those of reported runs"),
    ],
)  # fmt: skip
def test_a_planted_violation_fails_its_check(
    shadows: Shadows, plant: Callable[[Shadows], None], check: str, reason: str
) -> None:
    plant(shadows)
    found = {entry.id: entry for entry in failed(audit(NO_IMAGES, shadows))}
    assert check in found
    assert reason in found[check].reason


def test_without_evidence_nothing_passes(shadows: Shadows) -> None:
    empty = Shadows(Evidence([], [], SHADOW_SEEDS, [], None), None, {}, [])
    assert set(_statuses(empty).values()) == {"not checked"}
    shadows.scored[SHADOWED].record["reads"].clear()
    _made(shadows, SHADOWED)["method_reads"] = {}
    found = _statuses(replace(shadows, studied=[]))
    unknown = ("shadow evaluation data", "shadow unlearning data", "shadow settings")
    assert {found[name] for name in unknown} == {"not checked"}


def test_without_the_split_that_is_halved_nothing_is_said_of_the_halves(shadows: Shadows) -> None:
    found = _statuses(replace(shadows, whole=None))
    assert found["shadow splits"] == found["shadow evaluation data"] == "not checked"


def test_their_steps_count_among_the_conditions(shadows: Shadows) -> None:
    _made(shadows, "original")["machine"]["torch"] = "1.0"
    _made(shadows, "retrained")["code"] = "0"
    found = {check.id: check for check in failed(audit(NO_IMAGES, shadows))}
    assert found["machine and versions"].reason.startswith("torch: ")
    assert found["code of the steps"].reason == "training: 2 versions"
