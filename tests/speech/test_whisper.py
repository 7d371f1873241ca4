import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import constants

from orthograd.data.download import DownloadError, Limits
from orthograd.data.sources import File, Files, MirrorSource
from orthograd.speech import whisper
from orthograd.speech.registry import speech_registry
from orthograd.speech.scores import rates, score
from orthograd.speech.specs import Decoding
from orthograd.speech.synthesis import VOICES, find_programs, speak
from orthograd.speech.transcription import SoundCache, encode, transcribe
from orthograd.speech.whisper import Whisper

DECODING = Decoding(batch_size=2, max_new_tokens=40)
# Of the float32 parameters, with their names; exact on every machine.
WEIGHTS = "7cd069e153eb1ea4af79d3131f6b71c8218f487625545da568800e70c76768ac"
SENTENCES = ["the old captain carried a letter to the harbor", "nobody watched the rabbit in the garden"]


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> list[np.ndarray]:
    """Two sentences by flite's `rms`, chosen since it articulates them: `slt` runs "watched the" together, and Whisper
    hears "watch the"."""
    programs = find_programs(tmp_path_factory.mktemp("programs"))
    return [speak(VOICES[2], text, programs).astype(np.float32) / 2**15 for text in SENTENCES]


@pytest.fixture(scope="module")
def encoded(pretrained: Whisper, voices: list[np.ndarray]) -> torch.Tensor:
    return encode(pretrained.model, pretrained.features(voices))


def test_weights_are_the_known_ones(pretrained: Whisper, pretrained_folder: Path) -> None:
    assert whisper.digest(pretrained.model) == WEIGHTS
    assert json.loads((pretrained_folder / "source.json").read_text(encoding="utf-8"))["weights"] == WEIGHTS


def test_number_of_parameters_is_that_of_the_architecture(pretrained: Whisper) -> None:
    width = 384
    attention = 4 * width**2 + 3 * width  # keys have no bias
    feed_forward = 2 * 4 * width**2 + 5 * width
    norm = 2 * width
    layers = 4 * (attention + feed_forward + 2 * norm) + 4 * (2 * attention + feed_forward + 3 * norm)
    convolutions = 3 * 80 * width + 3 * width**2 + 2 * width
    tables = (51_864 + 1500 + 448) * width
    count = sum(parameter.numel() for parameter in pretrained.model.parameters())
    assert count == layers + 2 * norm + convolutions + tables


def test_output_matrix_is_the_embedding(pretrained: Whisper) -> None:
    assert pretrained.model.proj_out.weight is pretrained.model.model.decoder.embed_tokens.weight


def test_prompt(pretrained: Whisper) -> None:
    assert (pretrained.prompt, pretrained.end) == ([50257, 50362], 50256)


