"""The ledger: its form is checked, its own file invents nothing, and verdicts follow from the interval."""

import dataclasses
import math
from pathlib import Path

import pandas as pd
import pytest
import yaml
from report_study import make_experiment

from orthograd import methods
from orthograd.measures import MEMBERSHIP
from orthograd.reporting.data import ReportError, rows_of
from orthograd.reporting.ledger import PAPER, compare, read_ledger
from orthograd.reporting.statistics import summarise

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "config" / "published" / PAPER
CELL = {
    "experiment": "T-IMG-R",
    "quantity": "UIS",
    "column": "uis",
    "model": "Small_ResNet",
    "method": "orthograd",
    "condition": "random",
    "value": 0.1,
    "spread": None,
    "unit": "ratio",
    "source": "the paper",
    "note": None,
}


def _file(folder, name, cells, **more):
    path = folder / name
    path.write_text(yaml.safe_dump({"cells": cells} | more), encoding="utf-8")
    return path


def _entry(report_data, tmp_path, place=None, **changes):
    path = _file(tmp_path, "mine.yaml", [CELL | changes])
    experiments = [place or make_experiment("random", substitutions=[])]
    (entry,) = compare(read_ledger([path]), report_data, experiments)
    return entry


def test_the_shipped_file_holds_the_public_figures_and_no_others():
    ledger = read_ledger([SHIPPED])
    known = [cell for cell in ledger.cells if cell.value is not None]
    figures = {(cell.experiment, cell.method, cell.value, cell.unit, cell.source) for cell in known}
    assert figures == {
        ("T-ASR", "scrub", 100.0, "percent", "public review"),
        ("T-ASR", "orthograd", 0.1398, "fraction", "aggregator page"),
        ("T-ASR", None, 10.0, "percent", "public review"),
    }
    assert {cell.experiment for cell in ledger.cells} == {
        state["id"]
        for state in yaml.safe_load((ROOT / "config/experiments.yaml").read_text(encoding="utf-8"))
    }
    assert {cell.method for cell in ledger.cells} - {None} <= set(methods.names())


def test_the_example_in_the_shipped_file_is_of_its_form(tmp_path):
    lines = SHIPPED.read_text(encoding="utf-8").splitlines()
    begin = lines.index("#   cells:")
    example = [line.removeprefix("#").removeprefix("   ") for line in lines[begin : begin + 13]]
    path = tmp_path / "example.yaml"
    path.write_text("\n".join(example), encoding="utf-8")
    (cell,) = read_ledger([path]).cells
    assert (cell.column, cell.source, cell.value) == ("uis", "the paper", 0.0)
    # It takes the place of the unknown one.
    cells = read_ledger([path, SHIPPED]).cells
    wanted = [entry for entry in cells if (entry.model, entry.method) == ("ResNet-18", "orthograd")]
    wanted = [entry for entry in wanted if (entry.experiment, entry.quantity) == ("T-IMG-R", "UIS")]
    assert sorted(entry.value is None for entry in wanted) == [False, True]  # its condition differs
    same = [CELL | {"model": "ResNet-18", "condition": "random unlearning, ImageNet", "value": 0.5}]
    cells = read_ledger([SHIPPED, _file(tmp_path, "same.yaml", same)]).cells
    assert len(cells) == len(read_ledger([SHIPPED]).cells)
    assert [cell.value for cell in cells if cell.key == wanted[0].key or cell.value == 0.5] == [0.5]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"value": "a lot"}, r"cells\.0\.value: .*number"),
        ({"value": math.inf}, r"cells\.0\.value: .*finite"),
        ({"unit": None}, "a number needs value, unit and source together"),
        ({"source": None}, "a number needs value, unit and source together"),
        ({"value": None}, "a number needs value, unit and source together"),
        ({"value": None, "unit": None, "source": None, "spread": 0.1}, "spread without a value"),
        ({"source": "hearsay"}, r"cells\.0\.source: .*'abstract'"),
        ({"unit": "points"}, r"cells\.0\.unit"),
        ({"column": "uiss"}, "column 'uiss' is not one of runs.csv. Mend: use one of"),
        ({"typo": 1}, r"cells\.0\.typo: Extra inputs"),
        ({"spread": -1.0}, r"cells\.0\.spread"),
        ({"retain_size": 0}, r"cells\.0\.retain_size"),
    ],
)
def test_a_bad_cell_is_named_with_its_file(tmp_path, changes, message):
    path = _file(tmp_path, "mine.yaml", [CELL | changes])
    with pytest.raises(ReportError, match=rf"(?s)mine\.yaml.*{message}"):
        read_ledger([path])


