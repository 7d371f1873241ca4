"""The search for parameters: regret, counts and correlation by hand, the files, the figure, the section of the page."""

import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from report_study import make_experiment
from test_report_page import Page, _context, _write_files

from orthograd.reporting import search
from orthograd.reporting.data import ReportError
from orthograd.reporting.figures import method_styles
from orthograd.reporting.page import render
from orthograd.reporting.search import SearchData, figure, figure_caption, opening, results, setting, table
from orthograd.reporting.text import METHOD_LABELS, method_label
from orthograd.reporting.write import write_figure, write_table
from orthograd.search import Tuning

# scenario, method, then for each trial: seeds in which it reached the target (of 2), score, gap
TRIALS = [
    # The score orders the trials against the gap but for one exchange: ranks of score 1 2 3 4, of gap 4 3 1 2.
    ("random", "orthograd", [(2, 0.50, 0.40), (2, 0.60, 0.30), (2, 0.70, 0.05), (2, 0.80, 0.08)]),
    # Never at the target in both seeds.
    ("random", "ft", [(1, 0.30, 0.06), (0, -0.10, 0.04), (1, 0.20, 0.10), (0, -0.20, 0.05)]),
    # Nearest of all is a trial that left the model as it was; of those at the target it is not the chosen one.
    ("random", "ssd", [(0, -0.125, 0.045), (2, 0.13, 0.78), (0, -0.125, 0.045), (2, 0.10, 0.71)]),
    ("class", "orthograd", [(2, 0.80, 0.02), (2, 0.70, 0.03), (2, 0.60, 0.04), (1, 0.10, 0.30)]),
    # Stopped by the time limit after one trial.
    ("class", "ft", [(0, -0.50, 0.20)]),
]


def make_trials():
    frame = pd.DataFrame(
        {
            "scenario": scenario,
            "method": method,
            "trial": number,
            "params": "{}",
            "seeds": 2,
            "reached": reached,
            "forget": 1.0 - 0.25 * reached - 0.01 * number,
            "score": score,
            "gap": gap,
        }
        for scenario, method, trials in TRIALS
        for number, (reached, score, gap) in enumerate(trials)
    )
    groups = frame.groupby(["scenario", "method"])
    frame["chosen"] = frame.index.isin(groups["score"].idxmax())
    frame["nearest_to_retrained"] = frame.index.isin(groups["gap"].idxmin())
    return frame


@pytest.fixture
def tuning():
    return Tuning(
        dataset="fashion-mnist",
        model="small-resnet",
        retain_size=1500,
        seeds=[100, 101],
        images="apart",
        max_steps=80,
        trials=4,
        seconds=600.0,
        methods=["orthograd", "ft", "ssd"],
        spaces={name: {"learning_rate": 0.1} for name in ("orthograd", "ft", "ssd")},
    )


@pytest.fixture
def read(tmp_path, tuning):
    def of(frame, **changes):
        path = tmp_path / "trials.csv"
        frame.to_csv(path, index=False)
        return SearchData.read(path, tuning.model_copy(update=changes))

    return of


@pytest.fixture
def data(read):
    return read(make_trials())


@pytest.fixture
def drawn(monkeypatch):
    """The matplotlib figures that a call draws."""
    kept: list[Figure] = []
    save = search.saved

    def keep(drawing):
        kept.append(drawing)
        return save(drawing)

    monkeypatch.setattr(search, "saved", keep)
    return kept


