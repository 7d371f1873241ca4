"""The page's section on speech: players beside escaped transcripts, and what stands in named wherever numbers stand."""

import shutil
import subprocess
import sys
import wave
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from report_study import make_frames as image_frames
from speech_study import SPEAKERS, SUBSTITUTIONS, make_experiment, make_frames, write_frames
from test_report_page import NASTY, Page, _context, _write_files

from orthograd.reporting.data import ReportData, ReportError
from orthograd.reporting.page import render
from orthograd.reporting.speech.data import SpeechData
from orthograd.reporting.speech.section import (
    SpeechNotes,
    audio_of,
    copy_audio,
    corpus_text,
    stop_text,
    verdict,
)

IDS = [f"{speaker}-for{place:02d}" for speaker in SPEAKERS for place in range(2)]


@pytest.fixture(scope="module")
def collected(tmp_path_factory) -> Path:
    """A folder as `collect` leaves it; one transcript is made of markup, one is empty."""
    folder = tmp_path_factory.mktemp("collected")
    frames = make_frames()
    utterances = frames[0]
    held = utterances["id"] == IDS[0]
    utterances.loc[held & (utterances["method"] == "orthograd"), "hypothesis"] = NASTY
    utterances.loc[held & (utterances["method"] == "neggrad"), "hypothesis"] = ""
    write_frames(frames, folder)
    (folder / "audio").mkdir()
    for identifier in IDS:
        with wave.open(str(folder / "audio" / f"{identifier}.wav"), "wb") as file:
            file.setparams((1, 2, 16000, 0, "NONE", ""))
            file.writeframes(b"\0\0" * 1600)
    (folder / "audio" / "notes.txt").write_text("no sound")
    return folder


@pytest.fixture(scope="module")
def report(collected, tmp_path_factory) -> Path:
    """The files that the step writes."""
    out = tmp_path_factory.mktemp("report")
    _report(collected, out)
    return out


def _report(collected: Path, out: Path) -> None:
    arguments = ["--speech", make_experiment().model_dump_json(), "--collected", str(collected)]
    command = [sys.executable, "-m", "orthograd", "speech_report", *arguments, "--out", str(out)]
    subprocess.run(command, check=True)


@pytest.fixture(scope="module")
def html(collected, report) -> str:
    data = ReportData.of_frames(*image_frames())
    _write_files(data, ("random",), report)
    experiment = make_experiment()
    notes = SpeechNotes(SpeechData.read(collected, experiment), ["snakemake x"], audio_of(report, experiment))
    return render(replace(_context(data, ("random",)), speech=[notes]), report / "index.html").read_text(
        encoding="utf-8"
    )


def test_the_step_writes_every_file_that_the_experiment_names(report):
    experiment = make_experiment()
    for name in experiment.tables:
        for suffix in ("csv", "md", "tex"):
            assert (report / f"tables/T-ASR.{name}.{suffix}").is_file()
    for name in experiment.figures:
        for suffix in ("svg", "png"):
            assert (report / f"figures/T-ASR.{name}.{suffix}").is_file()
    assert sorted(path.name for path in (report / experiment.audio).iterdir()) == [
        f"{name}.wav" for name in IDS
    ]


def test_the_same_files_follow_from_a_copy_of_the_collected_folder_alone(collected, report, tmp_path):
    shutil.copytree(collected, tmp_path / "brought")
    _report(tmp_path / "brought", tmp_path / "again")
    again = [path.relative_to(tmp_path / "again") for path in (tmp_path / "again").rglob("*.*")]
    experiment = make_experiment()
    assert len(again) == 3 * len(experiment.tables) + 2 * len(experiment.figures) + len(IDS)
    for path in again:
        assert (tmp_path / "again" / path).read_bytes() == (report / path).read_bytes(), path


