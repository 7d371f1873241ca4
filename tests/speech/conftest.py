"""A small Whisper with random weights, a corpus on disk, and, once for all tests, the pretrained model."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from orthograd.data.registry import registry
from orthograd.speech.whisper import Whisper, fetch, load


@pytest.fixture(scope="session")
def pretrained_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whisper")
    fetch(registry().speech_model("whisper-tiny.en"), folder)
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

    def write(utterances: dict[tuple[str, str, int], tuple[str, float]]) -> Path:
        root = tmp_path / "corpus"
        lines = [
            f"{speaker:<4} | F | dev-clean        | 8.05  | Reader {speaker}" for speaker, _, _ in utterances
        ]
        header = [";Some pipe(|) separated metadata", ";ID  |SEX| SUBSET           |MINUTES| NAME"]
        root.mkdir()
        (root / "SPEAKERS.TXT").write_text(
            "\n".join([*header, *dict.fromkeys(lines)]) + "\n", encoding="utf-8"
        )
        generator = np.random.default_rng(0)
        for (speaker, chapter, number), (transcript, seconds) in utterances.items():
            folder = root / "dev-clean" / speaker / chapter
            folder.mkdir(parents=True, exist_ok=True)
            name = f"{speaker}-{chapter}-{number:04d}"
            noise = generator.integers(-3000, 3000, round(seconds * 16_000)).astype(np.int16)
            soundfile.write(folder / f"{name}.flac", noise, 16_000, format="FLAC", subtype="PCM_16")
            with (folder / f"{speaker}-{chapter}.trans.txt").open("a", encoding="utf-8") as stream:
                stream.write(f"{name} {transcript}\n")
        return root

    return write
