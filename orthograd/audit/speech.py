"""What can be checked of a speech experiment: its sets, what each step heard, targets, stop rule, and its corpus."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from orthograd.audit.checks import Check, Record, decide, differing, no_runs, stop_rule
from orthograd.audit.conditions import Making
from orthograd.reads import digest
from orthograd.records import read_json
from orthograd.speech.splits import FORGET_SETS, RETRAINING_SETS, UNLEARNED_SETS

Kind = Literal["fine-tuning", "transcription", "unlearning"]
KEYS = ["setting", "method", "speaker", "seed"]
ERRORS = ("substitutions", "deletions", "insertions")

# The sets of the split behind what a step of unlearning loads; what it transcribes at its end is checked by itself.
LOADED = {
    "unlearned": UNLEARNED_SETS,
    "retain": ("retain",),
    "forget_validation": ("forget_validation",),
    "recorded_test": ("test",),
}
TRANSCRIBED = "transcribed"
HANDED_OUT = {"forget": UNLEARNED_SETS, "retain": ("retain",)}
# A target is written to a file and read again without loss.
ROUNDING = 1e-12

# The tables of a folder, and what is read of them.
_TABLES: dict[str, dict[str, str]] = {
    "splits.csv": dict.fromkeys(("speaker", "id", "utterance_speaker", "set"), "str") | {"seed": "int64"},
    "contents.csv": dict.fromkeys(
        ("id", "transcript", "audio", "sha256", "corpus_transcript", "corpus_audio"), "str"
    ),
    "utterances.csv.gz": dict.fromkeys((*KEYS[:3], "set", "id", "reference"), "str")
    | dict.fromkeys(("seed", "words", *ERRORS), "int64"),
}


@dataclass(frozen=True, eq=False)
class Speech:
    """What the audit looks at of a speech experiment: what `speech_collect` wrote, beside the config.

    Attributes:
        folder: where it lies.
        records: what each step noted of each model, with its `file`; none where nothing was collected.
        splits: the set of each utterance, for each speaker that is forgotten and each seed.
        contents: a row an utterance, by `id`: what the models were given of it, and what the corpus holds.
        transcripts: a row a transcript: what was scored, with its errors.
        runs: (setting, method) of the config, references included.
        speakers: of the config, those that are forgotten.
        seeds: of the config.
    """

    folder: str
    records: Sequence[Record]
    splits: pd.DataFrame
    contents: pd.DataFrame
    transcripts: pd.DataFrame
    runs: Sequence[tuple[str, str]]
    speakers: Sequence[str]
    seeds: Sequence[int]

    @property
    def tables(self) -> list[str]:
        """The files that say which utterance is what."""
        return [f"{self.folder}/{name}.csv" for name in ("splits", "contents")]

    def of(self, kind: Kind, *methods: str) -> list[Record]:
        """The runs of a step, of some methods or of all; what a run is in `run`, what it noted in `made_with`."""
        return [
            {
                "run": {"setting": record["spec"]["setting"]} | {key: record[key] for key in KEYS[1:]},
                "made_with": record,
            }
            for record in self.records
            if kind_of(record) == kind and (not methods or record["method"] in methods)
        ]

    def rows(self, seed: int, speaker: str, *sets: str) -> pd.DataFrame:
        """The rows of a split, of some sets or of all."""
        own = self.splits[(self.splits["seed"] == seed) & (self.splits["speaker"] == speaker)]
        return own[own["set"].isin(sets)] if sets else own

    def hashes(self, names: Iterable[str]) -> list[str]:
        """Content hashes of utterances."""
        return self.contents["sha256"].reindex(list(names)).fillna("not noted").tolist()

    def digest(self, seed: int, speaker: str, *sets: str) -> str:
        """`orthograd.reads.digest` of some sets of a split."""
        return digest(self.hashes(self.rows(seed, speaker, *sets)["id"]))


def read_speech(
    folder: Path | None, runs: Sequence[tuple[str, str]], speakers: Sequence[str], seeds: Sequence[int]
) -> Speech:
    """What `speech_collect` wrote into a folder, beside what the config asks for; with None, that nothing is there."""
    if folder is None:
        splits, contents, transcripts = (
            pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in columns.items()})
            for columns in _TABLES.values()
        )
        records: list[Record] = []
    else:
        # Speakers are called by numbers, and a sentence may be "null".
        splits, contents, transcripts = (
            pd.read_csv(folder / name, usecols=list(columns), dtype=columns, keep_default_na=False)
            for name, columns in _TABLES.items()
        )
        records = read_json(folder / "evidence.json")["runs"]
    return Speech(
        "" if folder is None else str(folder),
        records,
        splits,
        contents.set_index("id"),
        transcripts,
        runs,
        speakers,
        seeds,
    )


def kind_of(record: Record) -> Kind:
    """Which step made a record."""
    if "training" in record["spec"]:
        return "fine-tuning"
    return "unlearning" if "stopping" in record["spec"] else "transcription"


def makings(speech: Speech) -> list[Making]:
    """What was run."""
    return [
        Making(
            record["file"],
            f"speech {kind}" + (f" by {record['method']}" if kind == "unlearning" else ""),
            record,
        )
        for record in speech.records
        for kind in [kind_of(record)]
    ]


def _name(run: Record) -> str:
    key = run["run"]
    without = "" if key["speaker"] is None else f" speaker {key['speaker']}"
    return f"{key['setting']} {key['method']}{without} seed {key['seed']}"


def _key(run: Record) -> tuple[Any, ...]:
    return tuple(run["run"][key] for key in KEYS)


def _files(speech: Speech, runs: Sequence[Record]) -> list[str]:
    return [*(run["made_with"]["file"] for run in runs), *speech.tables]


def _places(speech: Speech) -> list[tuple[int, str]]:
    """Seed and forgotten speaker of each split."""
    found = speech.splits[["seed", "speaker"]].drop_duplicates()
    return [(int(seed), str(speaker)) for seed, speaker in found.itertuples(index=False)]


def _no_splits(speech: Speech) -> str | None:
    return "there is no split of the utterances in the results" if speech.splits.empty else None


def _unlike(reads: Sequence[Record], expected: str) -> str | None:
    """What was read, where it is not exactly the set with this digest."""
    if [read["sha256"] for read in reads] == [expected]:
        return None
    return ", ".join(f"{read['set']} ({read['images']:,} utterances)" for read in reads) or "nothing"


def utterances_disjoint(speech: Speech) -> Check:
    """No utterance is twice in a split: neither itself nor its sentence nor its sound."""
    problems = []
    contents = speech.contents.assign(
        sentence=speech.contents["transcript"].str.casefold().str.split().str.join(" ")
    )
    unknown = sorted(set(speech.splits["id"]) - set(contents.index))
    for seed, speaker in _places(speech):
        rows = speech.rows(seed, speaker).merge(contents, left_on="id", right_index=True)
        for what, key in (
            ("name", "id"),
            ("sentence", "sentence"),
            ("recording", "audio"),
            ("content hash", "sha256"),
        ):
            again = rows[rows.duplicated(key, keep=False)]
            if not again.empty:
                sets = ", ".join(sorted(set(again["set"])))
                problems.append(
                    f"speaker {speaker} seed {seed}: {len(again)} utterances share a {what} (sets {sets})"
                )
    return decide(
        "speech splits disjoint",
        "In the split of every speaker and seed no utterance, no sentence and no recording occurs twice: the forget, "
        "validation, held-out, retain, training and test sets share none, by transcript, by the hash of the audio and "
        "by that of what the models were given.",
        problems,
        f"{len(_places(speech))} splits of {len(contents):,} utterances",
        speech.tables,
        _no_splits(speech)
        or (
            f"nothing is noted of the content of {unknown[0]} ({len(unknown)} utterances)"
            if unknown
            else None
        ),
    )


def speakers_disjoint(speech: Speech) -> Check:
    """No speaker has two roles."""
    problems = []
    for seed, speaker in _places(speech):
        heard = {
            name: set(rows["utterance_speaker"]) for name, rows in speech.rows(seed, speaker).groupby("set")
        }
        groups = {
            "forget sets": set().union(*(heard.get(name, set()) for name in FORGET_SETS)),
            "retain and train": heard.get("retain", set()) | heard.get("train", set()),
            "validation": heard.get("validation", set()),
            "test": heard.get("test", set()),
        }
        if groups["forget sets"] != {speaker}:
            problems.append(
                f"speaker {speaker} seed {seed}: the forget sets are of {sorted(groups['forget sets'])}"
            )
        if stray := heard.get("retain_speakers", set()) - heard.get("retain", set()):
            problems.append(f"speaker {speaker} seed {seed}: retain_speakers has {sorted(stray)}, retain not")
        names = list(groups)
        problems += [
            f"speaker {speaker} seed {seed}: {sorted(both)} in {one} and in {other}"
            for place, one in enumerate(names)
            for other in names[place + 1 :]
            if (both := groups[one] & groups[other])
        ]
    return decide(
        "speech speakers",
        "The forget sets are utterances of the forgotten speaker alone, and that speaker, the speakers that are "
        "retained or trained on, those of validation and those of test are different ones.",
        problems,
        f"{len(_places(speech))} splits with {speech.splits['utterance_speaker'].nunique()} speakers in all",
        speech.tables[:1],
        _no_splits(speech),
    )


def _fine_tuned(speech: Speech, name: str, claim: str, method: str, sets: tuple[str, ...]) -> Check:
    """What fine-tuned models of a kind read beside the sets that they may be trained on."""
    problems = []
    runs = speech.of("fine-tuning", method)
    for run in runs:
        # With no speaker left out, these sets are the same in the split of each speaker.
        speakers = speech.speakers if run["run"]["speaker"] is None else [run["run"]["speaker"]]
        for speaker in speakers:
            seed = run["run"]["seed"]
            found = _unlike(run["made_with"]["reads"], speech.digest(seed, speaker, *sets))
            if found is not None:
                problems.append(
                    f"{_name(run)}: it read {found}, which is not exactly {' and '.join(sets)} of speaker {speaker}"
                )
            if (
                method == "retrained"
                and (speech.rows(seed, speaker, *sets)["utterance_speaker"] == speaker).any()
            ):
                problems.append(f"{_name(run)}: utterances of speaker {speaker} are in {' and '.join(sets)}")
    return decide(
        name,
        claim,
        problems,
        f"the digests of what {len(runs)} fine-tunings loaded equal those of the splits",
        _files(speech, runs),
        no_runs(runs, f"fine-tuned {method} model"),
    )


def original_read(speech: Speech) -> Check:
    """Fine-tuned originals read what they may."""
    return _fine_tuned(
        speech,
        "speech original models",
        "Each model that was fine-tuned with all speakers read exactly the utterances for training and of the retain "
        "set, and what is to be forgotten of each speaker: no held-out utterance, and none of a validation or test "
        "speaker.",
        "original",
        (*RETRAINING_SETS, *UNLEARNED_SETS),
    )


def retrained_read(speech: Speech) -> Check:
    """Models fine-tuned without a speaker read none of the speaker's utterances."""
    return _fine_tuned(
        speech,
        "speech retrained models",
        "No model that was fine-tuned without a speaker read an utterance of the speaker: what it loaded is exactly "
        "the training and retain utterances of its split, none of which the speaker spoke.",
        "retrained",
        RETRAINING_SETS,
    )