def test_every_utterance_has_a_player_in_each_setting(html, report):
    players = [attrs["src"] for tag, attrs in Page(html).tags if tag == "audio"]
    assert players == 2 * [f"audio/T-ASR/{name}.wav" for name in IDS]
    assert all((report / source).is_file() for source in players)


def test_transcripts_are_escaped_and_silence_is_said(html):
    assert NASTY not in html
    assert NASTY in Page(html).text
    assert "(nothing)" in Page(html).text


def test_what_stands_in_is_named_wherever_numbers_stand(html):
    sections = html.split('<section id="T-ASR-')[1:]
    assert len(sections) == 2
    for text in SUBSTITUTIONS:
        assert all(text in section for section in sections)
        findings = [part for part in html.split("<li>") if 'href="#T-ASR"' in part]
        assert len(findings) == 2
        assert all(text in finding for finding in findings)


def test_links_of_the_page_lead_somewhere(html, report):
    page = Page(html)
    links = [link for link in page.attributes("href") if not link.startswith("#")]
    assert all((report / link).is_file() for link in links if link != "audit.html")
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    assert all(link[1:] in ids for link in page.attributes("href") if link.startswith("#"))


def test_the_verdict_is_made_from_the_data():
    frames = make_frames(settings=("fine-tuned",))
    utterances = frames[0]
    for method, held, test in (("original", 1, 1), ("orthograd", 5, 2), ("retrained", 3, 1)):
        for group, errors in (("forget_heldout", held), ("test", test)):
            rows = (utterances["method"] == method) & (utterances["set"] == group)
            utterances.loc[rows, ["words", "substitutions", "deletions", "insertions"]] = [10, errors, 0, 0]
    data = SpeechData.of_frames(make_experiment(settings=["fine-tuned"]), *frames)
    text = verdict(data, "fine-tuned")
    assert "from 10.0% to 50.0%, and on the test speakers from 10.0% to 20.0%" in text
    assert "it reaches its target in 4 of 4 runs" in text
    assert "retrained without the speaker: 30.0% and 10.0%." in text
    assert "NegGrad, of the baselines with most runs at their target (4 of 4 runs)" in text
    assert "n = 4 speakers: no significance is claimed" in text
    assert "fine-tuned what the retrained model has there, 40.0%. Nothing else" in stop_text(data)


def test_the_page_counts_and_names_what_could_not_be_used():
    frames = make_frames()
    assert corpus_text(SpeechData.of_frames(make_experiment(), *frames)) == (
        "Every utterance of the corpus could be used."
    )
    rows = [("broken_audio", f"1-1-{n}", f"a/1/1-1-{n}.flac", "0 of 9 samples") for n in range(5)]
    rows.append(("too_long", "2-1-0", "a/2/2-1-0.flac", "31.00 s, at most 30 s"))
    skipped = pd.DataFrame(rows, columns=["problem", "id", "path", "detail"])
    text = corpus_text(SpeechData.of_frames(make_experiment(), *frames[:5], skipped))
    assert text.startswith("6 utterances of the corpus could not be used")
    assert "broken audio: 5 (a/1/1-1-0.flac, a/1/1-1-1.flac, a/1/1-1-2.flac and 2 more)" in text
    assert text.endswith("too long: 1 (a/2/2-1-0.flac).")


def test_sound_that_is_missing_is_an_error(collected, report, html):
    experiment = make_experiment()
    data = ReportData.of_frames(*image_frames())
    notes = SpeechNotes(SpeechData.read(collected, experiment), [], {IDS[0]: "audio/T-ASR/gone.wav"})
    with pytest.raises(ReportError, match="is missing"):
        render(replace(_context(data, ("random",)), speech=[notes]), report / "other.html")


def test_sound_is_copied_by_name(collected, tmp_path):
    assert copy_audio(collected, tmp_path, make_experiment()) == IDS
    assert audio_of(tmp_path, make_experiment())[IDS[0]] == f"audio/T-ASR/{IDS[0]}.wav"
