"""Greedy transcription with Whisper, and what a trained model gets of the sound, computed once and kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from orthograd.speech.specs import Decoding, Trained

if TYPE_CHECKING:
    import torch
    from transformers import WhisperForConditionalGeneration

    from orthograd.speech.whisper import Whisper


def encode(model: WhisperForConditionalGeneration, features: torch.Tensor) -> torch.Tensor:
    """The encoder's output (n, positions, width) for features (n, mels, 3000), without a graph.

    Each utterance goes through alone, so that its output does not depend, not even in its last bit, on what it
    came with.
    """
    import torch

    with torch.no_grad():
        return torch.cat([model.model.encoder(row[None]).last_hidden_state for row in features])


def transcribe(whisper: Whisper, encoded: torch.Tensor, decoding: Decoding) -> list[str]:
    """Greedy transcripts of encoded utterances, in batches.

    Args:
        whisper: in evaluation mode.
        encoded: (n, positions, width) from `encode`; on any device.
        decoding: size of the batches and length of the transcripts.

    Raises:
        ValueError: more tokens are asked for than the decoder has positions.
    """
    import torch
    from transformers.modeling_outputs import BaseModelOutput

    model = whisper.model
    room = model.config.max_target_positions - len(whisper.prompt)
    if decoding.max_new_tokens > room:
        raise ValueError(
            f"max_new_tokens is {decoding.max_new_tokens}, but the decoder has room for {room}: lower it"
        )
    # A model that lost its way may write times though it is told not to, and transformers would then go back in the
    # audio, which is not there, and begin anew.
    settings = model.generation_config
    times = range(whisper.token("<|notimestamps|>") + 1, model.config.vocab_size)
    suppressed = [*(settings.suppress_tokens or ()), *times]
    language = {"language": "en", "task": "transcribe"} if settings.is_multilingual else {}
    transcripts: list[str] = []
    for batch in encoded.split(decoding.batch_size):
        with torch.no_grad():
            tokens = model.generate(
                encoder_outputs=BaseModelOutput(last_hidden_state=batch.to(model.device)),
                max_new_tokens=decoding.max_new_tokens,
                do_sample=False,
                num_beams=1,
                return_timestamps=False,
                suppress_tokens=suppressed or None,
                **language,
            )
        transcripts += [
            text.strip() for text in whisper.tokenizer.decode_batch(tokens.tolist(), skip_special_tokens=True)
        ]
    return transcripts


class SoundCache:
    """What a trained model gets of the sound of a corpus's utterances, in a file that is read row by row.

    Where the decoder is trained, the encoder's output (n, positions, width); where the whole model is, what its encoder
    gets: log-Mel features (n, mels, 3000). The file is a float32 array of numpy's format; the names of the rows lie
    beside it.

    Attributes:
        names: the utterances, in the order of the rows.
    """

    def __init__(self, path: Path) -> None:
        """Open a cache that `write` made.

        Raises:
            FileNotFoundError: there is none.
        """
        self.names = _names_of(path).read_text(encoding="utf-8").split()
        # Copied when written to, never changed: torch knows no array that is only read.
        self._sound = np.load(path, mmap_mode="c")

    @property
    def rows(self) -> torch.Tensor:
        """All rows, which stay in the file until they are read."""
        import torch

        return torch.from_numpy(self._sound)

    @staticmethod
    def write(
        path: Path,
        whisper: Whisper,
        names: Sequence[str],
        audio: Iterable[np.ndarray],
        device: torch.device,
        trained: Trained,
    ) -> None:
        """Put utterances one after the other into a new cache.

        Args:
            path: file to write.
            whisper: whose features and, where it stays frozen, whose encoder make the rows.
            names: of the utterances, distinct.
            audio: their samples (samples,) at 16 kHz, in the same order.
            device: where the model is.
            trained: what is to be trained on the rows.

        Raises:
            ValueError: there are not as many utterances as names, or a name is there twice.
        """
        if len(set(names)) < len(names):
            raise ValueError("the names of the utterances to be kept are not distinct")
        config, extractor = whisper.model.config, whisper.extractor
        row = {
            "decoder": (config.max_source_positions, config.d_model),
            "model": (extractor.feature_size, extractor.nb_max_frames),
        }[trained]
        part = path.with_name(f"{path.name}.part")
        rows = np.lib.format.open_memmap(part, mode="w+", dtype=np.float32, shape=(len(names), *row))
        for index, (_, samples) in enumerate(zip(names, audio, strict=True)):
            sound = whisper.features([samples])
            if trained == "decoder":
                sound = encode(whisper.model, sound.to(device)).cpu()
            rows[index] = sound[0].numpy()
        rows.flush()
        _names_of(path).write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
        part.replace(path)


def _names_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.names")
