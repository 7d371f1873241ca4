"""A small Whisper with random weights, a corpus on disk, and, once for all tests, the pretrained model."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from tiny_speech import collect, noise, prepare, tiny_whisper, write_corpus

from orthograd.speech.registry import speech_registry
from orthograd.speech.whisper import Whisper, fetch, load


@pytest.fixture(scope="session")
def pretrained_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whisper")
    fetch(speech_registry().model("whisper-tiny.en"), folder)
    return folder


@pytest.fixture(scope="session")
def pretrained(pretrained_folder: Path) -> Whisper:
    return load(pretrained_folder)


@pytest.fixture
def tiny() -> torch.nn.Module:
    """Two layers of width 8, in float64, with weights of order one."""
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    config = WhisperConfig(
        vocab_size=23,
        d_model=8,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=12,
        decoder_ffn_dim=12,
        num_mel_bins=4,
        max_source_positions=6,
        max_target_positions=10,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=0,
        decoder_start_token_id=1,
        begin_suppress_tokens=None,
        init_std=0.5,
    )
    return WhisperForConditionalGeneration(config).double().eval()


@pytest.fixture
def corpus(tmp_path: Path) -> Callable[..., Path]:
    """Writes a corpus: `utterances` maps (speaker, chapter, number) to (transcript, seconds)."""

    return partial(write_corpus, tmp_path / "corpus")


@pytest.fixture(scope="session")
def whisper_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_whisper(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def collected(tmp_path_factory: pytest.TempPathFactory, whisper_folder: Path) -> Path:
    """What all speech steps make of a tiny study, below the study's folder."""
    place = tmp_path_factory.mktemp("speech")
    root = noise(place / "corpus")
    return collect(prepare(root, place / "study", whisper_folder), root, whisper_folder)


@pytest.fixture(scope="session")
def collected_whole(tmp_path_factory: pytest.TempPathFactory, whisper_folder: Path) -> Path:
    """The same with the whole model trained."""
    place = tmp_path_factory.mktemp("whole")
    root = noise(place / "corpus")
    study = prepare(root, place / "study", whisper_folder, trained="model")
    return collect(study, root, whisper_folder, trained="model")
