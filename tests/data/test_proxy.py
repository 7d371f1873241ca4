"""The proxy of the retain set: which images it takes, and what the shift does to them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from orthograd.data.images import ImageDataset, content_hashes
from orthograd.data.proxy import proxy_images, proxy_split, shift
from orthograd.data.readers import ImagePart
from orthograd.data.scenarios import (
    ClassScenario,
    DatasetProxy,
    Proxy,
    RandomScenario,
    ShiftProxy,
    SplitSizes,
)
from orthograd.data.splits import base_split, read_split, retain_subset, scenario_split, write_split

STILL = {"rotation": 0.0, "scale": 1.0, "translation": 0.0, "contrast": 1.0, "noise": 0.0}
SHIFT = ShiftProxy(kind="shift", size=24, rotation=15.0, scale=0.9, translation=1.0, contrast=0.5, noise=0.1)
OTHER = DatasetProxy(kind="dataset", size=24, dataset="other")


def part(count: int, seed: int, classes: int = 4, start: int = 0) -> ImagePart:
    rng = np.random.default_rng(seed)
    images = torch.from_numpy(rng.integers(0, 256, (count, 1, 8, 8), dtype=np.uint8))
    return ImagePart(images, torch.arange(count) % classes, start + 3 * torch.arange(count))


@pytest.fixture
def dataset() -> ImageDataset:
    return ImageDataset("toy", "1", tuple("abcd"), {}, (0.5,), (0.2,), part(200, 0), part(40, 1))


@pytest.fixture
def other(dataset: ImageDataset) -> ImageDataset:
    """Classes in another order; half of its images are those of `dataset`, as CIFAR-10's are in CINIC-10."""
    images, labels = dataset.train.images[:60].clone(), dataset.train.labels[:60]
    images[30:] = part(30, 2).images
    return replace(
        dataset, name="other", classes=tuple("dcba"), train=ImagePart(images, 3 - labels, torch.arange(60))
    )


@pytest.fixture
def split(dataset: ImageDataset):
    sizes = SplitSizes(train=100, validation=20, test=None)
    return scenario_split(base_split(dataset, sizes, 0), RandomScenario(kind="random", fraction=0.2), 0)


def make(name: str, split, dataset: ImageDataset, other: ImageDataset, **changes: object):
    proxy = (SHIFT if name == "shift" else OTHER).model_copy(update=changes)
    return proxy, proxy_split(split, dataset, proxy, 0, None if name == "shift" else other)


@pytest.mark.parametrize("name", ["shift", "dataset"])
class TestPool:
    def test_shares_no_image_with_any_set(self, name, split, dataset, other) -> None:
        _, extended = make(name, split, dataset, other)
        rows = extended[extended["set"] == "proxy"]
        assert len(rows) == 24
        assert extended[extended["set"] != "proxy"].equals(split)
        # Checked from the pixels, not from the table.
        origin = dataset if name == "shift" else other
        drawn = content_hashes(origin.train.images[torch.tensor(rows["row"].to_list())])
        assert len(set(drawn)) == 24
        used = {
            content
            for source in ("train", "test")
            for content in content_hashes(
                dataset.part(source).images[
                    torch.tensor(split.loc[split["source"] == source, "row"].to_list())
                ]
            )
        }
        assert len(used) == len(split)
        assert used.isdisjoint(drawn)
        if name == "shift":
            taken = set(split.loc[split["source"] == "train", "published_index"])
            assert taken.isdisjoint(rows["published_index"])

    def test_keeps_the_classes_by_name(self, name, split, dataset, other) -> None:
        _, extended = make(name, split, dataset, other)
        origin = dataset if name == "shift" else other
        for row in extended[extended["set"] == "proxy"].itertuples():
            assert dataset.classes[row.label] == origin.classes[int(origin.train.labels[row.row])]

    def test_is_read_as_written_and_replaces_the_retain_subset(
        self, name, split, dataset, other, tmp_path: Path
    ) -> None:
        _, extended = make(name, split, dataset, other)
        write_split(extended, tmp_path / "split.csv")
        read = read_split(tmp_path / "split.csv")
        assert read.equals(extended)
        assert retain_subset(read, 10).equals(retain_subset(split, 10))
        subset = retain_subset(read, 8, "proxy")
        assert set(subset["set"]) == {"proxy"}
        assert np.bincount(subset["label"]).max() - np.bincount(subset["label"], minlength=4).min() <= 1
        with pytest.raises(ValueError, match=r"the proxy pool has 24: .* make the proxy's size larger"):
            retain_subset(read, 25, "proxy")
        with pytest.raises(ValueError, match="the proxy pool has 0"):
            retain_subset(split, 1, "proxy")

    def test_follows_from_the_seed(self, name, split, dataset, other) -> None:
        proxy, first = make(name, split, dataset, other)
        _, again = make(name, split, dataset, other)
        assert first.equals(again)
        third = None if name == "shift" else other
        assert not first.equals(proxy_split(split, dataset, proxy, 1, third))
        rows = first[first["set"] == "proxy"]
        images = proxy_images(rows, dataset, proxy, 0, third)
        assert torch.equal(images, proxy_images(rows, dataset, proxy, 0, third))
        assert torch.equal(images[[5, 2]], proxy_images(rows.iloc[[5, 2]], dataset, proxy, 0, third))

    def test_has_no_image_of_a_forgotten_class(self, name, dataset, other) -> None:
        base = base_split(dataset, SplitSizes(train=100, validation=20, test=None), 0)
        split = scenario_split(base, ClassScenario(kind="class", label=2), 0)
        _, extended = make(name, split, dataset, other, size=15)
        assert set(extended.loc[extended["set"] == "proxy", "label"]) == {0, 1, 3}

    def test_too_large_a_pool_is_refused(self, name, split, dataset, other) -> None:
        # 200 images less 120 used; 60 images of which 30 are new, and of the others those that the split left out.
        with pytest.raises(ValueError, match="that are in no set of the split: lower its size"):
            make(name, split, dataset, other, size=81)


