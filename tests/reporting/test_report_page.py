"""The page: self-contained, escaped, with links that lead somewhere and numbers that come from the data."""

import base64
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from report_study import make_experiment, make_frames

import orthograd
from orthograd.data.scenarios import DatasetProxy, ShiftProxy
from orthograd.reporting import projections, proxy
from orthograd.reporting.data import ReportData, ReportError
from orthograd.reporting.figures import FIGURES
from orthograd.reporting.names import FIGURE_NAMES, TABLE_NAMES
from orthograd.reporting.page import (
    Conditions,
    DataFile,
    ExperimentNotes,
    ExperimentState,
    PageContext,
    StopRule,
    duration,
    read_states,
    render,
    stop_rule_text,
)
from orthograd.reporting.projections import ProjectionData
from orthograd.reporting.ranking import verdict
from orthograd.reporting.tables import TABLES
from orthograd.reporting.write import write_figure, write_table

NASTY = "<script>alert('&')</script>"
STOP = StopRule("the original model's validation accuracy", 5, 200)


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, html):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.pieces: list[str] = []
        self.feed(html)
        self.text = " ".join(" ".join(self.pieces).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.pieces.append(data)

    def attributes(self, name):
        return [attrs[name] for _, attrs in self.tags if name in attrs]


def test_a_proxy_s_caption_says_what_it_is_made_of():
    shift = ShiftProxy(
        kind="shift", size=1500, rotation=20.0, scale=0.85, translation=2.0, contrast=0.7, noise=0.1
    )
    notes = proxy.caption("", shift).notes
    for part in (
        "1,500 held-out images",
        "turned by 20°",
        "scaled by 0.85",
        "moved by 2 pixels",
        "0.7 times",
    ):
        assert part in notes
    assert "deviation 0.1 on pixels" in notes
    other = DatasetProxy(kind="dataset", size=10, dataset="cinic10")
    assert "10 images of cinic10." in proxy.caption("", other).notes


def _context(data, kinds=("random", "class"), found=None, **changes):
    notes = [
        ExperimentNotes(
            make_experiment(kind, **changes),
            ["python -m orthograd unlearn --method 'orthograd' > log"],
            {"train": 5000, "retain subset": 500},
            STOP,
        )
        for kind in kinds
    ]
    conditions = Conditions(
        profile="laptop",
        commit="0123abc",
        dirty=True,
        config=f"seeds: [0, 1, 2]  # {NASTY}\n",
        machine={"Processor": "Example & Co"},
        versions={"numpy": "2.3.0"},
        data_files=[DataFile("images.gz", "https://example.org/images.gz", "ab" * 32)],
        threads=1,
        seconds=3723.4,
    )
    states = [ExperimentState("T-ASR", "Speakers <b>", "not yet")]
    audit = {"text": "Of 2 checks 1 passed.", "alarm": f"The audit failed: {NASTY}"}
    return PageContext(f"Report {NASTY}", data, notes, conditions, states, audit, found)


def _write_files(data, kinds, folder, **changes):
    for kind in kinds:
        selection = data.select(make_experiment(kind, **changes))
        paths = [path for make in TABLES for path in write_table(make(selection), folder)]
        paths += [path for make in FIGURES for path in write_figure(make(selection), folder)]
    (folder / "audit.html").write_text("the audit", encoding="utf-8")
    return paths


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    data = ReportData.of_frames(*make_frames())
    _write_files(data, ("random", "class"), folder)
    out = render(_context(data), folder / "index.html")
    return out, data


def test_file_names_are_stable(report_data, tmp_path):
    paths = _write_files(report_data, ("random",), tmp_path)
    names = {path.relative_to(tmp_path).as_posix() for path in paths}
    assert names == {f"tables/T-IMG-R.{t}.{s}" for t in TABLE_NAMES for s in ("csv", "md", "tex")} | {
        f"figures/T-IMG-R.{f}.{s}" for f in FIGURE_NAMES for s in ("svg", "png")
    }
    assert all(path.stat().st_size > 100 for path in paths)


def test_page_loads_nothing_from_elsewhere(rendered):
    out, _ = rendered
    page = Page(out.read_text(encoding="utf-8"))
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "link", "iframe", "object", "embed", "base"}
    assert all(source.startswith("data:image/svg+xml;base64,") for source in page.attributes("src"))
    assert not page.attributes("srcset")
    html = out.read_text(encoding="utf-8")
    assert "@import" not in html
    assert "url(" not in html
    for link in page.attributes("href"):
        if link.startswith("#"):
            assert link[1:] in page.attributes("id")
        else:
            assert "//" not in link
            assert (out.parent / link).is_file()


