"""Every contender computes the same direction as a slow loop over the samples in float64."""

import importlib.util
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from orthograd.benchmark import worker
from orthograd.benchmark.contenders import ALPHA, CONTENDERS, FLOOR, Contender
from orthograd.benchmark.models import WORKLOADS, Workload
from orthograd.benchmark.run import AGREEMENT, WRONG, judged

INSTALLED = [name for name, c in CONTENDERS.items() if c.needs is None or importlib.util.find_spec(c.needs)]


def _workload() -> Workload:
    """What the contenders meet in the real models: convolution, BatchNorm, in-place ReLU, a frozen parameter."""
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(4 * 25, 6),
        nn.Linear(6, 3),
    )
    model(torch.randn(20, 2, 5, 5))  # statistics
    nn.init.uniform_(model[1].weight, 0.5, 2.0)
    model[4].bias.requires_grad_(False)

    def loss_fn(model, batch):
        images, labels = batch
        return F.cross_entropy(model(images), labels, reduction="none")

    return Workload(
        model.double().eval(),
        loss_fn,
        lambda n: (torch.randn(n, 2, 5, 5, dtype=torch.float64), torch.randint(3, (n,))),
    )


def _loop(work: Workload, batch) -> list[list[torch.Tensor]]:
    """The gradients of each sample's loss, one backward pass at a time."""
    parameters = [p for p in work.model.parameters() if p.requires_grad]
    images, labels = batch
    return [
        list(
            torch.autograd.grad(
                work.loss_fn(work.model, (images[i : i + 1], labels[i : i + 1]))[0], parameters
            )
        )
        for i in range(len(images))
    ]


def _off_the_rows(rows: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
    return vector - rows.T @ torch.linalg.lstsq(rows.T, vector[:, None], driver="gelsd").solution[:, 0]


def _oracle(work: Workload, forget, retain, direction: str) -> torch.Tensor:
    """α·mean(g_r) − (1−α)·g_u⊥; for the floor with g_u in the place of g_u⊥."""
    forget_rows = [
        torch.stack([g.flatten() for g in part]) for part in zip(*_loop(work, forget), strict=True)
    ]
    retain_rows = [
        torch.stack([g.flatten() for g in part]) for part in zip(*_loop(work, retain), strict=True)
    ]
    if direction != "tensor":
        forget_rows, retain_rows = [torch.cat(forget_rows, 1)], [torch.cat(retain_rows, 1)]
    pieces = []
    for rows, unlearn in zip(retain_rows, [part.mean(0) for part in forget_rows], strict=True):
        part = unlearn if direction == "floor" else _off_the_rows(rows, unlearn)
        pieces.append(ALPHA * rows.mean(0) - (1 - ALPHA) * part)
    return torch.cat(pieces)


@pytest.mark.parametrize("name", INSTALLED)
def test_the_direction_is_that_of_the_loop(name: str) -> None:
    work = _workload()
    forget, retain = work.batch(4), work.batch(3)
    expected = _oracle(work, forget, retain, CONTENDERS[name].direction)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other packages' own
        CONTENDERS[name].make(work)(forget, retain)
    found = torch.cat([p.grad.flatten() for p in work.model.parameters() if p.requires_grad])
    assert float((found - expected).norm() / expected.norm()) < 1e-9


def test_the_three_directions_differ() -> None:
    """Else a contender with the wrong scope would pass."""
    work = _workload()
    forget, retain = work.batch(4), work.batch(3)
    floor, whole, tensor = (_oracle(work, forget, retain, name) for name in ("floor", "global", "tensor"))
    assert float((floor - whole).norm() / whole.norm()) > 1e-3
    assert float((tensor - whole).norm() / whole.norm()) > 1e-3


@pytest.fixture
def single_precision() -> tuple[Workload, tuple]:
    work = WORKLOADS["small-resnet"]()
    return work, (work.batch(2), work.batch(2))


def test_a_contender_that_does_not_project_is_found_out(single_precision, monkeypatch) -> None:
    floor = CONTENDERS[FLOOR]
    monkeypatch.setitem(CONTENDERS, "fast-and-wrong", Contender("wrong", floor.make, "global"))
    results = worker.agreement(*single_precision, ["fast-and-wrong", "ours-gramian", FLOOR])
    assert results["fast-and-wrong"]["error64"] > 1e-3
    assert judged(results["fast-and-wrong"])["status"] == WRONG
    assert results["ours-gramian"]["error64"] < AGREEMENT
    assert results["ours-gramian"]["error"] < 1e-4
    assert "status" not in judged(results["ours-gramian"])
    assert results[FLOOR]["error64"] is None
    assert "status" not in judged(results[FLOOR])


def test_a_package_that_is_absent_or_refuses_is_a_result(single_precision, monkeypatch) -> None:
    def refuse(work):
        raise NotImplementedError("no such layer\nmore")

    monkeypatch.setitem(CONTENDERS, "absent", Contender("absent", refuse, needs="no_package_of_this_name"))
    monkeypatch.setitem(CONTENDERS, "refusing", Contender("refusing", refuse))
    assert worker.agreement(*single_precision, ["absent", "refusing"]) == {
        "absent": {"status": "not installed", "reason": "make bench installs it"},
        "refusing": {"status": "not supported", "reason": "NotImplementedError: no such layer"},
    }


# PEFT asks transformers for an attribute that the newest version calls deprecated.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        # Stem; convolutions and norms of the blocks of 24, 48 and 96 channels; head.
        ("small-resnet", 696 + 10_464 + (31_104 + 1_152 + 288) + (124_416 + 4_608 + 576) + 970),
        # torchvision's number, less its head and stem, with those for 10 classes and small images.
        ("resnet18", 11_689_512 - 513_000 + 5_130 - 9_408 + 1_728),
        # Layers of width 192; patches, class token, positions, last norm, head.
        (
            "vit-tiny",
            12 * (4 * 192**2 + 2 * 192 * 768 + 9 * 192 + 768) + 9_408 + 192 + 65 * 192 + 384 + 1_930,
        ),
        ("whisper-tiny-lora", 4 * 8 * 8 * (384 + 384)),  # layers, projections, rank, in and out
    ],
)
def test_a_workload_has_its_size_and_one_loss_a_sample(name: str, parameters: int) -> None:
    work = WORKLOADS[name]()
    assert not work.model.training
    assert sum(p.numel() for p in work.model.parameters() if p.requires_grad) == parameters
    first, second = work.batch(2)
    with torch.no_grad():
        together = work.loss_fn(work.model, (first, second))
        alone = work.loss_fn(work.model, (first[1:], second[1:]))
    assert together.shape == (2,)
    torch.testing.assert_close(together[1:], alone)


def test_an_error_of_the_engine_is_not_taken_for_a_refusal(single_precision, monkeypatch) -> None:
    def broken(work):
        raise TypeError("a fault of ours")

    monkeypatch.setitem(CONTENDERS, "ours-gramian", Contender("ours", broken))
    with pytest.raises(TypeError, match="a fault of ours"):
        worker.agreement(*single_precision, ["ours-gramian"])