def _judge_unlearning(speech: Speech, run: Record) -> list[str]:
    made, seed, speaker = run["made_with"], run["run"]["seed"], run["run"]["speaker"]
    problems = []
    for name, read in made["method_reads"].items():
        if name not in made["declared"] or name not in HANDED_OUT:
            problems.append(
                f"{_name(run)}: the method read {name}, which it does not declare or may not have"
            )
        elif read is not None and read["sha256"] != speech.digest(seed, speaker, *HANDED_OUT[name]):
            problems.append(
                f"{_name(run)}: the method's {name} ({read['set']}, {read['images']:,} utterances) is not "
                f"{' and '.join(HANDED_OUT[name])}"
            )
    for read in made["reads"]:
        if read["set"] == TRANSCRIBED:
            continue
        if read["set"] not in LOADED:
            problems.append(
                f"{_name(run)}: the step loaded {read['set']} ({read['images']:,} utterances), which is neither "
                "handed out nor measured"
            )
        elif read["sha256"] != speech.digest(seed, speaker, *LOADED[read["set"]]):
            problems.append(
                f"{_name(run)}: the step's {read['set']} is not {' and '.join(LOADED[read['set']])} of its split"
            )
    return problems


def unlearning_read(speech: Speech) -> Check:
    """Methods read the forget and retain utterances of their split, and nothing else."""
    runs = speech.of("unlearning")
    noted = [run for run in runs if "method_reads" in run["made_with"]]
    # A run whose target is reached at its start asks for nothing.
    still = [run for run in noted if run["made_with"]["steps"] == 0]
    silent = [
        run
        for run in runs
        if run not in noted
        or None in run["made_with"]["method_reads"].values()
        or not (run["made_with"]["method_reads"] or run in still)
    ]
    return decide(
        "speech unlearning data",
        "What a method was handed is what is to be forgotten of the speaker and the retain set of its split: no "
        "held-out utterance, and none of a validation or test speaker. (The step itself loads validation and test "
        "speakers to record curves, and transcribes the scored utterances at its end.)",
        [problem for run in noted for problem in _judge_unlearning(speech, run)],
        f"{len(runs)} runs, of which {len(still)} took no step: their target was reached at the start",
        _files(speech, runs),
        no_runs(runs, "unlearning run")
        or (
            f"nothing is noted of what was read by {_name(silent[0])} ({len(silent)} runs)"
            if silent
            else None
        ),
    )


