"""Published layouts, in miniature: every name and folder is as in the real archives."""

import hashlib
import json
import pickle
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from orthograd.data.download import DownloadError, download
from orthograd.data.images import load, prepare
from orthograd.data.readers import read_parts
from orthograd.data.registry import FolderLayout, registry
from orthograd.data.scenarios import Subset

CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
WNIDS = ("n01440764", "n02123045", "n15075141")  # labels 0, 281, 999


def pixels(*key: int, shape: tuple[int, ...] = (32, 32, 3)) -> np.ndarray:
    """The same random picture for the same key."""
    return np.random.default_rng(key).integers(0, 256, shape, dtype=np.uint8)


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, format="PNG" if path.suffix == ".png" else "JPEG", quality=95)


def class_folders(root: Path, count: int = 2) -> Path:
    """A class-folder copy of CIFAR-10 with `count` images a class, PNG, numbered as the real ones are."""
    for s, part in enumerate(("train", "test")):
        for c, name in enumerate(CIFAR_CLASSES):
            for i in range(count):
                save(root / part / name / f"{i:04d}.png", pixels(s, c, i))
    return root


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """What the download leaves of a copy that the user brought."""
    class_folders(tmp_path / "mirror" / "cifar10-folders")
    download(registry().dataset("cifar10-folders"), tmp_path / "raw", str(tmp_path / "mirror"))
    return tmp_path / "raw"


def copy_of(raw: Path) -> Path:
    return raw / "cifar10-folders"


