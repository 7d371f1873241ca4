"""Whisper: where it comes from, and what goes in and out of it.

A model lies in a folder in the form of Hugging Face transformers: ``config.json``, ``generation_config.json``,
``model.safetensors``, ``tokenizer.json``, and ``source.json`` that says where it came from.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import requests

from orthograd.data.download import DownloadError, Limits, download
from orthograd.speech.registry import SpeechModel

if TYPE_CHECKING:
    import numpy as np
    import torch
    from tokenizers import Tokenizer
    from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

SOURCE = "source.json"
TOKENIZER = "tokenizer.json"

_LIMITS = Limits()

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Whisper:
    """A model in evaluation mode, float32, with its tokenizer and its features."""

    model: WhisperForConditionalGeneration
    tokenizer: Tokenizer
    extractor: WhisperFeatureExtractor

    @property
    def prompt(self) -> list[int]:
        """The tokens that a transcript begins with: start, for a multilingual model English and transcription, and no
        timestamps."""
        config = self.model.generation_config
        middle = ["<|en|>", "<|transcribe|>"] if config.is_multilingual else []
        names = ["<|startoftranscript|>", *middle, "<|notimestamps|>"]
        return [self.token(name) for name in names]

    @property
    def end(self) -> int:
        """The token that ends a transcript."""
        return self.token("<|endoftext|>")

    def token(self, name: str) -> int:
        """The number of a token.

        Raises:
            ValueError: the tokenizer has no such token.
        """
        number = self.tokenizer.token_to_id(name)
        if number is None:
            raise ValueError(f"the tokenizer has no token {name!r}: it does not belong to this Whisper model")
        return int(number)

    def tokens(self, transcript: str) -> list[int]:
        """The tokens of a transcript of a corpus, without prompt and end.

        Corpora in LibriSpeech's form are written in capitals without punctuation, which Whisper never writes: the
        text is put in lower case, after a blank as in Whisper's own training.
        """
        return list(self.tokenizer.encode(f" {transcript.strip().lower()}", add_special_tokens=False).ids)

    def features(self, audio: Sequence[np.ndarray]) -> torch.Tensor:
        """Log-Mel features (n, mels, 3000), float32, of signals (samples,) at 16 kHz, each padded to 30 s."""
        extracted = self.extractor(
            list(audio), sampling_rate=self.extractor.sampling_rate, return_tensors="pt"
        )
        features: torch.Tensor = extracted["input_features"]
        return features


def fetch(
    entry: SpeechModel, out_dir: Path, mirror: str | None = None, limits: Limits = _LIMITS
) -> dict[str, str]:
    """Bring a model into `out_dir`: its files where they are known, verified; else what the public hub has at the
    commit, or, where that cannot be reached, the copy of its weights.

    Args:
        entry: a model of the registry.
        out_dir: folder to write, made if need be.
        mirror: the user's own copy of its files, or of the copy's (see `orthograd.data.download.resolve_mirror`).
        limits: time limits.

    Returns:
        What ``source.json`` holds: `model`, `source` ("mirror", "hub" or "copy"), `location`, and `weights`, the
        SHA-256 of the weights (`digest`).

    Raises:
        DownloadError: neither can be had; the message says why and what the user can do.
    """
    from huggingface_hub.constants import ENDPOINT
    from transformers import WhisperForConditionalGeneration

    from orthograd.speech.conversion import convert

    out_dir.mkdir(parents=True, exist_ok=True)
    refusal = None if entry.files else _hub_refusal(entry, limits)
    if entry.files:
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=out_dir) as scratch:
            served = download(entry.files, Path(scratch), mirror, limits)
            model = WhisperForConditionalGeneration.from_pretrained(scratch, local_files_only=True)
            tokenizer = (Path(scratch) / TOKENIZER).read_bytes()
        source, location = "mirror" if served[0].source == "mirror" else "hub", served[0].location
    elif refusal is None:
        from huggingface_hub import hf_hub_download

        model = WhisperForConditionalGeneration.from_pretrained(entry.hub, revision=entry.revision)
        tokenizer = Path(hf_hub_download(entry.hub, TOKENIZER, revision=entry.revision)).read_bytes()
        source, location = "hub", f"{ENDPOINT}/{entry.hub} at {entry.revision}"
    elif entry.copy_of_weights is None:
        raise DownloadError(
            f"{entry.name}: {refusal}, and there is no copy of its weights elsewhere. Give this machine "
            f"access to {ENDPOINT}, or choose a model of the registry that has a copy: "
            "whisper-tiny.en stands in for whisper-tiny"
        )
    else:
        logger.warning("%s: %s; taking the copy of its weights", entry.name, refusal)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=out_dir) as scratch:
            served = download(entry.copy_of_weights, Path(scratch), mirror, limits)
            model = convert(Path(scratch))
            tokenizer = (Path(scratch) / TOKENIZER).read_bytes()
        source, location = "copy", served[0].location
    model.float().save_pretrained(out_dir)
    (out_dir / TOKENIZER).write_bytes(tokenizer)
    origin = {"model": entry.name, "source": source, "location": location, "weights": digest(model)}
    (out_dir / SOURCE).write_text(json.dumps(origin, indent=2) + "\n", encoding="utf-8")
    return origin


def load(folder: Path) -> Whisper:
    """The model that `fetch` or `save` wrote, in evaluation mode and float32.

    Raises:
        FileNotFoundError: the folder holds no model.
    """
    import torch
    from tokenizers import Tokenizer
    from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

    if not (folder / TOKENIZER).exists():
        raise FileNotFoundError(
            f"{folder} holds no Whisper model: fetch one with `python -m orthograd whisper`"
        )
    model = WhisperForConditionalGeneration.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True
    )
    extractor = WhisperFeatureExtractor(feature_size=model.config.num_mel_bins)
    return Whisper(model.eval(), Tokenizer.from_file(str(folder / TOKENIZER)), extractor)


def digest(model: WhisperForConditionalGeneration) -> str:
    """SHA-256 of all parameters in float32, in the order of their names; it does not depend on where they came from."""
    import hashlib

    import torch

    sha256 = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        sha256.update(name.encode())
        sha256.update(parameter.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    return sha256.hexdigest()


def _hub_refusal(entry: SpeechModel, limits: Limits) -> str | None:
    """Why the hub cannot serve the model, or None: asked once, since its client would try for minutes."""
    from huggingface_hub.constants import ENDPOINT

    url = f"{ENDPOINT}/{entry.hub}/resolve/{entry.revision}/config.json"
    try:
        status = requests.head(url, timeout=(limits.connect, limits.read), allow_redirects=True).status_code
    except (requests.ConnectionError, requests.Timeout):
        return f"{ENDPOINT} cannot be reached"
    return None if status == 200 else f"{url} answers HTTP {status}"
