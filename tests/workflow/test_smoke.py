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

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT, copy_repository, snakemake
from scipy.special import log_softmax
from scipy.stats import binomtest, norm

from orthograd.randomness import stream
from orthograd.reads import digest
from orthograd.reporting.names import FIGURE_NAMES, TABLE_NAMES

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
        # All outputs of a model that diverged count as wrong, which is no forgetting.
        assert outcome["target_reached"] == (forget <= target and not outcome["diverged"])
        # A method may come to its own end before.
        own_end = outcome["diverged"] or SMOKE["methods"][scenario][method].get("passes", 1) is not None
        assert outcome["target_reached"] or own_end or outcome["steps"] == stopping["max_steps"]
        assert 0 < outcome["steps"] <= stopping["max_steps"]
    reached = _metrics(smoke, scenario, "orthograd", seed)
    assert reached["outcome"]["target_reached"]
    assert reached["accuracy"]["forget"] < original["forget"]


@pytest.mark.parametrize("experiment", ["T-IMG-R", "T-IMG-C"])
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


def test_trajectories_start_with_what_is_known_of_the_original_model(smoke: Path) -> None:
    table = pd.read_csv(smoke / "reports/smoke/trajectories.csv")
    starts = table[
        (table["step"] == 0) & (table["scenario"] == "random") & (table["model"] == "small-resnet")
    ]
    assert len(starts) > 0
    for seed, rows in starts.groupby("seed"):
        known = _metrics(smoke, "random", "original", int(seed))["accuracy"]
        for name in ("forget", "test"):
            assert (rows[f"accuracy_{name}"] == known[name]).all()


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
        for table in TABLE_NAMES:
            for suffix in ("csv", "md", "tex"):
                assert (report / f"tables/{experiment['id']}.{table}.{suffix}").stat().st_size > 100
        for figure in FIGURE_NAMES:
            assert (report / f"figures/{experiment['id']}.{figure}.png").read_bytes().startswith(b"\x89PNG")
            assert "<svg" in (report / f"figures/{experiment['id']}.{figure}.svg").read_text(encoding="utf-8")
    page = (report / "index.html").read_text(encoding="utf-8")
    assert not re.findall(r"""(?:src|<link[^>]*href)\s*=\s*["']?(?:https?:)?//""", page)
    for link in re.findall(r'href="([^"#:]+)"', page):
        assert (report / link).is_file(), link
    config = yaml.safe_load((report / "config.yaml").read_text(encoding="utf-8"))
    assert config["methods"] == SMOKE["methods"]


def test_no_check_of_the_audit_fails(smoke: Path) -> None:
    assert json.loads((smoke / "reports/smoke/audit.json").read_text(encoding="utf-8"))["failed"] == []
    checks = pd.read_csv(smoke / "reports/smoke/tables/audit.checks.csv").set_index("check")["status"]
    for part in ("shadow", "speech"):
        found = checks[checks.index.str.startswith(f"{part} ")]
        assert len(found) > 0
        assert (found == "passed").all(), found


def test_the_notebooks_ran_on_the_results_and_name_no_place_of_this_machine(smoke: Path) -> None:
    folder = smoke / "reports" / "smoke" / "notebooks"
    value = pd.read_csv(smoke / "reports/smoke/tables/T-IMG-R.accuracy.csv").set_index("method")
    shown = f"{100 * value.loc['orthograd', 'accuracy_forget_mean']:.2f}%"
    assert shown in (folder / "cell.html").read_text(encoding="utf-8")
    for name in ("cell", "geometry"):
        for suffix in ("ipynb", "html"):
            text = (folder / f"{name}.{suffix}").read_text(encoding="utf-8")
            for place in (smoke, ROOT, Path.home(), Path(sys.prefix)):
                assert f"{place}/" not in text


def _planned(folder: Path, *arguments: str) -> set[str]:
    """The jobs that a dry run would do, as 'rule' or 'rule:method'."""
    run = snakemake(folder, "-n", "--cores", "2", *arguments)
    assert run.returncode == 0, run.stderr
    jobs = set()
    for block in re.split(r"\n(?=(?:local)?rule )", run.stdout + run.stderr)[1:]:
        rule = re.match(r"(?:local)?rule (\w+):", block)
        method = re.search(r"wildcards: .*\bmethod=([\w-]+)", block)
        assert rule is not None
        jobs.add(rule[1] + (f":{method[1]}" if method else ""))
    return jobs


REPORTING = {"collect", "merge", "tables", "figures", "sweep", "notebook_cell", "audit", "page", "all"}


