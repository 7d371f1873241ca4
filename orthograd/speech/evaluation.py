"""What a model makes of utterances: transcripts, their errors and losses; and the WER that steers an unlearning run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import pandas as pd
import torch
from torch import nn

from orthograd.objective import losses
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
        recorded: rows of sets whose WER goes into the trajectory, by name.
        target: a fraction.
    """

    listener: Listener
    steering: Sequence[int]
    recorded: Mapping[str, Sequence[int]]
    target: float
    steered_by: str = "wer_forget_validation"

    def value(self, model: nn.Module) -> tuple[float, bool]:
        with torch.no_grad():
            outputs = model(self.listener.speller.utterances.samples(self.steering).images)
        return self.listener.wer(self.steering), bool(outputs.isfinite().all())

    def reached(self, value: float) -> bool:
        return value >= self.target

    def others(self, model: nn.Module) -> dict[str, float]:
        # All sets in the same batches: the last ones of each would be small, and small batches are dear.
        heard = self.listener.scores([row for rows in self.recorded.values() for row in rows])
        found, start = {}, 0
        for name, rows in self.recorded.items():
            found[f"wer_{name}"] = rates(heard.iloc[start : start + len(rows)])["wer"]
            start += len(rows)
        return found

    def effects(self, before: nn.Module, model: nn.Module) -> dict[str, float]:
        return {}