@pytest.mark.parametrize(
    ("scenario", "method", "trials", "reached", "gap", "smallest", "regret", "correlation"),
    [
        # ρ = 1 − 6 Σd² / (n (n² − 1)), d² = 9, 1, 4, 4 and n = 4
        ("random", "orthograd", 4, 4, 0.08, 0.05, 0.03, 1 - 6 * 18 / 60),
        # Ranks of score 4 2 3 1, of gap 3 1 4 2: d² = 1, 1, 1, 1
        ("random", "ft", 4, 0, 0.06, 0.04, 0.02, 1 - 6 * 4 / 60),
        # Ranks 1.5 4 1.5 3 of both.
        ("random", "ssd", 4, 2, 0.78, 0.71, 0.07, 1.0),
        ("class", "orthograd", 4, 3, 0.02, 0.02, 0.0, -1.0),
        ("class", "ft", 1, 0, 0.20, 0.20, 0.0, math.nan),
    ],
)
def test_numbers_by_hand(data, scenario, method, trials, reached, gap, smallest, regret, correlation):
    found = results(data).set_index(["scenario", "method"]).loc[(scenario, method)]
    assert (found["trials"], found["trials_reached"]) == (trials, reached)
    assert found["gap"] == gap
    assert found["smallest_gap"] == smallest
    assert found["regret"] == pytest.approx(regret, abs=1e-12)
    assert found["spearman"] == pytest.approx(correlation, abs=1e-12, nan_ok=True)


def test_the_nearest_of_all_trials_is_kept_beside_that_at_the_target(data):
    found = results(data).set_index(["scenario", "method"])
    overall = found[["overall_gap", "overall_reached", "overall_forget"]]
    assert overall.loc[("random", "ssd")].tolist() == [0.045, 0, 1.0]
    assert overall.loc[("random", "ft")].tolist() == [0.04, 0, 0.99]
    assert overall.loc[("class", "orthograd")].tolist() == [0.02, 2, 0.5]


def test_equal_scores_have_no_correlation(read):
    frame = make_trials()
    frame.loc[(frame["scenario"] == "random") & (frame["method"] == "ft"), "score"] = 0.25
    found = results(read(frame)).set_index(["scenario", "method"])
    assert math.isnan(found.loc[("random", "ft"), "spearman"])


def test_a_table_has_a_row_a_method_of_its_scenario(data):
    shown = [[cell.text for cell in row] for row in table(data, "random").rows]
    assert shown == [
        ["OrthoGrad", "4", "4/4", "80.0", "8.00", "5.00", "3.00", "−0.80"],
        ["FT", "4", "0/4", "30.0", "6.00", "4.00*", "2.00", "0.60"],
        ["SSD", "4", "2/4", "13.0", "78.00", "71.00", "7.00", "1.00"],
    ]
    assert [row[0].text for row in table(data, "class").rows] == ["OrthoGrad", "FT"]
    assert [cell.text for cell in table(data, "class").rows[1]][-3:] == ["20.00*", "0.00", "–"]


def test_the_csv_has_raw_numbers_and_all_formats_are_written(data, tmp_path):
    paths = [path for scenario in data.scenarios for path in write_table(table(data, scenario), tmp_path)]
    paths += write_figure(figure(data), tmp_path)
    assert {path.relative_to(tmp_path).as_posix() for path in paths} == {
        *(f"tables/search.{s}.{suffix}" for s in ("random", "class") for suffix in ("csv", "md", "tex")),
        *(f"figures/search.trials.{suffix}" for suffix in ("svg", "png")),
    }
    written = pd.read_csv(tmp_path / "tables/search.random.csv")
    assert written["regret"].tolist() == pytest.approx([0.03, 0.02, 0.07], abs=1e-12)
    assert written["overall_reached"].tolist() == [2, 0, 0]
    assert "| SSD | 4 | 2/4 |" in (tmp_path / "tables/search.random.md").read_text(encoding="utf-8")
    latex = (tmp_path / "tables/search.random.tex").read_text(encoding="utf-8")
    assert r"\label{tab:search-random}" in latex
    assert r"OrthoGrad & 4 & 4/4 & 80.0 & 8.00 & 5.00 & 3.00 & $-$0.80 \\" in latex


def test_the_opening_says_median_and_largest_regret_and_who_never_reached_the_target(data):
    text = opening(data)
    # Regrets 3, 2, 7, 0 and 0.
    assert "cost 2.00 percentage points of gap at the median of 5 searches" in text
    assert "7.00 at most (SSD, scenario random), against the nearest trial at the target." in text
    assert "Scenario random: no trial of FT reached the target in every tuning seed (1 of 3 methods)" in text
    assert "Scenario class: no trial of FT reached" in text
    assert (
        "In 3 of 5 searches the nearest of all trials, at the target or not, reached the target in no tuning seed: it "
        "forgot too little, often nothing (forget accuracy 99.0 to 100.0%)."
    ) in text