def test_the_speech_experiment_is_collected(smoke: Path) -> None:
    speech = SMOKE["speech"]
    folder = smoke / "results/smoke/experiments" / speech["id"]
    runs = pd.read_csv(folder / "runs.csv")
    wanted = [(setting, method) for setting, section in speech["methods"].items() for method in section]
    assert list(zip(runs["setting"], runs["method"], strict=True)) == wanted
    utterances = pd.read_csv(folder / "utterances.csv.gz", keep_default_na=False)
    references = {("pretrained", "original"), ("fine-tuned", "original"), ("fine-tuned", "retrained")}
    found = set(zip(utterances["setting"], utterances["method"], strict=True))
    assert found == {*wanted, *references}
    # The released model understands synthetic speech.
    own = utterances[(utterances["setting"] == "pretrained") & (utterances["method"] == "original")]
    test = own[own["set"] == "test"]
    assert (test["substitutions"] + test["deletions"] + test["insertions"]).sum() < 0.3 * test["words"].sum()


def test_a_changed_parameter_of_speech_concerns_its_method_only(smoke: Path, tmp_path: Path) -> None:
    changed = json.loads(json.dumps(SMOKE))
    changed["speech"]["methods"]["fine-tuned"]["ft"]["learning_rate"] *= 2
    config = tmp_path / "changed.yaml"
    config.write_text(yaml.safe_dump(changed, sort_keys=False), encoding="utf-8")
    planned = _planned(smoke, "--configfile", str(config))
    assert {job for job in planned if job.startswith("speech")} == {
        "speech_unlearn",
        "speech_collect",
        "speech_report",
    }
    assert not planned & {"unlearn:ft", "collect", "synthesise", "whisper"}


def test_a_second_run_has_nothing_to_do(smoke: Path) -> None:
    run = snakemake(smoke, "--cores", "2", "--configfile", "config/smoke.yaml")
    assert run.returncode == 0
    assert "Nothing to be done" in run.stdout + run.stderr


def test_a_changed_parameter_concerns_its_method_only(smoke: Path, tmp_path: Path) -> None:
    changed = json.loads(json.dumps(SMOKE))
    changed["methods"]["random"]["ft"]["learning_rate"] *= 2
    config = tmp_path / "changed.yaml"
    config.write_text(yaml.safe_dump(changed, sort_keys=False), encoding="utf-8")
    planned = _planned(smoke, "--configfile", str(config))
    assert planned == {"unlearn:ft", "evaluate_unlearned:ft", *REPORTING}


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("orthograd/methods/neggrad.py", "(-loss).backward()", "(-2 * loss).backward()",
         {"unlearn:neggrad", "evaluate_unlearned:neggrad", *REPORTING}),
        ("orthograd/reporting/figures.py", "PAGE_WIDTH = ", "PAGE_WIDTH = 2 * ",
         {"figures", "projections_figure", "proxy", "sweep", "speech_report", "notebook_geometry", "audit", "page",
          "all"}),
        ("notebooks/cell.ipynb", "## All agree", "## They agree", {"notebook_cell", "page", "all"}),
        ("orthograd/reporting/templates/notebook.html.j2", "← Report", "Report",
         {"notebook_geometry", "notebook_cell", "page", "all"}),
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


def test_a_variant_differs_in_what_it_changes(smoke: Path) -> None:
    ours = _metrics(smoke, "random", "orthograd", SEEDS[0])["made_with"]["spec"]
    fewer = _metrics(smoke, "random", "orthograd-k8", SEEDS[0])["made_with"]["spec"]
    assert fewer["method"] == "orthograd"
    assert fewer["params"] == {**ours["params"], "retain_batch": 8}
    mean = _metrics(smoke, "random", "orthograd_mean-same", SEEDS[0])["made_with"]["spec"]
    assert mean["method"] == "orthograd_mean"
    assert mean["params"] == {key: value for key, value in ours["params"].items() if key != "rtol"}


def test_a_proxy_takes_the_place_of_the_retain_subset(smoke: Path) -> None:
    for seed in SEEDS:
        path = smoke / RUNS / f"random/proxy-shifted-100/orthograd/seed{seed}/metrics.json"
        found = json.loads(path.read_text(encoding="utf-8"))
        own = _metrics(smoke, "random", "orthograd", seed)
        assert found["run"]["proxy"] == "shifted"
        assert found["made_with"]["spec"]["proxy"] == SMOKE["proxies"]["shifted"]
        # The same run but for the retain data, of which the method never saw any.
        assert found["outcome"]["target"] == own["outcome"]["target"]
        assert found["accuracy"]["retain"] != own["accuracy"]["retain"]
        assert "retain_subset" not in found["accuracy"]
    text = (smoke / "reports/smoke/tables/T-PROXY.accuracy.md").read_text(encoding="utf-8")
    assert "a proxy (shifted) in place of the retain set" in text
    assert "CINIC-10" in text


