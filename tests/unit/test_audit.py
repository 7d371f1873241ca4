"""The audit passes on results that real steps wrote, and every planted violation fails its check."""

import copy
import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tiny_pipeline import PARAMS, SEEDS, Place

from orthograd.audit import Check, Evidence, Raw, Search, SplitFile, audit, failed
from orthograd.data.registry import Dataset, registry
from orthograd.reads import digest

Study = tuple[Place, list[dict[str, Any]]]
Runs = list[dict[str, Any]]
HASH = hashlib.sha256(b"content").hexdigest()


def _raw(folder: Path) -> Raw:
    """A dataset of one small file whose checksum is known."""
    folder.mkdir(exist_ok=True)
    (folder / "file").write_bytes(b"content")
    entry = registry().dataset("fashion-mnist").model_dump()
    entry["files"] = [{"name": "file", "size": 7, "sha256": HASH}]
    return Raw(Dataset.model_validate(entry), folder, [{"file": "file", "sha256": HASH, "md5": None}])


def _trials(**changes: Any) -> pd.DataFrame:
    """Three trials of FT and the one of each method without anything to search, each on one seed."""
    rows = [("ft", 0), ("ft", 1), ("ft", 2), ("neggrad", 0), ("scrub_r", 0)]
    frame = pd.DataFrame(rows, columns=["method", "trial"]).assign(scenario="random", seeds=1)
    params = [json.dumps(PARAMS[method] | {"learning_rate": 0.01 + trial}) for method, trial in rows]
    return frame.assign(chosen=frame["trial"] == 0, params=params).assign(**changes)


PLANNED = {("random", "ft"): 3, ("random", "neggrad"): 1, ("random", "scrub_r"): 1}


def _search(seeds: list[int] | None = None, source: str = "train", name: str = "validation") -> Search:
    seeds = seeds or [100]
    read = {"set": name, "dataset": "fashion-mnist", "source": source, "images": 5, "sha256": "0" * 64}
    found = {
        "scenario": "random",
        "method": "ft",
        "seeds": seeds,
        "reads": {str(seed): [read] for seed in seeds},
    }
    return Search([100], "config/tuned/toy.json", {"searches": [found]}, PLANNED, _trials(), "apart")


def _apart(read: str | None = None, shared: str | None = None) -> Search:
    """A search on a split of its own, which may have planted in it an image of another."""
    hashes = [f"{number:064x}" for number in range(6)]
    rows = pd.DataFrame(
        {
            "source": "train",
            "sha256": hashes,
            "set": ["forget", "retain", "retain", "retain", "validation", "validation"],
            "retain_order": [-1, 2, 0, 1, -1, -1],
        }
    )
    reads = [
        {"set": name, "source": "train", "images": len(own), "sha256": read or digest(own)}
        for name, own in (
            ("forget", hashes[:1]),
            ("retain_subset", hashes[2:4]),
            ("retain", hashes[1:4]),
            ("validation", hashes[4:]),
        )
    ]
    if shared is not None:
        rows.loc[3, "sha256"] = shared
        reads = []
    found = {"scenario": "random", "method": "ft", "seeds": [100], "reads": {"100": reads}}
    split = SplitFile("tuning.csv", "fashion-mnist", "random", 100, rows)
    return dataclasses.replace(_search(), record={"searches": [found]}, splits=[split])


@pytest.fixture
def evidence(study: Study, tmp_path: Path) -> Evidence:
    place, runs = study
    runs = copy.deepcopy(runs)
    for run in runs:
        # Tests run on trees with changes; the check of the commit has cases of its own.
        run["made_with"]["commit"] = run["evaluated_with"]["commit"] = "c0ffee"
    splits = [
        SplitFile(str(place.split(seed)), "fashion-mnist", "random", seed, pd.read_csv(place.split(seed)))
        for seed in SEEDS
    ]
    return Evidence(runs, splits, SEEDS, [_raw(tmp_path / "raw")], _apart())


def _run(evidence: Evidence, method: str, seed: int = 0) -> dict[str, Any]:
    for run in evidence.runs:
        if (run["run"]["method"], run["run"]["seed"]) == (method, seed):
            assert isinstance(run, dict)
            return run
    raise AssertionError(method)


def _statuses(evidence: Evidence) -> dict[str, str]:
    return {check.id: check.status for check in audit(evidence)}


def test_all_checks_pass_on_what_the_steps_wrote(evidence: Evidence) -> None:
    checks = audit(evidence)
    assert {check.status for check in checks} == {"passed"}, failed(checks)
    assert all(check.files and check.reason and check.claim for check in checks)
    assert len({check.id for check in checks}) == len(checks) == 18


