"""The speech steps, from a corpus on disk to the tables, through a tiny Whisper with random weights."""

import json
import platform
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from tiny_speech import COMMON, CORPUS, ROLES, SIZES, noise, prepare, run_step, study_arguments, unlearn

from orthograd.reads import digest
from orthograd.speech.corpus import read_audio
from orthograd.speech.evaluation import Listener, WerWatch
from orthograd.speech.model import Speller, Utterances
from orthograd.speech.scores import rates
from orthograd.speech.specs import Decoding, Trained
from orthograd.speech.transcription import SoundCache, encode, transcribe
from orthograd.speech.whisper import Whisper, load
from orthograd.steps import speech, speech_collect, speech_split, speech_transcribe, speech_unlearn
from orthograd.steps.speech_encode import content_hash, similarity


@pytest.fixture
def study(tmp_path: Path, whisper_folder: Path) -> Path:
    """A folder with a corpus, its sets and what the encoder made of it."""
    return prepare(noise(tmp_path / "corpus"), tmp_path / "study", whisper_folder)


def test_the_cache_is_the_encoder_and_its_digest_that_of_what_was_read(
    study: Path, whisper_folder: Path
) -> None:
    cache = SoundCache(study / "sound.npy")
    utterances = pd.read_csv(study / "utterances.csv", dtype=str)
    assert cache.names == utterances["id"].tolist()
    whisper: Whisper = load(whisper_folder)
    path = next(study.parent.rglob(f"{cache.names[5]}.flac"))
    direct = encode(whisper.model, whisper.features([read_audio(path)]))
    assert torch.equal(direct[0], cache.rows[5])
    hashes = pd.read_csv(study / "hashes.csv").set_index("id")["sha256"]
    said = utterances.set_index("id")["transcript"][cache.names[5]]
    assert hashes[cache.names[5]] == content_hash(direct[0].numpy(), said)


def test_of_the_whole_model_the_cache_is_what_the_encoder_gets(
    study: Path, whisper_folder: Path, tmp_path: Path
) -> None:
    whole = prepare(tmp_path / "corpus", tmp_path / "whole", whisper_folder, trained="model")
    cache = SoundCache(whole / "sound.npy")
    assert cache.names == SoundCache(study / "sound.npy").names
    whisper = load(whisper_folder)
    direct = whisper.features([read_audio(next((tmp_path / "corpus").rglob(f"{cache.names[5]}.flac")))])
    assert direct.shape == (1, 80, 3000)
    assert torch.equal(direct[0], cache.rows[5])
    said = pd.read_csv(whole / "utterances.csv", dtype=str)["transcript"][5]
    noted, frozen = (pd.read_csv(place / "hashes.csv") for place in (whole, study))
    assert noted["sha256"][5] == content_hash(direct[0].numpy(), said) != frozen["sha256"][5]
    assert noted["audio"].equals(frozen["audio"])
    # How alike voices are is a matter of the released encoder, whatever is trained.
    assert (whole / "similarity.csv").read_bytes() == (study / "similarity.csv").read_bytes()


@pytest.mark.parametrize("trained", ["decoder", "model"])
def test_transcripts_are_those_of_the_encoder_as_it_is_if_it_is_trained(
    whisper_folder: Path, trained: Trained
) -> None:
    whisper = load(whisper_folder)
    decoding = Decoding(batch_size=2, max_new_tokens=6)
    rng = np.random.default_rng(2)
    features = whisper.features([rng.normal(size=16_000).astype(np.float32) for _ in range(3)])
    released = encode(whisper.model, features)
    texts = ["the cat", "a dog", "old red house"]
    sound = features if trained == "model" else released
    table = Utterances.of(whisper, sound, texts, torch.device("cpu"))
    listener = Listener(whisper, Speller(whisper.model, table, trained), texts, decoding)

    def heard() -> list[str]:
        return listener.scores([0, 1, 2])["hypothesis"].tolist()

    before = heard()
    assert before == transcribe(whisper, released, decoding)
    with torch.no_grad():
        for parameter in whisper.model.model.encoder.layers.parameters():
            parameter.neg_()
    changed = transcribe(whisper, encode(whisper.model, features), decoding)
    assert changed != before
    assert heard() == (changed if trained == "model" else before)


