import copy

import pytest
import yaml
from pydantic import ValidationError

from orthograd.config import ConfigError, load
from orthograd.speech.registry import REGISTRY, read_registry, speech_registry


def test_librispeech_is_the_one_that_torchaudio_knows() -> None:
    from torchaudio.datasets.librispeech import _CHECKSUMS, FOLDER_IN_ARCHIVE

    corpus = speech_registry().corpus("librispeech")
    known = {url.rsplit("/", 1)[1]: sha256 for url, sha256 in _CHECKSUMS.items()}
    archives = [subset.archive for subset in corpus.subsets]
    assert {archive.name: archive.sha256 for archive in archives}.items() <= known.items()
    assert [archive.name for archive in archives] == [f"{name}.tar.gz" for name in corpus.subset_names]
    assert corpus.folder == FOLDER_IN_ARCHIVE


def test_files_of_a_model_are_those_of_the_commit_that_is_registered() -> None:
    entry = speech_registry().model("whisper-tiny")
    (home,) = [source for source in entry.files.sources if source.kind == "http"]
    assert home.url == f"https://huggingface.co/{entry.hub}/resolve/{entry.revision}/{{file}}"


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown speech corpus 'timit'.*librispeech"):
        speech_registry().corpus("timit")
    with pytest.raises(ValueError, match=r"unknown speech model 'whisper'.*whisper-tiny.en"):
        speech_registry().model("whisper")
    with pytest.raises(ValueError, match=r"no subset 'dev'.*dev-clean"):
        speech_registry().corpus("librispeech").subset("dev")


@pytest.mark.parametrize(
    ("place", "key", "value", "message"),
    [
        (("corpora", 0), "colour", "red", "colour"),
        (("corpora", 0, "subsets", 0), "archive", None, "neither an archive nor the digest"),
        (("corpora", 0, "subsets", 0), "name", "../dev", "name"),
        (("corpora", 0, "subsets", 1), "name", "dev-clean", "lists a subset twice"),
        (("corpora", 0, "subsets", 0, "archive"), "sha256", "0" * 63, "sha256"),
        (("corpora", 1), "instructions", None, "it is brought by the user"),
        (("corpora", 1), "name", "librispeech", "lists a corpus twice"),
        (("models", 1), "name", "whisper-tiny", "lists a model twice"),
        (("models", 0), "revision", "main", "revision"),
        ((), "version", 2, "version"),
    ],
)
def test_mistakes_in_the_registry_are_named(
    tmp_path, place: tuple, key: str, value: object, message: str
) -> None:
    spoilt = copy.deepcopy(yaml.safe_load(REGISTRY.read_text(encoding="utf-8")))
    node = spoilt
    for step in place:
        node = node[step]
    node[key] = value
    (tmp_path / "registry.yaml").write_text(yaml.safe_dump(spoilt), encoding="utf-8")
    with pytest.raises(ValidationError, match=message):
        read_registry(tmp_path / "registry.yaml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "librispech"}, "speech.corpus.name: unknown speech corpus .* Did you mean 'librispeech'"),
        ({"subsets": ["dev-clen"]}, "speech.corpus.subsets: unknown subset .* Did you mean 'dev-clean'"),
        ({"subsets": ["dev-clean", "dev-clean"]}, "has a subset twice"),
    ],
)
def test_mistakes_in_a_config_are_named(tmp_path, changes: dict, message: str) -> None:
    profile = yaml.safe_load((REGISTRY.parents[2] / "config" / "paper.yaml").read_text(encoding="utf-8"))
    profile["speech"]["corpus"] |= changes
    (tmp_path / "profile.yaml").write_text(yaml.safe_dump(profile), encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        load(tmp_path / "profile.yaml")