def _target(speech: Speech, run: Record) -> float | None:
    """The word error rate that a run has to reach, from what it may come from; None: that is not there."""
    key = run["run"]
    if key["setting"] == "pretrained":
        return float(run["made_with"]["spec"]["pretrained_target"])
    wanted = {**key, "method": "retrained", "set": "forget_validation"}
    rows = speech.transcripts[(speech.transcripts[list(wanted)] == pd.Series(wanted)).all(axis=1)]
    return None if rows.empty else float(rows[list(ERRORS)].to_numpy().sum() / rows["words"].sum())


def stopping_read(speech: Speech) -> Check:
    """Stopping looks at the speaker's validation utterances alone."""
    runs = speech.of("unlearning")
    problems = []
    silent = []
    for run in runs:
        made = run["made_with"]
        expected = speech.digest(run["run"]["seed"], run["run"]["speaker"], "forget_validation")
        target = _target(speech, run)
        if not made.get("steered_by") or target is None:
            silent.append(_name(run))
            continue
        found = _unlike([made["steered_by"]], expected)
        if found is not None:
            problems.append(
                f"{_name(run)}: its stop rule heard {found}, which is not exactly forget_validation"
            )
        if abs(made["target"] - target) > ROUNDING:
            problems.append(f"{_name(run)}: its target is {made['target']:g}, but should be {target:g}")
    return decide(
        "speech stopping",
        "The stop rule heard exactly the validation utterances, which are some of the nine tenths that are unlearned: "
        "none of the held-out tenth, and no test speaker. Its target is the word error rate of the model that was "
        "retrained without the speaker on the same utterances (fine-tuned), or that of the config (pretrained).",
        problems,
        f"{len(runs)} runs",
        [*_files(speech, runs), f"{speech.folder}/utterances.csv.gz"],
        no_runs(runs, "unlearning run")
        or (
            f"nothing is noted of what steered {silent[0]}, or its target's transcripts are missing "
            f"({len(silent)} runs)"
            if silent
            else None
        ),
    )


