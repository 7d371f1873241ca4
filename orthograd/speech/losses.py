"""The loss of each utterance, for training and for unlearning: no utterance's loss depends on the others of its batch.

A batch is a dict of tensors with the utterances in the leading dimension, as `orthograd.OrthoGrad.backward_from`
takes it:
``encoded`` (n, positions, width), the cached output of a frozen encoder, or ``features`` (n, mels, 3000), for an
encoder that
is trained; ``inputs`` (n, length), int64, what the decoder reads; ``labels`` (n, length), int64, what it should
say next, `IGNORED`
where nothing counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from orthograd.objective import IGNORED, losses

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import WhisperForConditionalGeneration

    from orthograd.speech.whisper import Whisper


def token_batch(whisper: Whisper, transcripts: Sequence[str]) -> dict[str, torch.Tensor]:
    """The `inputs` and `labels` of transcripts (n, length), padded at the end to the longest.

    The decoder reads the prompt and the transcript, and is to say the transcript and its end: the prompt itself is not
    learned, and the padding counts for nothing.

    Raises:
        ValueError: a transcript is longer than the decoder.
    """
    import torch

    prompt, end = whisper.prompt, whisper.end
    room = whisper.model.config.max_target_positions
    inputs, labels = [], []
    for transcript in transcripts:
        tokens = whisper.tokens(transcript)
        if len(prompt) + len(tokens) > room:
            raise ValueError(
                f"a transcript has {len(tokens)} tokens, but the decoder has room for {room - len(prompt)}: leave "
                f"out the utterance that begins with {transcript[:40]!r}"
            )
        inputs.append(torch.tensor([*prompt, *tokens]))
        labels.append(torch.tensor([IGNORED] * (len(prompt) - 1) + [*tokens, end]))
    pad = torch.nn.utils.rnn.pad_sequence
    return {
        "inputs": pad(inputs, batch_first=True, padding_value=end),
        "labels": pad(labels, batch_first=True, padding_value=IGNORED),
    }


def sequence_losses(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The mean cross-entropy (n,), in nats a token, of each utterance over its own tokens.

    The decoder looks back only, so that padding at the end reaches no token that counts.

    Args:
        model: a `WhisperForConditionalGeneration`, with or without adapters, in evaluation mode.
        batch: see the module.

    Raises:
        ValueError: the batch has neither or both of `encoded` and `features`.
    """
    from transformers.modeling_outputs import BaseModelOutput

    if ("encoded" in batch) == ("features" in batch):
        raise ValueError(f"a batch has either encoded or features, but this one has {sorted(batch)}")
    if "encoded" in batch:
        heard = {"encoder_outputs": BaseModelOutput(last_hidden_state=batch["encoded"])}
    else:
        heard = {"input_features": batch["features"]}
    logits = model(decoder_input_ids=batch["inputs"], use_cache=False, **heard).logits
    return losses(logits, batch["labels"])


def freeze_encoder(model: WhisperForConditionalGeneration) -> None:
    """Leave only the decoder trainable, so that the encoder's output can be cached."""
    model.requires_grad_(True)
    model.model.encoder.requires_grad_(False)
