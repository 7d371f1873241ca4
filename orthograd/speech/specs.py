"""Settings of the speech steps. Importing this module does not import torch: a config is checked fast."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from orthograd.specs import Name, Positive, StoppingRule, Strict, Training

Setting = Literal["pretrained", "fine-tuned"]
Trained = Literal["decoder", "model"]
# Models that each setting compares with.
REFERENCES: dict[Setting, tuple[str, ...]] = {
    "pretrained": ("original",),
    "fine-tuned": ("original", "retrained"),
}
FOLDS = 10  # a forgettable speaker's utterances are cut into these; one is held out

Action = Annotated[
    Literal["refuse", "skip"], Field(description="refuse: stop with an error; skip: leave out, and count")
]


class Policy(Strict):
    """What to do with utterances that cannot be used, problem by problem."""

    broken_audio: Action = Field(description="the audio cannot be decoded to its end")
    wrong_format: Action = Field(description="the audio has another sample rate, or more than one channel")
    too_long: Action = Field(description="the audio is longer than the 30 s that Whisper hears at once")
    missing_transcript: Action = Field(
        description="no transcript, or one without words, belongs to the audio"
    )
    missing_audio: Action = Field(description="no audio belongs to a line of the transcripts")
    unknown_speaker: Action = Field(description="SPEAKERS.TXT does not list the speaker")

    @classmethod
    def refusing(cls) -> Self:
        """The policy that leaves nothing out."""
        return cls.model_validate(dict.fromkeys(cls.model_fields, "refuse"))


class Synthesis(Strict):
    """The synthetic corpus."""

    sentences: Positive = Field(description="utterances of each voice, a whole number >= 1")
    seed: int = Field(ge=0, description="of the sentences, a whole number >= 0")


class Decoding(Strict):
    """Greedy decoding."""

    batch_size: Positive = Field(description="utterances decoded at once, a whole number >= 1")
    max_new_tokens: Positive = Field(description="tokens after which a transcript ends, a whole number >= 1")


class SyntheticCorpus(Synthesis):
    """A corpus that is spoken here."""

    kind: Literal["synthetic"]

    @property
    def name(self) -> str:
        """What the corpus is called in records."""
        return "synthetic speech"

    @property
    def subsets(self) -> list[str]:
        """Folders below the root that are read."""
        return ["synthetic-clean"]

    @property
    def policy(self) -> Policy:
        """Nothing that was spoken here may be unusable."""
        return Policy.refusing()


class FolderCorpus(Strict):
    """A corpus of the user's own in LibriSpeech's layout."""

    kind: Literal["folder"]
    name: str = Field(min_length=1, description="what the corpus is called in the report")
    path: str = Field(min_length=1, description="folder that holds SPEAKERS.TXT and the subsets")
    subsets: list[str] = Field(min_length=1, description="folders below it that are read")
    policy: Policy


class RegisteredCorpus(Strict):
    """A published corpus, which is downloaded or brought, and verified."""

    kind: Literal["registry"]
    name: str = Field(min_length=1, description="corpus of the registry of speech, for example librispeech")
    subsets: list[str] = Field(min_length=1, description="its subsets that are read")
    policy: Policy


SpeechCorpus = Annotated[SyntheticCorpus | RegisteredCorpus | FolderCorpus, Field(discriminator="kind")]


class Roles(Strict):
    """Speakers by what they are for, as SPEAKERS.TXT numbers them; each has one role."""

    forgettable: list[str] = Field(min_length=1, description="forgotten one at a time")
    retain: list[str] = Field(min_length=1, description="whose utterances are the retain set")
    validation: list[str] = Field(min_length=1, description="recorded on the way, never trained on")
    test: list[str] = Field(min_length=1, description="never trained on and never looked at before the end")

    @property
    def by_speaker(self) -> dict[str, str]:
        """The role of each speaker."""
        return {speaker: role for role in type(self).model_fields for speaker in getattr(self, role)}

    @model_validator(mode="after")
    def _one_role_each(self) -> Self:
        listed = [speaker for role in type(self).model_fields for speaker in getattr(self, role)]
        twice = sorted({speaker for speaker in listed if listed.count(speaker) > 1})
        if twice:
            raise ValueError(f"speech.speakers: {twice} have two roles. Mend: give each speaker one")
        return self


class SetSizes(Strict):
    """Utterances in each set. Those of a speaker are taken from the first ones of the corpus."""

    forget: int = Field(ge=10, description="of each forgettable speaker; a tenth is held out, >= 10")
    forget_validation: Positive = Field(
        description="of the other nine tenths, which are unlearned, those that say when to stop, >= 1"
    )
    train: Positive = Field(description="of each retain speaker that fine-tuning sees, >= 1")
    retain: Positive = Field(description="of these, in the retain set, >= 1 and at most `train`")
    retain_speakers: Positive = Field(description="of each retain speaker beside those, for evaluation, >= 1")
    validation: Positive = Field(description="of each validation speaker, >= 1")
    test: Positive = Field(description="of each test speaker, >= 1")
    scored: Positive = Field(
        description="of forget_train and of retain whose transcripts are scored, at most"
    )

    @property
    def unlearned(self) -> int:
        """Utterances that a method unlearns."""
        return self.forget - self.forget // FOLDS

    @model_validator(mode="after")
    def _sets_fit(self) -> Self:
        if self.retain > self.train:
            raise ValueError(
                f"speech.sizes.retain: {self.retain} is more than train = {self.train}. Mend: lower it"
            )
        if self.forget_validation >= self.unlearned:
            raise ValueError(
                f"speech.sizes.forget_validation: {self.forget_validation} are all {self.unlearned} utterances that "
                "are unlearned. Mend: lower it"
            )
        return self


class SpeechStopping(StoppingRule):
    """The one stopping rule of all methods: the WER on forget_validation has to rise to the target.

    Fine-tuned: what the model that was retrained without the speaker scores there. Pretrained: `pretrained_target`.
    """

    pretrained_target: float = Field(gt=0, description="WER to reach from the released model, a fraction > 0")


class Speech(Strict):
    """The speech experiment: a Whisper that forgets a speaker, one speaker after the other."""

    id: Name = Field(description="short name, for example T-ASR; names the files")
    title: str = Field(min_length=1, description="one line for headings")
    corpus: SpeechCorpus = Field(
        description="kind synthetic, registry, or folder with a corpus of the user's"
    )
    whisper: str = Field(description="speech model of the registry")
    trained: Trained = Field(
        description="what fine-tuning and unlearning change. decoder: the encoder is frozen, its output is computed "
        "once; model: the encoder as well, it runs in every pass"
    )
    seeds: list[Annotated[int, Field(ge=0)]] = Field(
        min_length=1,
        description="whole numbers >= 0; a seed is a fold of each speaker and an order of samples",
    )
    speakers: Roles
    sizes: SetSizes
    decoding: Decoding
    finetuning: Training
    stopping: SpeechStopping
    methods: dict[Setting, dict[Name, dict[str, Any]]] = Field(
        min_length=1,
        description="for each setting, pretrained or fine-tuned, method names with their parameters",
    )
    substitutions: list[str] = Field(description="what stands in for what the paper used, one clause each")

    @property
    def runs(self) -> list[tuple[Setting, str]]:
        """Each (setting, method), references included, in the order of the tables."""
        return [
            (setting, method)
            for setting, section in self.methods.items()
            for method in (*REFERENCES[setting], *section)
        ]