class TestClassFolders:
    def test_pixels_labels_and_order(self, raw: Path) -> None:
        parts = read_parts(raw, registry().dataset("cifar10-folders"))
        for s, part in enumerate(("train", "test")):
            expected = [pixels(s, c, i) for c in range(10) for i in range(2)]
            assert np.array_equal(parts[part].images.numpy(), np.stack(expected).transpose(0, 3, 1, 2))
            assert parts[part].labels.tolist() == [c for c in range(10) for _ in range(2)]
            assert parts[part].index.tolist() == list(range(20))

    def test_prepared_with_the_statistics_of_its_train_part(self, raw: Path, tmp_path: Path) -> None:
        prepare(raw, "cifar10-folders", tmp_path / "data.safetensors")
        dataset = load(tmp_path / "data.safetensors")
        train = np.stack([pixels(0, c, i) for c in range(10) for i in range(2)]) / 255
        assert dataset.classes == CIFAR_CLASSES
        assert dataset.mean == pytest.approx(train.mean((0, 1, 2)), rel=1e-12)
        assert dataset.std == pytest.approx(train.std((0, 1, 2)), rel=1e-12)

    @pytest.mark.parametrize("ending", ["tar.xz", "tar.gz", "tar", "zip"])
    @pytest.mark.parametrize("wrapped", [False, True])
    def test_archives_hold_the_same(self, tmp_path: Path, ending: str, wrapped: bool) -> None:
        root = class_folders(tmp_path / "wrapped" / "CIFAR")
        (tmp_path / "mirror").mkdir()
        kind = {"tar.xz": "xztar", "tar.gz": "gztar", "tar": "tar", "zip": "zip"}[ending]
        shutil.make_archive(
            str(tmp_path / "mirror" / "cifar10-folders"), kind, root.parent if wrapped else root
        )
        entry = registry().dataset("cifar10-folders")
        (served,) = download(entry, tmp_path / "raw", str(tmp_path / "mirror"))
        assert served.file == f"cifar10-folders.{ending}"
        assert served.sha256 is None  # nobody states one, and none is claimed
        parts = read_parts(tmp_path / "raw", entry)
        assert np.array_equal(parts["test"].images[19].numpy(), pixels(1, 9, 1).transpose(2, 0, 1))

    @pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".JPEG", ".JPG"])
    def test_jpeg_in_any_spelling(self, raw: Path, suffix: str) -> None:
        flat = np.full((32, 32, 3), (200, 30, 90), dtype=np.uint8)
        save(copy_of(raw) / "train" / "bird" / f"0002{suffix}", flat)
        parts = read_parts(raw, registry().dataset("cifar10-folders"))
        image = parts["train"].images[6].numpy().astype(int)  # the third of class 2
        assert parts["train"].labels.tolist()[6] == 2
        assert np.abs(image - flat.transpose(2, 0, 1)).max() <= 3  # quality 95 on a constant colour

    def test_grey_image_has_three_equal_channels(self, raw: Path) -> None:
        grey = pixels(7, shape=(32, 32))
        save(copy_of(raw) / "train" / "airplane" / "0000.png", grey)
        image = read_parts(raw, registry().dataset("cifar10-folders"))["train"].images[0].numpy()
        assert np.array_equal(image, np.stack([grey] * 3))

    def test_hidden_files_are_passed_over(self, raw: Path) -> None:
        (copy_of(raw) / "train" / ".DS_Store").write_bytes(b"x")
        (copy_of(raw) / "train" / "cat" / "._0000.png").write_bytes(b"x")
        assert len(read_parts(raw, registry().dataset("cifar10-folders"))["train"].labels) == 20

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda root: (root / "train/cat/0001.png").write_bytes(b"no image"), r"cat/0001\.png is broken"),
            (
                lambda root: (root / "train/cat/0001.png").write_bytes(
                    (root / "train/cat/0001.png").read_bytes()[:900]
                ),
                r"cat/0001\.png is broken: .*Get the dataset again",
            ),
            (
                lambda root: save(root / "test/dog/0000.png", pixels(1, shape=(28, 32, 3))),
                r"dog/0000\.png has 32 × 28 pixels, but .* 32 × 32",
            ),
            (lambda root: (root / "train/cat/notes.txt").write_text("x"), r"notes\.txt is no image file"),
            (lambda root: (root / "train/cat").rename(root / "train/cats"), r"unknown class folders: cats"),
            (lambda root: shutil.rmtree(root / "test/ship"), r"test lacks class folders: ship"),
            (lambda root: (root / "test").rename(root / "val"), r"no folder 'test' in .*: Bring the images"),
            (lambda root: (root / "train").rename(root / "Training"), r"no folder 'train' in "),
        ],
    )
    def test_what_is_wrong_is_named(self, raw: Path, spoil: Callable, message: str) -> None:
        spoil(copy_of(raw))
        with pytest.raises(ValueError, match=message):
            read_parts(raw, registry().dataset("cifar10-folders"))

    @pytest.mark.parametrize("ending", ["tar.xz", "zip"])
    def test_broken_archive_is_named(self, tmp_path: Path, ending: str) -> None:
        archive = tmp_path / f"cifar10-folders.{ending}"
        kind = {"tar.xz": "xztar", "zip": "zip"}[ending]
        shutil.make_archive(str(tmp_path / "cifar10-folders"), kind, class_folders(tmp_path / "copy"))
        archive.write_bytes(archive.read_bytes()[:2000])
        shutil.rmtree(tmp_path / "copy")
        with pytest.raises(ValueError, match=rf"cifar10-folders\.{ending} cannot be unpacked"):
            read_parts(tmp_path, registry().dataset("cifar10-folders"))

    def test_without_a_copy_the_message_says_what_to_bring(self, tmp_path: Path) -> None:
        entry = registry().dataset("cifar10-folders")
        with pytest.raises(DownloadError, match=r"you bring it.*train/<class>/<image>.*config key `mirror`"):
            download(entry, tmp_path / "raw")
        (tmp_path / "mirror").mkdir()
        with pytest.raises(DownloadError, match=r"not in .*mirror \(looked for cifar10-folders, .*\.zip\)"):
            download(entry, tmp_path / "raw", str(tmp_path / "mirror"))


