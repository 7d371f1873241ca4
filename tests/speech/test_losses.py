import pytest
import torch
from torch.nn import functional as F

from orthograd import OrthoGrad
from orthograd.engine.materialize import flat_gradient
from orthograd.speech.losses import IGNORED, freeze_encoder, sequence_losses, token_batch
from orthograd.speech.transcription import encode


def _features(count: int) -> torch.Tensor:
    return torch.randn(count, 4, 12, dtype=torch.float64)


def _batch(model, lengths: list[int], longest: int) -> dict[str, torch.Tensor]:
    """Utterances of different lengths, padded to one; the decoder's inputs begin with the token 1."""
    inputs = torch.zeros(len(lengths), longest, dtype=torch.int64)
    labels = torch.full((len(lengths), longest), IGNORED)
    for row, length in enumerate(lengths):
        tokens = torch.randint(2, 23, (length,))
        inputs[row, 0] = 1
        inputs[row, 1:length] = tokens[:-1]
        labels[row, :length] = tokens
    return {"encoded": encode(model, _features(len(lengths))), "inputs": inputs, "labels": labels}


def _alone(batch: dict[str, torch.Tensor], row: int, length: int) -> dict[str, torch.Tensor]:
    """One utterance without padding."""
    cut = {key: value[row : row + 1, :length] for key, value in batch.items() if key != "encoded"}
    return {"encoded": batch["encoded"][row : row + 1], **cut}


def test_loss_is_the_mean_over_own_tokens_written_out(tiny) -> None:
    lengths = [3, 7, 5]
    batch = _batch(tiny, lengths, 8)
    losses = sequence_losses(tiny, batch)
    assert losses.shape == (3,)
    for row, length in enumerate(lengths):
        alone = _alone(batch, row, length)
        logits = tiny(encoder_outputs=(alone["encoded"],), decoder_input_ids=alone["inputs"]).logits[0]
        chosen = logits.log_softmax(dim=-1)[torch.arange(length), alone["labels"][0]]
        torch.testing.assert_close(losses[row], -chosen.mean(), rtol=1e-12, atol=0)


def test_loss_and_gradient_do_not_depend_on_batch_mates_or_padding(tiny) -> None:
    lengths = [2, 9, 5, 1]
    batch = _batch(tiny, lengths, 9)
    freeze_encoder(tiny)
    parameters = {name: p for name, p in tiny.named_parameters() if p.requires_grad}
    together = sequence_losses(tiny, batch)
    for row, length in enumerate(lengths):
        alone = sequence_losses(tiny, _alone(batch, row, length))[0]
        torch.testing.assert_close(together[row], alone, rtol=1e-12, atol=0)
        inside = flat_gradient(together[row], parameters, retain_graph=True)
        outside = flat_gradient(alone, parameters, retain_graph=False)
        assert outside.norm() > 0.1
        torch.testing.assert_close(inside, outside, rtol=0, atol=1e-12 * float(outside.norm()))


def test_what_stands_in_the_padding_reaches_no_loss(tiny) -> None:
    batch = _batch(tiny, [4, 8], 8)
    before = sequence_losses(tiny, batch)
    batch["inputs"][0, 4:] = 17
    assert torch.equal(sequence_losses(tiny, batch), before)


def test_cached_encoder_gives_the_same_loss_as_the_whole_model(tiny) -> None:
    batch = _batch(tiny, [4], 4)
    features = _features(1)
    tokens = {"inputs": batch["inputs"], "labels": batch["labels"]}
    whole = sequence_losses(tiny, {"features": features, **tokens})
    assert torch.equal(sequence_losses(tiny, {"encoded": encode(tiny, features), **tokens}), whole)


def test_encoder_output_does_not_depend_on_what_it_came_with(tiny) -> None:
    features = _features(5)
    together = encode(tiny, features)
    assert not together.requires_grad
    assert all(
        torch.equal(encode(tiny, row[None])[0], kept) for row, kept in zip(features, together, strict=True)
    )


@pytest.mark.parametrize("keys", [{"inputs", "labels"}, {"inputs", "labels", "encoded", "features"}])
def test_batch_without_or_with_two_inputs_is_refused(tiny, keys: set[str]) -> None:
    with pytest.raises(ValueError, match="either encoded or features"):
        sequence_losses(tiny, {key: torch.zeros(1, 1) for key in keys})


