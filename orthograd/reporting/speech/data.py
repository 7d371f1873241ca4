"""Reading what `collect` writes of a speech experiment, checking it, and the rates that its report shows.

One row of `utterances` is one transcript. Rates are fractions (a word error rate may exceed 1), losses nats a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Self

import pandas as pd

from orthograd.reporting.data import ReportError
from orthograd.reporting.experiment import ORIGINAL
from orthograd.reporting.speech.experiment import SpeechExperiment
from orthograd.speech.corpus import PROBLEM_COLUMNS
from orthograd.speech.scores import COUNTS, FLAGS, KEYS, rates
from orthograd.speech.specs import REFERENCES, Setting
from orthograd.speech.splits import FORGET_SETS, SCORED_SETS

RUN_NUMBERS = [
    "target",
    "steps",
    "seconds",
    "peak_bytes",
    "forward",
    "backward",
    "trained_parameters",
]
TRAJECTORY_NUMBERS = [
    "seconds",
    "wer_forget_validation",
    "wer_test",
]
_UTTERANCE_TEXTS = ["id", "utterance_speaker", "reference", "hypothesis"]
_SPEAKER_COLUMNS = ["speaker", "sex", "name", "role"]

HELD_OUT = "forget_heldout"
TEST = "test"
RETAIN_SPEAKERS = "retain_speakers"

# What the tables show: their label, and the sets of utterances that it joins.
GROUPS: dict[str, tuple[str, tuple[str, ...]]] = {
    "forget_train": ("Forgotten, unlearned", ("forget_train",)),
    HELD_OUT: ("Forgotten, held out", (HELD_OUT,)),
    "forget": ("Forgotten, all", FORGET_SETS),
    "retain": ("Retain utterances", ("retain",)),
    RETAIN_SPEAKERS: ("Retain speakers", (RETAIN_SPEAKERS,)),
    TEST: ("Test speakers", (TEST,)),
}
# Word error rates as the ledger of the paper's numbers names them.
RATE_COLUMNS = {f"wer_{group}": group for group in GROUPS}


class Reached(NamedTuple):
    """Runs at their target.

    Attributes:
        reached: runs that came to it.
        runs: all runs.
        at_start: those of `reached` that were there before the first step, which changed nothing.
    """

    reached: int
    runs: int
    at_start: int

    @property
    def sentence(self) -> str:
        """'k of n runs', and how many of the k took no step."""
        already = f" ({self.at_start} of them before the first step)" if self.at_start else ""
        return f"{self.reached} of {self.runs} runs{already}"


@dataclass(frozen=True, eq=False)
class SpeechData:
    """The runs of one speech experiment: in each setting every method on the same speakers and seeds."""

    experiment: SpeechExperiment
    utterances: pd.DataFrame
    runs: pd.DataFrame
    trajectories: pd.DataFrame
    speakers: pd.DataFrame
    similarity: pd.DataFrame
    skipped: pd.DataFrame

    @classmethod
    def read(cls, folder: Path, experiment: SpeechExperiment) -> Self:
        """Read the tables in a folder.

        Raises:
            ReportError: a file is missing, or see `of_frames`.
        """
        utterances = _read(folder / "utterances.csv.gz", [*KEYS[:3], "set", *_UTTERANCE_TEXTS])
        splits = _read(folder / "splits.csv", ["speaker", "id", "utterance_speaker", "set"])
        return cls.of_frames(
            experiment,
            _weighed(utterances, splits),
            _read(folder / "runs.csv", KEYS[:3]),
            _read(folder / "trajectories.csv", KEYS[:3]),
            _read(folder / "speakers.csv", _SPEAKER_COLUMNS),
            _read(folder / "similarity.csv", ["speaker", "other"]),
            _read(folder / "skipped.csv", PROBLEM_COLUMNS),
        )

    @classmethod
    def of_frames(
        cls,
        experiment: SpeechExperiment,
        utterances: pd.DataFrame,
        runs: pd.DataFrame,
        trajectories: pd.DataFrame,
        speakers: pd.DataFrame,
        similarity: pd.DataFrame,
        skipped: pd.DataFrame,
    ) -> Self:
        """Check the frames, and keep what the experiment shows.

        Raises:
            ReportError: a column is missing, a set is unknown, a row is there twice, a run or a speaker is missing, or
                a reference has no words.
        """
        numbers = dict.fromkeys(RUN_NUMBERS, "float64")
        utterances = _checked(
            "utterances",
            utterances,
            [*KEYS, "set", *_UTTERANCE_TEXTS, *COUNTS, *FLAGS, "loss", "weight"],
            [*KEYS, "set", "id"],
        )
        runs = _checked("runs", runs, [*KEYS, "target_reached", "diverged", *RUN_NUMBERS], KEYS).astype(
            numbers
        )
        trajectories = _checked("trajectories", trajectories, [*KEYS, "step"], [*KEYS, "step"])
        # Where no run recorded them, they are not there at all.
        trajectories = trajectories.assign(
            **{name: trajectories.get(name, float("nan")) for name in TRAJECTORY_NUMBERS}
        ).astype(dict.fromkeys(TRAJECTORY_NUMBERS, "float64"))
        speakers = _checked("speakers", speakers, _SPEAKER_COLUMNS, ["speaker"])
        similarity = _checked(
            "similarity", similarity, ["speaker", "other", "similarity"], ["speaker", "other"]
        )
        skipped = _checked("skipped", skipped, PROBLEM_COLUMNS, ["path"])
        unknown = sorted(set(utterances["set"]) - set(SCORED_SETS))
        if unknown:
            raise ReportError(
                f"utterances: sets {unknown} are not among {list(SCORED_SETS)}; collect them again"
            )
        if not (utterances["words"] > 0).all():
            raise ReportError(
                "utterances: a reference has no words; leave the utterance out, it has no error rate"
            )
        shown = {(setting, row) for setting in experiment.settings for row in experiment.rows(setting)}
        chosen = [
            frame[[key in shown for key in zip(frame["setting"], frame["method"], strict=True)]]
            for frame in (utterances, runs, trajectories)
        ]
        flags = dict.fromkeys(FLAGS, "bool")
        data = cls(
            experiment,
            chosen[0].astype(flags | {"loss": "float64"}),
            chosen[1].assign(target_reached=chosen[1]["target_reached"].astype("boolean")),
            chosen[2],
            speakers,
            similarity,
            skipped,
        )
        data._check_grid()
        return replace(data, trajectories=data._from_their_start())

    def _from_their_start(self) -> pd.DataFrame:
        """The trajectories with the test WER of the original model at step 0, which no run measures again."""
        trajectories, keys = self.trajectories.copy(), ["setting", "speaker", "seed"]
        heard = self.utterances[(self.utterances["method"] == ORIGINAL) & (self.utterances["set"] == TEST)]
        known = {key: rates(rows)["wer"] for key, rows in heard.groupby(keys)}
        unknown = (trajectories["step"] == 0) & trajectories["wer_test"].isna()
        places = trajectories.loc[unknown, keys].itertuples(index=False, name=None)
        trajectories.loc[unknown, "wer_test"] = [known.get(place, float("nan")) for place in places]
        return trajectories

    def _check_grid(self) -> None:
        for setting in self.experiment.settings:
            of_setting = self.utterances[self.utterances["setting"] == setting]
            expected = {
                (speaker, seed, group)
                for speaker, seed in of_setting[["speaker", "seed"]].drop_duplicates().itertuples(index=False)
                for group in ("forget_train", HELD_OUT, RETAIN_SPEAKERS, TEST)
            }
            if not expected:
                raise ReportError(
                    f"{self.experiment.id}: no utterance has the setting {setting!r}; "
                    "compute its runs with `snakemake`, or take it out of the experiment"
                )
            for method in self.experiment.rows(setting):
                rows = of_setting[of_setting["method"] == method]
                found = set(
                    rows[["speaker", "seed", "set"]].drop_duplicates().itertuples(index=False, name=None)
                )
                absent = sorted(expected - found)
                if absent:
                    raise ReportError(
                        f"{self.experiment.id}: no transcripts of {method} ({setting}) for speaker, seed and set "
                        f"{absent[0]} and {len(absent) - 1} more; compute these runs with `snakemake`, or take the "
                        "method out of the experiment"
                    )
            for method in self.experiment.methods[setting]:
                verdicts = self.runs_of(setting, method)["target_reached"]
                if verdicts.isna().any() or verdicts.empty:
                    raise ReportError(
                        f"{self.experiment.id}: runs.csv does not say of every run of {method} ({setting}) whether it "
                        "reached its target; collect the results again"
                    )

    def forgotten(self, setting: Setting) -> list[str]:
        """The speakers that are forgotten, one after the other."""
        return sorted(set(self.utterances.loc[self.utterances["setting"] == setting, "speaker"]))

    def n(self, setting: Setting) -> int:
        """How many they are."""
        return len(self.forgotten(setting))

    @cached_property
    def _groups(self) -> dict[tuple[str, str, str, str], pd.DataFrame]:
        """Transcripts by setting, method, forgotten speaker and set."""
        grouped = self.utterances.groupby(["setting", "method", "speaker", "set"], sort=False)
        return {(str(a), str(b), str(c), str(d)): rows for (a, b, c, d), rows in grouped}

    def transcripts(self, setting: Setting, method: str, speaker: str, sets: Sequence[str]) -> pd.DataFrame:
        """The transcripts of some sets by the models that forgot a speaker, all seeds."""
        found = [self._groups.get((setting, method, speaker, name)) for name in sets]
        return pd.concat([rows for rows in found if rows is not None])

    @cached_property
    def rates(self) -> pd.DataFrame:
        """Rates of `scores.rates` and summed counts, one row a setting, method, speaker and group."""
        rows = []
        for setting in self.experiment.settings:
            for method in self.experiment.rows(setting):
                for speaker in self.forgotten(setting):
                    for group, (_, sets) in GROUPS.items():
                        scores = self.transcripts(setting, method, speaker, sets)
                        rows.append(
                            {"setting": setting, "method": method, "speaker": speaker, "group": group}
                            | rates(scores.assign(**scores[COUNTS].mul(scores["weight"], axis=0)))
                            | {"utterances": len(scores), "words": int(scores["words"].sum())}
                        )
        return pd.DataFrame(rows).set_index(["setting", "method", "group", "speaker"]).sort_index()

    def rate(self, setting: Setting, method: str, group: str, name: str = "wer") -> pd.Series:
        """One rate of each forgotten speaker (index), a fraction."""
        return self.rates_of(setting, method, group)[name]

    def rates_of(self, setting: Setting, method: str, group: str) -> pd.DataFrame:
        """All of them, and the numbers of words and utterances that they are of."""
        found = self.rates.xs((setting, method, group))
        assert isinstance(found, pd.DataFrame)  # of four levels of the index one is left
        return found

    def runs_of(self, setting: Setting, method: str) -> pd.DataFrame:
        """The runs of a method."""
        return self.runs[(self.runs["setting"] == setting) & (self.runs["method"] == method)]

    def reached(self, setting: Setting, method: str) -> Reached | None:
        """How many runs reached their target; None for a model that has none."""
        if method in REFERENCES[setting]:
            return None
        runs = self.runs_of(setting, method)
        verdicts = runs["target_reached"].astype(bool)
        return Reached(int(verdicts.sum()), len(runs), int((verdicts & (runs["steps"] == 0)).sum()))


def _read(path: Path, texts: Sequence[str]) -> pd.DataFrame:
    if not path.is_file():
        raise ReportError(f"{path} is missing; collect the results of the experiment (run `snakemake`)")
    columns = pd.read_csv(path, nrows=0).columns
    numbers = {column: [""] for column in columns if column not in texts}
    # A transcript may be empty, or say "null".
    return pd.read_csv(path, dtype=dict.fromkeys(texts, "str"), keep_default_na=False, na_values=numbers)


def _weighed(utterances: pd.DataFrame, splits: pd.DataFrame) -> pd.DataFrame:
    """With `weight`, how many utterances of its set each scored one stands for."""
    place = ["speaker", "seed", "set"]
    sizes = splits.groupby(place).size().rename("size").reset_index()
    of_set = utterances[place].merge(sizes, how="left", on=place, validate="many_to_one")["size"].to_numpy()
    scored = utterances.groupby([*KEYS, "set"])["id"].transform("count")
    return utterances.assign(weight=of_set / scored)


def _checked(name: str, frame: pd.DataFrame, columns: Sequence[str], keys: Sequence[str]) -> pd.DataFrame:
    missing = [column for column in columns if column not in frame]
    if missing:
        raise ReportError(
            f"{name}: columns {missing} are missing; collect the results again with this version"
        )
    twice = frame.duplicated(subset=list(keys))
    if twice.any():
        row = frame[twice].iloc[0]
        raise ReportError(
            f"{name}: {', '.join(f'{key}={row[key]}' for key in keys)} appears twice; collect each run once"
        )
    return frame