def _misplaced(speech: Speech) -> list[str]:
    """Transcripts of utterances that are not in the set that they are scored as."""
    keys = ["seed", "speaker", "id", "set"]
    beside = speech.transcripts.merge(speech.splits[keys], how="left", on=keys, indicator=True)
    stray = beside.loc[beside["_merge"] == "left_only", ["setting", "method"]]
    counts = Counter(stray.itertuples(index=False, name=None))
    return [
        f"{setting} {method}: {count} transcripts of utterances that are not in the set that they are scored as"
        for (setting, method), count in sorted(counts.items())
    ]


def _unheard(
    scored: Mapping[tuple[Any, ...], Collection[str]], speech: Speech, runs: Sequence[Record]
) -> list[str]:
    """Models that transcribed other utterances than they are scored on."""
    # One reference model transcribes for several speakers at once, so that their runs note one set.
    together: dict[tuple[str, str, str], list[Record]] = defaultdict(list)
    for run in runs:
        reads = [read["sha256"] for read in run["made_with"]["reads"] if read["set"] == TRANSCRIBED]
        together[run["run"]["setting"], run["run"]["method"], " ".join(reads)].append(run)
    problems = []
    for (_, _, heard), group in together.items():
        names = {name for run in group for name in scored.get(_key(run), ())}
        if digest(speech.hashes(sorted(names))) != heard:
            problems.append(f"{_name(group[0])}: what it transcribed is not what it is scored on")
    return problems