def test_frozen_encoder_gets_no_gradient(tiny) -> None:
    freeze_encoder(tiny)
    sequence_losses(tiny, {"features": _features(2), **_tokens()}).mean().backward()
    assert all(p.grad is None for p in tiny.model.encoder.parameters())
    assert tiny.model.decoder.embed_tokens.weight.grad.norm() > 0


def _tokens() -> dict[str, torch.Tensor]:
    return {"inputs": torch.tensor([[1, 5], [1, 6]]), "labels": torch.tensor([[5, 0], [6, 0]])}


def _adapters(model) -> None:
    import peft

    config = peft.LoraConfig(
        r=2, lora_alpha=4, target_modules=r"model\.decoder\..*(q_proj|v_proj|fc1|fc2)", bias="none"
    )
    peft.inject_adapter_in_model(config, model)
    for name, parameter in model.named_parameters():
        # The second factors start at zero, where the first ones have no gradient.
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    model.double().eval()


@pytest.mark.parametrize("prepare", [freeze_encoder, _adapters], ids=["decoder", "lora"])
def test_engine_agrees_with_the_oracle(tiny, prepare) -> None:
    prepare(tiny)
    forget, retain = _batch(tiny, [3, 6, 2], 7), _batch(tiny, [5, 2, 8, 4, 4], 9)
    directions = {}
    for solver in ("gramian", "materialize"):
        tiny.zero_grad()
        with OrthoGrad(tiny, alpha=0.4, solver=solver) as engine:
            diagnostics = engine.backward_from(sequence_losses, forget, retain)
        directions[solver] = torch.cat([p.grad.flatten() for p in tiny.parameters() if p.grad is not None])
        assert diagnostics.projected_norm < diagnostics.forget_norm
    oracle = directions["materialize"]
    assert (directions["gramian"] - oracle).norm() < 1e-6 * oracle.norm()


def test_direction_is_orthogonal_to_every_retain_gradient_and_goes_up_on_forget(tiny) -> None:
    freeze_encoder(tiny)
    forget, retain = _batch(tiny, [3, 6], 7), _batch(tiny, [5, 2, 8], 9)
    parameters = {name: p for name, p in tiny.named_parameters() if p.requires_grad}
    with OrthoGrad(tiny, alpha=0.0) as engine:
        engine.backward_from(sequence_losses, forget, retain)
    direction = torch.cat([p.grad.flatten() for p in parameters.values()])
    tiny.zero_grad()
    for loss in sequence_losses(tiny, retain):
        gradient = flat_gradient(loss, parameters, retain_graph=True)
        assert abs(direction @ gradient) < 1e-6 * direction.norm() * gradient.norm()
    gradient = flat_gradient(sequence_losses(tiny, forget).mean(), parameters, retain_graph=False)
    assert direction @ gradient < -0.01 * direction.norm() * gradient.norm()


class TestTokens:
    def test_decoder_reads_prompt_and_text_and_says_text_and_end(self, pretrained) -> None:
        batch = token_batch(pretrained, ["THE CAT", "A"])
        the, cat, a = 262, 3797, 257  # of the GPT-2 vocabulary: " the", " cat", " a"
        assert batch["inputs"].tolist() == [[50257, 50362, the, cat], [50257, 50362, a, 50256]]
        assert batch["labels"].tolist() == [[IGNORED, the, cat, 50256], [IGNORED, a, 50256, IGNORED]]

    def test_transcript_longer_than_the_decoder(self, pretrained) -> None:
        with pytest.raises(ValueError, match=r"500 tokens, but the decoder has room for 446"):
            token_batch(pretrained, ["THE " * 500])

    def test_loss_is_that_of_transformers_for_one_utterance(self, pretrained) -> None:
        batch = token_batch(pretrained, ["THE CAPTAIN SAW A LADDER"])
        features = pretrained.features([torch.randn(16_000).numpy()])
        with torch.no_grad():
            ours = sequence_losses(pretrained.model, {"features": features, **batch})
            logits = pretrained.model(input_features=features, decoder_input_ids=batch["inputs"]).logits
        theirs = F.cross_entropy(logits[0], batch["labels"][0], ignore_index=IGNORED)
        torch.testing.assert_close(ours[0], theirs)
