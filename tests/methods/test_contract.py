"""What every method has to do, whatever its rule is."""

import copy
from collections.abc import Callable, Iterable
from contextlib import closing
from itertools import islice

import pytest
import torch
from cases import CASES
from problem import ARCHITECTURES, CLASSES, NAMES, PIXELS, data, draw, flat, original, start
from torch import nn

from orthograd import methods
from orthograd.data.samples import Samples
from orthograd.methods.base import IMAGES, DataName, DataView, ScenarioKind, Step, Updates
from orthograd.randomness import generator

OWN = sorted(set(methods.names()) - set(methods.entries()))
SCENARIOS: tuple[ScenarioKind, ...] = ("random", "class")


def _scenario(name: str) -> ScenarioKind:
    return min(methods.load(name).scenarios & {*SCENARIOS}, key=SCENARIOS.index)


def _updates(
    name: str,
    model: nn.Module,
    *,
    seed: int = 0,
    sets: dict[DataName, Samples] | None = None,
    **changes: object,
) -> Updates:
    return start(name, model, sets or data(_scenario(name)), {**CASES[name].params, **changes}, seed)


def _result(name: str, **arguments: object) -> tuple[torch.Tensor, list[Step]]:
    """The parameters after the method's own end, and its steps."""
    model = original()
    steps = list(_updates(name, model, **arguments))
    return flat(model), steps


def _disturbed(samples: Samples) -> Samples:
    """Other images and other labels, of another class also where there is one only."""
    return Samples(-samples.images.roll(1, dims=0), (samples.labels + 1) % CLASSES)


def _state(model: nn.Module) -> object:
    """Everything of a model but the values of its parameters."""
    hooks = [
        len(getattr(module, attribute))
        for module in model.modules()
        for attribute in vars(module)
        if attribute.endswith("_hooks") and getattr(module, attribute) is not None
    ]
    return (
        [(name, type(module), module.training) for name, module in model.named_modules()],
        [
            (name, id(p), p.shape, p.dtype, p.requires_grad, len(p._backward_hooks or ()))
            for name, p in model.named_parameters()
        ],
        [(name, id(buffer), buffer.tolist()) for name, buffer in model.named_buffers()],
        hooks,
    )


def test_every_method_has_a_case() -> None:
    assert set(CASES) == set(OWN)


@pytest.mark.parametrize("name", OWN)
def test_the_method_describes_itself(name: str) -> None:
    method = methods.load(name)
    assert method.name == name
    assert method.rule
    assert method.source
    assert method.reads
    assert method.scenarios
    for field, info in method.params.model_fields.items():
        assert info.is_required(), f"{field} has a default: the config has to give every value"
        assert info.description, f"{field} has no description"


@pytest.mark.parametrize("name", OWN)
def test_it_changes_the_parameters_and_counts_what_it_does(name: str) -> None:
    after, steps = _result(name)
    assert not torch.equal(after, flat(original()))
    assert after.isfinite().all()
    case = CASES[name]
    counted = len(steps), sum(step.forward for step in steps), sum(step.backward for step in steps)
    assert counted == (case.steps, case.forward, case.backward)
    assert steps[-1].complete, "the end of a run is no place inside a round"
    for step in steps:
        assert all(isinstance(value, float) for value in step.values.values())


@pytest.mark.parametrize("name", OWN)
def test_only_the_seed_decides_what_is_random(name: str) -> None:
    before = torch.random.get_rng_state()
    first, _ = _result(name)
    assert torch.equal(torch.random.get_rng_state(), before), "it draws from torch's global random numbers"
    torch.manual_seed(99)
    again, _ = _result(name)
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    other, _ = _result(name, seed=1)
    assert torch.equal(first, other) is not CASES[name].draws


@pytest.mark.parametrize(
    ("name", "read"), [(name, read) for name in OWN for read in sorted(methods.load(name).reads)]
)
def test_it_reacts_to_the_data_that_it_declares(name: str, read: DataName) -> None:
    sets = data(_scenario(name))
    sets[read] = _disturbed(sets[read])
    assert not torch.equal(_result(name)[0], _result(name, sets=sets)[0])


@pytest.mark.parametrize("name", OWN)
def test_it_needs_nothing_else_and_leaves_its_data_alone(name: str) -> None:
    reads = methods.load(name).reads
    sets = {each: samples for each, samples in data(_scenario(name)).items() if each in reads}
    given = copy.deepcopy(sets)
    alone, _ = _result(name, sets=sets)
    torch.testing.assert_close(alone, _result(name)[0], rtol=0, atol=0)
    for each, samples in sets.items():
        assert torch.equal(samples.images, given[each].images)
        assert torch.equal(samples.labels, given[each].labels)


