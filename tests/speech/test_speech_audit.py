"""The audit of speech passes on what real steps wrote, and every planted violation fails its check."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tiny_speech import ROLES

from orthograd.audit import Evidence, Speech, audit, failed, read_speech
from orthograd.audit.speech import CHECKS, makings
from orthograd.reads import digest

RUNS = [
    ("pretrained", "original"),
    ("pretrained", "ft"),
    ("fine-tuned", "original"),
    ("fine-tuned", "retrained"),
    ("fine-tuned", "ft"),
]
SEED = 3
NO_IMAGES = Evidence([], [], [], [], None)


@pytest.fixture
def speech(collected: Path) -> Speech:
    found = read_speech(collected, RUNS, ROLES["forgettable"], [SEED])
    # Steps note what they read as JSON, which a test may change.
    return replace(found, records=copy.deepcopy(found.records))


def _statuses(speech: Speech) -> dict[str, str]:
    return {check.id: check.status for check in (check(speech) for check in CHECKS)}


def test_all_checks_pass_on_what_the_steps_wrote(speech: Speech) -> None:
    checks = [check(speech) for check in CHECKS]
    assert {check.status for check in checks} == {"passed"}, [c for c in checks if c.status != "passed"]
    assert all(check.files and check.reason and check.claim for check in checks)
    assert len({check.id for check in checks}) == len(checks) == 11
    shown = audit(NO_IMAGES, None, speech)
    assert {check.id for check in checks} < {check.id for check in shown}
    assert not {check.id for check in checks} & {check.id for check in audit(NO_IMAGES)}


def test_all_checks_pass_where_the_whole_model_was_trained(collected_whole: Path) -> None:
    found = read_speech(collected_whole, RUNS, ROLES["forgettable"], [SEED])
    checks = [check(found) for check in CHECKS]
    assert {check.status for check in checks} == {"passed"}, [c for c in checks if c.status != "passed"]
    assert {record["spec"]["trained"] for record in found.records} == {"model"}


def test_its_sets_hold_what_the_corpus_says(speech: Speech, collected: Path) -> None:
    """The digests that the checks compare with are those that `speech_collect` computed of the sets."""
    table = pd.read_csv(collected / "contents.csv", dtype=str).set_index("id")
    splits = pd.read_csv(collected / "splits.csv", dtype=str)
    for name in ("forget_train", "retain", "test"):
        own = splits[(splits["speaker"] == "11") & (splits["set"] == name)]["id"]
        assert speech.digest(SEED, "11", name) == digest(table.loc[own, "sha256"])


def _record(speech: Speech, kind: str, method: str, speaker: str | None = "11") -> dict[str, Any]:
    """A record of a step: `training` names that of fine-tuning, `stopping` unlearning, `name` transcription."""
    for record in speech.records:
        found = (record["method"], record["speaker"], kind in record["spec"])
        if found == (method, speaker, True) and record["spec"]["setting"] == "fine-tuned":
            assert isinstance(record, dict)
            return record
    raise AssertionError((kind, method))


def _of_set(speech: Speech, name: str, speaker: str = "11") -> pd.DataFrame:
    splits = speech.splits
    return splits[(splits["speaker"] == speaker) & (splits["set"] == name)]


def _digest(speech: Speech, name: str, speaker: str = "11") -> str:
    return digest(speech.contents["sha256"][_of_set(speech, name, speaker)["id"]])


def _share(column: str, one: str, other: str) -> Callable[[Speech], None]:
    def plant(speech: Speech) -> None:
        first, second = (_of_set(speech, name)["id"].iloc[0] for name in (one, other))
        speech.contents.loc[first, column] = speech.contents.loc[second, column]

    return plant


def _same_sentence_in_other_letters(speech: Speech) -> None:
    first, second = (_of_set(speech, name)["id"].iloc[0] for name in ("forget_train", "test"))
    speech.contents.loc[first, "transcript"] = speech.contents.loc[second, "transcript"].lower()


def _utterance_twice(speech: Speech) -> None:
    place, other = (_of_set(speech, name).index[0] for name in ("forget_heldout", "forget_train"))
    speech.splits.loc[place, "id"] = speech.splits.loc[other, "id"]


def _other_speaker(name: str, speaker: str) -> Callable[[Speech], None]:
    def plant(speech: Speech) -> None:
        speech.splits.loc[_of_set(speech, name).index[0], "utterance_speaker"] = speaker

    return plant


def _fine_tuned_on(method: str, speaker: str | None, *sets: str) -> Callable[[Speech], None]:
    def plant(speech: Speech) -> None:
        (read,) = _record(speech, "training", method, speaker)["reads"]
        names = pd.concat([_of_set(speech, name)["id"] for name in sets])
        read["sha256"] = digest(speech.contents["sha256"][names])

    return plant


def _method_got(name: str, given: str) -> Callable[[Speech], None]:
    def plant(speech: Speech) -> None:
        record = _record(speech, "stopping", "ft")
        if name != "heldout":
            record["declared"] = ["forget", "retain"]
        reads = record["method_reads"]
        reads[name] = dict(reads["retain"], set=given, sha256=_digest(speech, given))

    return plant


def _step_read(name: str, given: str) -> Callable[[Speech], None]:
    def plant(speech: Speech) -> None:
        reads = _record(speech, "stopping", "ft")["reads"]
        reads[:] = [read for read in reads if read["set"] != name]
        reads.append(dict(reads[0], set=name, sha256=_digest(speech, given)))

    return plant


def _steered_by(name: str, speaker: str = "11") -> Callable[[Speech], None]:
    def plant(speech: Speech) -> None:
        steered = _record(speech, "stopping", "ft")["steered_by"]
        steered |= {"set": name, "sha256": _digest(speech, name, speaker)}

    return plant


def _set(*keys: str, value: object) -> Callable[[Speech], None]:
    def plant(speech: Speech) -> None:
        place: Any = _record(speech, "stopping", "ft")
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    return plant


def _another_method(speech: Speech) -> None:
    assert isinstance(speech.records, list)
    other = copy.deepcopy(_record(speech, "stopping", "ft"))
    speech.records.append(other | {"method": "neggrad", "target": other["target"] + 0.1})


def _run_missing(speech: Speech) -> None:
    assert isinstance(speech.records, list)
    speech.records.remove(_record(speech, "stopping", "ft"))


def _scored(method: str, **changes: object) -> Callable[[Speech], None]:
    def plant(speech: Speech) -> None:
        text = speech.transcripts
        own = text[(text["method"] == method) & (text["speaker"] == "11") & (text["set"] == "retain")]
        for column, value in changes.items():
            text.loc[own.index[0], column] = value

    return plant


def _scored_on_another(speech: Speech) -> None:
    text = speech.transcripts
    place = text.index[
        (text["method"] == "ft") & (text["speaker"] == "11") & (text["set"] == "forget_train")
    ][0]
    unscored = set(_of_set(speech, "forget_train")["id"]) - set(text["id"])
    text.loc[place, "id"] = min(unscored)


def _other_corpus(column: str) -> Callable[[Speech], None]:
    def plant(speech: Speech) -> None:
        speech.contents.loc[speech.contents.index[0], column] = "RED"

    return plant


@pytest.mark.parametrize(
    ("plant", "check", "reason"),
    [
        (_share("transcript", "forget_train", "test"), "speech splits disjoint", "share a sentence"),
        (_share("transcript", "retain", "validation"), "speech splits disjoint", "share a sentence"),
        (_same_sentence_in_other_letters, "speech splits disjoint", "(sets forget_train, test)"),
        (_share("audio", "forget_heldout", "train"), "speech splits disjoint", "share a recording"),
        (_share("sha256", "forget_validation", "forget_train"), "speech splits disjoint", "share a content hash"),
        (_utterance_twice, "speech splits disjoint", "share a name"),
        (_other_speaker("test", "13"), "speech speakers", "['13'] in retain and train and in test"),
        (_other_speaker("validation", "15"), "speech speakers", "['15'] in validation and in test"),
        (_other_speaker("retain", "11"), "speech speakers", "['11'] in forget sets and in retain and train"),
        (_other_speaker("forget_train", "13"), "speech speakers", "the forget sets are of ['11', '13']"),
        (_other_speaker("retain_speakers", "15"), "speech speakers", "retain_speakers has ['15']"),
        (_fine_tuned_on("retrained", "11", "retain", "train", "forget_train"), "speech retrained models", "11"),
        (_other_speaker("train", "11"), "speech retrained models", "utterances of speaker 11 are in retain"),
        (_fine_tuned_on("original", None, "retain", "train", "forget_train", "forget_validation", "forget_heldout"),
         "speech original models", "not exactly retain and train and forget_train and forget_validation"),
        (_method_got("forget", "forget_heldout"), "speech unlearning data", "is not forget_train and forget_val"),
        (_method_got("retain", "train"), "speech unlearning data", "the method's retain (train"),
        (_method_got("heldout", "forget_validation"), "speech unlearning data", "read heldout, which"),
        (_step_read("extra", "forget_heldout"), "speech unlearning data", "loaded extra"),
        (_step_read("forget_validation", "forget_heldout"), "speech unlearning data", "step's forget_validation"),
        (_step_read("recorded_test", "validation"), "speech unlearning data", "step's recorded_test"),
        (_steered_by("forget_heldout"), "speech stopping", "its stop rule heard forget_heldout"),
        (_steered_by("test"), "speech stopping", "its stop rule heard test"),
        (_steered_by("forget_validation", "12"), "speech stopping", "not exactly forget_validation"),
        (_set("target", value=0.123), "speech stopping", "its target is 0.123"),
        (_step_read("transcribed", "retain"), "speech evaluation data", "is not what it is scored on"),
        (_scored("ft", set="test"), "speech evaluation data", "pretrained ft: 1 transcripts"),
        (_scored("retrained", set="train"), "speech evaluation data", "retrained: 1 transcripts"),
        (_scored_on_another, "speech evaluation data", "scored on other utterances than others"),
        (_set("spec", "stopping", value={"max_steps": 9}), "speech equal stop rule", "2 values of the stop rule"),
        (_another_method, "speech equal target", "2 values of the target"),
        (_another_method, "speech speakers and seeds", "fine-tuned neggrad: 1 of 2"),
        (_run_missing, "speech speakers and seeds", "fine-tuned ft: 1 of 2 speakers and seeds"),
        (_other_corpus("corpus_audio"), "speech corpus checksums", "another recording in the corpus"),
        (_other_corpus("corpus_transcript"), "speech corpus checksums", "another transcript in the corpus"),
        (_scored("ft", reference="RED RED"), "speech corpus checksums", "ft: scored against other transcripts"),
        (_set("spec", "corpus", value="another"), "speech corpus checksums", "several corpora: another, noise"),
    ],
)  # fmt: skip
def test_a_planted_violation_fails_its_check(
    speech: Speech, plant: Callable[[Speech], None], check: str, reason: str
) -> None:
    plant(speech)
    found = {entry.id: entry for entry in failed(audit(NO_IMAGES, None, speech))}
    assert check in found
    assert reason in found[check].reason


def test_without_evidence_nothing_passes(speech: Speech) -> None:
    empty = read_speech(None, RUNS, ROLES["forgettable"], [SEED])
    assert set(_statuses(empty).values()) == {"not checked"}
    record = _record(speech, "stopping", "ft")
    record["steered_by"] = None
    record["method_reads"] = {}
    found = _statuses(speech)
    assert (found["speech stopping"], found["speech unlearning data"]) == ("not checked", "not checked")


@pytest.mark.parametrize(
    ("steps", "reads", "status"),
    [(0, {}, "passed"), (1, {}, "not checked"), (0, {"retain": None}, "not checked")],
)
def test_only_a_run_that_took_no_step_may_have_read_nothing(
    speech: Speech, steps: int, reads: dict[str, None], status: str
) -> None:
    _record(speech, "stopping", "ft").update(steps=steps, method_reads=reads)
    assert _statuses(speech)["speech unlearning data"] == status


def test_a_step_that_notes_no_reads_is_not_checked(speech: Speech) -> None:
    del _record(speech, "stopping", "ft")["method_reads"]
    assert _statuses(speech)["speech unlearning data"] == "not checked"


def test_what_is_not_noted_of_an_utterance_is_not_checked(speech: Speech) -> None:
    """An utterance of which the table of contents says nothing is neither disjoint nor shared."""
    found = _statuses(replace(speech, contents=speech.contents.iloc[1:]))
    assert found["speech splits disjoint"] == "not checked"


def test_a_target_whose_transcripts_are_gone_is_not_checked(speech: Speech) -> None:
    kept = speech.transcripts[speech.transcripts["method"] != "retrained"]
    assert _statuses(replace(speech, transcripts=kept))["speech stopping"] == "not checked"


def test_curves_of_another_length_are_no_other_stop_rule(speech: Speech) -> None:
    _record(speech, "stopping", "ft")["spec"]["stopping"]["curve_steps"] += 7
    assert _statuses(speech)["speech equal stop rule"] == "passed"


def test_its_steps_count_among_the_conditions(speech: Speech) -> None:
    assert {making.step for making in makings(speech)} == {
        "speech fine-tuning",
        "speech transcription",
        "speech unlearning by ft",
    }
    _record(speech, "stopping", "ft")["code"] = "0"
    _record(speech, "training", "original", None)["machine"]["torch"] = "1.0"
    found = {check.id: check for check in failed(audit(NO_IMAGES, None, speech))}
    assert found["code of the steps"].reason == "speech unlearning by ft: 2 versions"
    assert "torch: " in found["machine and versions"].reason
