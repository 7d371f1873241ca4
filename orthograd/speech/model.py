"""Whisper, or its decoder alone, as a model of utterances: it maps rows of a table to logits.

The methods hand batches of inputs to a model and its outputs, with labels, to a loss. Here the inputs are row numbers,
int64 (n,), the outputs logits (n, length, vocabulary), and the labels (n, length), see `orthograd.objective`.
What the model gets of an utterance's sound is looked up by its row: what the frozen encoder made of it, or, where the
encoder is trained as well, what the encoder gets.

The decoder looks back only, so that the padding at the end of an utterance reaches no token that counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import nn

from orthograd.data.samples import Samples
from orthograd.objective import IGNORED
from orthograd.reads import Read
from orthograd.speech.specs import Trained

if TYPE_CHECKING:
    from transformers import WhisperForConditionalGeneration

    from orthograd.speech.whisper import Whisper


class Utterances:
    """Utterances by their row: what a `Speller` gets of their sound, and what the decoder reads and is to say.

    Args:
        sound: the encoder's output (n, positions, width), or what it gets, features (n, mels, frames); may lie in a
            file.
        inputs: int64 (n, length), what the decoder reads.
        labels: int64 (n, length), what it is to say next, `IGNORED` where nothing counts.
        device: where the model is.
    """

    def __init__(
        self, sound: torch.Tensor, inputs: torch.Tensor, labels: torch.Tensor, device: torch.device
    ) -> None:
        self.sound = sound.to(device)
        self.inputs = inputs.to(device)
        self.labels = labels.to(device)

    @classmethod
    def of(
        cls, whisper: Whisper, sound: torch.Tensor, transcripts: Sequence[str], device: torch.device
    ) -> Self:
        """The table of utterances, their sound and their transcripts in the same order.

        The decoder reads the prompt and the transcript, and is to say the transcript and its end: the prompt itself is
        not learned. Both are padded at the end to the longest, and the padding counts for nothing.

        Raises:
            ValueError: a transcript is longer than the decoder.
        """
        prompt, end = whisper.prompt, whisper.end
        room = whisper.model.config.max_target_positions - len(prompt)
        inputs, labels = [], []
        for transcript in transcripts:
            tokens = whisper.tokens(transcript)
            if len(tokens) > room:
                raise ValueError(
                    f"a transcript has {len(tokens)} tokens, but the decoder has room for {room}: leave out the "
                    f"utterance that begins with {transcript[:40]!r}"
                )
            inputs.append(torch.tensor([*prompt, *tokens]))
            labels.append(torch.tensor([IGNORED] * (len(prompt) - 1) + [*tokens, end]))
        pad = nn.utils.rnn.pad_sequence
        return cls(
            sound,
            pad(inputs, batch_first=True, padding_value=end),
            pad(labels, batch_first=True, padding_value=IGNORED),
            device,
        )

    def samples(self, rows: Sequence[int], read: Read | None = None) -> Samples:
        """Some utterances, as the methods take them."""
        chosen = torch.tensor(rows, device=self.labels.device)
        return Samples(chosen, self.labels[chosen], read)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # A teacher reads the same table.
        return self


class Speller(nn.Module):
    """The trained part of a Whisper model, which it shares, over a table of utterances.

    The output layer is the embedding of the tokens, as in the whole model. Whatever changes the trained part in place,
    adapters as well, changes the Whisper model. The encoder's positions, a fixed table, are never trained.

    Args:
        model: in evaluation mode.
        utterances: with the encoder's output where `trained` is decoder, with features where it is model.
        trained: the decoder, or the whole model.
    """

    def __init__(
        self, model: WhisperForConditionalGeneration, utterances: Utterances, trained: Trained
    ) -> None:
        super().__init__()
        self.encoder: nn.Module | None = model.model.encoder if trained == "model" else None
        self.decoder: nn.Module = model.model.decoder
        self.proj_out = model.proj_out
        self.utterances = utterances
        self.requires_grad_(True).eval()
        if self.encoder is not None:
            self.encoder.embed_positions.requires_grad_(False)

    @property
    def trained(self) -> nn.Module:
        """The trained part without the output layer, so that each weight is there once: what is saved and restored."""
        if self.encoder is None:
            return self.decoder
        return nn.ModuleDict({"encoder": self.encoder, "decoder": self.decoder})

    def encoded(self, rows: torch.Tensor) -> torch.Tensor:
        """The encoder's output (n, positions, width) of the utterances in some rows, as the decoder gets it now."""
        sound = self.utterances.sound[rows]
        encoded: torch.Tensor = sound if self.encoder is None else self.encoder(sound).last_hidden_state
        return encoded

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Logits (n, length, vocabulary) of the utterances in some rows, int64 (n,)."""
        states = self.decoder(
            input_ids=self.utterances.inputs[rows],
            encoder_hidden_states=self.encoded(rows),
            use_cache=False,
        ).last_hidden_state
        logits: torch.Tensor = self.proj_out(states)
        return logits
