"""The audit page: failed checks are loud, every table is a file, and nothing is loaded from elsewhere."""

from pathlib import Path

import pandas as pd
import pytest
from report_study import make_experiment
from test_report_page import STOP, Page

from orthograd.audit import Check
from orthograd.reporting.audit import (
    AuditContext,
    audit_tables,
    headline,
    ledger_table,
    render_audit,
    substitutes,
)
from orthograd.reporting.claims import Study, decide
from orthograd.reporting.data import ReportError
from orthograd.reporting.ledger import compare, read_ledger
from orthograd.reporting.names import AUDIT_TABLE_NAMES
from orthograd.reporting.page import DataFile, ExperimentNotes
from orthograd.reporting.tables import accuracy_table
from orthograd.reporting.write import write_table

PAPER = Path(__file__).resolve().parents[2] / "config" / "published" / "paper.yaml"
POOLS = {("fashion_mnist", "random_10"): 4500, ("fashion_mnist", "class_3"): 4500}
CHECKS = (
    Check("splits disjoint", "no image twice", "passed", "4 splits", ("a.csv", "b.csv")),
    Check("retrained models", "never read", "failed", "it read <b>forget</b>", ("training.json",)),
    Check("tuning data", "no test image", "not checked", "no file", ()),
)

FIRST_STEPS = pd.DataFrame(
    [
        {"deviation": "kl", "beside": "none", "seed": seed, "rank": 4.0 + seed, "removed_fraction": 0.5}
        | {"max_cosine": 0.25, "update_cosine": 0.1 * seed, "update_ratio": 2.0}
        for seed in (0, 1, 2)
    ]
)


def _context(data, checks=CHECKS, ids=("T-IMG-R", "T-IMG-C")):
    experiments = [
        make_experiment(kind, id=name) for kind, name in zip(("random", "class"), ids, strict=True)
    ]
    ledger = read_ledger([PAPER])
    return AuditContext(
        data=data,
        notes=[ExperimentNotes(experiment, [], {}, STOP) for experiment in experiments],
        checks=checks,
        claims=decide(Study(data, experiments, POOLS)),
        entries=compare(ledger, data, experiments),
        ledger=ledger,
        seeds=[0, 1, 2],
        tuning_seeds=[100],
        machines={"processor": ["A & Co", "B"], "torch": ["2.11"]},
        commits=["c0ffee"],
        data_files=[DataFile("images", "http: somewhere", "ab" * 32)],
        first_steps=FIRST_STEPS,
    )


def _render(context, folder):
    for table in audit_tables(context):
        write_table(table, folder)
    (folder / "index.html").write_text("the report", encoding="utf-8")
    return render_audit(context, folder / "audit.html").read_text(encoding="utf-8")


def test_a_failed_check_is_loud(report_data, tmp_path):
    html = _render(_context(report_data), tmp_path)
    page = Page(html)
    alarm = "The audit failed: 1 check (retrained models). Do not trust the numbers."
    assert page.text.index(alarm) < page.text.index("Made with")
    assert "retrained models : it read <b>forget</b>" in page.text
    assert "<b>" not in html
    assert '<td class="alarm"><strong>failed</strong></td>' in html
    calm = _render(_context(report_data, CHECKS[:1]), tmp_path)
    assert 'role="alert"' not in calm
    assert "<strong>failed" not in calm


def test_first_steps_are_means_over_the_seeds(report_data):
    table = audit_tables(_context(report_data))[-1]
    row = table.frame.iloc[0]
    assert row["n"] == 3
    assert row["update_cosine_mean"] == pytest.approx(0.1, rel=1e-12)
    # t(0.975, 2 degrees of freedom) = 4.302653; the standard deviation of 0, 0.1, 0.2 is 0.1.
    assert row["update_cosine_half_width"] == pytest.approx(4.302653 * 0.1 / 3**0.5, rel=1e-6)
    assert [cell.text for cell in table.rows[0]][:3] == [
        "KL to the original as retain loss",
        "no deviation",
        "5.0 ± 2.5",
    ]


def test_the_headline_counts(report_data):
    found = headline(CHECKS, _context(report_data).claims)
    assert found.text.startswith("Of 3 checks 1 passed, 1 failed and 1 not checked; of the paper's 6 claims ")
    assert found.failed == ("retrained models",)
    assert headline(CHECKS[::2], []).alarm == ""
    assert headline(CHECKS[1:2] * 2, []).alarm.startswith("The audit failed: 2 checks")