def _same_content(evidence: Evidence) -> None:
    rows = evidence.splits[0].rows
    rows.loc[rows["set"] == "test", "sha256"] = rows.loc[rows["set"] == "validation", "sha256"].iloc[0]


def _same_row(evidence: Evidence) -> None:
    rows = evidence.splits[1].rows
    forget, retain = (rows.index[rows["set"] == name][0] for name in ("forget", "retain"))
    rows.loc[forget, "row"] = rows.loc[retain, "row"]


def _retrained_on_all(evidence: Evidence) -> None:
    reads = _run(evidence, "original")["made_with"]["reads"]
    _run(evidence, "retrained")["made_with"]["reads"] = reads


def _retrained_on_more(evidence: Evidence) -> None:
    forget = next(read for read in _run(evidence, "neggrad")["made_with"]["reads"] if read["set"] == "forget")
    _run(evidence, "retrained")["made_with"]["reads"].append(forget)


def _forget_in_the_pool(evidence: Evidence) -> None:
    rows = evidence.splits[0].rows
    forget, retain = (rows.index[rows["set"] == name][0] for name in ("forget", "retain"))
    rows.loc[retain, "sha256"] = rows.loc[forget, "sha256"]


def _original_on_less(evidence: Evidence) -> None:
    reads = _run(evidence, "retrained")["made_with"]["reads"]
    _run(evidence, "original")["made_with"]["reads"] = reads


def _method_got(read: str) -> Callable[[Evidence], None]:
    def plant(evidence: Evidence) -> None:
        run = _run(evidence, "ft")
        found = next(entry for entry in run["evaluated_with"]["reads"] if entry["set"] == read)
        run["made_with"]["method_reads"]["retain"] = found

    return plant


def _method_got_proxy(read: str) -> Callable[[Evidence], None]:
    """A method of a run without a proxy that was handed another set, noted as one."""

    def plant(evidence: Evidence) -> None:
        _method_got(read)(evidence)
        _run(evidence, "ft")["made_with"]["method_reads"]["retain"] |= {"set": "proxy"}

    return plant


def _no_proxy(evidence: Evidence) -> None:
    """A run with a proxy, which is no proxy but the retain subset."""
    run = _run(evidence, "ft")
    run["run"]["proxy"] = "shifted"
    run["made_with"]["method_reads"]["retain"] |= {"set": "proxy"}


def _undeclared(evidence: Evidence) -> None:
    reads = _run(evidence, "scrub_r")["made_with"]["method_reads"]
    _run(evidence, "ft")["made_with"]["method_reads"]["heldout"] = reads["heldout"]


def _step_read_too_much(evidence: Evidence) -> None:
    run = _run(evidence, "neggrad")
    pool = next(entry for entry in run["evaluated_with"]["reads"] if entry["set"] == "retain")
    run["made_with"]["reads"].append(pool)


def _evaluated_elsewhere(evidence: Evidence) -> None:
    _run(evidence, "ft", 1)["evaluated_with"]["reads"] = _run(evidence, "ft", 0)["evaluated_with"]["reads"]


def _evaluated_on_less(evidence: Evidence) -> None:
    _run(evidence, "ft")["evaluated_with"]["reads"].pop()


def _set(method: str, *keys: str, value: object) -> Callable[[Evidence], None]:
    def plant(evidence: Evidence) -> None:
        place: Any = _run(evidence, method)
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    return plant


def _without_a_stated_target(evidence: Evidence) -> None:
    _run(evidence, "original")["accuracy"]["validation"] = 0.123
    _run(evidence, "ft")["made_with"]["spec"]["target"] = None


def _other_retain(evidence: Evidence) -> None:
    _run(evidence, "ft")["made_with"]["method_reads"]["retain"]["sha256"] = "0" * 64


def _seed_missing(evidence: Evidence) -> None:
    assert isinstance(evidence.runs, list)
    evidence.runs.remove(_run(evidence, "ft", 1))


def _broken_file(evidence: Evidence) -> None:
    (evidence.raw[0].folder / "file").write_bytes(b"other")


def _lost_file(evidence: Evidence) -> None:
    (evidence.raw[0].folder / "file").unlink()


