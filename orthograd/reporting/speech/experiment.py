"""What a speech experiment of the report consists of, and the names of its files."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from orthograd import methods
from orthograd.reporting.experiment import ORIGINAL, ORTHOGRAD, RETRAINED, ExperimentId
from orthograd.speech.specs import REFERENCES, Setting, Speech, Trained

PRETRAINED: Setting = "pretrained"
FINE_TUNED: Setting = "fine-tuned"

# Of every setting; those of the second list need a retrained model, membership inference the released one as well.
_TABLES = ("wer", "cer", "errors", "equal_forgetting", "similarity", "cost", "transcripts")
MEMBERSHIP = "membership"
_RETRAINED_TABLES = ("retraining", MEMBERSHIP)
_FIGURES = ("speakers", "curves", "similarity")
_ABLATION = "ablation"

LEVELS = (0.25, 0.5, 0.75, 1.0)
"""Word error rates of the forgotten speaker at which all methods are compared, beside each run's own target."""


class SpeechExperiment(BaseModel):
    """One model that forgets one speaker after the other, by one method after the other, in one or two settings.

    The rows ``original`` and, in the fine-tuned setting, ``retrained`` belong to it and are not listed in ``methods``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: ExperimentId = Field(description="Short name, for example T-ASR; names the files")
    title: str = Field(min_length=1, description="One line for headings")
    model: str = Field(min_length=1, description="Name of the model, as the registry has it")
    trained: Trained = Field(
        description="What methods and fine-tuning change: the decoder or the whole model"
    )
    max_new_tokens: int = Field(gt=0, description="tokens after which a transcript ends, `speech.decoding`")
    methods: dict[Setting, list[str]] = Field(
        min_length=1,
        description="Unlearning methods, in table order; pretrained: from the published weights, fine-tuned: after "
        "training on the corpus",
    )
    levels: list[Annotated[float, Field(gt=0)]] = Field(
        list(LEVELS),
        description="word error rates of the forgotten speaker (fractions, ascending) at which test is compared",
    )
    substitutions: list[str] = Field(
        default_factory=list, description="What stands in for what the paper used, one clause each"
    )

    @classmethod
    def of(cls, speech: Speech) -> Self:
        """What the report shows of the speech experiment of a profile."""
        return cls(
            id=speech.id,
            title=speech.title,
            model=speech.whisper,
            trained=speech.trained,
            max_new_tokens=speech.decoding.max_new_tokens,
            methods={setting: list(section) for setting, section in speech.methods.items()},
            substitutions=speech.substitutions,
        )

    @property
    def settings(self) -> list[Setting]:
        """In the order of the report."""
        return list(self.methods)

    def forms(self, setting: Setting) -> list[str]:
        """The runs that are a form of OrthoGrad; the first is OrthoGrad as it is."""
        found = [run for run in self.methods[setting] if methods.of_run(run).startswith(ORTHOGRAD)]
        return sorted(found, key=lambda run: run != ORTHOGRAD)

    def baselines(self, setting: Setting) -> list[str]:
        """The other runs."""
        return [run for run in self.methods[setting] if run not in self.forms(setting)]

    def rows(self, setting: Setting) -> list[str]:
        """All rows of a table, in order."""
        return [*REFERENCES[setting], *self.methods[setting]]

    def table_names(self, setting: Setting) -> list[str]:
        """The tables of a setting, without its name."""
        names = [*_TABLES, *(_RETRAINED_TABLES if setting == FINE_TUNED else ())]
        if PRETRAINED not in self.settings:
            names = [name for name in names if name != MEMBERSHIP]
        return [*names, _ABLATION] if len(self.forms(setting)) > 1 else names

    def figure_names(self, setting: Setting) -> list[str]:
        """The figures of a setting, without its name."""
        return [*_FIGURES, _ABLATION] if len(self.forms(setting)) > 1 else list(_FIGURES)

    @property
    def audio(self) -> str:
        """Folder of the sound that the page plays, relative to the page."""
        return f"audio/{self.id}"

    @property
    def tables(self) -> list[str]:
        """The names of all tables as the files have them."""
        return [file_name(name, setting) for setting in self.settings for name in self.table_names(setting)]

    @property
    def figures(self) -> list[str]:
        """The names of all figures as the files have them."""
        return [file_name(name, setting) for setting in self.settings for name in self.figure_names(setting)]

    @model_validator(mode="after")
    def _methods_can_be_compared(self) -> Self:
        if sorted(set(self.levels)) != self.levels:
            raise ValueError(f"levels of {self.id} are {self.levels}; name each once, in ascending order")
        for setting, names in self.methods.items():
            where = f"methods of experiment {self.id}, {setting},"
            if len(set(names)) != len(names):
                raise ValueError(f"{where} list a name twice: {names}; keep one")
            reserved = {ORIGINAL, RETRAINED} & set(names)
            if reserved:
                raise ValueError(f"{where} list {sorted(reserved)}; remove it, these rows are always shown")
            if ORTHOGRAD not in names:
                raise ValueError(f"{where} lack '{ORTHOGRAD}'; add it, every other is compared to it")
        return self


def file_name(name: str, setting: Setting) -> str:
    """What stands behind the experiment's id in the names of files."""
    return f"{name}_{setting}"