def test_the_opening_is_silent_of_what_did_not_happen(read):
    frame = make_trials()
    only = frame[(frame["scenario"] == "class") & (frame["method"] == "orthograd")]
    text = opening(read(only))
    assert text == (
        "Choosing parameters without a retrained model cost 0.00 percentage points of gap at the median of 1 search, "
        "and 0.00 at most (OrthoGrad, scenario class), against the nearest trial at the target. The gap holds the "
        "distance of the very validation accuracy that the score is, and only the 3 trials of a method that reached "
        "the target compete, so that this regret is rather small by construction."
    )


def test_captions_state_n_units_and_what_the_gap_is(data, read):
    for caption in (table(data, "random").caption, figure_caption(data)):
        text = caption.text
        for expected in (
            "each of at most 80 steps",
            "n = 2 seeds for tuning (100 and 101), which no reported run shares, on images that no reported split has",
            "retain subset of 1,500 samples",
            "1 to 4 trials a method of the 4 planned",
            "600 s",
            "in percent",
            "in percentage points",
            "validation takes the place of test",
        ):
            assert expected in text, expected
    notes = table(data, "random").caption.notes
    assert "no trial of FT reached the target in every tuning seed (1 of 3 methods)" in notes
    assert "In 2 of 3 searches the nearest of all trials" in notes
    assert "In 1 of 2 searches" in table(data, "class").caption.notes
    assert "(forget accuracy 100.0%)" in table(data, "class").caption.notes
    whole = make_trials()
    assert "; 4 trials a method, each of at most 80 steps. " in setting(
        read(whole[whole["scenario"] == "random"])
    )


def _change(column, value):
    def of(frame):
        return frame.assign(**{column: value})

    return of


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda frame: frame.drop(columns="gap"),
            r"columns \['gap'\] are missing; run `snakemake tune` again",
        ),
        (lambda frame: frame[:0], "every trial needs a score, a gap and a forget accuracy"),
        (_change("score", np.nan), "every trial needs a score, a gap and a forget accuracy"),
        (_change("forget", np.nan), "every trial needs a score, a gap and a forget accuracy"),
        (_change("chosen", False), "ft in scenario class has 0 chosen trials and 1 nearest ones"),
        (
            _change("nearest_to_retrained", True),
            "orthograd in scenario class has 1 chosen trials and 4 nearest",
        ),
        (_change("seeds", 3), r"its trials have 3 seeds, but tuning\.seeds has 2; run `snakemake tune`"),
    ],
)
def test_a_table_that_is_none_of_this_search_is_refused(read, change, message):
    with pytest.raises(ReportError, match=message):
        read(change(make_trials()))


def test_the_figure_shows_every_trial_and_marks_two(data, drawn):
    figure(data)
    blocks = drawn[0].subfigs
    assert [block.get_suptitle() for block in blocks] == ["Scenario random", "Scenario class"]
    assert [[ax.get_title() for ax in block.axes] for block in blocks] == [
        ["OrthoGrad", "FT", "SSD"],
        ["OrthoGrad", "FT"],
    ]
    styles = method_styles(data.methods)
    axes = [ax for block in blocks for ax in block.axes]
    for ax, (_, method, trials) in zip(axes, TRIALS, strict=True):
        *points, regret, chosen, nearest = list(ax.lines)
        assert [line.get_marker() for line in points] == [styles[method].marker] * len(trials)
        for line, (reached, score, gap) in zip(points, trials, strict=True):
            assert (line.get_xdata()[0], line.get_ydata()[0]) == pytest.approx((100 * score, 100 * gap))
            assert (line.get_markerfacecolor() == "white") == (reached < 2)
        best = max(trials, key=lambda trial: trial[1])
        usable = [trial for trial in trials if trial[0] == 2] or trials
        least = min(usable, key=lambda trial: trial[2])
        assert (chosen.get_xdata()[0], chosen.get_ydata()[0]) == pytest.approx((100 * best[1], 100 * best[2]))
        assert (nearest.get_xdata()[0], nearest.get_ydata()[0]) == pytest.approx(
            (100 * least[1], 100 * least[2])
        )
        np.testing.assert_allclose(regret.get_ydata(), [100 * best[2], 100 * least[2]])
    assert len({(ax.get_xlim(), ax.get_ylim()) for ax in axes}) == 1
    low, high = axes[0].get_ylim()
    assert low < 2
    assert high > 81


