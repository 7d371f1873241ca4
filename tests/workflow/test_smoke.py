"""The DAG end to end on real images: what it computes, what it re-computes, and what it refuses."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from conftest import ROOT, copy_repository, snakemake

SMOKE = yaml.safe_load((ROOT / "config" / "smoke.yaml").read_text(encoding="utf-8"))
SEEDS = SMOKE["seeds"]
METHODS = {scenario: list(section) for scenario, section in SMOKE["methods"].items()}
RUNS = Path("results/smoke/fashion-mnist/small-resnet")


def _metrics(
    folder: Path, scenario: str, method: str, seed: int, replicate: int | None = None
) -> dict[str, Any]:
    retain = "" if method in ("original", "retrained") else f"retain{SMOKE['experiments'][0]['retain_size']}/"
    path = folder / RUNS / scenario / f"{retain}{method}" / f"seed{seed}"
    if replicate is not None:
        path /= f"replicate{replicate}"
    content: dict[str, Any] = json.loads((path / "metrics.json").read_text(encoding="utf-8"))
    return content


@pytest.mark.parametrize("seed", SEEDS)
def test_the_original_model_learnt(smoke: Path, seed: int) -> None:
    accuracy = _metrics(smoke, "random", "original", seed)["accuracy"]
    assert accuracy["forget"] > 0.98
    assert accuracy["retain"] > 0.98
    assert accuracy["test"] > 0.65  # ten classes: chance is 0.1


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("replicate", range(SMOKE["replicates"]))
def test_retrained_models_never_saw_the_forget_set(smoke: Path, seed: int, replicate: int) -> None:
    accuracy = _metrics(smoke, "class", "retrained", seed, replicate)["accuracy"]
    assert accuracy["forget"] == accuracy["test_forgotten"] == 0  # a class that does not exist for them
    assert accuracy["retain"] > 0.98
    random = _metrics(smoke, "random", "retrained", seed, replicate)["accuracy"]
    assert random["forget"] < random["retain"] - 0.05


@pytest.mark.parametrize("scenario", ["random", "class"])
@pytest.mark.parametrize("seed", SEEDS)
def test_runs_end_by_the_stopping_rule(smoke: Path, scenario: str, seed: int) -> None:
    stopping = SMOKE["stopping"]
    original = _metrics(smoke, scenario, "original", seed)["accuracy"]
    target = original["validation"] if scenario == "random" else stopping["class_target"]
    for method in METHODS[scenario]:
        metrics = _metrics(smoke, scenario, method, seed)
        outcome, forget = metrics["outcome"], metrics["accuracy"]["forget"]
        assert outcome["target"] == pytest.approx(target, abs=1e-12)
        assert outcome["target_reached"] == (forget <= target)
        # A method may come to its own end before.
        own_end = SMOKE["methods"][scenario][method].get("passes", 1) is not None
        assert outcome["target_reached"] or own_end or outcome["steps"] == stopping["max_steps"]
        assert 0 < outcome["steps"] <= stopping["max_steps"]
    reached = _metrics(smoke, scenario, "orthograd", seed)
    assert reached["outcome"]["target_reached"]
    assert reached["accuracy"]["forget"] < original["forget"]


@pytest.mark.parametrize("experiment", [entry["id"] for entry in SMOKE["experiments"]])
def test_the_tables_are_the_means_of_the_json_files(smoke: Path, experiment: str) -> None:
    scenario = next(entry["scenario"] for entry in SMOKE["experiments"] if entry["id"] == experiment)
    table = pd.read_csv(smoke / f"reports/smoke/tables/{experiment}.accuracy.csv").set_index("method")
    for method in METHODS[scenario]:
        runs = [_metrics(smoke, scenario, method, seed) for seed in SEEDS]
        references = [
            [_metrics(smoke, scenario, "retrained", seed, r) for r in range(SMOKE["replicates"])]
            for seed in SEEDS
        ]
        originals = [_metrics(smoke, scenario, "original", seed) for seed in SEEDS]
        row = table.loc[method]
        for name in ("forget", "retain", "test"):
            values = [run["accuracy"][name] for run in runs]
            assert row[f"accuracy_{name}_mean"] == pytest.approx(sum(values) / len(values), abs=1e-12)
        gaps, scores = [], []
        for run, models, original in zip(runs, references, originals, strict=True):
            accuracy = run["accuracy"]
            differences = [
                abs(accuracy[name] - sum(model["accuracy"][name] for model in models) / len(models))
                for name in ("forget", "retain", "test")
            ]
            gaps.append(sum(differences) / 3)
            o, t, u = original["accuracy"]["test"], accuracy["test"], accuracy["forget"]
            scores.append(0.5 * (abs(o - t) + (abs(o - u) if scenario == "random" else u)) / o)
        assert row["gap_mean"] == pytest.approx(sum(gaps) / len(gaps), abs=1e-12)
        assert row["uis_mean"] == pytest.approx(sum(scores) / len(scores), abs=1e-12)
        assert row["n"] == len(SEEDS)


def test_splits_are_disjoint_and_of_the_sizes_asked_for(smoke: Path) -> None:
    sizes = SMOKE["datasets"]["fashion-mnist"]
    for seed in SEEDS:
        split = pd.read_csv(smoke / f"results/smoke/fashion-mnist/random/splits/seed{seed}.csv")
        assert split["sha256"].is_unique
        counts = split["set"].value_counts()
        assert counts["forget"] + counts["retain"] == sizes["train"]
        assert (counts["validation"], counts["test"]) == (sizes["validation"], sizes["test"])


def test_every_run_says_how_it_was_made(smoke: Path) -> None:
    made = _metrics(smoke, "random", "orthograd", SEEDS[0])["made_with"]
    assert made["spec"]["params"] == SMOKE["methods"]["random"]["orthograd"]
    assert made["spec"]["threads"] == made["machine"]["threads"] == SMOKE["threads"]
    assert made["machine"]["torch"].startswith("2.11")
    assert re.fullmatch(r"[0-9a-f]{16}", made["code"])


def test_the_report_is_complete_and_self_contained(smoke: Path) -> None:
    report = smoke / "reports" / "smoke"
    for experiment in SMOKE["experiments"]:
        for table in ("accuracy", "paired", "cost"):
            for suffix in ("csv", "md", "tex"):
                assert (report / f"tables/{experiment['id']}.{table}.{suffix}").stat().st_size > 100
        for figure in ("tradeoff", "trajectories"):
            assert (report / f"figures/{experiment['id']}.{figure}.png").read_bytes().startswith(b"\x89PNG")
            assert "<svg" in (report / f"figures/{experiment['id']}.{figure}.svg").read_text(encoding="utf-8")
    page = (report / "index.html").read_text(encoding="utf-8")
    assert not re.findall(r"""(?:src|<link[^>]*href)\s*=\s*["']?(?:https?:)?//""", page)
    for link in re.findall(r'href="([^"#:]+)"', page):
        assert (report / link).is_file(), link
    config = yaml.safe_load((report / "config.yaml").read_text(encoding="utf-8"))
    assert config["methods"] == SMOKE["methods"]