def test_a_proxy_that_does_not_fit_is_refused(split, dataset, other) -> None:
    for wrong, message in (
        (None, "needs that dataset, another one; given: none"),
        (replace(other, name="third"), "given: third"),
        (replace(other, classes=tuple("dcbx")), "has other classes"),
        (
            replace(other, train=replace(other.train, images=torch.zeros(1, 3, 8, 8))),
            r"images of \(3, 8, 8\)",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            proxy_split(split, dataset, OTHER, 0, wrong)


class TestShift:
    images = torch.rand(3, 2, 8, 8, generator=torch.Generator().manual_seed(0))

    def shifted(self, **parameters: float) -> torch.Tensor:
        # Right angles are out of the config's range; here they have an exact oracle.
        proxy = ShiftProxy.model_construct(kind="shift", size=1, **{**STILL, **parameters})
        return shift(self.images, proxy, 0, [0, 1, 2])

    def test_none_is_the_identity(self) -> None:
        torch.testing.assert_close(self.shifted(), self.images, rtol=0, atol=1e-6)

    def test_rotation_is_anticlockwise(self) -> None:
        expected = torch.rot90(self.images, 1, (2, 3))
        torch.testing.assert_close(self.shifted(rotation=90.0), expected, rtol=0, atol=1e-5)

    def test_translation_is_to_the_right_and_down(self) -> None:
        expected = torch.zeros_like(self.images)
        expected[:, :, 2:, 2:] = self.images[:, :, :-2, :-2]
        torch.testing.assert_close(self.shifted(translation=2.0), expected, rtol=0, atol=1e-5)

    def test_scale_shrinks_about_the_centre(self) -> None:
        # At one half, a new pixel's centre lies where four old pixels meet: their mean.
        expected = torch.zeros_like(self.images)
        expected[:, :, 2:6, 2:6] = torch.nn.functional.avg_pool2d(self.images, 2)
        torch.testing.assert_close(self.shifted(scale=0.5), expected, rtol=0, atol=1e-5)

    def test_contrast_is_about_mid_grey(self) -> None:
        expected = 0.5 + 0.25 * (self.images - 0.5)
        torch.testing.assert_close(self.shifted(contrast=0.25), expected, rtol=0, atol=1e-6)

    def test_noise_has_its_deviation_and_is_clipped(self) -> None:
        proxy = ShiftProxy(kind="shift", size=1, **{**STILL, "noise": 0.1})
        noisy = shift(torch.full((40, 1, 32, 32), 0.5), proxy, 3, list(range(40)))
        # 40,960 draws: the standard error of the deviation is 0.1 / sqrt(2 · 40,960).
        assert noisy.std().item() == pytest.approx(0.1, abs=5 * 0.1 / np.sqrt(2 * 40960))
        assert noisy.mean().item() == pytest.approx(0.5, abs=5 * 0.1 / np.sqrt(40960))
        assert len({image.numpy().tobytes() for image in noisy}) == 40
        loud = shift(torch.rand(2, 1, 8, 8), proxy.model_copy(update={"noise": 0.5}), 3, [0, 1])
        assert loud.min() == 0
        assert loud.max() == 1


def test_mistakes_in_the_config_are_refused() -> None:
    adapter = TypeAdapter(Proxy)
    for wrong in (
        {"kind": "shift", "size": 5},
        {"kind": "shift", "size": 5, **STILL, "rotation": 90.0},
        {"kind": "dataset", "size": 0, "dataset": "cinic10"},
        {"kind": "cinic", "size": 5},
    ):
        with pytest.raises(ValidationError):
            adapter.validate_python(wrong)
