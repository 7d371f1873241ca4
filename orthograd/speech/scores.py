"""Errors of transcripts: word and character error rates, taken apart.

Both sides go through Whisper's English normalisation (Radford et al. 2022, appendix C: case, punctuation,
contractions, spelling, numbers). A rate is of the corpus: errors of all utterances over the words of all references, so
it can exceed 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from whisper_normalizer.english import EnglishTextNormalizer

# A phrase of at most this many words, this many times in a row, is a repetition.
PHRASE_WORDS = 8
REPEATS = 3

KEYS = ["setting", "method", "speaker", "seed"]  # of which run a transcript is
COUNTS = ["words", "substitutions", "deletions", "insertions", "characters", "character_errors"]
FLAGS = ["hallucinated", "repetitive"]


@cache
def _normalizer() -> EnglishTextNormalizer:
    import warnings

    # Compiling it warns of an escape sequence in a docstring.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "invalid escape sequence")
        from whisper_normalizer.english import EnglishTextNormalizer

    return EnglishTextNormalizer()


def normalise(text: str) -> str:
    """Whisper's English normalisation."""
    return str(_normalizer()(text)).strip()


def score(references: Sequence[str], hypotheses: Sequence[str]) -> pd.DataFrame:
    """The errors of each transcript, as counts that can be added up.

    Args:
        references: what was said.
        hypotheses: what was transcribed, in the same order; may be empty texts.

    Returns:
        One row each, with the counts `words` (of the reference), `substitutions`, `deletions`, `insertions`,
        `characters` (of the reference, blanks included), `character_errors`; and the truth values `hallucinated` (the
        words that were not said, substituted or inserted, are at least as many as the words that were said) and
        `repetitive` (a phrase of 1 to 8 words stands three times or more in a row, and more often than anywhere in the
        reference).

    Raises:
        ValueError: not as many hypotheses as references, or a reference has no words after normalisation.
    """
    import jiwer

    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references, but {len(hypotheses)} hypotheses")
    rows = []
    for said_text, hypothesis in zip(references, map(normalise, hypotheses), strict=True):
        reference = normalise(said_text)
        if not reference:
            raise ValueError(
                f"the reference {said_text!r} has no words after normalisation: leave the utterance out"
            )
        words = jiwer.process_words(reference, hypothesis)
        characters = jiwer.process_characters(reference, hypothesis)
        said = words.hits + words.substitutions + words.deletions
        length = characters.hits + characters.substitutions + characters.deletions
        wrong = characters.substitutions + characters.deletions + characters.insertions
        repeats = longest_repetition(hypothesis)
        rows.append(
            {
                "words": said,
                "substitutions": words.substitutions,
                "deletions": words.deletions,
                "insertions": words.insertions,
                "characters": length,
                "character_errors": wrong,
                "hallucinated": words.substitutions + words.insertions >= said,
                "repetitive": repeats >= REPEATS and repeats > longest_repetition(reference),
            }
        )
    return pd.DataFrame(rows, columns=[*COUNTS, *FLAGS])


def rates(scores: pd.DataFrame) -> dict[str, float]:
    """The rates of a corpus, as fractions.

    Of words `wer` and its parts `substitutions`, `deletions` and `insertions`; of characters `cer`; of utterances
    `hallucinated` and `repetitive`.

    Args:
        scores: rows of `score`, at least one.

    Raises:
        ValueError: there are no rows.
    """
    if scores.empty:
        raise ValueError("no transcripts: a rate needs at least one")
    total = scores[COUNTS].sum()
    parts = {
        name: float(total[name] / total["words"]) for name in ("substitutions", "deletions", "insertions")
    }
    errors = total["substitutions"] + total["deletions"] + total["insertions"]
    return {
        "wer": float(errors / total["words"]),
        **parts,
        "cer": float(total["character_errors"] / total["characters"]),
        **{name: float(scores[name].mean()) for name in FLAGS},
    }


def longest_repetition(text: str) -> int:
    """How often a phrase of 1 to `PHRASE_WORDS` words stands in a row at most; 0 for no words."""
    words = text.split()
    most = min(1, len(words))
    for length in range(1, PHRASE_WORDS + 1):
        run = 0  # words that equal the one a phrase before
        for here, before in zip(words[length:], words, strict=False):
            run = run + 1 if here == before else 0
            most = max(most, run // length + 1)
    return most