def _planned(folder: Path, *arguments: str) -> set[str]:
    """The jobs that a dry run would do, as 'rule' or 'rule:method'."""
    run = snakemake(folder, "-n", "--cores", "2", *arguments)
    assert run.returncode == 0, run.stderr
    jobs = set()
    for block in re.split(r"\n(?=(?:local)?rule )", run.stdout + run.stderr)[1:]:
        rule = re.match(r"(?:local)?rule (\w+):", block)
        method = re.search(r"wildcards: .*\bmethod=(\w+)", block)
        assert rule is not None
        jobs.add(rule[1] + (f":{method[1]}" if method else ""))
    return jobs


REPORTING = {"collect", "merge", "tables", "figures", "audit", "page", "all"}


def test_a_second_run_has_nothing_to_do(smoke: Path) -> None:
    run = snakemake(smoke, "--cores", "2", "--configfile", "config/smoke.yaml")
    assert run.returncode == 0
    assert "Nothing to be done" in run.stdout + run.stderr


def test_a_changed_parameter_concerns_its_method_only(smoke: Path, tmp_path: Path) -> None:
    changed = json.loads(json.dumps(SMOKE))
    changed["methods"]["random"]["ft"]["learning_rate"] *= 2
    config = tmp_path / "changed.yaml"
    config.write_text(yaml.safe_dump(changed), encoding="utf-8")
    planned = _planned(smoke, "--configfile", str(config))
    assert planned == {"unlearn:ft", "evaluate_unlearned:ft", *REPORTING}


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("orthograd/methods/neggrad.py", "(-loss).backward()", "(-2 * loss).backward()",
         {"unlearn:neggrad", "evaluate_unlearned:neggrad", *REPORTING}),
        ("orthograd/reporting/figures.py", "PAGE_WIDTH = ", "PAGE_WIDTH = 2 * ", {"figures", "audit", "page", "all"}),
        ("orthograd/metrics/uis.py", "return 0.5 *", "return 0.25 *", REPORTING),
        ("orthograd/reporting/templates/index.html.j2", "<title>", "<title>The ", {"page", "all"}),
        ("orthograd/reporting/templates/style.css", "#ffffff", "#fffffe", {"audit", "page", "all"}),
        ("orthograd/training.py", '"""Train in place', '"""Trains in place', set()),
        ("orthograd/methods/ft.py", "    optimizer = ", "    # A comment.\n    optimizer = ", set()),
    ],
)  # fmt: skip
def test_changed_code_concerns_the_steps_that_run_it(
    smoke: Path, file: str, old: str, new: str, expected: set[str]
) -> None:
    path = smoke / file
    text = path.read_text(encoding="utf-8")
    written = path.stat()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")
    try:
        assert _planned(smoke, "--configfile", "config/smoke.yaml") == expected
    finally:
        path.write_text(text, encoding="utf-8")
        # The templates are inputs, which Snakemake compares by time.
        os.utime(path, ns=(written.st_atime_ns, written.st_mtime_ns))