@pytest.mark.parametrize(
    ("plant", "check", "reason"),
    [
        (_same_content, "splits disjoint", "share a content hash"),
        (_same_row, "splits disjoint", "share a row"),
        (_retrained_on_all, "retrained models", "it read train (60 images), which is not exactly retain"),
        (_retrained_on_more, "retrained models", "forget (12 images)"),
        (_forget_in_the_pool, "retrained models", "1 forget images are in the retain pool"),
        (_original_on_less, "original models", "not exactly forget and retain"),
        (_method_got("test"), "unlearning data", "the method's retain is of the published test part"),
        (_method_got("validation"), "unlearning data", "is not the retain subset of 16 images"),
        (_method_got("retain"), "unlearning data", "is not the retain subset of 16 images"),
        (_undeclared, "unlearning data", "read heldout, which it does not declare"),
        (_step_read_too_much, "unlearning data", "loaded retain (48 images), which is neither declared"),
        (_evaluated_elsewhere, "evaluation data", "other images than those of"),
        (_evaluated_on_less, "evaluation data", "other images than those of"),
        (_set("ft", "made_with", "spec", "stopping", value={"max_steps": 9}), "equal stop rule", "2 values"),
        (_set("ft", "outcome", "steps", value=51), "equal stop rule", "51 steps, more than the budget"),
        (_method_got_proxy("validation"), "unlearning data", "is not the retain subset of 16 images"),
        (_no_proxy, "unlearning data", "the method's proxy is a set of the split"),
        (_set("ft", "outcome", "target", value=0.5), "equal target", "2 values of the target"),
        (_without_a_stated_target, "equal target", "not 0.123"),
        (_set("ft", "made_with", "spec", "target", value=0.123), "equal target", "not 0.123"),
        (_other_retain, "equal retain subset", "2 values of the retain subset"),
        (_seed_missing, "seeds", "ft: seeds [0]"),
        (_set("ft", "made_with", "machine", "torch", value="1.0"), "machine and versions", "torch: "),
        (_set("ft", "made_with", "commit", value="unknown"), "commit", "outside of git, others at c0ffee"),
        (_set("ft", "made_with", "commit", value="beef+changes"), "commit", "uncommitted changes at beef"),
        (_set("ft", "made_with", "code", value="0"), "code of the steps", "unlearning by ft: 2 versions"),
        (_set("ft", "evaluated_with", "code", value="0"), "code of the steps", "evaluation: 2 versions"),
        (_broken_file, "data checksums", "in the registry"),
        (_lost_file, "data checksums", "not there"),
    ],
)
def test_a_planted_violation_fails_its_check(
    evidence: Evidence, plant: Callable[[Evidence], None], check: str, reason: str
) -> None:
    plant(evidence)
    found = {entry.id: entry for entry in failed(audit(evidence))}
    assert check in found
    assert reason in found[check].reason


def _with(evidence: Evidence, **changes: Any) -> Evidence:
    values = {name: getattr(evidence, name) for name in ("runs", "splits", "seeds", "raw", "search")}
    return Evidence(**(values | changes))


def test_a_model_of_a_single_seed_has_to_have_the_first(evidence: Evidence) -> None:
    (model,) = {run["run"]["model"] for run in evidence.runs}
    first = [run for run in evidence.runs if run["run"]["seed"] == SEEDS[0]]
    others = [run for run in evidence.runs if run["run"]["seed"] != SEEDS[0]]
    single = dataclasses.replace(evidence, single_seed_models=(model,))
    assert _statuses(dataclasses.replace(single, runs=first))["seeds"] == "passed"
    for runs in (evidence.runs, others):
        assert _statuses(dataclasses.replace(single, runs=runs))["seeds"] == "failed"
    assert _statuses(dataclasses.replace(evidence, runs=first))["seeds"] == "failed"


@pytest.mark.parametrize(
    ("search", "check"),
    [
        (_search([100, 1]), "tuning seeds"),
        (Search([1], "x.json", None, PLANNED, None, "apart"), "tuning seeds"),
        (_search(source="test"), "tuning data"),
        (_search(name="test_forgotten"), "tuning data"),
    ],
)
def test_a_search_on_reported_seeds_or_test_images_fails(
    evidence: Evidence, search: Search, check: str
) -> None:
    assert _statuses(_with(evidence, search=search))[check] == "failed"


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        # The second search is whole, and so are the seeds: only the count is planted.
        (_trials().drop(index=2), "ft in scenario random: cut by the time limit after 2 of 3 trials"),
        (_trials().drop(index=3), "neggrad in scenario random: no search, though the config has one"),
        (
            _trials(trial=[0, 1, 2, 1, 0]).iloc[[0, 1, 2, 3, 3, 4]],
            "neggrad in scenario random: 2 trials, 1 in the config",
        ),
        (
            _trials().replace({"method": {"neggrad": "salun"}}),
            "salun in scenario random: searched, though the config has no",
        ),
        (_trials(seeds=[1, 2, 1, 1, 1]), "ft in scenario random: trials on 1, 2 seeds, 1 in the config"),
        (_trials(seeds=2), "neggrad in scenario random: trials on 2 seeds, 1 in the config"),
    ],
)
def test_an_unequal_search_fails(evidence: Evidence, table: pd.DataFrame, reason: str) -> None:
    search = dataclasses.replace(_search(), table=table)
    checks = {check.id: check for check in failed(audit(_with(evidence, search=search)))}
    assert set(checks) <= {"equal search", "tuned parameters"}
    assert reason in checks["equal search"].reason


