"""The tables of a speech experiment, one function a table and setting.

The CSV holds raw numbers (fractions, seconds, bytes), with what `statistics.Spread` has as columns `<name>_mean`,
`_deviation`, `_low`, `_high`; Markdown, LaTeX and the page show them rounded, rates in percent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from orthograd.reporting.captions import Caption
from orthograd.reporting.experiment import ORIGINAL, ORTHOGRAD, RETRAINED
from orthograd.reporting.speech import comparison, membership
from orthograd.reporting.speech.data import GROUPS, HELD_OUT, RETAIN_SPEAKERS, TEST, SpeechData
from orthograd.reporting.speech.experiment import file_name
from orthograd.reporting.speech.statistics import (
    BOOTSTRAP,
    Spread,
    interval_text,
    over_speakers,
    pooled,
    significance_text,
    speakers_text,
    spread_note,
    spread_text,
)
from orthograd.reporting.tables import DOUBTFUL, Cell, ProseTable, Table
from orthograd.reporting.text import ABSENT, listing, method_label, number
from orthograd.speech.specs import Setting

_SETTINGS = {
    "pretrained": (
        "setting pretrained: methods start from the published weights, and there is no retrained model; they train"
    ),
    "fine-tuned": (
        "setting fine-tuned: the original model was fine-tuned on the corpus with the speaker, the retrained one on "
        "it without; methods train"
    ),
}
_TRAINED = {
    "decoder": "the decoder, the encoder is frozen",
    "model": "the whole model, decoder and encoder",
}


def setting_text(data: SpeechData, setting: Setting) -> str:
    """What all tables and figures of a setting have in common, above all what stands in for the paper's."""
    experiment = data.experiment
    text = (
        f"Model {experiment.model}; {_SETTINGS[setting]} {_TRAINED[experiment.trained]}. One speaker is forgotten at a "
        f"time ({speakers_text(data.n(setting))})."
    )
    if experiment.substitutions:
        text += f" Substitutions: {'; '.join(experiment.substitutions)}."
    return text


def caption(data: SpeechData, setting: Setting, notes: str) -> Caption:
    """The caption of a table or figure."""
    return Caption(f"{data.experiment.title}, {setting}", setting_text(data, setting), notes)


_SETS = (
    "Forgotten, unlearned: of the utterances that the method unlearns and stopping does not look at, those that are "
    "scored, at most as many as the config says, evenly chosen; held out: the part of the speaker's that no method and "
    "no stopping rule sees; all: those two, and those of the unlearned that stopping looks at. Retain utterances: "
    "those that the methods may read; retain speakers: other utterances of the same speakers that no model was trained "
    "on; test speakers: neither trained on, nor unlearned, nor looked at for stopping. They are the same in every row, "
    "so that no interval covers their choice. Where not all "
    "utterances of a set are scored, all weighs those that are by what they stand for."
)
_TARGET = (
    "Target: runs that reached it / all runs; at start: of these, runs whose original model is there already, which is "
    "then left as it is."
)


def wer_table(data: SpeechData, setting: Setting) -> Table:
    """Word error rates of every model, set by set."""
    return _rate_table(data, setting, "wer", "Word")


def cer_table(data: SpeechData, setting: Setting) -> Table:
    """Character error rates of every model, set by set."""
    return _rate_table(data, setting, "cer", "Character")


def _rate_table(data: SpeechData, setting: Setting, rate: str, word: str) -> Table:
    raw, rows = [], []
    for method in data.experiment.rows(setting):
        found = {group: over_speakers(data.rate(setting, method, group, rate)) for group in GROUPS}
        raw.append(_raw(data, setting, method, found) | _raw_reached(data, setting, method))
        rows.append(
            (
                Cell(method_label(method)),
                *(Cell(spread_text(value, 100, 1)) for value in found.values()),
                Cell(comparison.reached_text(data, setting, method)),
            )
        )
    notes = (
        f"{word} error rate in percent, errors over {word.lower()}s after Whisper's English normalisation, greedy "
        f"decoding; may exceed 100, but a transcript ends after {data.experiment.max_new_tokens} tokens. "
        f"{_words(data, setting)} {_SETS} {_TARGET} {spread_note(data.n(setting))}"
    )
    header = ("Method", *(label for label, _ in GROUPS.values()), "Target")
    return _table(data, setting, rate, notes, raw, header, rows)


