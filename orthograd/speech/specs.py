"""Settings of the speech steps. Importing this module does not import torch: a config is checked fast."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from orthograd.specs import Positive, Strict

Action = Annotated[
    Literal["refuse", "skip"], Field(description="refuse: stop with an error; skip: leave out, and count")
]


class Policy(Strict):
    """What to do with utterances that cannot be used, problem by problem."""

    broken_audio: Action = Field(description="the audio cannot be decoded to its end")
    wrong_format: Action = Field(description="the audio has another sample rate, or more than one channel")
    too_long: Action = Field(description="the audio is longer than the 30 s that Whisper hears at once")
    missing_transcript: Action = Field(description="no transcript, or an empty one, belongs to the audio")
    missing_audio: Action = Field(description="no audio belongs to a line of the transcripts")
    unknown_speaker: Action = Field(description="SPEAKERS.TXT does not list the speaker")


class Synthesis(Strict):
    """The synthetic corpus."""

    sentences: Positive = Field(description="utterances of each voice, a whole number >= 1")
    seed: int = Field(ge=0, description="of the sentences, a whole number >= 0")


class Decoding(Strict):
    """Greedy decoding."""

    batch_size: Positive = Field(description="utterances decoded at once, a whole number >= 1")
    max_new_tokens: Positive = Field(description="tokens after which a transcript ends, a whole number >= 1")