def test_of_a_model_with_a_single_seed_the_first_is_run_and_shown(smoke: Path) -> None:
    folder = smoke / "results/smoke/fashion-mnist/small-vit"
    assert {path.name for path in folder.rglob("seed*")} == {f"seed{SEEDS[0]}"}
    table = pd.read_csv(smoke / "reports/smoke/tables/T-IMG-R-ViT.accuracy.csv")
    assert set(table["method"]) == {"original", "retrained", "orthograd", "neggrad_plus"}
    assert set(table["n"]) == {1}
    text = (smoke / "reports/smoke/tables/T-IMG-R-ViT.accuracy.md").read_text(encoding="utf-8")
    assert "Illustration, by which no claim is decided: one seed alone" in text
    assert "±" not in text.split("\n\n")[0]


def test_a_sweep_shows_each_size(smoke: Path) -> None:
    table = pd.read_csv(smoke / "reports/smoke/tables/F-SIZE.sizes.csv")
    gaps = table[table["quantity"] == "gap"].set_index(["method", "retain_size"])["mean"]
    whole = pd.read_csv(smoke / "reports/smoke/tables/T-IMG-R.accuracy.csv").set_index("method")
    for method in ("orthograd", "neggrad_plus"):
        assert gaps[method, 100] == pytest.approx(whole.loc[method, "gap_mean"], abs=1e-12)
        assert gaps[method, 50] != gaps[method, 100]
    assert (smoke / "reports/smoke/figures/F-SIZE.sizes.png").read_bytes().startswith(b"\x89PNG")


def test_the_measures_follow_from_the_scores_alone(smoke: Path) -> None:
    runs = pd.read_csv(smoke / "reports/smoke/runs.csv")
    row = runs[
        (runs["method"] == "orthograd") & (runs["scenario"] == "class") & (runs["seed"] == SEEDS[0])
    ].iloc[0]
    folder = smoke / RUNS / f"class/retain100/orthograd/seed{SEEDS[0]}"
    with np.load(folder / "scores.npz") as scores:
        for name in ("forget", "test", "test_forgotten"):
            right = (scores[f"{name}.logits"].argmax(axis=1) == scores[f"{name}.labels"]).mean()
            assert row[f"accuracy_{name}"] == pytest.approx(right, abs=1e-12)
        # What the low-loss attack finds on a balanced subset: the mean over its pairs, by counting.
        loss = {
            name: -log_softmax(scores[f"{name}.logits"].astype(float), axis=1)[
                np.arange(len(scores[f"{name}.labels"])), scores[f"{name}.labels"]
            ]
            for name in ("forget", "test_forgotten")
        }
    draws = np.random.default_rng(stream(SEEDS[0], "attack", "population"))
    fewest = min(map(len, loss.values()))
    forgotten, unseen = (values[draws.permutation(len(values))[:fewest]] for values in loss.values())
    pairs = unseen[None] - forgotten[:, None]
    assert row["mia_low_loss_auc"] == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean(), abs=1e-12)
    # Of Clopper and Pearson, by another implementation: as many of the forget set as the share says.
    found = round(row["mia_svc_non_member_share"] * len(loss["forget"]))
    exact = binomtest(found, len(loss["forget"])).proportion_ci(0.95, "exact")
    names = ["mia_svc_non_member_share_low", "mia_svc_non_member_share_high"]
    np.testing.assert_allclose(row[names].astype(float), [exact.low, exact.high], atol=1e-9)
    controls = pd.read_csv(smoke / "reports/smoke/controls.csv")
    # The model with a single seed has those of one split.
    assert len(controls) == (len(SEEDS) * len(METHODS) + 1) * controls["attack"].nunique()


def test_shadow_models_saw_what_their_splits_say_and_nothing_else(smoke: Path) -> None:
    study = SMOKE["shadows"]
    whole = pd.read_csv(smoke / f"results/smoke/fashion-mnist/random/splits/seed{SEEDS[0]}.csv")
    for place in range(study["number"]):
        seed = study["first_seed"] + place
        split = pd.read_csv(smoke / f"results/smoke/fashion-mnist/random/shadows/splits/seed{seed}.csv")
        hashes = {
            name: set(split.loc[split["set"] == name, "sha256"]) for name in ("forget", "retain", "unseen")
        }
        assert hashes["forget"] | hashes["unseen"] == set(whole.loc[whole["set"] == "forget", "sha256"])
        assert len(hashes["forget"]) == len(hashes["unseen"])
        for kind, seen in (
            ("original", hashes["forget"] | hashes["retain"]),
            ("retrained", hashes["retain"]),
        ):
            record = smoke / RUNS / f"random/shadows/{kind}/seed{seed}/training.json"
            (read,) = json.loads(record.read_text(encoding="utf-8"))["reads"]
            assert (read["images"], read["sha256"]) == (len(seen), digest(seen))