def _words(data: SpeechData, setting: Setting) -> str:
    """How much was said."""
    means = {group: data.rates_of(setting, ORIGINAL, group)["words"].mean() for group in GROUPS}
    said = listing([f"{number(words, 0)} ({GROUPS[group][0].lower()})" for group, words in means.items()])
    return f"Words said where one speaker is forgotten, all seeds, on average: {said}."


_ERROR_RATES = {
    "substitutions": "Substituted",
    "deletions": "Deleted",
    "insertions": "Inserted",
    "hallucinated": "Hallucinated",
    "repetitive": "Repetitive",
}


def errors_table(data: SpeechData, setting: Setting) -> Table:
    """What kind of errors the models make, of all speakers' words together."""
    raw: list[dict[str, object]] = []
    rows: list[tuple[Cell, ...]] = []
    for method in data.experiment.rows(setting):
        for group in (HELD_OUT, TEST):
            table = data.rates_of(setting, method, group)
            found = {"wer": pooled(table["wer"] * table["words"], table["words"])} | {
                name: pooled(table[name] * table[of], table[of])
                for name in _ERROR_RATES
                for of in ("words" if name in ("substitutions", "deletions", "insertions") else "utterances",)
            }
            raw.append(
                _raw(data, setting, method, found)
                | {
                    "set": group,
                    "words": int(table["words"].sum()),
                    "utterances": int(table["utterances"].sum()),
                }
            )
            rows.append(
                (
                    Cell(method_label(method)),
                    Cell(GROUPS[group][0]),
                    Cell(
                        f"{number(100 * found['wer'].value, 1)} {interval_text(found['wer'], 100, 1)}".strip()
                    ),
                    *(Cell(number(100 * found[name].value, 1)) for name in _ERROR_RATES),
                    Cell(number(table["words"].sum(), 0)),
                )
            )
    notes = (
        "All forgotten speakers' models together, in percent: of words the error rate and its parts, of utterances "
        "the hallucinated ones (as many words or more that were not said as were said) and the repetitive ones (a "
        "phrase three times or more in a row); that a transcript ends after "
        f"{data.experiment.max_new_tokens} tokens bounds insertions and both of these. "
        f"{BOOTSTRAP if data.n(setting) > 1 else 'One speaker: no interval'}. "
        f"{significance_text(data.n(setting))}."
    )
    header = ("Method", "Set", "WER", *_ERROR_RATES.values(), "Words")
    return _table(data, setting, "errors", notes, raw, header, rows, text_columns=2)


def equal_forgetting_table(data: SpeechData, setting: Setting) -> Table:
    """Test word error rates where the unlearned utterances have given ones."""
    raw, rows = [], []
    for method in data.experiment.methods[setting]:
        cells = [Cell(method_label(method))]
        for level in (None, *data.experiment.levels):
            found = comparison.at_level(data, setting, method, level)
            value = over_speakers(found.values)
            cells.append(Cell(found.obstacle or spread_text(value, 100, 1)))
            raw.append(
                _raw(data, setting, method, {"wer_test": value})
                | {"level": level, "reached": found.reached, "crossed": found.crossed, "runs": found.runs}
            )
        rows.append(tuple(cells))
    notes = (
        "Test word error rate in percent at equal forgetting: where the word error rate of the forgotten speaker, on "
        "the utterances that stopping looks at, first passes the run's target, or the level at the head of the column, "
        "interpolated between the two measured checks around it. Not reached: in so many of the runs it was; already: "
        "so many runs have an original model that is there; at once: so many passed the level by the first measured "
        "check after the original model, so that nothing lies between. A transcript ends after "
        f"{data.experiment.max_new_tokens} tokens. "
        f"{spread_note(data.n(setting))}"
    )
    header = (
        "Method",
        "At the target",
        *(f"Forget WER {number(100 * level, 0)}%" for level in data.experiment.levels),
    )
    return _table(data, setting, "equal_forgetting", notes, raw, header, rows)


