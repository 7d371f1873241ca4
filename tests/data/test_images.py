import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from orthograd.data.images import content_hashes, load, prepare
from orthograd.data.registry import registry

NO_DROPS = dict.fromkeys(
    ["train_conflicting", "train_repeated", "test_conflicting", "test_repeated", "test_in_train"], 0
)


def write_idx(path: Path, array: np.ndarray) -> None:
    """The published format: 0, 0, type (8: unsigned byte), rank; shape as big-endian int32; the bytes."""
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">i4").tobytes()
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def write_raw(
    folder: Path, train: np.ndarray, train_labels: list, test: np.ndarray, test_labels: list
) -> Path:
    folder.mkdir(exist_ok=True)
    write_idx(folder / "train-images-idx3-ubyte", train)
    write_idx(folder / "train-labels-idx1-ubyte", np.array(train_labels))
    write_idx(folder / "t10k-images-idx3-ubyte", test)
    write_idx(folder / "t10k-labels-idx1-ubyte", np.array(test_labels))
    return folder


def pictures(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 28, 28), dtype=np.uint8)


def test_tensors_hold_the_published_bytes(tmp_path: Path) -> None:
    train, test = pictures(12), pictures(5, seed=1)
    train_labels, test_labels = [i % 10 for i in range(12)], [9, 8, 7, 6, 5]
    raw = write_raw(tmp_path / "raw", train, train_labels, test, test_labels)
    assert prepare(raw, "fashion-mnist", tmp_path / "new" / "data.safetensors") == NO_DROPS
    dataset = load(tmp_path / "new" / "data.safetensors")
    for part, images, labels in (
        (dataset.train, train, train_labels),
        (dataset.test, test, test_labels),
    ):
        assert part.images.dtype == torch.uint8
        assert part.labels.dtype == part.index.dtype == torch.int64
        assert part.images.shape == (len(images), 1, 28, 28)
        assert np.array_equal(part.images[:, 0].numpy(), images)
        assert part.labels.tolist() == labels
        assert part.index.tolist() == list(range(len(images)))
    entry = registry().dataset("fashion-mnist")
    assert (dataset.name, dataset.version, dataset.classes) == (entry.name, entry.version, entry.classes)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["data.safetensors"]


def test_repetitions_are_dropped_and_counted(tmp_path: Path) -> None:
    a, b, c, d, e, f = pictures(6)
    #        0  1  2  3  4  5  6
    train = [a, b, a, c, a, c, d]
    train_labels = [0, 1, 0, 2, 0, 3, 4]  # c has the labels 2 and 3
    test = [e, a, c, e, f, d]
    test_labels = [5, 0, 2, 5, 6, 7]  # d has the labels 4 (train) and 7 (test)
    raw = write_raw(tmp_path / "raw", np.stack(train), train_labels, np.stack(test), test_labels)
    dropped = prepare(raw, "fashion-mnist", tmp_path / "data.safetensors")
    assert dropped == {
        "train_conflicting": 3,  # rows 3, 5 (c) and 6 (d)
        "train_repeated": 2,  # rows 2, 4 (a)
        "test_conflicting": 2,  # rows 2 (c) and 5 (d)
        "test_repeated": 1,  # row 3 (e)
        "test_in_train": 1,  # row 1 (a)
    }
    dataset = load(tmp_path / "data.safetensors")
    assert dataset.dropped == dropped
    assert dataset.train.index.tolist() == [0, 1]
    assert dataset.test.index.tolist() == [0, 4]
    assert np.array_equal(dataset.train.images[:, 0].numpy(), np.stack([a, b]))
    assert np.array_equal(dataset.test.images[:, 0].numpy(), np.stack([e, f]))
    assert dataset.train.labels.tolist() == [0, 1]
    assert dataset.test.labels.tolist() == [5, 6]


def test_images_are_scaled_and_standardised_by_the_train_part(tmp_path: Path) -> None:
    train = pictures(40)
    raw = write_raw(tmp_path / "raw", train, [0] * 40, pictures(3, seed=1), [1, 2, 3])
    prepare(raw, "fashion-mnist", tmp_path / "data.safetensors")
    dataset = load(tmp_path / "data.safetensors")
    images = dataset.images("train", [7, 3])
    assert images.dtype == torch.float32
    assert np.array_equal(images[:, 0].numpy(), train[[7, 3]].astype(np.float32) / np.float32(255))
    assert dataset.labels("test", torch.tensor([2, 0])).tolist() == [3, 1]
    assert dataset.mean == pytest.approx([np.mean(train / 255)], rel=1e-12)
    assert dataset.std == pytest.approx([np.std(train / 255)], rel=1e-12)
    everything = dataset.standardise(dataset.images("train", range(40)).double())
    assert everything.mean().item() == pytest.approx(0, abs=1e-6)  # pixels were rounded to float32
    assert everything.std(correction=0).item() == pytest.approx(1, abs=1e-6)


def test_content_hash_is_sha256_of_the_pixels() -> None:
    images = pictures(3)
    expected = [hashlib.sha256(bytes(image.ravel().tolist())).hexdigest() for image in images]
    assert content_hashes(torch.from_numpy(images)[:, None]) == expected
    with pytest.raises(TypeError, match="uint8"):
        content_hashes(torch.zeros(1, 1, 28, 28))


def test_two_processes_write_equal_bytes(tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "raw", pictures(20), [0] * 20, pictures(3, seed=1), [1, 2, 3])
    for name in ("one", "two"):
        code = (
            "from pathlib import Path; from orthograd.data.images import prepare; "
            f"prepare(Path({str(raw)!r}), 'fashion-mnist', Path({str(tmp_path / name)!r}))"
        )
        subprocess.run([sys.executable, "-c", code], check=True)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_files_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "short", pictures(4), [0, 1, 2], pictures(3, seed=1), [1, 2, 3])
    with pytest.raises(ValueError, match=r"holds 4 images but .*train-labels.* 3 labels: download"):
        prepare(raw, "fashion-mnist", tmp_path / "data.safetensors")
    raw = write_raw(tmp_path / "label", pictures(4), [0, 1, 2, 10], pictures(3, seed=1), [1, 2, 3])
    with pytest.raises(ValueError, match="holds the label 10, but the registry names 10 classes"):
        prepare(raw, "fashion-mnist", tmp_path / "data.safetensors")
    with pytest.raises(ValueError, match="unknown dataset 'kmnist'"):
        prepare(raw, "kmnist", tmp_path / "data.safetensors")
    assert not (tmp_path / "data.safetensors").exists()
