"""The speech steps, from a corpus on disk to the tables, through a tiny Whisper with random weights."""

import json
import re
from argparse import ArgumentParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

from orthograd.reads import digest
from orthograd.speech.corpus import read_audio
from orthograd.speech.scores import rates
from orthograd.speech.transcription import EncoderCache, encode
from orthograd.speech.whisper import Whisper, load
from orthograd.steps import (
    speech_collect,
    speech_encode,
    speech_finetune,
    speech_split,
    speech_transcribe,
    speech_unlearn,
)
from orthograd.steps.speech_encode import content_hash, similarity

WORDS = ["the", "cat", "saw", "a", "dog", "near", "that", "old", "red", "house"]
SPEAKERS = ["11", "12", "13", "14", "15"]
ROLES = {"forgettable": ["11", "12"], "retain": ["13"], "validation": ["14"], "test": ["15"]}
SIZES = {
    "forget": 10, "forget_validation": 2, "train": 4, "retain": 2, "retain_speakers": 1, "validation": 2, "test": 2,
    "scored": 2,
}  # fmt: skip
POLICY = dict.fromkeys(
    ["broken_audio", "wrong_format", "too_long", "missing_transcript", "missing_audio", "unknown_speaker"],
    "refuse",
)
CORPUS = {"kind": "folder", "name": "noise", "path": "-", "subsets": ["dev-clean"], "policy": POLICY}
COMMON = {
    "device": "cpu", "threads": 1, "corpus": "noise", "decoding": {"batch_size": 4, "max_new_tokens": 6}, "scored": 2
}  # fmt: skip
TRAINING = {
    "epochs": 2, "batch_size": 4, "learning_rate": 0.05, "momentum": 0.9, "weight_decay": 0.0, "warmup": 0.5
}  # fmt: skip
FT = {"learning_rate": 0.05, "momentum": 0.0, "weight_decay": 0.0, "batch_size": 2, "passes": None}