def similarity_table(data: SpeechData, setting: Setting) -> Table:
    """How much of the damage to others is done to voices like the forgotten one."""
    raw, rows = [], []
    pairs = 0
    for method in data.experiment.methods[setting]:
        found = comparison.damage(data, setting, method)
        pairs = len(found)
        nearest = found.loc[found.groupby("speaker")["similarity"].idxmax()]
        others = found.drop(nearest.index)
        values = {
            "nearest": over_speakers(nearest["damage"]),
            # With one other speaker there are none.
            "others": over_speakers(
                others.groupby("speaker")["damage"].mean() if len(others) else [math.nan]
            ),
        }
        correlation = comparison.likeness(found)
        raw.append(_raw(data, setting, method, values) | {"rank_correlation": correlation, "pairs": pairs})
        rows.append(
            (
                Cell(method_label(method)),
                *(Cell(spread_text(value, 100, 1)) for value in values.values()),
                Cell(number(correlation, 2)),
            )
        )
    notes = (
        "Damage: word error rate of a retain or test speaker after another was forgotten, minus that of the "
        "original model, in percentage points; for the voice most like the forgotten one (cosine of mean encoder "
        "outputs, less what all voices share), and the mean over all other voices. Rank correlation (Spearman) of "
        f"damage and likeness over {pairs} pairs of voices, which share voices: it is a description, no test. "
        f"{spread_note(data.n(setting))}"
    )
    header = ("Method", "Most alike voice", "Other voices", "Rank correlation")
    return _table(data, setting, "similarity", notes, raw, header, rows)


@dataclass(frozen=True)
class _Cost:
    label: str
    scale: float
    decimals: int


_COSTS = {
    "steps": _Cost("Steps", 1, 1),
    "seconds": _Cost("Seconds", 1, 1),
    "peak_bytes": _Cost("Peak MiB", 1 / 2**20, 1),
    "forward": _Cost("Utterances forward", 1, 0),
    "backward": _Cost("Utterances backward", 1, 0),
    "trained_parameters": _Cost("Trained parameters", 1, 0),
}


def cost_table(data: SpeechData, setting: Setting) -> Table:
    """What a run costs."""
    raw, rows = [], []
    for method in data.experiment.rows(setting):
        # A run that is at its target before the first step costs nothing, which says nothing of the method.
        runs = data.runs_of(setting, method).query("steps > 0")
        # A model that this experiment did not make has no cost.
        found = {
            name: over_speakers(runs.groupby("speaker")[name].agg(lambda values: values.mean(skipna=False)))
            if len(runs)
            else over_speakers([math.nan])
            for name in _COSTS
        }
        raw.append(_raw(data, setting, method, found))
        rows.append(
            (
                Cell(method_label(method)),
                Cell(str(len(runs)) if len(runs) else ABSENT),
                *(Cell(_plain(found[name], cost)) for name, cost in _COSTS.items()),
            )
        )
        raw[-1]["runs"] = len(runs)
    n = data.n(setting)
    spread = (
        "Mean ± standard deviation over forgotten speakers" if n > 1 else "One forgotten speaker: no spread"
    )
    notes = (
        "Of one run: until it stopped, without transcribing. Runs: those that took a step, of which the means are; one "
        "that is at its target before the first step is left out. Peak MiB: above what was in use before, up to the "
        "first check of the run. Forward, backward: "
        f"utterances that passed so through the model. {spread} ({speakers_text(n)}). –: not measured."
    )
    header = ("Method", "Runs", *(cost.label for cost in _COSTS.values()))
    return _table(data, setting, "cost", notes, raw, header, rows)


def _plain(found: Spread, cost: _Cost) -> str:
    mean = number(cost.scale * found.value, cost.decimals)
    spread = math.nan if math.isnan(found.value) else cost.scale * found.deviation
    return mean if math.isnan(spread) or spread == 0 else f"{mean} ± {number(spread, cost.decimals)}"


def retraining_table(data: SpeechData, setting: Setting) -> Table:
    """The distance to the retrained model: by word error rates, and by what the two write."""
    raw, rows = [], []
    for method in [row for row in data.experiment.rows(setting) if row != RETRAINED]:
        distances = {
            f"wer_{group}": over_speakers(comparison.distance_to_retrained(data, method, group))
            for group in GROUPS
        }
        disagreements = {}
        for group in (HELD_OUT, TEST):
            counts = comparison.disagreement(data, method, GROUPS[group][1])
            silent = (counts["words"] == 0).any()
            disagreements[f"disagreement_{group}"] = over_speakers(
                [math.nan] if silent else counts["errors"] / counts["words"]
            )
        raw.append(_raw(data, setting, method, distances | disagreements))
        rows.append(
            (
                Cell(method_label(method)),
                *(Cell(spread_text(value, 100, 1)) for value in (distances | disagreements).values()),
            )
        )
    notes = (
        "|Δ|: distance of the word error rate to that of the model retrained without the speaker, in percentage "
        "points, speaker by speaker. Transcripts: word error rate of the model's transcripts if the retrained "
        "model's were right, in percent; lower is more alike. The row Original is what forgetting has to undo: a "
        "method with more than it is further from the retrained model than a model that forgot nothing. "
        f"{spread_note(data.n(setting))}"
    )
    header = (
        "Method",
        *(f"|Δ| {label[0].lower()}{label[1:]}" for label, _ in GROUPS.values()),
        *(f"Transcripts, {GROUPS[group][0].lower()}" for group in (HELD_OUT, TEST)),
    )
    return _table(data, setting, "retraining", notes, raw, header, rows)


