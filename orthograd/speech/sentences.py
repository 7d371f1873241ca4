"""A seeded generator of distinct English sentences.

Every sentence is one choice of words in one of a few patterns, so that sentences can be counted and drawn by number.
No word stands in two lists of one pattern, and the words are those that English spells in one way only.
"""

from __future__ import annotations

import math
import random

_ADJECTIVES = (
    "old young quiet clever tired famous lonely gentle nervous cheerful careful hungry proud silent friendly"
)
_PEOPLE = (
    "captain farmer teacher doctor painter sailor baker lawyer singer hunter gardener soldier merchant student "
    "carpenter dancer tailor fisherman widow shepherd"
)
_ACTIONS = (
    "carried found polished repaired borrowed described examined followed forgot guarded hid ignored lifted "
    "measured noticed opened praised questioned remembered watched"
)
_DESCRIPTIONS = (
    "golden broken heavy wooden purple frozen painted narrow hollow dusty silver crooked yellow massive"
)
_THINGS = (
    "bottle ladder lantern mirror basket blanket hammer saddle trumpet candle barrel cabinet curtain kettle "
    "pillow ribbon statue suitcase telescope thimble"
)
_PLACES = (
    "garden kitchen harbor castle village market library forest valley station chapel cottage factory museum "
    "palace temple theater tunnel orchard cellar"
)
_TIMES = "winter summer autumn breakfast dinner midnight sunset sunrise supper christmas"
_ANIMALS = "rabbit donkey falcon monkey pigeon turtle beaver camel spider lizard parrot squirrel badger buffalo dolphin"
_MOTIONS = (
    "wandered escaped hurried jumped crawled returned traveled marched climbed vanished stumbled rushed"
)
_ABSTRACT = "question problem answer journey promise secret story danger mistake lesson business custom"
_QUALITIES = (
    "dangerous difficult beautiful terrible wonderful curious necessary familiar marvelous ridiculous"
)

# "a" stands before descriptions, qualities and things only: these begin with a consonant.
# A pattern and the list of words of each gap.
_PATTERNS = (
    ("the {} {} {} a {} {} near the {}", (_ADJECTIVES, _PEOPLE, _ACTIONS, _DESCRIPTIONS, _THINGS, _PLACES)),
    ("before {} the {} {} {} every {} in the {}", (_TIMES, _ADJECTIVES, _PEOPLE, _ACTIONS, _THINGS, _PLACES)),
    (
        "a {} {} {} behind the {} {} of the {}",
        (_DESCRIPTIONS, _ANIMALS, _MOTIONS, _ADJECTIVES, _PEOPLE, _PLACES),
    ),
    ("nobody at the {} {} the {} {} until {}", (_PLACES, _ACTIONS, _DESCRIPTIONS, _THINGS, _TIMES)),
    ("it was a {} {} for the {} who {} the {}", (_QUALITIES, _ABSTRACT, _PEOPLE, _ACTIONS, _THINGS)),
    ("my {} {} from the {} with a {} after {}", (_ANIMALS, _MOTIONS, _PLACES, _THINGS, _TIMES)),
    (
        "did the {} ever tell you the {} {} about the {} {}",
        (_PEOPLE, _QUALITIES, _ABSTRACT, _DESCRIPTIONS, _ANIMALS),
    ),
    ("they {} the {} and the {} under the {} {}", (_ACTIONS, _THINGS, _ANIMALS, _DESCRIPTIONS, _PLACES)),
)


def count() -> int:
    """How many distinct sentences there are."""
    return sum(_size(gaps) for _, gaps in _PATTERNS)


def draw(number: int, seed: int) -> list[str]:
    """Distinct sentences, in lower case and without punctuation, the patterns in turn.

    The same for the same arguments, and the beginning of a longer draw with the same seed.

    Raises:
        ValueError: there are not that many distinct sentences.
    """
    largest = min(_size(gaps) for _, gaps in _PATTERNS) * len(_PATTERNS) // 2
    if number > largest:
        raise ValueError(f"{number} sentences asked for, at most {largest}: lower the number in the config")
    # `random` is the one method whose numbers Python promises to keep.
    generator = random.Random(seed)
    drawn: dict[str, None] = {}
    while len(drawn) < number:
        pattern, gaps = _PATTERNS[len(drawn) % len(_PATTERNS)]
        words = [(choices := gap.split())[int(generator.random() * len(choices))] for gap in gaps]
        drawn.setdefault(pattern.format(*words))
    return list(drawn)


def _size(gaps: tuple[str, ...]) -> int:
    return math.prod(len(gap.split()) for gap in gaps)