def test_finite_weights_whose_logits_are_not_are_noticed(whisper_folder: Path) -> None:
    whisper = load(whisper_folder)
    rng = np.random.default_rng(2)
    sound = encode(
        whisper.model, whisper.features([rng.normal(size=16_000).astype(np.float32) for _ in range(3)])
    )
    texts = ["the cat", "a dog", "old red house"]
    speller = Speller(
        whisper.model, Utterances.of(whisper, sound, texts, torch.device("cpu")), trained="decoder"
    )
    listener = Listener(whisper, speller, texts, Decoding(batch_size=2, max_new_tokens=6))
    watch = WerWatch(listener, steering=[0, 2], test=[1], target=0.5)
    assert watch.value(speller) == (listener.wer([0, 2]), True)
    with torch.no_grad():
        whisper.model.model.decoder.layer_norm.weight.fill_(3e38)
    assert all(bool(parameter.isfinite().all()) for parameter in speller.parameters())
    assert watch.value(speller)[1] is False
    assert not whisper.model.proj_out._forward_hooks


def test_voices_are_compared_without_what_all_of_them_share() -> None:
    # Two voices on one side of the mean and two on the other.
    means = np.array([[5.0, 1.0], [5.0, 1.0], [5.0, -1.0], [5.0, -1.0]])
    found = similarity(["a", "b", "c", "d"], means).set_index(["speaker", "other"])["similarity"]
    assert found["a", "b"] == pytest.approx(1)
    assert found["a", "c"] == found["c", "a"] == pytest.approx(-1)
    assert len(found) == 12


def test_from_the_corpus_to_the_tables(collected: Path) -> None:
    study = collected.parent
    _check_tables(collected, study / "fine-tuned-retrained")
    _check_evidence(json.loads((collected / "evidence.json").read_text(encoding="utf-8")), collected)
    trained = json.loads((study / "retrained.json").read_text(encoding="utf-8"))["runs"]
    assert [(record["speaker"], record["reads"][0]["images"]) for record in trained] == [
        ("11", 13),
        ("12", 13),
    ]


def test_of_the_whole_model_the_encoder_is_trained_saved_and_loaded(
    collected_whole: Path, whisper_folder: Path
) -> None:
    study = collected_whole.parent
    _check_tables(collected_whole, study / "fine-tuned-retrained")
    _check_evidence(
        json.loads((collected_whole / "evidence.json").read_text(encoding="utf-8")), collected_whole
    )
    released = load(whisper_folder).model.model.state_dict()
    tuned = load_file(study / "original.safetensors")
    assert set(tuned) == set(released)
    moved = {name for name, value in tuned.items() if not torch.equal(value, released[name])}
    assert moved == set(released) - {"encoder.embed_positions.weight"}
    heard = study_arguments(study, whisper_folder)
    spec = speech.Spec.model_validate({**COMMON, "trained": "model", "setting": "fine-tuned"})
    loaded = speech.Study(spec, *(heard[name] for name in ("whisper", "sound", "utterances", "splits")))
    speech.load_weights(loaded, study / "original.safetensors")
    model = loaded.listener.whisper.model.model
    assert all(torch.equal(value, tuned[name]) for name, value in model.state_dict().items())
    weights = sum(
        p.numel() for name, p in model.named_parameters() if name != "encoder.embed_positions.weight"
    )
    assert set(pd.read_csv(collected_whole / "runs.csv")["trained_parameters"]) == {weights}


@pytest.mark.parametrize("method", ["ft", "orthograd"])
def test_each_speaker_is_forgotten_by_the_whole_model_as_it_was_before_the_others(
    collected_whole: Path, whisper_folder: Path, tmp_path: Path, method: str
) -> None:
    """The runs of a speaker are to the bit those without another speaker before."""
    study = collected_whole.parent
    step = {"passes": None, "learning_rate": 0.05, "momentum": 0.0, "weight_decay": 0.0}
    own = {
        "ft": {"batch_size": 2},
        "orthograd": {"forget_batch": 2, "retain_batch": 2, "alpha": 0.3, "rtol": 0.003},
    }
    tables = []
    for name, speakers in (("both", ["11", "12"]), ("alone", ["12"])):
        (tmp_path / name).mkdir()
        stopping = {"every": 1, "record_every": 2, "max_steps": 3, "curve_steps": 0}
        spec = {
            **COMMON, "trained": "model", "setting": "fine-tuned", "method": method,
            "params": step | own[method], "stopping": stopping, "pretrained_target": 9.0,
        }  # fmt: skip
        names = ("out", "runs", "trajectories", "record")
        run_step(
            speech_unlearn, spec, **study_arguments(study, whisper_folder), speaker=speakers,
            weights=study / "original.safetensors", **{place: tmp_path / name / place for place in names},
        )  # fmt: skip
        out = pd.read_csv(tmp_path / name / "out", dtype={"speaker": str}, keep_default_na=False)
        tables.append(out[out["speaker"] == "12"].reset_index(drop=True))
    assert tables[0].equals(tables[1])
    # The losses are those of another model than the one that the run began with.
    start = pd.read_csv(study / "fine-tuned-original" / "utterances.csv", dtype={"speaker": str})
    assert not np.allclose(tables[0]["loss"], start.loc[start["speaker"] == "12", "loss"])