def membership_table(data: SpeechData, setting: Setting) -> Table:
    """Membership inference on every model; an attack that failed a control is marked."""
    verdicts = membership.controls(data)
    raw, rows = [], []
    for method in data.experiment.rows(setting):
        found = {
            name: over_speakers(membership.of_speakers(data, method, name)) for name in membership.ATTACKS
        }
        raw.append(_raw(data, setting, method, found))
        rows.append(
            (
                Cell(method_label(method)),
                *(
                    Cell(spread_text(value, 1, 3), doubtful=not verdicts[name].passed)
                    for name, value in found.items()
                ),
            )
        )
    attacks = " ".join(
        f"{attack.label.partition(',')[0]}: {attack.words}; it {_control_text(verdicts[name].failures)}."
        for name, attack in membership.ATTACKS.items()
    )
    notes = (
        "Area under the ROC curve of how far the loss of the given transcript lies below that of the released model, "
        "which heard none of the utterances, so that it does not matter how easy a voice or a sentence is. Members "
        "have the larger fall, a direction fixed beforehand: 0.5 is chance, above it the utterances are still "
        f"remembered, below it they are worse than unseen ones. {attacks} "
        "Controls: 95% t-intervals over forgotten speakers, or for a single one over its utterances. "
        f"{spread_note(data.n(setting))}"
    )
    header = [
        attack.label + ("" if verdicts[name].passed else DOUBTFUL)
        for name, attack in membership.ATTACKS.items()
    ]
    return _table(data, setting, "membership", notes, raw, ("Method", *header), rows)


def _control_text(failures: Sequence[str]) -> str:
    if failures:
        return f"fails a control, and is not to be believed ({'; '.join(failures)})"
    return "passes its controls: it catches the original models and scores chance on the retrained ones"


def ablation_table(data: SpeechData, setting: Setting) -> Table:
    """The forms of OrthoGrad, and how much they vary over speakers."""
    shown = {HELD_OUT: "held out", RETAIN_SPEAKERS: "retain speakers", TEST: "test"}
    raw, rows = [], []
    ours = data.rate(setting, ORTHOGRAD, TEST)
    for method in data.experiment.forms(setting):
        rates = {group: data.rate(setting, method, group) for group in shown}
        found = {group: over_speakers(values) for group, values in rates.items()}
        difference = rates[TEST] - ours
        beside = over_speakers(difference)
        worse = int((difference > 0).sum())
        itself = method == ORTHOGRAD
        raw.append(
            _raw(data, setting, method, found | {"minus_orthograd": beside})
            | {"worse": worse}
            | _raw_reached(data, setting, method)
        )
        rows.append(
            (
                Cell(method_label(method)),
                *(Cell(spread_text(value, 100, 1)) for value in found.values()),
                Cell(ABSENT if itself else spread_text(beside, 100, 1)),
                Cell(ABSENT if itself else f"{worse}/{len(difference)}"),
                Cell(comparison.reached_text(data, setting, method)),
            )
        )
    notes = (
        "Word error rate in percent at the end of the runs. Test, minus OrthoGrad: the difference speaker by "
        "speaker, in percentage points; worse: speakers with a higher test word error rate than by OrthoGrad. The "
        f"runs end below or above the same forgetting; at equal forgetting see that table. {_TARGET} "
        f"{spread_note(data.n(setting))}"
    )
    header = (
        "Method",
        *(f"WER, {label}" for label in shown.values()),
        "Test, minus OrthoGrad",
        "Worse",
        "Target",
    )
    return _table(data, setting, "ablation", notes, raw, header, rows)


@dataclass(frozen=True)
class Utterance:
    """One held-out utterance of a forgotten speaker as the models write it, by method."""

    speaker: str
    id: str
    reference: str
    hypotheses: Mapping[str, str]


SHOWN_BASELINES = 2


def transcribers(data: SpeechData, setting: Setting) -> list[str]:
    """The models whose transcripts are shown."""
    references = [row for row in data.experiment.rows(setting) if row not in data.experiment.methods[setting]]
    return [*references, ORTHOGRAD, *comparison.best_baselines(data, setting, SHOWN_BASELINES)]