def test_a_run_at_published_defaults_goes_to_its_own_end_and_is_not_ranked(smoke: Path) -> None:
    # Ten passes over 100 retain samples in batches of 64.
    for seed in SEEDS:
        assert _metrics(smoke, "class", "ft-published", seed)["outcome"]["steps"] == 10
    table = pd.read_csv(smoke / "reports/smoke/tables/T-IMG-C.accuracy.csv").set_index("method")
    assert pd.isna(table.loc["ft-published", "rank"])
    written = (smoke / "reports/smoke/tables/T-IMG-C.accuracy.md").read_text(encoding="utf-8")
    assert "| FT (published) |" in written


def test_a_search_writes_the_best_trials_and_keeps_all(smoke: Path) -> None:
    run = snakemake(smoke, "--cores", "2", "--configfile", "config/smoke.yaml", "--", "tune")
    assert run.returncode == 0, run.stderr
    trials = pd.read_csv(smoke / "config/tuned/smoke.csv")
    tuned = yaml.safe_load((smoke / "config/tuned/smoke.yaml").read_text(encoding="utf-8"))
    searched = SMOKE["tuning"]["methods"]
    assert {scenario: list(found) for scenario, found in tuned.items()} == dict.fromkeys(
        SMOKE["scenarios"], searched
    )
    for (scenario, method), group in trials.groupby(["scenario", "method"]):
        assert len(group) == SMOKE["tuning"]["trials"]
        best = group.loc[group["score"].idxmax()]
        assert best["chosen"]
        assert tuned[scenario][method] == json.loads(best["params"])
    # The reported runs do not know of it.
    assert _planned(smoke, "--configfile", "config/smoke.yaml") == set()


def test_the_report_shows_the_trials_that_are_there_and_does_not_search(smoke: Path, tmp_path: Path) -> None:
    (smoke / "config/tuned").mkdir(exist_ok=True)
    rows = [
        {"scenario": scenario, "method": method, "trial": trial, "chosen": trial == 0}
        | {"nearest_to_retrained": trial == 1, "params": "{}", "seeds": len(SMOKE["tuning"]["seeds"])}
        | {"reached": trial, "score": 0.5 - trial, "gap": 0.25 - 0.125 * trial}
        for scenario in SMOKE["scenarios"]
        for method in SMOKE["tuning"]["methods"]
        for trial in (0, 1)
    ]
    pd.DataFrame(rows).to_csv(smoke / "config/tuned/shown.csv", index=False)
    config = tmp_path / "shown.yaml"
    config.write_text(yaml.safe_dump({**SMOKE, "trials": "config/tuned/shown.csv"}), encoding="utf-8")
    assert _planned(smoke, "--configfile", str(config)) == {"trials", "audit", "page", "all"}
    page = smoke / "reports/smoke/index.html"
    before = page.read_bytes()
    run = snakemake(smoke, "--cores", "2", "--configfile", str(config))
    assert run.returncode == 0, run.stderr
    assert page.read_text(encoding="utf-8").count("Search for parameters") == 1
    for scenario in SMOKE["scenarios"]:
        table = pd.read_csv(smoke / f"reports/smoke/tables/search.{scenario}.csv")
        assert table["regret"].tolist() == [0.125] * len(SMOKE["tuning"]["methods"])
    # Without the key the section is gone.
    run = snakemake(smoke, "--cores", "2", "--configfile", "config/smoke.yaml")
    assert run.returncode == 0, run.stderr
    assert page.read_bytes() == before