def evaluation_read(speech: Speech) -> Check:
    """All models of a speaker and seed were scored on the same utterances, those that they transcribed."""
    runs = [*speech.of("transcription"), *speech.of("unlearning")]
    scored: dict[tuple[Any, ...], frozenset[str]] = {
        key: frozenset(rows["id"]) for key, rows in speech.transcripts.groupby(KEYS, sort=False)
    }
    problems = [*_misplaced(speech), *_unheard(scored, speech, runs)]
    same: dict[tuple[Any, ...], frozenset[str]] = {}
    for (setting, method, *place), names in scored.items():
        if names != same.setdefault(tuple(place), names):
            problems.append(
                f"{setting} {method} speaker {place[0]} seed {place[1]}: scored on other utterances than others"
            )
    return decide(
        "speech evaluation data",
        "Every model transcribed exactly the utterances that it is scored on, each in the set that the split says, the "
        "same for all methods and references of a speaker and seed.",
        problems,
        f"{len(scored)} evaluations with {len(speech.transcripts):,} transcripts",
        [*_files(speech, runs), f"{speech.folder}/utterances.csv.gz"],
        no_runs(runs, "transcribed model"),
    )


def equal_stop_rule(speech: Speech) -> Check:
    """One stop rule and one budget of steps in a setting."""
    runs = speech.of("unlearning")
    return decide(
        "speech equal stop rule",
        "All methods of a setting run under one stop rule and one budget of steps.",
        differing(runs, ("setting",), stop_rule, "the stop rule"),
        f"{len(runs)} runs: {stop_rule(runs[0]) if runs else ''}",
        _files(speech, runs)[: len(runs)],
        no_runs(runs, "unlearning run"),
    )


def equal_target(speech: Speech) -> Check:
    """One target a setting, speaker and seed."""
    runs = speech.of("unlearning")
    return decide(
        "speech equal target",
        "All methods of a setting, speaker and seed have the same target.",
        differing(runs, ("setting", "speaker", "seed"), lambda run: run["made_with"]["target"], "the target"),
        f"{len(runs)} runs",
        _files(speech, runs)[: len(runs)],
        no_runs(runs, "unlearning run"),
    )


def equal_seeds(speech: Speech) -> Check:
    """Every row is over the speakers and seeds of the config."""
    runs = [*speech.of("transcription"), *speech.of("unlearning")]
    places = {(speaker, seed) for speaker in speech.speakers for seed in speech.seeds}
    found: dict[tuple[str, str], set[tuple[str, int]]] = {row: set() for row in speech.runs}
    for run in runs:
        key = run["run"]
        found.setdefault((key["setting"], key["method"]), set()).add((key["speaker"], key["seed"]))
    problems = [
        f"{' '.join(row)}: {len(own & places)} of {len(places)} speakers and seeds"
        + (", and others" if own - places else "")
        for row, own in found.items()
        if own != places
    ]
    return decide(
        "speech speakers and seeds",
        "Every method and reference of each setting was run for exactly the speakers and seeds of the config.",
        problems if runs else [],
        f"{len(found)} rows, {len(speech.speakers)} speakers, seeds {sorted(speech.seeds)}",
        _files(speech, runs)[: len(runs)],
        no_runs(runs, "run"),
    )


def corpus(speech: Speech) -> Check:
    """Everything was made from the corpus as it lies there."""
    contents = speech.contents
    problems = []
    for what, given in (("recording", "audio"), ("transcript", "transcript")):
        other = contents.index[contents[given] != contents[f"corpus_{given}"]].tolist()
        if other:
            problems.append(
                f"{len(other)} utterances ({', '.join(other[:2])}) have another {what} in the corpus than the models "
                "were given"
            )
    references = (
        speech.transcripts["reference"] != contents["transcript"].reindex(speech.transcripts["id"]).to_numpy()
    )
    problems += [
        f"{setting} {method}: scored against other transcripts than those of the corpus"
        for setting, method in sorted(
            set(speech.transcripts.loc[references, ["setting", "method"]].itertuples(index=False, name=None))
        )
    ]
    names = sorted({record["spec"]["corpus"] for record in speech.records})
    if len(names) > 1:
        problems.append(f"runs on several corpora: {', '.join(names)}")
    return decide(
        "speech corpus checksums",
        "What the encoder heard of each utterance has the SHA-256 that the corpus's recording has now; the transcripts "
        "that were trained on and scored against are those of the corpus.",
        problems,
        f"{len(contents):,} utterances of {', '.join(names)}",
        [*speech.tables[1:], f"{speech.folder}/utterances.csv.gz"],
        None if len(contents) else "there is no utterance in the results",
    )


CHECKS: tuple[Callable[[Speech], Check], ...] = (
    utterances_disjoint,
    speakers_disjoint,
    original_read,
    retrained_read,
    unlearning_read,
    stopping_read,
    evaluation_read,
    equal_stop_rule,
    equal_target,
    equal_seeds,
    corpus,
)