def test_figures_of_the_page_are_the_files(rendered):
    out, _ = rendered
    sources = Page(out.read_text(encoding="utf-8")).attributes("src")
    embedded = [base64.b64decode(source.partition(",")[2]) for source in sources]
    files = [
        out.parent / f"figures/{identifier}.{name}.svg"
        for identifier in ("T-IMG-R", "T-IMG-C")
        for name in FIGURE_NAMES
    ]
    assert embedded == [path.read_bytes() for path in files]


def test_what_was_projected_stands_with_its_experiment_only(report_data, tmp_path):
    _write_files(report_data, ("random", "class"), tmp_path)
    rows = {"seed": 0, "step": 1, "layer": ["a", "b"], "removed": 0.5, "max_cosine": 1e-8}
    params = {"alpha": 0.5, "learning_rate": 0.1, "forget_batch": 8, "retain_batch": 8, "rtol": 0.003}
    projected = ProjectionData(make_experiment("class"), params, pd.DataFrame(rows))
    drawn = projections.figure(projected)
    write_figure(drawn, tmp_path)
    context = replace(_context(report_data), projected=projected)
    text = Page(render(context, tmp_path / "index.html").read_text(encoding="utf-8")).text
    assert text.count(projections.TITLE) == text.count(drawn.caption.notes) == 1
    assert text.index("T-IMG-C: ") < text.index(projections.TITLE)


def test_every_file_is_linked(rendered):
    out, _ = rendered
    links = set(Page(out.read_text(encoding="utf-8")).attributes("href"))
    files = {p.relative_to(out.parent).as_posix() for p in out.parent.rglob("*") if p.is_file()}
    assert files - {"index.html"} == {link for link in links if not link.startswith("#")}


def test_what_others_wrote_is_escaped(rendered):
    out, _ = rendered
    html = out.read_text(encoding="utf-8")
    assert "<script" not in html
    assert "<b>" not in html
    page = Page(html)
    assert page.text.startswith(f"Report {NASTY}")
    assert f"seeds: [0, 1, 2] # {NASTY}" in page.text
    assert "Speakers <b>" in page.text


def test_conditions_are_stated(rendered):
    out, _ = rendered
    text = Page(out.read_text(encoding="utf-8")).text
    for expected in (
        "0123abc (+ uncommitted changes)",
        "Seeds 0, 1, 2",
        "1 h 2 min 3 s",
        "numpy 2.3.0",
        "Example & Co",
        "https://example.org/images.gz",
        "ab" * 32,
        "train 5,000, retain subset 500",
        "python -m orthograd unlearn --method 'orthograd' > log",
        "T-ASR Speakers <b> not yet",
    ):
        assert expected in text


def test_summary_counts_and_verdicts_come_from_the_data(rendered):
    out, data = rendered
    text = Page(out.read_text(encoding="utf-8")).text
    assert "2 experiments compare 4 methods (OrthoGrad, FT, NegGrad and NegGrad+)" in text
    assert "24 unlearning runs and 12 retrained references." in text
    for kind in ("random", "class"):
        assert verdict(data.select(make_experiment(kind)), "small_resnet") in text
    assert "n = 3 seeds: no significance claim" in text


def test_page_names_a_baseline_that_wins(frames, tmp_path):
    runs, costs, trajectories, controls = frames
    runs.loc[runs["method"] == "neggrad_plus", "gap"] = 0.0
    data = ReportData.of_frames(runs, costs, trajectories, controls)
    _write_files(data, ("random",), tmp_path)
    out = render(_context(data, ("random",)), tmp_path / "index.html")
    text = Page(out.read_text(encoding="utf-8")).text
    assert "NegGrad+ comes closest to the retrained models" in text
    assert "OrthoGrad comes closest" not in text
    assert "1 experiment compares 4 methods" in text