def test_logits_of_a_fixed_signal(pretrained: Whisper) -> None:
    time = np.arange(16_000) / 16_000
    signal = (0.3 * np.sin(2 * np.pi * 220 * time) + 0.1 * np.sin(2 * np.pi * 1330 * time)).astype(np.float32)
    with torch.no_grad():
        logits = pretrained.model(
            input_features=pretrained.features([signal]), decoder_input_ids=torch.tensor([pretrained.prompt])
        ).logits[0, -1]
    # The same weights in float64 (float32 is within 2e-5 of it), stored when the conversion had transcribed speech
    # rightly.
    expected = torch.tensor([8.00966, 2.89916, 1.90065, 3.14965, 2.30978, 2.60717, 1.97107, 2.39961])
    torch.testing.assert_close(logits[:: 51_864 // 8][:8], expected, rtol=0, atol=1e-3)


def test_known_utterances(pretrained: Whisper, encoded: torch.Tensor) -> None:
    found = transcribe(pretrained, encoded, DECODING)
    assert rates(score(SENTENCES, found))["wer"] == 0.0


def test_transcripts_do_not_depend_on_the_batch(pretrained: Whisper, encoded: torch.Tensor) -> None:
    alone = Decoding(batch_size=1, max_new_tokens=40)
    assert transcribe(pretrained, encoded, DECODING) == transcribe(pretrained, encoded, alone)


def test_transcripts_are_those_of_generate_from_the_features(pretrained: Whisper, voices, encoded) -> None:
    with torch.no_grad():
        tokens = pretrained.model.generate(pretrained.features(voices), max_new_tokens=40)
    expected = pretrained.tokenizer.decode_batch(tokens.tolist(), skip_special_tokens=True)
    assert transcribe(pretrained, encoded, DECODING) == [text.strip() for text in expected]


def test_transcript_ends_after_the_tokens_asked_for(pretrained: Whisper, encoded: torch.Tensor) -> None:
    short = transcribe(pretrained, encoded[:1], Decoding(batch_size=1, max_new_tokens=3))
    assert len(pretrained.tokenizer.encode(f" {short[0]}", add_special_tokens=False).ids) <= 3
    with pytest.raises(ValueError, match="has room for 446"):
        transcribe(pretrained, encoded, Decoding(batch_size=1, max_new_tokens=447))


def test_encoder_output_does_not_depend_on_what_it_came_with(tiny: torch.nn.Module) -> None:
    features = torch.randn(5, 4, 12, dtype=torch.float64)
    together = encode(tiny, features)
    assert not together.requires_grad
    assert all(
        torch.equal(encode(tiny, row[None])[0], kept) for row, kept in zip(features, together, strict=True)
    )


def test_cache_gives_exactly_what_the_encoder_gives(
    pretrained: Whisper, voices, encoded, tmp_path: Path
) -> None:
    path = tmp_path / "encoded.npy"
    SoundCache.write(path, pretrained, ["1-1-0000", "1-1-0001"], iter(voices), torch.device("cpu"), "decoder")
    cache = SoundCache(path)
    assert cache.names == ["1-1-0000", "1-1-0001"]
    assert torch.equal(cache.rows, encoded)
    tokens = torch.tensor([pretrained.prompt])
    with torch.no_grad():
        features = pretrained.features(voices[:1])
        whole = pretrained.model(input_features=features, decoder_input_ids=tokens).logits
        kept = pretrained.model(encoder_outputs=(cache.rows[:1],), decoder_input_ids=tokens).logits
    assert torch.equal(whole, kept)


def test_what_is_written_to_a_read_row_stays_in_memory(pretrained: Whisper, voices, tmp_path: Path) -> None:
    path = tmp_path / "encoded.npy"
    SoundCache.write(path, pretrained, ["a"], voices[:1], torch.device("cpu"), "decoder")
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    cache = SoundCache(path)
    cache.rows[0].zero_()
    assert SoundCache(path).rows.norm() > 0
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before


def test_cache_with_names_that_do_not_fit(pretrained: Whisper, voices, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not distinct"):
        SoundCache.write(tmp_path / "e.npy", pretrained, ["a", "a"], voices, torch.device("cpu"), "decoder")
    with pytest.raises(ValueError, match="zip"):
        SoundCache.write(tmp_path / "e.npy", pretrained, ["a"], voices, torch.device("cpu"), "decoder")
    assert not (tmp_path / "e.npy").exists()


class TestFetch:
    @pytest.fixture(autouse=True)
    def _no_hub(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")

    def test_model_without_a_copy_says_what_to_do(self, tmp_path: Path) -> None:
        entry = speech_registry().model("whisper-tiny").model_copy(update={"files": None})
        with pytest.raises(DownloadError, match=r"127.0.0.1:9 cannot be reached.*whisper-tiny\.en stands in"):
            whisper.fetch(entry, tmp_path, limits=Limits(connect=0.5))

    def test_copy_of_other_bytes_is_refused(self, tmp_path: Path) -> None:
        entry = speech_registry().model("whisper-tiny.en")
        assert entry.copy_of_weights is not None
        only_mirror = [source for source in entry.copy_of_weights.sources if source.kind == "mirror"]
        entry = entry.model_copy(
            update={"copy_of_weights": entry.copy_of_weights.model_copy(update={"sources": only_mirror})}
        )
        mirror = tmp_path / "mirror"
        mirror.mkdir()
        for file in entry.copy_of_weights.files:
            (mirror / file.name).write_bytes(b"0" * file.size)
        with pytest.raises(DownloadError, match=r"wrong content: SHA-256"):
            whisper.fetch(entry, tmp_path / "out", str(mirror), Limits(connect=0.5))
        assert not (tmp_path / "out" / "model.safetensors").exists()

    @pytest.fixture
    def known(self, tiny: torch.nn.Module, tmp_path: Path) -> Files:
        """The files of a small model, in a mirror."""
        folder = tmp_path / "mirror" / "whisper-tiny"
        tiny.float().save_pretrained(folder)
        (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
        files = [
            File(
                name=path.name, size=path.stat().st_size, sha256=hashlib.sha256(path.read_bytes()).hexdigest()
            )
            for path in sorted(folder.iterdir())
        ]
        return Files(name="whisper-tiny", files=tuple(files), sources=(MirrorSource(kind="mirror"),))

    def test_known_files_are_verified_and_need_no_hub(self, known: Files, tiny, tmp_path: Path) -> None:
        entry = speech_registry().model("whisper-tiny").model_copy(update={"files": known})
        origin = whisper.fetch(entry, tmp_path / "out", str(tmp_path / "mirror"))
        assert (origin["source"], origin["weights"]) == ("mirror", whisper.digest(tiny))
        assert (tmp_path / "out" / "tokenizer.json").read_text(encoding="utf-8") == "{}"
        weights = tmp_path / "mirror" / "whisper-tiny" / "model.safetensors"
        weights.write_bytes(bytes(weights.stat().st_size))
        with pytest.raises(DownloadError, match=r"model\.safetensors: .*wrong content: SHA-256"):
            whisper.fetch(entry, tmp_path / "other", str(tmp_path / "mirror"))

    def test_folder_without_a_model(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="python -m orthograd whisper"):
            whisper.load(tmp_path)