def test_the_page_is_self_contained_and_its_links_lead_somewhere(report_data, tmp_path):
    page = Page(_render(_context(report_data), tmp_path))
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "img", "base"}
    for link in page.attributes("href"):
        assert (tmp_path / link.partition("#")[0]).is_file(), link
    names = [table.name for table in audit_tables(_context(report_data))]
    assert tuple(names) == AUDIT_TABLE_NAMES
    assert {path.name for path in (tmp_path / "tables").iterdir()} == {
        f"audit.{name}.{suffix}" for name in names for suffix in ("csv", "md", "tex")
    }


def test_it_says_what_it_was_made_with(report_data, tmp_path):
    text = Page(_render(_context(report_data), tmp_path)).text
    for expected in (
        "Commit c0ffee",
        "Seeds 0, 1, 2",
        "Seeds of the search 100",
        "A & Co, B",
        "images",
        "ab" * 32,
        "the run stops with the first step after which",
        "Not measured in this report: it has no experiment T-DEV.",
        "1. With a small retain set OrthoGrad keeps",
        "no significance claim",
    ):
        assert expected in text


def test_the_deviations_stand_there_where_they_were_measured(report_data, tmp_path):
    context = _context(report_data, ids=("T-DEV", "T-IMG-C"))
    with pytest.raises(ReportError, match=r"T-DEV\.accuracy\.csv is missing"):
        _render(context, tmp_path)
    write_table(accuracy_table(report_data.select(make_experiment("random", id="T-DEV"))), tmp_path)
    text = Page(_render(context, tmp_path)).text
    assert "Each deviation switched on in turn" in text
    assert "Not measured" not in text


def test_substitutes_say_what_stands_for_what_and_why():
    ledger = read_ledger([PAPER])
    two = ["Fashion-MNIST in place of ImageNet", "a small ResNet in place of ResNet-18 and ViT", "toys"]
    experiments = [
        make_experiment("random", substitutions=two),
        make_experiment("class", substitutions=two[:1]),
    ]
    first, second, third = substitutes(experiments, ledger)
    assert (first.experiments, first.ours, first.paper) == (
        ("T-IMG-R", "T-IMG-C"),
        "Fashion-MNIST",
        "ImageNet",
    )
    assert first.why == f"ImageNet: {ledger.reasons['ImageNet']}"
    assert {"ResNet-18", "ViT"} == {part.partition(":")[0] for part in second.why.split("; ")}
    assert (third.ours, third.paper, third.why) == ("toys", "–", "not stated")


def test_every_substitute_of_the_profiles_has_a_reason():
    import yaml

    from orthograd.reporting.experiment import Experiment

    for name in ("laptop", "smoke", "full", "gpu", "paper"):
        content = yaml.safe_load((PAPER.parents[1] / f"{name}.yaml").read_text(encoding="utf-8"))
        speech = [content["speech"]] if "speech" in content else []
        experiments = [
            Experiment.model_construct(id=entry["id"], substitutions=tuple(entry["substitutions"]))
            for entry in (*content["experiments"], *content["sweeps"], *speech)
        ]
        for found in substitutes(experiments, read_ledger([PAPER])):
            assert found.why != "not stated", (name, found)


def test_the_ledger_table_shows_the_papers_numbers_and_ours(report_data):
    table = ledger_table(_context(report_data).entries)
    scrub = next(row for row in table.rows if row[3].text == "100%")
    assert [cell.text for cell in scrub[:2]] == ["T-ASR", "WER at the end of the run, SCRUB"]
    assert (scrub[4].text, scrub[6].text) == ("public review", "not comparable")
    ours = next(row for row in table.rows if row[:1] and row[5].text != "–")
    assert "n = 3 (small_resnet)" in ours[5].text
    assert ours[6].text == "not available"
    frame = pd.DataFrame(table.frame)
    assert set(frame.loc[frame["value"].isna(), "verdict"]) == {"not available"}


def test_tables_of_sentences_have_columns_of_a_width_in_latex(report_data):
    for table in audit_tables(_context(report_data)):
        tex = table.to_latex()
        assert tex.count("\\textwidth}") == len(table.header) + 1
        assert sum(table.widths) <= 1
        assert len(table.widths) == len(table.header)
        assert all(len(row) == len(table.header) for row in table.rows)