def _check_tables(collected: Path, retrained: Path) -> None:
    text = {"speaker": str, "utterance_speaker": str, "other": str}
    tables = {
        name: pd.read_csv(
            collected / f"{name}.csv{'.gz' if name == 'utterances' else ''}",
            dtype=text,
            keep_default_na=False,
        )
        for name in ("utterances", "runs", "trajectories", "speakers", "similarity")
    }
    columns = {
        "utterances": "setting method speaker seed set id utterance_speaker reference hypothesis words substitutions "
        "deletions insertions characters character_errors hallucinated repetitive loss",
        "runs": "setting method speaker seed fold target target_reached diverged steps seconds peak_bytes forward "
        "backward trained_parameters",
        "speakers": "speaker sex name role",
        "similarity": "speaker other similarity",
    }
    for name, wanted in columns.items():
        assert list(tables[name].columns) == wanted.split()
    way = tables["trajectories"]
    steered = ["setting", "method", "speaker", "seed", "step", "seconds", "wer_forget_validation"]
    assert list(way.columns)[:7] == steered
    assert "wer_test" in way.columns
    utterances = tables["utterances"]
    counts = utterances.groupby(["setting", "method", "speaker"])["set"].value_counts().unstack()
    assert len(counts) == 2 * (3 + 2)
    assert (counts["forget_train"] == 2).all()
    assert (counts["forget_heldout"] == 1).all()
    assert (counts["test"] == 2).all()
    # The last check of a run and its transcripts are of one model.
    runs = tables["runs"]
    assert set(runs["setting"]) == {"pretrained", "fine-tuned"}
    for _, run in runs.iterrows():
        keys = ["setting", "method", "speaker", "seed"]
        last = way[(way[keys] == run[keys]).all(axis=1)].iloc[-1]
        own = utterances[(utterances[keys] == run[keys]).all(axis=1)]
        assert rates(own[own["set"] == "forget_validation"])["wer"] == last["wer_forget_validation"]
        assert rates(own[own["set"] == "test"])["wer"] == pytest.approx(float(last["wer_test"]), abs=1e-12)
    # In the fine-tuned setting the target is what the model that never heard the speaker scores.
    reference = pd.read_csv(retrained / "utterances.csv", dtype=text, keep_default_na=False)
    for speaker in ROLES["forgettable"]:
        own = reference[(reference["speaker"] == speaker) & (reference["set"] == "forget_validation")]
        tuned = runs[(runs["setting"] == "fine-tuned") & (runs["speaker"] == speaker)].iloc[0]
        assert tuned["target"] == rates(own)["wer"]
    assert set(tables["speakers"]["role"]) == set(ROLES)
    held_out = utterances.loc[utterances["set"] == "forget_heldout", "id"].unique()
    assert sorted(path.stem for path in (collected / "audio").iterdir()) == sorted(held_out)


def _check_evidence(evidence: dict, collected: Path) -> None:
    """Every run read the sets that it may, and of these what the splits say."""
    splits = pd.read_csv(collected / "splits.csv", dtype=str)
    contents = pd.read_csv(collected / "contents.csv", dtype=str).set_index("id")["sha256"]
    own = splits[splits["set"].isin(["forget_train", "forget_validation"])]
    unlearned = {speaker: digest(contents[rows["id"]]) for speaker, rows in own.groupby("speaker")}
    sets = {(entry["speaker"], entry["set"]): entry["sha256"] for entry in evidence["sets"]}
    runs = [run for run in evidence["runs"] if run["method"] == "ft"]
    assert len(runs) == 4
    for run in runs:
        assert list(run["method_reads"]) == ["retain"]
        assert run["method_reads"]["retain"]["sha256"] == sets[run["speaker"], "retain"]
        assert run["steered_by"]["sha256"] == sets[run["speaker"], "forget_validation"]
        reads = {read["set"]: read["sha256"] for read in run["reads"]}
        assert reads["unlearned"] == unlearned[run["speaker"]]
        steering = ("retain", "forget_validation")
        assert tuple(reads) == ("unlearned", *steering, "recorded_test", "transcribed")
        for name in (*steering, "recorded_test"):
            assert reads[name] == sets[run["speaker"], name.removeprefix("recorded_")]
        assert re.fullmatch(r"[0-9a-f]{16}", run["code"])