def test_where_the_data_come_from_changes_nothing(smoke: Path) -> None:
    raw = smoke / "results" / "data" / "fashion-mnist" / "raw"
    # The page shows the config: it is all that is written anew.
    assert _planned(smoke, "--configfile", "config/smoke.yaml", "--config", f"mirror={raw}") <= {
        "page",
        "all",
    }


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_two_runs_of_a_config_are_equal_to_the_bit(smoke: Path, tmp_path: Path) -> None:
    again = copy_repository(tmp_path / "again")
    mirror = smoke / "results" / "data" / "fashion-mnist" / "raw"
    goals = [f"reports/smoke/tables/T-IMG-R.accuracy.{suffix}" for suffix in ("csv", "md", "tex")]
    goals += ["reports/smoke/figures/T-IMG-R.tradeoff.svg"]
    config = yaml.safe_load((again / "config/smoke.yaml").read_text(encoding="utf-8"))
    run = snakemake(again, "--cores", "2", "--configfile", "config/smoke.yaml", "--", *goals, mirror=mirror)
    assert run.returncode == 0, run.stderr
    compared = [*goals, "reports/smoke/runs.csv"]
    compared += [
        f"{RUNS}/random/retain{config['experiments'][0]['retain_size']}/{method}/seed{seed}/model.safetensors"
        for method in METHODS["random"]
        for seed in SEEDS
    ]
    for path in compared:
        assert _digest(again / path) == _digest(smoke / path), path


def test_the_workflow_is_linted_and_formatted() -> None:
    lint = snakemake(ROOT, "--lint")
    assert lint.returncode == 0, lint.stderr
    formatted = subprocess.run(
        [sys.executable, "-m", "snakefmt", "--check", "Snakefile", "workflow"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert formatted.returncode == 0, formatted.stderr


# 8 rules with one job, 7 with one a scenario, 2 with one a scenario and method, of which one is there twice.
RUNS_OF_METHODS = sum(map(len, METHODS.values())) + 1


@pytest.mark.parametrize(
    ("graph", "nodes"), [("--rulegraph", 17), ("--dag", 8 + 7 * 2 + 2 * RUNS_OF_METHODS)]
)
def test_the_graph_can_be_drawn(smoke: Path, graph: str, nodes: int) -> None:
    run = snakemake(smoke, graph, "--configfile", "config/smoke.yaml")
    assert run.returncode == 0, run.stderr
    assert len(re.findall(r"^\s*\d+\[label = ", run.stdout, re.M)) == nodes


def test_snakemakes_own_report_has_captions_and_categories(smoke: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    run = snakemake(smoke, "--configfile", "config/smoke.yaml", "--report", str(page))
    assert run.returncode == 0, run.stderr
    text = page.read_text(encoding="utf-8")
    for expected in ("Tables", "Figures", "T-IMG-C", "retrained from scratch"):
        assert expected in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unknown_key": 1}, "unknown_key: unknown key"),
        ({"seeds": []}, "seeds: "),
        ({"mirror": "/no/such/mirror"}, "/no/such/mirror"),
        (
            {"methods": {"random": {"orthograd": SMOKE["methods"]["random"]["orthograd"] | {"alpha": 1.5}}}},
            "alpha",
        ),
        ({"models": {"no-such-net": SMOKE["models"]["small-resnet"]}}, "no-such-net"),
    ],
)
def test_bad_input_ends_the_run_before_any_job(
    smoke: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    config = tmp_path / "bad.yaml"
    config.write_text(yaml.safe_dump(SMOKE | change), encoding="utf-8")
    index = smoke / "reports" / "smoke" / "index.html"
    before = _digest(index)
    start = time.perf_counter()
    run = snakemake(smoke, "--cores", "2", "--configfile", str(config))
    seconds = time.perf_counter() - start
    assert run.returncode != 0
    assert message in run.stdout + run.stderr
    assert "Traceback" not in run.stdout + run.stderr
    assert seconds < 5
    assert _digest(index) == before


def test_a_lost_result_is_computed_again_and_nothing_else(smoke: Path) -> None:
    table = smoke / "reports/smoke/tables/T-IMG-R.cost.md"
    kept = table.read_bytes()
    shutil.move(table, table.with_suffix(".lost"))
    try:
        goal = str(table.relative_to(smoke))
        assert _planned(smoke, "--configfile", "config/smoke.yaml", "--", goal) == {"tables"}
    finally:
        table.with_suffix(".lost").unlink()
        table.write_bytes(kept)