class TestCinic10:
    @pytest.fixture
    def raw(self, tmp_path: Path) -> Path:
        for s, part in enumerate(("train", "valid", "test")):
            for c, name in enumerate(CIFAR_CLASSES):
                folder = tmp_path / "CINIC" / part / name
                save(folder / "n02691156_10005.png", pixels(s, c, 0))
                save(folder / "n02691156_10011.png", pixels(s, c, 1))
                save(folder / f"cifar10-train-{s}{c}.png", pixels(s, c, 2))
        (tmp_path / "raw").mkdir()
        with tarfile.open(tmp_path / "raw" / "CINIC-10.tar.gz", "w:gz") as archive:
            for part in ("train", "valid", "test"):
                archive.add(tmp_path / "CINIC" / part, arcname=part)
        return tmp_path / "raw"

    def test_train_and_valid_make_the_train_part_without_the_images_of_cifar10(self, raw: Path) -> None:
        parts = read_parts(raw, registry().dataset("cinic10"))
        train = [pixels(s, c, i) for s in (0, 1) for c in range(10) for i in range(2)]
        assert np.array_equal(parts["train"].images.numpy(), np.stack(train).transpose(0, 3, 1, 2))
        assert parts["train"].labels.tolist() == [c for _ in range(2) for c in range(10) for _ in range(2)]
        assert len(parts["test"].labels) == 20
        assert np.array_equal(parts["test"].images[0].numpy(), pixels(2, 0, 0).transpose(2, 0, 1))

    def test_sizes_follow_from_the_published_description(self) -> None:
        # Darlow et al. 2018: 21,000 images of ImageNet in each of 10 classes, spread evenly over three folders.
        entry = registry().dataset("cinic10")
        assert entry.train_size == 2 * 10 * 21_000 // 3
        assert entry.test_size == 10 * 21_000 // 3


class TestImageNet:
    """A folder of the user's, of which a subset is prepared."""

    entry = registry().dataset("imagenet")
    subset = Subset(classes=[WNIDS[2], WNIDS[0]], train=3, test=2)

    @pytest.fixture
    def raw(self, tmp_path: Path) -> Path:
        root = tmp_path / "mirror" / "imagenet"
        for c, wnid in enumerate(WNIDS):
            for i in range(5):
                save(root / "train" / wnid / f"{wnid}_{i * 37}.JPEG", pixels(c, i, shape=(260, 300 + i, 3)))
                save(
                    root / "val" / wnid / f"ILSVRC2012_val_{c * 5 + i:08d}.JPEG",
                    pixels(c, i, 1, shape=(240, 256, 3)),
                )
        download(self.entry, tmp_path / "raw", str(tmp_path / "mirror"))
        return tmp_path / "raw"

    def test_labels_stay_those_of_the_pretrained_models(self, raw: Path) -> None:
        parts = read_parts(raw, self.entry, self.subset)
        assert parts["train"].labels.tolist() == [0] * 3 + [999] * 3
        assert parts["test"].labels.tolist() == [0] * 2 + [999] * 2
        assert parts["train"].images.shape == (6, 3, 224, 224)

    def test_index_is_the_place_among_all_images_of_the_part(self, raw: Path) -> None:
        train = read_parts(raw, self.entry, self.subset)["train"]
        layout = self.entry.layout
        assert isinstance(layout, FolderLayout)
        paths = [p for wnid in WNIDS for p in sorted((raw / "imagenet" / "train" / wnid).iterdir())]
        for image, index in zip(train.images.numpy(), train.index.tolist(), strict=True):
            assert np.array_equal(image, torchvision_preset(paths[index]))

    def test_subsets_are_nested(self, raw: Path) -> None:
        small, large = (
            set(
                read_parts(raw, self.entry, Subset(classes=[WNIDS[0]], train=n, test=1))[
                    "train"
                ].index.tolist()
            )
            for n in (2, 4)
        )
        assert small < large
        assert len(large) == 4

    def test_statistics_are_those_of_the_pretrained_models(self, raw: Path, tmp_path: Path) -> None:
        from torchvision.models import ResNet18_Weights, ViT_B_16_Weights

        prepare(raw, "imagenet", tmp_path / "data.safetensors", self.subset)
        dataset = load(tmp_path / "data.safetensors")
        for weights in (ResNet18_Weights.IMAGENET1K_V1, ViT_B_16_Weights.IMAGENET1K_V1):
            preset = weights.transforms()
            assert (list(dataset.mean), list(dataset.std)) == (preset.mean, preset.std)
            assert (self.entry.layout.size, self.entry.layout.resize) == (
                preset.crop_size[0],
                preset.resize_size[0],
            )
        assert len(dataset.classes) == 1000

    def test_refusals(self, raw: Path, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="does not fit into memory: choose a `subset`"):
            read_parts(raw, self.entry)
        with pytest.raises(ValueError, match=r"6 images of class n01440764 in the train part, which has 5"):
            read_parts(raw, self.entry, Subset(classes=[WNIDS[0]], train=6, test=1))
        with pytest.raises(ValueError, match=r"lacks class folders: .*\(997 in all\): ImageNet may not be"):
            read_parts(raw, self.entry, Subset(classes=None, train=1, test=1))
        with pytest.raises(DownloadError, match=r"image-net\.org.*val/<wnid>.*ORTHOGRAD_MIRROR"):
            download(self.entry, tmp_path / "other")