def test_the_table_of_u_lira_follows_from_the_outputs_of_the_shadow_models(smoke: Path) -> None:
    table = pd.read_csv(smoke / "reports/smoke/tables/T-IMG-R.ulira.csv").set_index("method")
    assert list(table.index) == ["original", "planted_fake", "retrained", *SMOKE["shadows"]["methods"]]
    with np.load(smoke / RUNS / "random/shadows/original/scores.npz") as scores:
        logits, labels, unlearned = (scores[name] for name in ("logits", "labels", "unlearned"))
    log_p = log_softmax(logits.astype(float), axis=2)
    own = np.take_along_axis(log_p, np.broadcast_to(labels[:, None], (*unlearned.shape, 1)), axis=2)[..., 0]
    phi = own - np.log(-np.expm1(own))
    aucs = []
    for judged in range(len(phi)):
        others = np.arange(len(phi)) // 2 != judged // 2
        ratios = np.empty(len(labels))
        for sample in range(len(labels)):
            sides = [
                norm.logpdf(phi[judged, sample], values.mean(), values.std(ddof=1))
                for side in (True, False)
                for values in [phi[others, sample][unlearned[others, sample] == side]]
            ]
            ratios[sample] = sides[0] - sides[1]
        pairs = ratios[unlearned[judged]][:, None] - ratios[~unlearned[judged]][None]
        aucs.append(((pairs > 0) + 0.5 * (pairs == 0)).mean())
    assert table.loc["original", "auc_mean"] == pytest.approx(np.mean(aucs), abs=2e-3)
    page = (smoke / "reports/smoke/index.html").read_text(encoding="utf-8")
    assert "Membership inference with shadow models" in page


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
        | {"reached": trial, "score": 0.5 - trial, "gap": 0.25 - 0.125 * trial, "forget": 0.5}
        for scenario in SMOKE["scenarios"]
        for method in SMOKE["tuning"]["methods"]
        for trial in (0, 1)
    ]
    pd.DataFrame(rows).to_csv(smoke / "config/tuned/shown.csv", index=False)
    config = tmp_path / "shown.yaml"
    config.write_text(
        yaml.safe_dump({**SMOKE, "trials": "config/tuned/shown.csv"}, sort_keys=False), encoding="utf-8"
    )
    assert _planned(smoke, "--configfile", str(config)) == {"trials", "audit", "page", "all"}
    page = smoke / "reports/smoke/index.html"
    before = page.read_bytes()
    run = snakemake(smoke, "--cores", "2", "--configfile", str(config))
    assert run.returncode == 0, run.stderr
    assert page.read_text(encoding="utf-8").count("Search for parameters") == 1
    for scenario in SMOKE["scenarios"]:
        table = pd.read_csv(smoke / f"reports/smoke/tables/search.{scenario}.csv")
        assert table["regret"].tolist() == [0.125] * len(SMOKE["tuning"]["methods"])
    # Without the key the section is gone, and so is what it showed.
    run = snakemake(smoke, "--cores", "2", "--configfile", "config/smoke.yaml")
    assert run.returncode == 0, run.stderr
    assert page.read_bytes() == before
    for shown in (smoke / "reports/smoke").glob("*/search.*"):
        shown.unlink()


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
    # One of the experiments: what the others need beside it is left out.
    experiment = SMOKE["experiments"][0]
    config = again / "config" / "one.yaml"
    one = {**SMOKE, "experiments": [experiment], "sweeps": [], "variants": {}, "proxies": {}}
    config.write_text(yaml.safe_dump(one), encoding="utf-8")
    goals = [f"reports/smoke/tables/{experiment['id']}.accuracy.{suffix}" for suffix in ("csv", "md", "tex")]
    goals += [f"reports/smoke/figures/{experiment['id']}.tradeoff.svg"]
    run = snakemake(again, "--cores", "2", "--configfile", str(config), "--", *goals, mirror=mirror)
    assert run.returncode == 0, run.stderr
    collected = f"results/smoke/experiments/{experiment['id']}"
    compared = [*goals, f"{collected}/runs.csv", f"{collected}/controls.csv"]
    compared += [
        f"{RUNS}/random/retain{experiment['retain_size']}/{method}/seed{seed}/{name}"
        for method in experiment["methods"]
        for seed in SEEDS
        for name in ("model.safetensors", "scores.npz")
    ]
    for path in compared:
        assert _digest(again / path) == _digest(smoke / path), path