def transcripts(data: SpeechData, setting: Setting, shown: Sequence[str]) -> list[Utterance]:
    """Those utterances of a list of ids that are held out, in its order; of the first seed that holds them out."""
    rows = data.utterances[(data.utterances["setting"] == setting) & (data.utterances["set"] == HELD_OUT)]
    rows = rows[rows["method"].isin(transcribers(data, setting)) & rows["id"].isin(shown)]
    found = []
    for identifier in shown:
        of_utterance = rows[rows["id"] == identifier]
        if of_utterance.empty:
            continue
        seed = of_utterance["seed"].min()
        by_method = of_utterance[of_utterance["seed"] == seed].set_index("method")
        found.append(
            Utterance(
                by_method["speaker"].iloc[0],
                identifier,
                by_method["reference"].iloc[0],
                # In one line: a model that lost its way writes line breaks too.
                {
                    method: " ".join(by_method.loc[method, "hypothesis"].split())
                    for method in transcribers(data, setting)
                },
            )
        )
    return found


TRANSCRIPTS_NOTE = (
    "Transcripts as the models write them, of utterances that no method and no stopping rule saw."
)


def transcripts_table(data: SpeechData, setting: Setting, shown: Sequence[str]) -> Table:
    """What the models write of the utterances that have a player on the page."""
    models = transcribers(data, setting)
    utterances = transcripts(data, setting, shown)
    frame = pd.DataFrame(
        [
            {"speaker": u.speaker, "id": u.id, "reference": u.reference} | dict(u.hypotheses)
            for u in utterances
        ],
        columns=["speaker", "id", "reference", *models],
    )
    rows = tuple(
        tuple(Cell(text) for text in (u.id, u.reference, *(u.hypotheses[model] for model in models)))
        for u in utterances
    )
    header = ("Utterance", "Said", *map(method_label, models))
    baselines = listing(
        [method_label(model) for model in models if model in data.experiment.baselines(setting)]
    )
    notes = TRANSCRIPTS_NOTE + (
        f" {baselines}: of the baselines with most runs at their target those with the lowest test word error rate."
        if baselines
        else ""
    )
    widths = (0.1, *(0.85 / (len(header) - 1) for _ in header[1:]))
    return ProseTable(
        data.experiment.id,
        file_name("transcripts", setting),
        caption(data, setting, notes),
        frame,
        header,
        rows,
        len(header),
        widths,
    )


TABLES: dict[str, Callable[[SpeechData, Setting], Table]] = {
    "wer": wer_table,
    "cer": cer_table,
    "errors": errors_table,
    "equal_forgetting": equal_forgetting_table,
    "similarity": similarity_table,
    "cost": cost_table,
    "retraining": retraining_table,
    "membership": membership_table,
    "ablation": ablation_table,
}
"""One function a table by its name, but for the transcripts, which take the utterances that have a player."""


def all_tables(data: SpeechData, shown: Sequence[str]) -> dict[Setting, dict[str, Table]]:
    """All tables by setting and name; `shown`: ids of the utterances that have a player."""
    return {
        setting: {
            name: transcripts_table(data, setting, shown)
            if name == "transcripts"
            else TABLES[name](data, setting)
            for name in data.experiment.table_names(setting)
        }
        for setting in data.experiment.settings
    }


def _table(
    data: SpeechData,
    setting: Setting,
    name: str,
    notes: str,
    raw: Sequence[Mapping[str, object]],
    header: Sequence[str],
    rows: Sequence[tuple[Cell, ...]],
    text_columns: int = 1,
) -> Table:
    return Table(
        data.experiment.id,
        file_name(name, setting),
        caption(data, setting, notes),
        pd.DataFrame(list(raw)),
        tuple(header),
        tuple(rows),
        text_columns,
    )


def _raw(data: SpeechData, setting: Setting, method: str, found: Mapping[str, Spread]) -> dict[str, object]:
    row: dict[str, object] = {"setting": setting, "method": method, "n": data.n(setting)}
    for name, value in found.items():
        row |= {
            f"{name}_mean": value.value,
            f"{name}_deviation": value.deviation,
            f"{name}_low": value.low,
            f"{name}_high": value.high,
        }
    return row


def _raw_reached(data: SpeechData, setting: Setting, method: str) -> dict[str, object]:
    found = data.reached(setting, method)
    reached, runs, at_start = found or (np.nan, np.nan, np.nan)
    return {"target_reached": reached, "runs": runs, "target_at_start": at_start}