def torchvision_preset(path: Path) -> np.ndarray:
    """The preset of torchvision's pretrained models, up to the standardisation: (3, 224, 224) uint8."""
    from torchvision.transforms.functional import center_crop, resize

    with Image.open(path) as image:
        return np.asarray(center_crop(resize(image.convert("RGB"), [256]), [224, 224])).transpose(2, 0, 1)


class TestCifar10:
    @pytest.fixture
    def raw(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """The archive as it is published, with 4 images a batch; torchvision is told the MD5 of its files."""
        from torchvision.datasets import CIFAR10

        folder = tmp_path / "cifar-10-batches-py"
        folder.mkdir()
        md5 = {}

        def dump(name: str, content: dict) -> None:
            (folder / name).write_bytes(pickle.dumps(content, protocol=2))
            md5[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()

        for b, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
            data = np.stack([pixels(b, i, shape=(3072,)) for i in range(4)])  # red, green, blue planes
            dump(
                name, {"data": data, "labels": [b, 1, 2, 9], "batch_label": name, "filenames": ["x.png"] * 4}
            )
        dump("batches.meta", {"label_names": list(CIFAR_CLASSES), "num_vis": 3072, "num_cases_per_batch": 4})
        monkeypatch.setattr(
            CIFAR10, "train_list", [[f"data_batch_{i}", md5[f"data_batch_{i}"]] for i in range(1, 6)]
        )
        monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", md5["test_batch"]]])
        monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": md5["batches.meta"]})
        (tmp_path / "raw").mkdir()
        with tarfile.open(tmp_path / "raw" / "cifar-10-python.tar.gz", "w:gz") as archive:
            archive.add(folder, arcname=folder.name)
        return tmp_path / "raw"

    def test_batches_follow_each_other(self, raw: Path) -> None:
        parts = read_parts(raw, registry().dataset("cifar10"))
        expected = [pixels(b, i, shape=(3, 32, 32)) for b in range(5) for i in range(4)]
        assert np.array_equal(parts["train"].images.numpy(), np.stack(expected))
        assert parts["train"].labels.tolist() == [label for b in range(5) for label in (b, 1, 2, 9)]
        assert np.array_equal(parts["test"].images[3].numpy(), pixels(5, 3, shape=(3, 32, 32)))

    def test_other_batches_are_refused(self, raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.undo()
        with pytest.raises(ValueError, match="the archive's batches are not the published ones"):
            read_parts(raw, registry().dataset("cifar10"))

    def test_a_subset_is_for_class_folders(self, raw: Path) -> None:
        with pytest.raises(ValueError, match="class folders only, and cifar10 is none"):
            read_parts(raw, registry().dataset("cifar10"), Subset(train=1, test=1))


def test_archive_is_kept_as_it_is_and_verified_by_what_is_known(tmp_path: Path) -> None:
    """CINIC-10's archive begins like gzip, but is not gunzipped on the way; only its MD5 is public."""
    content = b"\x1f\x8b" + bytes(range(256))
    entry = registry().dataset("cinic10")
    known = entry.files[0].model_copy(update={"size": len(content), "md5": hashlib.md5(content).hexdigest()})
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "CINIC-10.tar.gz").write_bytes(content)
    mirror_only = entry.model_copy(update={"files": (known,), "sources": entry.sources[:1]})
    for source in ("mirror", "kept"):
        (served,) = download(mirror_only, tmp_path / "raw", str(tmp_path / "mirror"))
        assert (served.source, served.sha256, served.md5) == (source, None, known.md5)
    assert (tmp_path / "raw" / "CINIC-10.tar.gz").read_bytes() == content
    assert json.loads((tmp_path / "raw" / "provenance.json").read_text())[0]["md5"] == known.md5
    (tmp_path / "mirror" / "CINIC-10.tar.gz").write_bytes(content[:-1] + b"?")
    with pytest.raises(DownloadError, match=f"MD5 .*, expected {known.md5}"):
        download(mirror_only, tmp_path / "other", str(tmp_path / "mirror"))