@pytest.fixture(scope="module")
def whisper_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    # Behind the last one Whisper knows times only.
    names = ["<|endoftext|>", "<|startoftranscript|>", "<unk>", *WORDS, "<|notimestamps|>"]
    tokenizer = Tokenizer(
        models.WordLevel({name: place for place, name in enumerate(names)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([name for name in names if name.startswith("<")])
    tokenizer.save(str(folder / "tokenizer.json"))
    tokens = {"bos_token_id": 1, "decoder_start_token_id": 1, "eos_token_id": 0, "pad_token_id": 0}
    config = WhisperConfig(
        vocab_size=len(names), d_model=8, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=12, decoder_ffn_dim=12, max_target_positions=20, init_std=0.5,
        begin_suppress_tokens=None, suppress_tokens=None, **tokens,
    )  # fmt: skip
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        **tokens,
        is_multilingual=False,
        no_timestamps_token_id=len(names) - 1,
        return_timestamps=False,
        max_length=20,
    )
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def study(tmp_path: Path, corpus, whisper_folder: Path) -> Path:
    """A folder with a corpus, its sets and what the encoder made of it."""
    generator = np.random.default_rng(1)
    root = corpus(
        {
            (speaker, "1", number): (" ".join(generator.choice(WORDS, 3 + number % 3)).upper(), 0.3)
            for speaker in SPEAKERS
            for number in range(12)
        }
    )
    folder = tmp_path / "study"
    folder.mkdir()
    spec = {"corpus": CORPUS, "speakers": ROLES, "sizes": SIZES, "seeds": [3]}
    _run(
        speech_split, spec, corpus=root, splits=folder / "splits.csv", utterances=folder / "utterances.csv",
        speakers=folder / "speakers.csv",
    )  # fmt: skip
    _run(
        speech_encode, {"device": "cpu", "threads": 1}, corpus=root, utterances=folder / "utterances.csv",
        whisper=whisper_folder, encoded=folder / "encoded.npy", hashes=folder / "hashes.csv",
        similarity=folder / "similarity.csv",
    )  # fmt: skip
    return folder


def _run(step, spec: dict | None, **arguments: object) -> None:
    parser = ArgumentParser()
    step.add_arguments(parser)
    line = [] if spec is None else ["--spec", json.dumps(spec)]
    for name, value in arguments.items():
        values = value if isinstance(value, list) else [value]
        line += [f"--{name.replace('_', '-')}", *map(str, values)]
    step.run(parser.parse_args(line))


def _heard(study: Path, whisper: Path) -> dict[str, object]:
    names = ("utterances", "splits")
    return {
        "whisper": whisper, "encoded": study / "encoded.npy", "seed": 3, **{n: study / f"{n}.csv" for n in names}
    }  # fmt: skip


def _unlearn(
    study: Path, whisper: Path, setting: str, method: str = "ft", params=FT, **changes: object
) -> Path:
    folder = study / f"{setting}-{method}"
    folder.mkdir()
    stopping = {"every": 1, "record_every": 2, "max_steps": 3, "curve_steps": 0}
    spec = {
        **COMMON, "setting": setting, "method": method, "params": params, "stopping": stopping,
        "pretrained_target": 9.0,
    }  # fmt: skip
    _run(
        speech_unlearn, spec, **_heard(study, whisper), speaker=["11", "12"], out=folder / "utterances.csv",
        runs=folder / "runs.csv", trajectories=folder / "trajectories.csv", record=folder / "records.json", **changes,
    )  # fmt: skip
    return folder


def test_the_cache_is_the_encoder_and_its_digest_that_of_what_was_read(
    study: Path, whisper_folder: Path
) -> None:
    cache = EncoderCache(study / "encoded.npy")
    utterances = pd.read_csv(study / "utterances.csv", dtype=str)
    assert cache.names == utterances["id"].tolist()
    whisper: Whisper = load(whisper_folder)
    path = next(study.parent.rglob(f"{cache.names[5]}.flac"))
    direct = encode(whisper.model, whisper.features([read_audio(path)]))
    assert torch.equal(direct[0], cache.rows[5])
    hashes = pd.read_csv(study / "hashes.csv").set_index("id")["sha256"]
    assert hashes[cache.names[5]] == content_hash(direct[0].numpy())


def test_voices_are_compared_without_what_all_of_them_share() -> None:
    # Two voices on one side of the mean and two on the other.
    means = np.array([[5.0, 1.0], [5.0, 1.0], [5.0, -1.0], [5.0, -1.0]])
    found = similarity(["a", "b", "c", "d"], means).set_index(["speaker", "other"])["similarity"]
    assert found["a", "b"] == pytest.approx(1)
    assert found["a", "c"] == found["c", "a"] == pytest.approx(-1)
    assert len(found) == 12


def test_from_the_corpus_to_the_tables(study: Path, whisper_folder: Path, tmp_path: Path) -> None:
    heard = _heard(study, whisper_folder)
    tuned = {**COMMON, "setting": "fine-tuned"}
    original, without = (
        study / "original.safetensors",
        [study / f"without{name}.safetensors" for name in ("11", "12")],
    )
    _run(
        speech_finetune,
        {**tuned, "training": TRAINING},
        **heard,
        decoder=original,
        record=study / "original.json",
    )
    _run(
        speech_finetune, {**tuned, "training": TRAINING}, **heard, without=["11", "12"], decoder=without,
        record=study / "retrained.json",
    )  # fmt: skip
    folders = []
    for setting, name, decoders in (
        ("pretrained", "original", []),
        ("fine-tuned", "original", [original]),
        ("fine-tuned", "retrained", without),
    ):
        folder = study / f"{setting}-{name}"
        folder.mkdir()
        _run(
            speech_transcribe, {**COMMON, "setting": setting, "name": name}, **heard, speaker=["11", "12"],
            decoder=decoders, out=folder / "utterances.csv", record=folder / "records.json",
        )  # fmt: skip
        folders.append(folder)
    unlearned = [
        _unlearn(study, whisper_folder, "pretrained"),
        _unlearn(
            study, whisper_folder, "fine-tuned", decoder=original, retrained=folders[2] / "utterances.csv"
        ),
    ]
    names = ("utterances", "speakers", "splits", "hashes", "similarity")
    _run(
        speech_collect, None, corpus=tmp_path / "corpus", **{name: study / f"{name}.csv" for name in names},
        transcripts=[folder / "utterances.csv" for folder in (*folders, *unlearned)],
        runs=[folder / "runs.csv" for folder in unlearned],
        trajectories=[folder / "trajectories.csv" for folder in unlearned],
        records=[folder / "records.json" for folder in (*folders, *unlearned)], out=tmp_path / "collected",
    )  # fmt: skip
    _check_tables(tmp_path / "collected", folders[2])
    _check_evidence(json.loads((tmp_path / "collected" / "evidence.json").read_text(encoding="utf-8")))
    trained = json.loads((study / "retrained.json").read_text(encoding="utf-8"))["runs"]
    assert [(record["speaker"], record["reads"][0]["images"]) for record in trained] == [
        ("11", 11),
        ("12", 11),
    ]


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
    assert {"wer_validation", "wer_test"} <= set(way.columns)
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


def _check_evidence(evidence: dict) -> None:
    """Every run read the sets that it may, and of these what the splits say."""
    sets = {(entry["speaker"], entry["set"]): entry["sha256"] for entry in evidence["sets"]}
    unlearned = [run for run in evidence["runs"] if run["method"] == "ft"]
    assert len(unlearned) == 4
    for run in unlearned:
        assert run["accessed"] == ["retain"]
        reads = {read["set"]: read["sha256"] for read in run["reads"]}
        steering = ("forget_train", "retain", "forget_validation")
        recorded = ("recorded_validation", "recorded_test")
        assert tuple(reads) == (*steering, *recorded, "transcribed")
        for name in (*steering, *recorded):
            assert reads[name] == sets[run["speaker"], name.removeprefix("recorded_")]
        assert re.fullmatch(r"[0-9a-f]{16}", run["code"])


def test_transcripts_that_no_model_may_write_to_their_end_are_refused(
    study: Path, whisper_folder: Path
) -> None:
    utterances = pd.read_csv(study / "utterances.csv", dtype=str)
    used = pd.read_csv(study / "encoded.npy.names", header=None, dtype=str)[0]
    longest = utterances[utterances["id"].isin(used)]["transcript"].str.split().str.len().max()
    assert longest == 5
    decoding = {"batch_size": 4, "max_new_tokens": 4}
    spec = {**COMMON, "decoding": decoding, "setting": "pretrained", "name": "original"}
    with pytest.raises(
        ValueError, match=r"has 5 tokens.*more than 4.*raise speech\.decoding\.max_new_tokens"
    ):
        _run(
            speech_transcribe, spec, **_heard(study, whisper_folder), speaker=["11"], out=study / "none.csv",
            record=study / "none.json",
        )  # fmt: skip


def test_a_transcript_of_any_characters_stays_in_its_row(
    study: Path, whisper_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Models that lost their way write these; outside of quotation marks a carriage return ends a row."""
    nasty = ["the\rcat", "\r\n", "", "null", '"the", cat', "the\ncat\r"]

    def transcribe(whisper: Whisper, encoded: torch.Tensor, decoding: object) -> list[str]:
        return [nasty[place % len(nasty)] for place in range(len(encoded))]

    monkeypatch.setattr("orthograd.speech.evaluation.transcribe", transcribe)
    folder = _unlearn(study, whisper_folder, "pretrained")
    names = ("utterances", "speakers", "splits", "hashes", "similarity")
    _run(
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
    first = _unlearn(study, whisper_folder, "pretrained")
    own = splits[(splits["speaker"] == "11") & (splits["set"] == "forget_validation")]
    utterances = pd.read_csv(study / "utterances.csv", dtype=str)
    used = splits[splits["set"].isin(["forget_train", "forget_validation", "retain"])]["id"]
    assert len(own) == 2
    utterances.loc[~utterances["id"].isin(used), "transcript"] = "RED RED RED"
    utterances.to_csv(study / "utterances.csv", index=False)
    (study / "pretrained-ft").rename(study / "before")
    second = _unlearn(study, whisper_folder, "pretrained")
    before = pd.read_csv(study / "before" / "trajectories.csv")
    after = pd.read_csv(second / "trajectories.csv")
    same = ["speaker", "step", "wer_forget_validation", "loss_retain"]
    assert before[same].equals(after[same])
    assert not before["wer_test"].equals(after["wer_test"])
    assert first.name == second.name
    assert digest(["a", "b"]) == digest(["b", "a"])
