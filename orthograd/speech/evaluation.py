"""What a model makes of utterances: transcripts, their errors and losses; and the WER that steers an unlearning run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import pandas as pd
import torch
from torch import nn

from orthograd.objective import losses
from orthograd.precision import all_finite
from orthograd.speech.model import Speller, Utterances
from orthograd.speech.scores import rates, score
from orthograd.speech.specs import Decoding
from orthograd.speech.transcription import transcribe
from orthograd.speech.whisper import Whisper


@dataclass(frozen=True)
class Listener:
    """Transcribes utterances of a table with a Whisper model that is trained.

    Attributes:
        whisper: the model.
        speller: its trained part, over the table.
        references: what was said, row by row.
        decoding: how transcripts are made.
    """

    whisper: Whisper
    speller: Speller
    references: Sequence[str]
    decoding: Decoding

    def scores(self, rows: Sequence[int]) -> pd.DataFrame:
        """`reference`, `hypothesis` and the columns of `orthograd.speech.scores.score`, one row an utterance."""
        batches = torch.tensor(rows).split(self.decoding.batch_size)
        with torch.no_grad():
            encoded = torch.cat([self.speller.encoded(batch) for batch in batches])
        hypotheses = transcribe(self.whisper, encoded, self.decoding)
        references = [self.references[row] for row in rows]
        texts = pd.DataFrame({"reference": references, "hypothesis": hypotheses})
        return pd.concat([texts, score(references, hypotheses)], axis=1)

    def wer(self, rows: Sequence[int]) -> float:
        """The word error rate over some utterances, a fraction."""
        return rates(self.scores(rows))["wer"]


@torch.no_grad()
def utterance_losses(
    model: nn.Module, utterances: Utterances, rows: Sequence[int], batch_size: int
) -> list[float]:
    """The cross-entropy of each utterance under a `Speller`, in nats a token."""
    samples = utterances.samples(rows)
    batches = zip(samples.images.split(batch_size), samples.labels.split(batch_size), strict=True)
    return list(chain.from_iterable(losses(model(images), labels).tolist() for images, labels in batches))


@dataclass(frozen=True)
class WerWatch:
    """The WER of some utterances of the speaker to be forgotten, which has to rise to the target.

    Attributes:
        listener: transcribes.
        steering: rows of forget_validation; nothing else steers a run.
        test: rows whose WER is recorded along a run, for the figures; neither the method nor the stopping rule sees it.
        target: a fraction.
    """

    listener: Listener
    steering: Sequence[int]
    test: Sequence[int]
    target: float
    steered_by: str = "wer_forget_validation"

    def value(self, model: nn.Module) -> tuple[float, bool]:
        finite = True

        def check(module: nn.Module, inputs: object, logits: torch.Tensor) -> None:
            nonlocal finite
            finite = finite and all_finite([logits])

        # Logits that are not finite give a transcript like any others.
        with self.listener.whisper.model.proj_out.register_forward_hook(check):
            return self.listener.wer(self.steering), finite

    def reached(self, value: float) -> bool:
        return value >= self.target

    def others(self, model: nn.Module) -> dict[str, float]:
        return {"wer_test": self.listener.wer(self.test)}

    def effects(self, before: nn.Module, model: nn.Module) -> dict[str, float]:
        return {}
