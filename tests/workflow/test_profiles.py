"""Profiles that are too large to run here: their DAG is built, and what they lack is said."""

import re
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import ROOT, copy_repository, snakemake

PROFILES = sorted(
    path.relative_to(ROOT)
    for path in (ROOT / "config").glob("*.yaml")
    if "profile" in yaml.safe_load(path.read_text(encoding="utf-8"))
)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.stem)
def test_every_profile_has_a_dag(tmp_path: Path, profile: Path) -> None:
    folder = copy_repository(tmp_path / "new")
    run = snakemake(folder, "-n", "--quiet", "--configfile", str(profile))
    assert run.returncode == 0, run.stderr


def test_of_speech_nothing_but_the_collected_folder_is_needed_for_its_tables_and_figures(
    tmp_path: Path,
) -> None:
    folder = copy_repository(tmp_path / "new")
    profile = yaml.safe_load((ROOT / "config" / "smoke.yaml").read_text(encoding="utf-8"))
    speech = profile["speech"]["id"]
    goals = [
        f"reports/smoke/tables/{speech}.wer_pretrained.csv",
        f"reports/smoke/figures/{speech}.curves_fine-tuned.png",
    ]
    command = (
        "-n",
        "--quiet",
        "progress",
        "--configfile",
        "config/smoke.yaml",
        "--config",
        "from_scores=true",
        "--",
    )
    absent = snakemake(folder, *command, *goals)
    assert absent.returncode != 0
    collected = f"results/smoke/experiments/{speech}"
    assert collected in absent.stdout + absent.stderr
    (folder / collected).mkdir(parents=True)
    run = snakemake(folder, *command, *goals)
    assert run.returncode == 0, run.stderr
    assert set(re.findall(r"^rule (\w+):", run.stdout + run.stderr, re.M)) == {"speech_report"}


def test_the_tables_of_the_search_need_no_results(tmp_path: Path) -> None:
    folder = copy_repository(tmp_path / "new")
    table = folder / "reports/laptop/tables/search.random.csv"
    command = (
        "--cores",
        "1",
        "--configfile",
        "config/laptop.yaml",
        "--config",
        "from_scores=true",
        "--",
        "trials",
    )
    run = snakemake(folder, *command)
    assert run.returncode == 0, run.stderr
    trials = pd.read_csv(ROOT / "config/tuned/laptop.csv")
    best = trials[trials["scenario"] == "random"].groupby("method")["score"].max()
    pd.testing.assert_series_equal(pd.read_csv(table).set_index("method")["score"].sort_index(), best)


def test_a_speech_corpus_of_the_users_is_asked_for_by_name(tmp_path: Path) -> None:
    folder = copy_repository(tmp_path / "new")
    profile = yaml.safe_load((folder / "config" / "gpu.yaml").read_text(encoding="utf-8"))
    profile["speech"]["corpus"] |= {"kind": "folder", "name": "my recordings", "path": "data/mine"}
    (folder / "config" / "mine.yaml").write_text(yaml.safe_dump(profile, sort_keys=False), encoding="utf-8")
    absent = snakemake(folder, "-n", "--configfile", "config/mine.yaml")
    assert absent.returncode != 0
    assert "data/mine does not exist. Mend: put my recordings there" in absent.stdout + absent.stderr
    (folder / "data" / "mine").mkdir(parents=True)
    run = snakemake(folder, "-n", "--quiet", "--configfile", "config/mine.yaml")
    assert run.returncode == 0, run.stderr


def test_without_speechocean762_the_gpu_profile_says_how_to_bring_it(tmp_path: Path) -> None:
    folder = copy_repository(tmp_path / "new")
    goal = ("--cores", "1", "--configfile", "config/gpu.yaml", "--", "results/gpu/speech/corpus")
    for mirror, reason in ((None, "no mirror is set"), (folder / "config", "it is not in the mirror")):
        run = snakemake(folder, *goal, mirror=mirror)
        assert run.returncode != 0
        assert reason in run.stdout + run.stderr
        assert "Download speechocean762.tar.gz from https://www.openslr.org/101/" in run.stdout + run.stderr


def test_without_imagenet_the_paper_profile_says_how_to_bring_it(tmp_path: Path) -> None:
    folder = copy_repository(tmp_path / "new")
    goal = ("--cores", "1", "--configfile", "config/paper.yaml", "--", "results/data/imagenet/raw")
    for mirror, reason in ((None, "no mirror is set"), (folder / "config", "imagenet is not in")):
        run = snakemake(folder, *goal, mirror=mirror)
        assert run.returncode != 0
        assert reason in run.stdout + run.stderr
        assert "sort them into train/<wnid>/<image>.JPEG" in run.stdout + run.stderr