def test_tables_of_the_page_are_the_tables(rendered):
    out, data = rendered
    text = Page(out.read_text(encoding="utf-8")).text
    for make in TABLES:
        table = make(data.select(make_experiment("class")))
        assert table.caption.notes in text
        for row in table.rows:
            assert " ".join(cell.text for cell in row) in text


def test_page_has_the_same_bytes_twice(rendered, tmp_path):
    out, data = rendered
    before = out.read_bytes()
    render(_context(data), out)
    assert out.read_bytes() == before


def test_a_failed_audit_stands_in_the_first_lines(rendered):
    out, data = rendered
    html = out.read_text(encoding="utf-8")
    start = Page(html[html.index("<h1>") :]).text
    assert start.startswith(f"Report {NASTY} The audit failed: {NASTY} Audit 2 experiments compare")
    assert html.count('role="alert"') == 1
    assert "Audit : Of 2 checks 1 passed." in start
    context = _context(data)
    calm = render(replace(context, audit={"text": "All well.", "alarm": ""}), out.with_name("calm.html"))
    assert 'role="alert"' not in calm.read_text(encoding="utf-8")
    calm.unlink()


def test_a_page_without_its_audit_is_an_error(report_data, tmp_path):
    _write_files(report_data, ("random",), tmp_path)
    (tmp_path / "audit.html").unlink()
    with pytest.raises(ReportError, match=r"audit\.html is missing"):
        render(_context(report_data, ("random",)), tmp_path / "index.html")


def test_missing_files_are_an_error(report_data, tmp_path):
    with pytest.raises(ReportError, match=r"T-IMG-R\.accuracy\.csv is missing.*before the page"):
        render(_context(report_data), tmp_path / "index.html")
    assert not (tmp_path / "index.html").exists()


def test_missing_retrained_models_are_an_error(frames, tmp_path):
    runs, costs, trajectories, controls = frames
    data = ReportData.of_frames(runs[runs["method"] != "retrained"], costs, trajectories, controls)
    with pytest.raises(ReportError, match="train at least one retrained reference"):
        render(_context(data), tmp_path / "index.html")


def test_stop_rule_has_the_numbers_of_the_runs(report_data):
    data = report_data.select(make_experiment("random"))
    targets = 100 * data.runs["target"].dropna()
    text = stop_rule_text(STOP, data)
    assert text.startswith("After every 5 steps")
    assert "also after each step since the last time (a fall to the target that is undone before" in text
    assert "is not seen); the run stops with the first step after which" in text
    assert f"accuracy ({targets.min():.1f}% to {targets.max():.1f}%, depending on the seed)" in text
    assert "after 200 steps" in text
    same = stop_rule_text(StopRule("1%", 1, 1000), report_data.select(make_experiment("class")))
    assert same.startswith("After every step the accuracy on the forget set is measured; the run stops")
    assert "(1.0%)" in same
    assert "after 1,000 steps" in same


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0 s"), (59.6, "1 min 0 s"), (3600, "1 h 0 min 0 s"), (61, "1 min 1 s")]
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_states_are_read_and_checked(tmp_path):
    path = tmp_path / "states.yaml"
    path.write_text("- {id: T-ASR, experiment: Speakers, state: not yet}\n", encoding="utf-8")
    assert read_states(path) == (ExperimentState("T-ASR", "Speakers", "not yet"),)
    for text in ("- {id: T-ASR, state: done}\n", "id: T-ASR\n", "- text\n"):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ReportError, match=r"states\.yaml: expected a list"):
            read_states(path)


def test_reporting_imports_no_torch(tmp_path):
    code = "import sys, orthograd.reporting.page; sys.exit('torch' in sys.modules)"
    subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(Path(orthograd.__file__).parents[1]), "PATH": "", "HOME": str(tmp_path)},
        check=True,
        timeout=120,
    )