def test_the_tables_follow_from_the_scores_without_data_and_models(smoke: Path, tmp_path: Path) -> None:
    again = copy_repository(tmp_path / "again")
    for pattern in ("metrics.json", "scores.npz", "trajectory.csv"):
        for path in (smoke / "results").rglob(pattern):
            target = again / path.relative_to(smoke)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    speech = f"experiments/{SMOKE['speech']['id']}"
    shutil.copytree(smoke / "results/smoke" / speech, again / "results/smoke" / speech)
    goal = ("--configfile", "config/smoke.yaml", "--config", "from_scores=true", "--", "all_tables")
    run = snakemake(again, "--cores", "2", *goal)
    assert run.returncode == 0, run.stderr
    # The audit looks at the data and the splits themselves.
    written = [path for path in (smoke / "reports/smoke/tables").glob("*.*") if not path.match("audit.*")]
    assert written
    figures = list((smoke / "reports/smoke/figures").glob(f"{SMOKE['speech']['id']}.*"))
    assert figures
    written += figures
    for path in written:
        assert _digest(again / path.relative_to(smoke)) == _digest(path), path.name


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


# Every run once, whatever experiments show it: of the scenarios, one at published defaults, the variants, and those
# with a proxy and with another retain size.
RUNS_OF_METHODS = sum(map(len, METHODS.values())) + 1 + len(SMOKE["variants"]) + 2 + 2
# Of speech: a run of each method, in each setting.
SPEECH_RUNS = sum(map(len, SMOKE["speech"]["methods"].values()))
# 20 rules with one job, 4 with one a scenario, 2 with one an experiment, one with one an experiment and sweep, and the
# scores of shadow models: before unlearning, retrained, and of each method. Eight rules of speech with one job, and
# transcripts of the released, the fine-tuned and the retrained model.
JOBS = (
    20
    + 2
    + 8
    + 3
    + SPEECH_RUNS
    + len(SMOKE["shadows"]["methods"])
    + 4 * 2
    + 2 * len(SMOKE["experiments"])
    + len(SMOKE["experiments"] + SMOKE["sweeps"])
    + 2 * RUNS_OF_METHODS
    # Of the model with a single seed: training, retraining, their evaluation, and two methods.
    + 4
    + 2 * 2
)


@pytest.mark.parametrize(("graph", "nodes"), [("--rulegraph", 46), ("--dag", JOBS)])
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
    config.write_text(yaml.safe_dump(SMOKE | change, sort_keys=False), encoding="utf-8")
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


# The last one: Snakemake forgets how the outputs of a failed rule were made, and would make them again.
def test_a_notebook_whose_cell_fails_fails_its_rule(smoke: Path) -> None:
    scores = (
        smoke / RUNS / f"random/retain{SMOKE['experiments'][0]['retain_size']}/orthograd/seed0/scores.npz"
    )
    page = smoke / "reports/smoke/notebooks/cell.html"
    kept, shown, written = scores.read_bytes(), page.read_bytes(), scores.stat()
    notebook, source, made = page.with_suffix(".ipynb"), page.with_suffix(".ipynb").read_bytes(), page.stat()
    with np.load(scores) as arrays:
        changed = {name: arrays[name] for name in arrays.files}
    # Every prediction is another one: the table's number does not follow any more.
    changed["forget.logits"] = -changed["forget.logits"]
    np.savez_compressed(scores, **changed)
    try:
        run = snakemake(
            smoke,
            "--cores",
            "1",
            "--configfile",
            "config/smoke.yaml",
            "--force",
            "--",
            str(page.relative_to(smoke)),
        )
        assert run.returncode != 0
        assert not page.exists()
        log = (smoke / "results/smoke/logs/notebook/cell.log").read_text(encoding="utf-8")
        assert "AssertionError" in log
        assert re.search(r"Cell In\[\d+\], line \d+", log)
    finally:
        scores.write_bytes(kept)
        os.utime(scores, ns=(written.st_atime_ns, written.st_mtime_ns))
        page.write_bytes(shown)
        notebook.write_bytes(source)
        for path in (page, notebook):
            os.utime(path, ns=(made.st_atime_ns, made.st_mtime_ns))