def test_bad_files_are_named(tmp_path):
    path = tmp_path / "mine.yaml"
    for text in ("cells: [", "- 1\n", "", "cells: []\nother: 1\n"):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ReportError, match=r"mine\.yaml"):
            read_ledger([path])


def test_two_numbers_from_one_source_are_an_error_and_from_two_are_both_shown(tmp_path):
    first = _file(tmp_path, "a.yaml", [CELL])
    with pytest.raises(ReportError, match=r"b\.yaml: T-IMG-R, UIS.*already, in .*a\.yaml"):
        read_ledger([first, _file(tmp_path, "b.yaml", [CELL | {"value": 0.2}])])
    other = _file(tmp_path, "b.yaml", [CELL | {"value": 0.2, "source": "abstract"}])
    assert [cell.value for cell in read_ledger([first, other]).cells] == [0.1, 0.2]


def test_agrees_and_differs_by_our_interval(report_data, tmp_path):
    runs = report_data.select(make_experiment("random")).runs
    ours = summarise(rows_of(runs, "small_resnet", "orthograd"), "accuracy_test")
    inside, outside = ours.mean + 0.99 * ours.half_width, ours.mean - 1.01 * ours.half_width
    for value, verdict in ((inside, "agrees"), (outside, "differs")):
        entry = _entry(
            report_data, tmp_path, column="accuracy_test", value=float(100 * value), unit="percent"
        )
        assert entry.verdict == verdict
        assert entry.ours.mean == pytest.approx(100 * ours.mean)
        assert entry.ours.half_width == pytest.approx(100 * ours.half_width)
        assert entry.ours.n == 3


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"experiment": "T-ASR"}, "T-ASR is not in this report"),
        ({"method": "scrub"}, "scrub is not in T-IMG-R of this report"),
        ({"method": None}, "the number is of no method"),
        ({"column": None}, "measures no such quantity"),
        ({"model": "ResNet-18"}, "small_resnet in place of ResNet-18"),
        ({"model": "ViT"}, "no model like ViT"),
        ({"model": None}, "model is not stated"),
    ],
)
def test_what_is_not_the_same_is_not_comparable(report_data, tmp_path, changes, why):
    entry = _entry(report_data, tmp_path, **changes)
    assert entry.verdict == "not comparable"
    assert why in entry.why


SIZES = {"experiment": "F-SIZE", "column": "accuracy_test"}


def _sweep(report_data):
    """The study's one size, 500, and the same runs as if of size 250 at half the test accuracy."""
    runs = report_data.runs
    small = runs[runs["retain_size"] == 500].assign(retain_size=250, accuracy_test=runs["accuracy_test"] / 2)
    costs = report_data.costs
    data = dataclasses.replace(
        report_data,
        runs=pd.concat([runs, small]),
        costs=pd.concat([costs, costs[costs["retain_size"] == 500].assign(retain_size=250)]),
    )
    places = [make_experiment("random", substitutions=[])] + [
        make_experiment("random", substitutions=[], id="F-SIZE", retain_size=size) for size in (250, 500)
    ]
    return data, places


