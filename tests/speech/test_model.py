"""The decoder, and the whole model, as a model of rows, under every method that is defined for sequences."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from transformers.modeling_outputs import BaseModelOutput

from orthograd import OrthoGrad, methods, objective
from orthograd.engine.materialize import flat_gradient
from orthograd.methods import base
from orthograd.methods.base import DataView
from orthograd.methods.orthograd_lora import adapters
from orthograd.objective import IGNORED
from orthograd.speech.model import Speller, Utterances
from orthograd.speech.specs import Trained
from orthograd.speech.transcription import encode
from orthograd.steps.inputs import save_model
from orthograd.unlearning import unlearn

OWN = sorted(set(methods.names()) - set(methods.entries()))
SPEECH = [name for name in OWN if "speaker" in methods.load(name).scenarios]
LENGTHS = [3, 7, 5, 2, 6, 4, 7, 3]
LENGTH = 7


@pytest.fixture(params=["decoder", "model"])
def trained(request: pytest.FixtureRequest) -> Trained:
    """What is trained."""
    return request.param


@pytest.fixture
def utterances(trained: Trained) -> Utterances:
    """Eight utterances of different lengths, in float64: what an encoder made of them, or what it gets."""
    torch.manual_seed(0)
    inputs = torch.zeros(len(LENGTHS), LENGTH, dtype=torch.int64)
    labels = torch.full((len(LENGTHS), LENGTH), IGNORED)
    for row, length in enumerate(LENGTHS):
        tokens = torch.randint(2, 23, (length,))
        inputs[row, 0] = 1
        inputs[row, 1:length] = tokens[:-1]
        labels[row, :length] = tokens
    shape = {"decoder": (6, 8), "model": (4, 12)}[trained]
    sound = torch.randn(len(LENGTHS), *shape, dtype=torch.float64)
    return Utterances(sound, inputs, labels, torch.device("cpu"))


@pytest.fixture
def speller(tiny, utterances: Utterances, trained: Trained) -> Speller:
    return Speller(tiny, utterances, trained)


def _sound(trained: Trained, utterances: Utterances, row: int) -> dict[str, object]:
    """The sound of one utterance, as the forward pass of transformers takes it."""
    sound = utterances.sound[row : row + 1]
    if trained == "model":
        return {"input_features": sound}
    return {"encoder_outputs": BaseModelOutput(last_hidden_state=sound)}


def _trainable(speller: Speller) -> dict[str, torch.nn.Parameter]:
    return {name: p for name, p in speller.named_parameters() if p.requires_grad}


def _losses(model: torch.nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """The losses of rows of the table with their labels, as the methods hand them to the engine."""
    rows, labels = batch
    return objective.losses(model(rows), labels)


def _batch(utterances: Utterances, *rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    samples = utterances.samples(rows)
    return samples.images, samples.labels


def _alone(model: torch.nn.Module, utterances: Utterances, trained: Trained, row: int) -> torch.Tensor:
    """The loss of one utterance in a table of its own, without batch mates and padding."""
    rows, columns = slice(row, row + 1), slice(LENGTHS[row])
    inputs, labels = utterances.inputs[rows, columns], utterances.labels[rows, columns]
    table = Utterances(utterances.sound[rows], inputs, labels, torch.device("cpu"))
    return _losses(Speller(model, table, trained), _batch(table, 0))[0]


def test_loss_is_the_mean_over_own_tokens_written_out(
    tiny, speller: Speller, utterances: Utterances, trained: Trained
) -> None:
    losses = _losses(speller, _batch(utterances, *range(len(LENGTHS))))
    assert losses.shape == (len(LENGTHS),)
    for row, length in enumerate(LENGTHS):
        logits = tiny(
            decoder_input_ids=utterances.inputs[row : row + 1, :length], **_sound(trained, utterances, row)
        ).logits[0]
        chosen = logits.log_softmax(dim=-1)[torch.arange(length), utterances.labels[row, :length]]
        torch.testing.assert_close(losses[row], -chosen.mean(), rtol=1e-12, atol=0)


def test_loss_is_that_of_the_whole_model_with_its_own_labels(
    tiny, speller: Speller, utterances, trained: Trained
) -> None:
    for row, length in enumerate(LENGTHS):
        # Its own forward shifts nothing and takes the mean over the tokens of a batch: here of one utterance.
        theirs = tiny(
            decoder_input_ids=utterances.inputs[row : row + 1],
            labels=utterances.labels[row : row + 1],
            **_sound(trained, utterances, row),
        ).loss
        torch.testing.assert_close(_losses(speller, _batch(utterances, row))[0], theirs, rtol=1e-12, atol=0)
        assert (utterances.labels[row] != IGNORED).sum() == length


def test_cached_encoder_gives_exactly_the_loss_of_the_whole_model(tiny, utterances: Utterances) -> None:
    features = torch.randn(2, 4, 12, dtype=torch.float64)
    inputs, labels = utterances.inputs[:2], utterances.labels[:2]
    table = Utterances(encode(tiny, features), inputs, labels, torch.device("cpu"))
    for row in range(2):
        whole = tiny(input_features=features[row : row + 1], decoder_input_ids=inputs[row : row + 1]).logits
        cached = _losses(Speller(tiny, table, "decoder"), _batch(table, row))
        assert torch.equal(cached, objective.losses(whole, labels[row : row + 1]))


def test_before_any_step_the_whole_model_says_what_the_decoder_says_of_the_cache(
    tiny, utterances: Utterances
) -> None:
    features = torch.randn(len(LENGTHS), 4, 12, dtype=torch.float64)
    spellers = {
        trained: Speller(
            tiny, Utterances(sound, utterances.inputs, utterances.labels, torch.device("cpu")), trained
        )
        for trained, sound in (("decoder", encode(tiny, features)), ("model", features))
    }
    for row in range(len(LENGTHS)):
        # The same operations on the same numbers: to the bit.
        decoder, model = (spellers[trained](torch.tensor([row])) for trained in ("decoder", "model"))
        assert torch.equal(decoder, model)
    # The cache was made one by one, and a product over a batch sums in another order.
    rows = torch.arange(len(LENGTHS))
    torch.testing.assert_close(spellers["decoder"](rows), spellers["model"](rows), rtol=0, atol=1e-12)


def test_gradients_reach_every_weight_but_the_fixed_positions(
    tiny, speller: Speller, utterances: Utterances, trained: Trained
) -> None:
    _losses(speller, _batch(utterances, *range(len(LENGTHS)))).mean().backward()
    of_encoder = dict(tiny.model.encoder.named_parameters())
    reached = {name for name, p in of_encoder.items() if p.grad is not None and p.grad.abs().sum() > 0}
    assert reached == (set(of_encoder) - {"embed_positions.weight"} if trained == "model" else set())
    assert all(p.grad is not None for p in tiny.model.decoder.parameters())
    assert not any(name.endswith("encoder.embed_positions.weight") for name in _trainable(speller))


def test_weights_are_there_once_and_come_back(
    tiny, speller: Speller, trained: Trained, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    own = {p.data_ptr() for p in speller.parameters()}
    saved = speller.trained.state_dict()
    assert len(saved) == len(own)
    assert {value.data_ptr() for value in saved.values()} == own
    if trained == "model":
        assert set(saved) == set(tiny.model.state_dict())
    save_model(speller.trained, tmp_path / "weights.safetensors")
    before = {name: value.clone() for name, value in tiny.state_dict().items()}
    with torch.no_grad():
        for parameter in speller.parameters():
            parameter.add_(1.0)
    speller.trained.load_state_dict(load_file(tmp_path / "weights.safetensors"), strict=True)
    assert all(torch.equal(value, before[name]) for name, value in tiny.state_dict().items())


def test_loss_and_gradient_do_not_depend_on_batch_mates_or_padding(
    tiny, speller: Speller, utterances: Utterances, trained: Trained
) -> None:
    parameters = _trainable(speller)
    together = _losses(speller, _batch(utterances, *range(len(LENGTHS))))
    for row in range(len(LENGTHS)):
        alone = _alone(tiny, utterances, trained, row)
        torch.testing.assert_close(together[row], alone, rtol=1e-12, atol=0)
        inside = flat_gradient(together[row], parameters, retain_graph=True)
        outside = flat_gradient(alone, parameters, retain_graph=False)
        assert outside.norm() > 0.1
        torch.testing.assert_close(inside, outside, rtol=0, atol=1e-12 * float(outside.norm()))


def test_padding_reaches_no_loss(speller: Speller, utterances: Utterances) -> None:
    before = _losses(speller, _batch(utterances, 0, 3))
    utterances.inputs[0, 3:] = 11
    utterances.inputs[3, 2:] = 12
    assert torch.equal(_losses(speller, _batch(utterances, 0, 3)), before)


class TestTokens:
    def test_decoder_reads_prompt_and_text_and_says_text_and_end(self, pretrained) -> None:
        table = Utterances.of(pretrained, torch.zeros(2, 1, 1), ["THE CAT", "A"], torch.device("cpu"))
        the, cat, a = 262, 3797, 257  # of the GPT-2 vocabulary: " the", " cat", " a"
        assert table.inputs.tolist() == [[50257, 50362, the, cat], [50257, 50362, a, 50256]]
        assert table.labels.tolist() == [[IGNORED, the, cat, 50256], [IGNORED, a, 50256, IGNORED]]

    def test_transcript_longer_than_the_decoder(self, pretrained) -> None:
        with pytest.raises(ValueError, match=r"500 tokens, but the decoder has room for 446"):
            Utterances.of(pretrained, torch.zeros(1, 1, 1), ["THE " * 500], torch.device("cpu"))

    def test_loss_is_that_of_transformers_for_one_utterance(self, pretrained) -> None:
        features = pretrained.features([torch.randn(16_000).numpy()])
        encoded = encode(pretrained.model, features)
        table = Utterances.of(pretrained, encoded, ["THE CAPTAIN SAW A LADDER"], torch.device("cpu"))
        with torch.no_grad():
            ours = _losses(Speller(pretrained.model, table, "decoder"), _batch(table, 0))
            theirs = pretrained.model(
                input_features=features, decoder_input_ids=table.inputs, labels=table.labels
            ).loss
        torch.testing.assert_close(ours[0], theirs)


class TestLosses:
    def test_of_samples_it_is_the_cross_entropy(self) -> None:
        logits, labels = torch.randn(50, 10), torch.arange(50) % 10
        assert torch.equal(
            objective.losses(logits, labels), F.cross_entropy(logits, labels, reduction="none")
        )
        assert torch.equal(objective.loss(logits, labels), F.cross_entropy(logits, labels))

    def test_of_sequences_each_has_the_same_weight_whatever_its_length(self) -> None:
        # Logits of zero: log 2 for each token, so that only the weights can go wrong.
        logits = torch.zeros(2, 3, 2)
        logits[0, 0] = torch.tensor([0.0, torch.log(torch.tensor(3.0))])
        labels = torch.tensor([[1, IGNORED, IGNORED], [0, 1, 0]])
        wanted = torch.tensor([-torch.log(torch.tensor(0.75)), torch.log(torch.tensor(2.0))])
        torch.testing.assert_close(objective.losses(logits, labels), wanted)
        torch.testing.assert_close(objective.loss(logits, labels), wanted.mean())

    def test_the_divergence_of_sequences_counts_own_tokens_only(self) -> None:
        logits, reference = torch.randn(2, 3, 5), torch.randn(2, 3, 5)
        labels = torch.tensor([[1, 2, IGNORED], [3, IGNORED, IGNORED]])
        at = [[(0, 0), (0, 1)], [(1, 0)]]
        tokens = [
            torch.stack(
                [
                    objective.divergence(logits[i, j][None], reference[i, j][None], labels[i, :1], 2.0)
                    for i, j in own
                ]
            ).mean()
            for own in at
        ]
        torch.testing.assert_close(
            objective.divergence(logits, reference, labels, 2.0),
            torch.stack(tokens).mean(),
            rtol=1e-5,
            atol=1e-6,
        )


def test_norms_in_the_logits_are_those_of_the_gradient(speller: Speller, utterances: Utterances) -> None:
    from orthograd.methods.orthograd_norm import logit_gradient_norms

    samples = utterances.samples([0, 1, 5])
    logits = speller(samples.images).detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(objective.losses(logits, samples.labels).sum(), logits)
    torch.testing.assert_close(logit_gradient_norms(speller, samples), gradient.flatten(1).norm(dim=1))


@pytest.mark.parametrize("name", OWN)
def test_a_method_is_for_speech_or_says_why_not(name: str) -> None:
    method = methods.load(name)
    assert ("speaker" in method.scenarios) == (method.no_speech is None)


class _Steps:
    """Counts nothing and never ends a run."""

    steered_by = "wer"
    target = 2.0

    def value(self, model: torch.nn.Module) -> tuple[float, bool]:
        return 0.0, True

    def reached(self, value: float) -> bool:
        return False

    def others(self, model: torch.nn.Module) -> dict[str, float]:
        return {}

    def effects(self, before: torch.nn.Module, model: torch.nn.Module) -> dict[str, float]:
        return {}


PARAMS = {
    "layers": "weight",
    "learning_rate": 0.01, "momentum": 0.0, "weight_decay": 0.0, "passes": 1, "forget_batch": 2, "retain_batch": 2,
    "batch_size": 2, "alpha": 0.3, "rtol": 0.003, "rank": 2, "lora_alpha": 4, "gamma": 1.0, "epsilon": 0.1,
    "project_off_rectified": False, "temperature": 2.0, "max_rounds": 1, "dampening": 0.5, "sigma": 0.01, "clip": 1.0,
    "fraction": 0.05, "forget_weight": 0.5, "margin": 0.5, "strengths": 3,
}  # fmt: skip


@pytest.mark.parametrize("name", SPEECH)
def test_every_method_for_speech_changes_what_is_trained_and_leaves_it_as_it_was_made(
    tiny, speller: Speller, utterances: Utterances, trained: Trained, name: str
) -> None:
    method = methods.load(name)
    params = method.params.model_validate(
        {k: v for k, v in PARAMS.items() if k in method.params.model_fields}
    )
    data = {"forget": utterances.samples([0, 1, 2, 3]), "retain": utterances.samples([4, 5, 6, 7])}
    before = copy.deepcopy(speller.state_dict())
    encoder = copy.deepcopy(tiny.model.encoder.state_dict())
    from orthograd.specs import StoppingRule

    rule = StoppingRule(every=1, record_every=1, max_steps=3, curve_steps=0)
    result = unlearn(speller, method, params, data, _Steps(), None, rule, own_end=False, seed=0)
    assert result.steps > 0
    assert not result.diverged
    after = speller.state_dict()
    assert list(after) == list(before)
    assert any(not torch.equal(after[key], before[key]) for key in before if key.startswith("decoder."))
    # The output layer is still the embedding, and the Whisper model has the same decoder.
    assert speller.proj_out.weight is speller.decoder.embed_tokens.weight
    assert tiny.proj_out.weight is tiny.model.decoder.embed_tokens.weight is speller.proj_out.weight
    moved = {
        key for key, value in tiny.model.encoder.state_dict().items() if not torch.equal(value, encoder[key])
    }
    assert bool(moved) == (trained == "model")
    assert "embed_positions.weight" not in moved


def test_adapters_go_to_what_is_trained_but_not_to_the_tied_layer(speller: Speller, trained: Trained) -> None:
    with adapters(speller, rank=2, lora_alpha=4, seed=0):
        names = {name for name, p in speller.named_parameters() if p.requires_grad}
    parts = {"decoder": {"decoder"}, "model": {"encoder", "decoder"}}[trained]
    assert {name.split(".layers.")[0] for name in names} == parts
    assert all(".lora_" in name for name in names)


@contextmanager
def _away_from_zero(speller: Speller) -> Iterator[None]:
    """Adapters whose second factors are not zero, where the first ones would have no gradient."""
    with adapters(speller, rank=2, lora_alpha=4, seed=0):
        for name, parameter in speller.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.3)
        # The library makes adapters in float32.
        speller.double()
        yield


@pytest.mark.parametrize("placed", [nullcontext, _away_from_zero], ids=["weights", "lora"])
def test_the_engine_agrees_with_the_oracle(speller: Speller, utterances: Utterances, placed) -> None:
    forget, retain = _batch(utterances, 0, 1, 2), _batch(utterances, 3, 4, 5, 6)
    with placed(speller):
        directions = {}
        for solver in ("gramian", "materialize"):
            speller.zero_grad()
            with OrthoGrad(speller, alpha=0.4, solver=solver) as engine:
                diagnostics = engine.backward_from(_losses, forget, retain)
            gradients = [p.grad for p in speller.parameters() if p.requires_grad]
            directions[solver] = torch.cat([gradient.flatten() for gradient in gradients])
            assert diagnostics.projected_norm < diagnostics.forget_norm
    oracle = directions["materialize"]
    assert oracle.norm() > 0.01
    assert (directions["gramian"] - oracle).norm() < 1e-6 * oracle.norm()


def test_direction_is_orthogonal_to_every_retain_gradient_and_goes_up_on_forget(
    tiny, speller: Speller, utterances: Utterances, trained: Trained
) -> None:
    parameters = _trainable(speller)
    retained = (3, 4, 5, 6)
    with OrthoGrad(speller, alpha=0.0) as engine:
        engine.backward_from(_losses, _batch(utterances, 0, 1), _batch(utterances, *retained))
    direction = torch.cat([p.grad.flatten() for p in parameters.values()])
    without = [p for p in tiny.model.encoder.parameters() if p.grad is None]
    frozen = tiny.model.encoder.embed_positions if trained == "model" else tiny.model.encoder
    assert list(map(id, without)) == list(map(id, frozen.parameters()))
    for row in retained:
        # By autograd, of the utterance by itself.
        gradient = flat_gradient(_alone(tiny, utterances, trained, row), parameters, retain_graph=False)
        assert abs(direction @ gradient) < 1e-6 * direction.norm() * gradient.norm()
    forget = _losses(speller, _batch(utterances, 0, 1)).mean()
    gradient = flat_gradient(forget, parameters, retain_graph=False)
    # What is descended has the opposite direction of the forget gradient.
    assert direction @ gradient < -0.01 * direction.norm() * gradient.norm()


def test_projected_ascent_keeps_each_retain_loss_to_first_order(
    speller: Speller, utterances: Utterances
) -> None:
    """Half the step, a quarter of the change."""
    method = methods.load("orthograd_ascent")
    retain = utterances.samples([4, 5, 6, 7])
    start = copy.deepcopy(speller.state_dict())
    original = objective.losses(speller(retain.images), retain.labels).detach()
    changes = []
    for rate in (1e-3, 5e-4):
        speller.load_state_dict(start)
        params = method.params.model_validate(
            {k: v for k, v in PARAMS.items() if k in method.params.model_fields}
            | {"learning_rate": rate, "retain_batch": 4, "forget_batch": 4, "rtol": 1e-9}
        )
        data = DataView({"forget": utterances.samples([0, 1, 2, 3]), "retain": retain}, method.reads, 0, None)
        list(islice(method.run(speller, data, params), 1))
        changes.append((objective.losses(speller(retain.images), retain.labels).detach() - original).abs())
    assert (changes[1] < 0.3 * changes[0] + 1e-12).all()


def test_data_that_are_no_images_have_no_scale(utterances: Utterances) -> None:
    with pytest.raises(base.UndeclaredDataError, match="images were standardised"):
        _ = DataView({"forget": utterances.samples([0])}, frozenset({"forget"}), 0, None).pixels