@pytest.mark.parametrize(
    ("name", "field"), [(name, field) for name in OWN for field in methods.load(name).params.model_fields]
)
def test_every_parameter_is_read(name: str, field: str) -> None:
    case = CASES[name]
    given = case.given.get(field, {})
    before, steps = _result(name, **given)
    after, other_steps = _result(name, **given, **{field: case.changes[field]})
    assert len(steps) != len(other_steps) or not torch.equal(before, after)


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in OWN
        if "passes" in methods.load(name).params.model_fields
        and type(None) in getattr(methods.load(name).params.model_fields["passes"].annotation, "__args__", ())
    ],
)
def test_without_a_number_of_passes_it_goes_on(name: str) -> None:
    steps = CASES[name].steps + 1
    assert len(list(islice(_updates(name, original(), passes=None), steps))) == steps


@pytest.mark.parametrize("name", [name for name in OWN if methods.load(name).published])
def test_the_published_default_runs_to_its_end(name: str) -> None:
    method = methods.load(name)
    assert method.published is not None
    assert method.published.source
    model = original()
    # In the order of a JSON file: a default that only Python can write could not go into a config.
    params = method.params.model_validate_json(method.params(**method.published.params).model_dump_json())
    view = DataView(data(_scenario(name), 192), method.reads, seed=0, pixels=PIXELS)
    steps = list(method.run(model, view, params))
    assert steps[-1].complete
    assert view.accessed.keys() == method.reads
    # SSD's threshold of 10 chooses no weight where the two sets are of one size.
    changed = name != "ssd"
    assert torch.equal(flat(model), flat(original())) is not changed
    assert flat(model).isfinite().all()


@pytest.mark.parametrize(
    ("name", "field"),
    [(name, field) for name in OWN for field in methods.load(name).params.model_fields if "batch" in field],
)
def test_a_batch_larger_than_its_set_is_refused(name: str, field: str) -> None:
    with pytest.raises(ValueError, match=r"a batch of 13 from 12 .*lower the batch size"):
        _result(name, **{field: 13})


def _to_the_end(updates: Updates) -> None:
    assert list(updates)


def _closed_after_the_first(updates: Updates) -> None:
    with closing(updates):
        next(updates)


@pytest.mark.parametrize("run", [_to_the_end, _closed_after_the_first])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("name", OWN)
def test_only_the_values_of_the_parameters_change(
    name: str, architecture: str, run: Callable[[Updates], None]
) -> None:
    model = original(architecture)
    before = _state(model)
    run(_updates(name, model))
    assert _state(model) == before
    assert flat(model).isfinite().all()


@pytest.mark.parametrize(
    ("name", "scenario"),
    [(name, scenario) for name in OWN for scenario in sorted(methods.load(name).scenarios & IMAGES)],
)
def test_it_runs_in_its_scenarios(name: str, scenario: ScenarioKind) -> None:
    after, steps = _result(name, sets=data(scenario))
    assert steps
    assert after.isfinite().all()
    assert not torch.equal(after, flat(original()))


def _evaluated(updates: Iterable[Step], model: nn.Module) -> None:
    images = draw(torch.arange(5) % 3, seed=11).images
    for _ in updates:
        with torch.no_grad():
            logits = model(images)
        assert logits.shape == (5, 3)
        assert not model.training


@pytest.mark.parametrize("name", OWN)
def test_an_evaluation_between_the_updates_changes_nothing(name: str) -> None:
    model = original()
    _evaluated(_updates(name, model), model)
    torch.testing.assert_close(flat(model), _result(name)[0], rtol=0, atol=0)


@pytest.mark.parametrize(
    "name", [name for name in OWN if "forget_batch" in methods.load(name).params.model_fields]
)
def test_the_order_of_the_forget_set_is_the_same_for_all_methods(name: str) -> None:
    """Runs of one seed are compared in pairs."""
    model, seen = original(), []
    hook = model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    # The first update may be one that reads the whole set, as the trimming of Scissorhands.
    for _ in islice(_updates(name, model, forget_batch=5), 2):
        pass
    hook.remove()
    images = data(_scenario(name))["forget"].images
    order = Samples(images, torch.arange(12)).batches(5, generator(0, "unlearn", "forget"))
    expected = images[next(order)[1]]
    # One after the other, since a method may send the samples of a batch through the model one by one.
    assert any(torch.equal(run, expected) for run in torch.cat(seen).unfold(0, 5, 1).movedim(-1, 1))


def test_the_sets_have_the_names_that_methods_may_read() -> None:
    assert set(data()) == set(NAMES)