def test_a_gap_of_nothing_has_a_place(read, drawn):
    frame = make_trials()
    frame.loc[frame["trial"] == 2, "gap"] = 0.0
    figure(read(frame))
    low, high = drawn[0].subfigs[0].axes[0].get_ylim()
    assert low <= 0 < high


def test_bytes_are_the_same_twice(data):
    first, second = figure(data), figure(data)
    assert (first.svg, first.png) == (second.svg, second.png)
    assert first.png.startswith(b"\x89PNG")
    assert ET.fromstring(first.svg).tag.endswith("svg")


@pytest.mark.parametrize("count", [1, 4, 11, 28])
def test_labels_do_not_overlap(read, drawn, count):
    methods = list(METHOD_LABELS)[-count:]
    first = make_trials()
    one = first[(first["scenario"] == "random") & (first["method"] == "orthograd")]
    frames = [one.assign(method=method, scenario=s) for s in ("random", "class") for method in methods]
    figure(read(pd.concat(frames)))
    renderer = drawn[0].canvas.get_renderer()
    axes = [ax for block in drawn[0].subfigs for ax in block.axes]
    assert [ax.get_title().replace("\n", " ") for ax in axes] == 2 * [method_label(m) for m in methods]
    boxes = [ax.get_tightbbox(renderer) for ax in axes]
    boxes += [legend.get_window_extent(renderer) for legend in drawn[0].legends]
    page = drawn[0].bbox
    for place, box in enumerate(boxes):
        assert box.x0 >= page.x0 - 1
        assert box.y0 >= page.y0 - 1
        assert box.x1 <= page.x1 + 1
        assert box.y1 <= page.y1 + 1
        # Markers at the edge may reach a pixel or two into the next panel's margin.
        assert not any(box.padded(-2).overlaps(other.padded(-2)) for other in boxes[:place])


def _render(report_data, folder, found):
    _write_files(report_data, ("random",), folder)
    return render(_context(report_data, ("random",), found=found), folder / "index.html")


def test_the_page_has_the_section_where_there_is_a_search(report_data, data, tmp_path):
    for scenario in data.scenarios:
        write_table(table(data, scenario), tmp_path)
    write_figure(figure(data), tmp_path)
    html = _render(report_data, tmp_path, data).read_text(encoding="utf-8")
    page = Page(html)
    assert "search" in page.attributes("id")
    assert page.text.index(make_experiment("random").title) < page.text.index("Search for parameters")
    assert opening(data) in page.text
    assert page.text.count(setting(data)) == 1
    assert figure_caption(data).notes in page.text
    for scenario in data.scenarios:
        for row in table(data, scenario).rows:
            assert " ".join(cell.text for cell in row) in page.text
    links = {link for link in page.attributes("href") if "search." in link}
    files = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("search.*")}
    assert links == files
    assert len(files) == 8


def test_the_page_has_no_section_without_a_search(report_data, tmp_path):
    html = _render(report_data, tmp_path, None).read_text(encoding="utf-8")
    assert "Search for parameters" not in html
    assert not re.search(r'id="search"', html)


def test_missing_files_of_the_search_are_an_error(report_data, data, tmp_path):
    with pytest.raises(ReportError, match=r"search\.random\.csv is missing"):
        _render(report_data, tmp_path, data)