def test_a_search_on_reported_images_fails(evidence: Evidence) -> None:
    def check(search: Search) -> Check:
        (found,) = (one for one in audit(_with(evidence, search=search)) if one.id == "tuning images")
        return found

    assert check(_apart()).status == "passed"
    assert "share none of" in check(_apart()).reason
    other = check(_apart(read="0" * 64))
    assert (other.status, other.reason.count("is not what tuning.csv has")) == ("failed", 3)
    rows = evidence.splits[0].rows
    planted = check(_apart(shared=rows.loc[rows["set"] == "validation", "sha256"].iloc[0]))
    assert planted.status == "failed"
    assert "1 of 6 images are in reported splits" in planted.reason
    assert check(dataclasses.replace(_apart(), splits=())).status == "not checked"
    assert check(dataclasses.replace(_apart(), images="shared")).status == "not checked"


def test_other_parameters_than_the_chosen_ones_fail(evidence: Evidence) -> None:
    _run(evidence, "ft")["made_with"]["spec"]["params"]["learning_rate"] = 0.02
    checks = {check.id: check for check in failed(audit(evidence))}
    assert list(checks) == ["tuned parameters"]
    assert "ft seed 0: its parameters are not those of the chosen trial" in checks["tuned parameters"].reason
    # What is called a variant says what differs.
    _run(evidence, "ft")["run"]["method"] = "ft-faster"
    assert _statuses(evidence)["tuned parameters"] == "passed"
    unsearched = dataclasses.replace(_search(), table=_trials().query("method != 'neggrad'"))
    found = {check.id: check for check in failed(audit(_with(evidence, search=unsearched)))}
    assert "neggrad seed 0: no search chose its parameters" in found["tuned parameters"].reason


def test_without_evidence_nothing_passes(evidence: Evidence) -> None:
    empty = Evidence([], [], [], [], None)
    assert set(_statuses(empty).values()) == {"not checked"}
    unread = Search([100], "config/tuned/toy.json", None, PLANNED, None, "apart")
    statuses = _statuses(_with(evidence, search=unread))
    for check in ("tuning seeds", "tuning data", "tuning images", "equal search", "tuned parameters"):
        assert statuses[check] == "not checked"
    reads = _run(evidence, "ft")["made_with"]["method_reads"]
    reads["retain"] = None
    assert _statuses(evidence)["unlearning data"] == "not checked"


def test_uncommitted_changes_fail_and_no_git_is_not_checked(evidence: Evidence) -> None:
    for commit, status in (("c0ffee+changes", "failed"), ("unknown", "not checked")):
        for run in evidence.runs:
            run["made_with"]["commit"] = run["evaluated_with"]["commit"] = commit
        assert _statuses(evidence)["commit"] == status


def test_a_later_commit_that_leaves_the_steps_as_they_are_is_no_failure(evidence: Evidence) -> None:
    _set("ft", "made_with", "commit", value="beef")(evidence)
    found = {check.id: check for check in audit(evidence)}
    assert found["commit"].status == "passed"
    assert "beef, c0ffee" in found["commit"].reason


def test_curves_of_another_length_are_no_other_stop_rule(evidence: Evidence) -> None:
    stopping = _run(evidence, "ft")["made_with"]["spec"]["stopping"]
    stopping["curve_steps"] += 7
    stopping["record_every"] += 1
    assert _statuses(evidence)["equal stop rule"] == "passed"


def test_rows_at_published_defaults_may_end_by_themselves(evidence: Evidence) -> None:
    spec = _run(evidence, "ft")["made_with"]["spec"]
    spec |= {"own_end": True, "stopping": {"max_steps": 9}}
    assert _statuses(evidence)["equal stop rule"] == "passed"


def test_the_evidence_is_plain_json(study: Study) -> None:
    assert json.loads(json.dumps(study[1])) == study[1]
