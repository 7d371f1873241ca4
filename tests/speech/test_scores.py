import pytest

from orthograd.speech.scores import longest_repetition, normalise, rates, score


def _row(reference: str, hypothesis: str) -> dict[str, object]:
    return score([reference], [hypothesis]).iloc[0].to_dict()


@pytest.mark.parametrize(
    ("reference", "hypothesis", "counts"),
    [
        # words, substitutions, deletions, insertions; characters, errors in them: counted by hand
        ("THE CAT SAT", "The cat sat.", (3, 0, 0, 0, 11, 0)),
        ("THE CAT SAT", "The dog sat.", (3, 1, 0, 0, 11, 3)),
        ("THE CAT SAT", "The sat.", (3, 0, 1, 0, 11, 4)),
        ("THE CAT SAT", "The cat sat down.", (3, 0, 0, 1, 11, 5)),
        ("THE CAT SAT", "", (3, 0, 3, 0, 11, 11)),
        ("A B C D", "B C D E", (4, 0, 1, 1, 7, 4)),
    ],
)
def test_counts(reference: str, hypothesis: str, counts: tuple[int, ...]) -> None:
    row = _row(reference, hypothesis)
    names = ["words", "substitutions", "deletions", "insertions", "characters", "character_errors"]
    assert tuple(row[name] for name in names) == counts


@pytest.mark.parametrize(
    ("reference", "hypothesis"),
    [
        ("IT'S SOMETHING TO WATCH FOR", "It is something to watch for!"),
        ("THE COLOUR OF THE HARBOUR", "the color of the harbor"),
        ("TWENTY FIVE APPLES", "25 apples"),
        ("MISTER QUILTER", "Mr. Quilter"),
        ("UM THE CAT", "The [coughs] cat"),
    ],
)
def test_both_sides_are_normalised(reference: str, hypothesis: str) -> None:
    assert normalise(reference) == normalise(hypothesis)
    assert rates(score([reference], [hypothesis]))["wer"] == 0.0


def test_rates_are_of_the_corpus_not_means_over_utterances() -> None:
    found = rates(
        score(
            ["ONE WORD LONG SENTENCE HERE NOW PLEASE GO", "YES"],
            ["one word long sentence here now please", "no way"],
        )
    )
    # 9 words; one deleted, one substituted, one inserted. Mean of the utterances: (1/8 + 2) / 2.
    assert found["wer"] == pytest.approx(3 / 9)
    assert [found[name] for name in ("substitutions", "deletions", "insertions")] == pytest.approx(
        [1 / 9] * 3
    )


def test_rate_can_exceed_one() -> None:
    assert rates(score(["YES"], ["no way out"]))["wer"] == 3.0


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("", 0),
        ("one", 1),
        ("one two three", 1),
        ("no no", 2),
        ("go go go go", 4),
        ("a b a b a b c", 3),
        ("x the cat sat the cat sat y", 2),
        ("a b a c a d", 1),
        ("a b c d e f g h a b c d e f g h a b c d e f g h", 3),
        ("a b c d e f g h i a b c d e f g h i a b c d e f g h i", 1),  # nine words are no phrase
    ],
)
def test_longest_repetition(text: str, times: int) -> None:
    assert longest_repetition(text) == times


@pytest.mark.parametrize(
    ("reference", "hypothesis", "repetitive", "hallucinated"),
    [
        ("THE CAT SAT", "the cat sat", False, False),
        ("THE CAT SAT", "the cat cat cat sat", True, False),
        ("THE CAT SAT", "the cat cat sat", False, False),
        ("NO NO NO GO", "no no no go", False, False),
        ("NO NO NO GO", "no no no no no no no go", True, True),
        ("THE CAT SAT", "a big dog ran away", False, True),
        ("THE CAT SAT", "the big dog", False, False),
        ("THE CAT SAT", "", False, False),
    ],
)
def test_flags(reference: str, hypothesis: str, repetitive: bool, hallucinated: bool) -> None:
    row = _row(reference, hypothesis)
    assert (row["repetitive"], row["hallucinated"]) == (repetitive, hallucinated)


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(ValueError, match=r"reference '\[music\]' has no words after normalisation"):
        score(["[music]"], ["hello"])
    with pytest.raises(ValueError, match="2 references, but 1 hypotheses"):
        score(["A", "B"], ["a"])
    with pytest.raises(ValueError, match="no transcripts"):
        rates(score([], []))
