"""The vision transformer that is trained here, and the models that come with weights trained on ImageNet."""

import io
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError

import pytest
import torch

import orthograd
from orthograd import models
from orthograd.data.images import ImageDataset
from orthograd.data.readers import ImagePart
from orthograd.steps import inputs
from tests.engine.architectures import CASES, spread

CHECKPOINT = "resnet18-f37072fd.pth"  # the file that torchvision's weights lie in


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("resnet18-imagenet", 11_689_512), ("vit-b-16-imagenet", 86_567_656)],  # torchvision's documentation
)
def test_imagenet_models_have_the_published_size(name: str, parameters: int) -> None:
    model = models.build(name, 3, 224, 1000).eval()
    assert sum(p.numel() for p in model.parameters()) == parameters
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 224, 224)).shape == (1, 1000)


@pytest.mark.parametrize(
    ("name", "grid", "width", "layers", "hidden"),
    [("small-vit", 4, 64, 4, 128), ("vit-tiny", 8, 192, 12, 768)],
)
@pytest.mark.parametrize(("channels", "size", "classes"), [(1, 32, 10), (3, 40, 7)])
def test_a_vit_has_the_size_that_its_layers_add_up_to(
    name: str, grid: int, width: int, layers: int, hidden: int, channels: int, size: int, classes: int
) -> None:
    model = models.build(name, channels, size, classes).eval()
    patches = (channels * (size // grid) ** 2 + 1) * width
    positions = width + (grid**2 + 1) * width  # class token and table
    attention = 4 * (width * width + width)
    block = 2 * 2 * width + attention + (width + 1) * hidden + (hidden + 1) * width
    total = patches + positions + layers * block + 2 * width + (width + 1) * classes
    assert sum(p.numel() for p in model.parameters()) == total
    assert model(torch.zeros(2, channels, size, size)).shape == (2, classes)


@pytest.mark.parametrize(
    ("name", "channels", "size"),
    [("small-vit", 1, 28), ("small-vit", 3, 32), ("vit-tiny", 3, 32), ("small-resnet", 3, 32)],
)
def test_a_sample_does_not_see_the_others(name: str, channels: int, size: int) -> None:
    model = spread(models.build(name, channels, size, 10))  # the head of a fresh ViT is zero
    batch = torch.randn(5, channels, size, size, dtype=torch.float64)
    with torch.no_grad():
        together = model(batch)
        alone = torch.cat([model(image[None]) for image in batch])
    assert together.std(dim=0).min() > 0
    torch.testing.assert_close(together, alone, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("micro_batch", [None, 2])
def test_the_engine_agrees_with_its_oracle_on_the_small_vit(micro_batch: int | None) -> None:
    case = CASES["small vit"]()
    forget, retain = case.batch(3), case.batch(4)
    directions = []
    for solver, samples_at_once in (("materialize", None), ("gramian", micro_batch)):
        case.model.zero_grad()
        with orthograd.OrthoGrad(case.model, alpha=0.3, solver=solver) as engine:
            diagnostics = engine.backward_from(case.loss_fn, forget, retain, micro_batch=samples_at_once)
        assert diagnostics.rank == 4
        assert diagnostics.condition_number < 1e3  # below it the engine promises 1e-10 in float64
        directions.append(torch.cat([p.grad.flatten() for p in case.model.parameters()]))
    oracle, got = directions
    assert (got - oracle).norm() <= 1e-10 * oracle.norm()


def test_what_a_model_cannot_take_is_named() -> None:
    with pytest.raises(ValueError, match="do not tile 30 × 30"):
        models.build("small-vit", 1, 30, 10)
    with pytest.raises(ValueError, match=r"not 1 × 28 × 28 in 10: use it with the dataset imagenet"):
        models.build("resnet18-imagenet", 1, 28, 10)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub" / "checkpoints"


def test_unreachable_weights_are_an_error_with_a_mend(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "urlopen", unreachable)
    with pytest.raises(
        RuntimeError, match=rf"no route to host.*put the file {CHECKPOINT} into .*checkpoints"
    ):
        models.pretrained("resnet18-imagenet")
    with pytest.raises(RuntimeError, match=r"vit_b_16-c867db91\.pth"):
        models.pretrained("vit-b-16-imagenet")


def test_other_weights_are_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Answer(io.BytesIO):
        def info(self) -> SimpleNamespace:
            return SimpleNamespace(get_all=lambda _: [str(len(self.getvalue()))])

    monkeypatch.setattr(torch.hub, "urlopen", lambda *_, **__: Answer(b"not the weights"))
    with pytest.raises(RuntimeError, match="invalid hash value"):
        models.pretrained("resnet18-imagenet")
    assert list(cache.iterdir()) == []


def test_only_an_original_model_starts_from_published_weights(cache: Path) -> None:
    published = models.build("resnet18-imagenet", 3, 224, 1000).state_dict()
    cache.mkdir(parents=True)
    torch.save(published, cache / CHECKPOINT)
    part = ImagePart(torch.zeros(1, 3, 224, 224, dtype=torch.uint8), torch.zeros(1), torch.zeros(1))
    dataset = ImageDataset("toy", "1", tuple(map(str, range(1000))), {}, (0.0,) * 3, (1.0,) * 3, part, part)
    device = torch.device("cpu")
    original = inputs.new_model("resnet18-imagenet", dataset, 1, device, pretrained=True).state_dict()
    retrained = inputs.new_model("resnet18-imagenet", dataset, 1, device).state_dict()
    assert all(torch.equal(original[name], value) for name, value in published.items())
    assert not torch.equal(retrained["fc.weight"], published["fc.weight"])
    assert models.pretrained("resnet18") is None
