import copy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from orthograd.data.registry import REGISTRY, read_registry, registry
from orthograd.data.sources import DebianSource, HttpSource, MirrorSource


@pytest.fixture
def document() -> dict:
    return yaml.safe_load(REGISTRY.read_text(encoding="utf-8"))


def _write(tmp_path: Path, document: dict) -> Path:
    path = tmp_path / "registry.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def test_fashion_mnist_has_the_sizes_that_the_idx_format_demands() -> None:
    # Header: magic number and one big-endian int32 per dimension; then one byte per pixel or label.
    sizes = {file.name: file.size for file in registry().dataset("fashion-mnist").files}
    assert sizes == {
        "train-images-idx3-ubyte": 16 + 60_000 * 28 * 28,
        "train-labels-idx1-ubyte": 8 + 60_000,
        "t10k-images-idx3-ubyte": 16 + 10_000 * 28 * 28,
        "t10k-labels-idx1-ubyte": 8 + 10_000,
    }


def test_sources_are_in_the_documented_order() -> None:
    sources = registry().dataset("fashion-mnist").sources
    assert [type(source) for source in sources] == [MirrorSource, HttpSource, DebianSource]


def test_classes_match_torchvision() -> None:
    from torchvision.datasets import FashionMNIST

    assert list(registry().dataset("fashion-mnist").classes) == FashionMNIST.classes


def test_cifar10_is_the_archive_that_torchvision_knows() -> None:
    from torchvision.datasets import CIFAR10

    entry = registry().dataset("cifar10")
    (file,) = entry.files
    assert (file.name, file.md5) == (CIFAR10.filename, CIFAR10.tgz_md5)
    assert [source.url.format(file=file.name) for source in entry.sources if source.kind == "http"] == [
        CIFAR10.url
    ]


def test_imagenet_has_the_labels_of_the_pretrained_models() -> None:
    # Labels of pretrained models number the WordNet ids in their order; names from torchvision's own list.
    from torchvision.models import ResNet18_Weights

    classes = registry().dataset("imagenet").classes
    assert len(set(classes)) == 1000 == len(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])
    assert list(classes) == sorted(classes)
    for wnid, name in {"n01440764": "tench", "n02123045": "tabby", "n15075141": "toilet tissue"}.items():
        assert ResNet18_Weights.IMAGENET1K_V1.meta["categories"][classes.index(wnid)] == name


def test_only_imagenet_needs_a_subset() -> None:
    assert [name for name in registry().names if registry().dataset(name).needs_subset] == ["imagenet"]


def test_unknown_dataset_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown dataset 'mnist'.*fashion-mnist"):
        registry().dataset("mnist")


def test_the_unchanged_document_is_valid(tmp_path: Path, document: dict) -> None:
    assert read_registry(_write(tmp_path, document)) == registry()


@pytest.mark.parametrize(
    ("place", "key", "value", "message"),
    [
        (("datasets", 0), "colour", "red", "colour"),
        (("datasets", 0, "files", 0), "md5", "0" * 31, "md5"),
        (("datasets", 0, "files", 0), "sha1", "0" * 40, "sha1"),
        (("datasets", 0, "files", 0), "sha256", None, "has no checksum"),
        (("datasets", 0), "files", [], "lists no files, so it is brought by the user"),
        (("datasets", 0, "layout"), "kind", "tfrecord", "layout"),
        (("datasets", 0, "files", 0), "sha256", "0" * 63, "sha256"),
        (("datasets", 0, "files", 0), "size", 0, "size"),
        (("datasets", 0, "files", 0), "name", "../escape", "name"),
        (("datasets", 0, "files", 0), "name", "t10k-images-idx3-ubyte", "lists a file twice"),
        (("datasets", 0, "sources", 1), "url", "http://example.invalid/", r"must hold \{file\}"),
        (("datasets", 0, "sources", 1), "url", "http://example.invalid/{file}/{day}", r"must hold \{file\}"),
        (("datasets", 0, "sources", 2), "package", "--option", "package"),
        (("datasets", 0, "sources", 0), "kind", "ftp", "kind"),
        ((), "version", 2, "version"),
    ],
)
def test_mistakes_in_the_registry_are_named(
    tmp_path: Path, document: dict, place: tuple, key: str, value: object, message: str
) -> None:
    spoilt = copy.deepcopy(document)
    node = spoilt
    for step in place:
        node = node[step]
    node[key] = value
    with pytest.raises(ValidationError, match=message):
        read_registry(_write(tmp_path, spoilt))


def test_a_dataset_cannot_be_listed_twice(tmp_path: Path, document: dict) -> None:
    document["datasets"] *= 2
    with pytest.raises(ValidationError, match="lists a dataset twice"):
        read_registry(_write(tmp_path, document))


def test_what_the_config_validation_imports_does_not_import_torch() -> None:
    code = (
        "import sys, orthograd.data.registry, orthograd.data.download, orthograd.data.scenarios, "
        "orthograd.data.splits; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
