"""Say which utterance of a speech corpus is what, for each speaker that is forgotten."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from orthograd.specs import Strict
from orthograd.speech.corpus import SPEAKER_COLUMNS, read_corpus
from orthograd.speech.specs import Roles, SetSizes, SpeechCorpus
from orthograd.speech.splits import split


class Spec(Strict):
    corpus: SpeechCorpus
    speakers: Roles
    sizes: SetSizes
    seeds: list[int]


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--spec", type=Spec.model_validate_json, required=True, help="JSON: the settings")
    parser.add_argument("--corpus", type=Path, required=True, help="folder with SPEAKERS.TXT")
    parser.add_argument("--splits", type=Path, required=True, help="CSV to write: the set of each utterance")
    parser.add_argument("--utterances", type=Path, required=True, help="CSV to write: those that have a set")
    parser.add_argument(
        "--speakers", type=Path, required=True, help="CSV to write: the speakers and their roles"
    )
    parser.add_argument(
        "--skipped", type=Path, required=True, help="CSV to write: utterances that cannot be used"
    )


def run(arguments: Namespace) -> None:
    spec = arguments.spec
    corpus = read_corpus(arguments.corpus, spec.corpus.subsets, spec.corpus.policy)
    splits = split(corpus.utterances, spec.speakers, spec.sizes, spec.seeds)
    used = corpus.utterances[corpus.utterances["id"].isin(splits["id"])]
    roles = spec.speakers.by_speaker
    speakers = corpus.speakers[corpus.speakers["speaker"].isin(roles)]
    speakers = speakers[SPEAKER_COLUMNS].assign(role=speakers["speaker"].map(roles))
    for table, path in (
        (splits, arguments.splits),
        (used, arguments.utterances),
        (speakers[["speaker", "sex", "name", "role"]], arguments.speakers),
        (corpus.skipped, arguments.skipped),
    ):
        table.to_csv(path, index=False, lineterminator="\n")