def test_a_cell_of_a_sweep_is_compared_at_its_size(report_data, tmp_path):
    data, places = _sweep(report_data)
    cells = [CELL | SIZES | {"retain_size": size} for size in (250, 500)]
    small, large = compare(read_ledger([_file(tmp_path, "mine.yaml", cells)]), data, places)
    ours = summarise(rows_of(data.select(places[0]).runs, "small_resnet", "orthograd"), "accuracy_test")
    assert large.ours.mean == pytest.approx(ours.mean)
    assert small.ours.mean == pytest.approx(ours.mean / 2)
    assert (large.verdict, small.cell.condition) == ("differs", "random, retain subset of 250")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, "F-SIZE has retain subsets of 250 and 500: the cell has to name its retain_size"),
        ({"retain_size": 1000}, "F-SIZE of this report has retain subsets of 250 and 500, not of 1,000"),
        ({"retain_size": 250, "scenario": "class_3"}, "F-SIZE of this report has no scenario class_3"),
        (
            {"experiment": "A-MIA"},
            "A-MIA is shown with the experiments of images: the cell has to name its scenario",
        ),
        ({"experiment": "A-MIA", "scenario": "class_3"}, "no experiment of this report has scenario class_3"),
    ],
)
def test_a_cell_that_picks_none_of_ours_says_what_is_missing(report_data, tmp_path, changes, why):
    data, places = _sweep(report_data)
    path = _file(tmp_path, "mine.yaml", [CELL | SIZES | changes])
    (entry,) = compare(read_ledger([path]), data, places)
    assert (entry.verdict, entry.ours, entry.why) == ("not comparable", None, why)


def test_a_cell_of_membership_is_compared_in_the_experiment_of_its_scenario(report_data, tmp_path):
    places = [make_experiment(kind, substitutions=[]) for kind in ("random", "class")]
    proxy = places[1].model_copy(update={"id": "T-PROXY", "proxy": "shifted"})
    column = MEMBERSHIP[0]
    # The study has the same numbers in both scenarios.
    runs = report_data.runs.copy()
    runs.loc[runs["scenario"] == places[1].scenario, column] /= 2
    data = dataclasses.replace(report_data, runs=runs)
    cells = [CELL | {"experiment": "A-MIA", "column": column, "scenario": place.scenario} for place in places]
    ledger = read_ledger([_file(tmp_path, "mine.yaml", cells)])
    found = compare(ledger, data, [proxy, *places])
    for entry, place in zip(found, places, strict=True):
        runs = rows_of(data.select(place).runs, "small_resnet", "orthograd")
        assert entry.ours.mean == pytest.approx(runs[column].mean())
    assert found[0].ours.mean != found[1].ours.mean


def test_numbers_of_two_sizes_take_the_place_of_one_unknown_cell(tmp_path):
    condition = "each size of the retain set, ImageNet"
    cell = CELL | {"experiment": "F-SIZE", "model": None, "condition": condition}
    cells = [cell | {"retain_size": size} for size in (250, 500)]
    found = read_ledger([SHIPPED, _file(tmp_path, "mine.yaml", cells)]).cells
    ours = [c for c in found if (c.experiment, c.method) == ("F-SIZE", "orthograd")]
    assert [(c.retain_size, c.value) for c in ours] == [(250, 0.1), (500, 0.1)]
    with pytest.raises(ReportError, match="retain subset of 250 has a number"):
        read_ledger([_file(tmp_path, "twice.yaml", [cells[0], cells[0]])])


def test_substitutes_make_a_number_incomparable_but_ours_is_shown(report_data, tmp_path):
    entry = _entry(report_data, tmp_path, place=make_experiment("random"))
    assert (entry.verdict, entry.why) == (
        "not comparable",
        "Fashion-MNIST in place of ImageNet; the paper's number is outside our 95% interval (n = 3)",
    )
    assert entry.ours.n == 3


def test_an_unknown_number_is_not_available_beside_ours(report_data, tmp_path):
    entry = _entry(report_data, tmp_path, value=None, unit=None, source=None)
    assert entry.verdict == "not available"
    assert entry.ours.n == 3