def test_transcripts_that_no_model_may_write_to_their_end_are_refused(
    study: Path, whisper_folder: Path
) -> None:
    utterances = pd.read_csv(study / "utterances.csv", dtype=str)
    used = pd.read_csv(study / "sound.npy.names", header=None, dtype=str)[0]
    longest = utterances[utterances["id"].isin(used)]["transcript"].str.split().str.len().max()
    assert longest == 5
    decoding = {"batch_size": 4, "max_new_tokens": 4}
    spec = {**COMMON, "decoding": decoding, "setting": "pretrained", "name": "original"}
    with pytest.raises(
        ValueError, match=r"has 5 tokens.*more than 4.*raise speech\.decoding\.max_new_tokens"
    ):
        run_step(
            speech_transcribe, spec, **study_arguments(study, whisper_folder), speaker=["11"], out=study / "none.csv",
            record=study / "none.json",
        )  # fmt: skip


def test_what_cannot_be_used_is_written_down(tmp_path: Path) -> None:
    root = noise(tmp_path / "corpus")
    broken = next(iter(sorted(root.rglob("15-1-*.flac"))))
    broken.write_bytes(b"no sound")
    corpus = CORPUS | {"policy": CORPUS["policy"] | {"broken_audio": "skip"}}
    names = ("splits", "utterances", "speakers", "skipped")
    run_step(
        speech_split, {"corpus": corpus, "speakers": ROLES, "sizes": SIZES, "seeds": [3]}, corpus=root,
        **{name: tmp_path / f"{name}.csv" for name in names},
    )  # fmt: skip
    skipped = pd.read_csv(tmp_path / "skipped.csv")
    assert skipped[["problem", "id", "path"]].to_numpy().tolist() == [
        ["broken_audio", broken.stem, str(broken.relative_to(root))]
    ]
    assert broken.stem not in pd.read_csv(tmp_path / "splits.csv")["id"].tolist()


def test_big_blocks_are_kept_where_the_c_library_can() -> None:
    program = """
import numpy, psutil
from orthograd.steps.speech import keep_freed_memory

def left(bytes_):
    block = numpy.ones(bytes_, dtype=numpy.uint8)
    full = psutil.Process().memory_info().rss
    del block
    return full - psutil.Process().memory_info().rss < bytes_ / 2

before = left(2**28)
keep_freed_memory()
print(before, left(2**28))
"""
    # In a process of its own: the setting stays.
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    kept = platform.libc_ver()[0] == "glibc"
    assert run.stdout.split() == ["False", str(kept)]


def test_a_transcript_of_any_characters_stays_in_its_row(
    study: Path, whisper_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Models that lost their way write these; outside of quotation marks a carriage return ends a row."""
    nasty = ["the\rcat", "\r\n", "", "null", '"the", cat', "the\ncat\r"]

    def transcribe(whisper: Whisper, encoded: torch.Tensor, decoding: object) -> list[str]:
        return [nasty[place % len(nasty)] for place in range(len(encoded))]

    monkeypatch.setattr("orthograd.speech.evaluation.transcribe", transcribe)
    folder = unlearn(study, whisper_folder, "pretrained")
    names = ("utterances", "speakers", "skipped", "splits", "hashes", "similarity")
    run_step(
        speech_collect, None, corpus=tmp_path / "corpus", **{name: study / f"{name}.csv" for name in names},
        transcripts=folder / "utterances.csv", runs=folder / "runs.csv", trajectories=folder / "trajectories.csv",
        records=folder / "records.json", out=tmp_path / "collected",
    )  # fmt: skip
    for path in (folder / "utterances.csv", tmp_path / "collected" / "utterances.csv.gz"):
        table = pd.read_csv(path, keep_default_na=False)
        # Two speakers, seven sets of two utterances each, but one that is held out and one of the retain speaker.
        assert len(table) == 2 * (2 * 7 - 2)
        assert set(table["hypothesis"]) == set(nasty)
        assert (table["words"] > 0).all()


def test_a_run_is_steered_by_the_validation_utterances_alone(
    study: Path, whisper_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With other transcripts of every other utterance, a run goes the same way."""
    splits = pd.read_csv(study / "splits.csv", dtype=str)
    first = unlearn(study, whisper_folder, "pretrained")
    own = splits[(splits["speaker"] == "11") & (splits["set"] == "forget_validation")]
    utterances = pd.read_csv(study / "utterances.csv", dtype=str)
    used = splits[splits["set"].isin(["forget_train", "forget_validation", "retain"])]["id"]
    assert len(own) == 2
    utterances.loc[~utterances["id"].isin(used), "transcript"] = "RED RED RED"
    utterances.to_csv(study / "utterances.csv", index=False)
    (study / "pretrained-ft").rename(study / "before")
    second = unlearn(study, whisper_folder, "pretrained")
    before = pd.read_csv(study / "before" / "trajectories.csv")
    after = pd.read_csv(second / "trajectories.csv")
    same = ["speaker", "step", "wer_forget_validation", "loss_retain"]
    assert before[same].equals(after[same])
    assert not before["wer_test"].equals(after["wer_test"])
    assert first.name == second.name
    assert digest(["a", "b"]) == digest(["b", "a"])
