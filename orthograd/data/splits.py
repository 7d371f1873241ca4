"""Splits: which image is forgotten, retained, or held out; made once per seed and written to a file.

A split is a table with one row per image:

    source           published part, "train" or "test"; of another dataset "<dataset>/train" (`orthograd.data.proxy`)
    row              row in the prepared tensors of that part
    published_index  row in the published file
    label            class
    sha256           content hash of the pixels, in hex
    set              the set that the image belongs to
    retain_order     place in the order of the retain pool, or of the proxy pool; -1 outside of both (only after
                     `scenario_split`)

A shadow model's split (`shadow_splits`) has the set `unseen` beside: images of the forget set that it never sees.

All draws come from `stratified_order`. Each purpose has a random stream of its own, so that changing one size
or scenario leaves the other draws of that seed as they were.
"""

import heapq
from collections.abc import Collection, Sequence
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orthograd.data.scenarios import ClassScenario, RandomScenario, SplitSizes

if TYPE_CHECKING:  # it imports torch
    from orthograd.data.images import ImageDataset

_DTYPES = {
    "source": "str",
    "row": "int64",
    "published_index": "int64",
    "label": "int64",
    "sha256": "str",
    "set": "str",
    "retain_order": "int64",
}
_BASE_COLUMNS = [column for column in _DTYPES if column != "retain_order"]
_BASE_SETS = {"train", "validation", "test"}
_SCENARIO_SETS = {"forget", "retain", "validation", "test", "validation_forgotten", "test_forgotten"}
_SCENARIO_SETS |= {"proxy", "unseen"}


class Stream(IntEnum):
    """Purposes of randomness. The numbers are part of every split ever written: add, never change."""

    TRAIN_PART = 1
    TEST_PART = 2
    FORGET = 3
    RETAIN = 4
    PROXY = 5
    PROXY_NOISE = 6
    SHADOWS = 7


def generator(seed: int, stream: Stream) -> np.random.Generator:
    """The random stream of a seed (≥ 0) for one purpose."""
    return np.random.default_rng(np.random.SeedSequence([seed, int(stream)]))


def stratified_order(labels: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """A random order in which every prefix has the classes' shares as nearly as whole numbers allow.

    With n_c of N samples in class c, the first s samples hold floor(s·n_c/N) or ceil(s·n_c/N) of class c, for
    every s and c. The j-th sample of a class must then come after place (j−1)·N/n_c and not after ⌈j·N/n_c⌉;
    serving the earliest deadline first keeps to all of these windows (Steiner and Yeomans, Management Science
    39, 1993).

    Args:
        labels: (N,) integers.
        rng: source of randomness: for the order within a class, and between classes of equal deadline.

    Returns:
        (N,) int64, a permutation of the positions 0 … N−1.
    """
    total = len(labels)
    members = [rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    precedence = rng.permutation(len(members))
    # One entry per class, for its next sample: first place it may take, last place, tie-break, class, number.
    waiting = [(1, -(-total // len(rows)), int(precedence[c]), c, 1) for c, rows in enumerate(members)]
    heapq.heapify(waiting)
    ready: list[tuple[int, int, int, int]] = []
    order = np.empty(total, dtype=np.int64)
    for place in range(1, total + 1):
        while waiting and waiting[0][0] <= place:
            heapq.heappush(ready, heapq.heappop(waiting)[1:])
        _, rank, c, number = heapq.heappop(ready)
        size = len(members[c])
        order[place - 1] = members[c][number - 1]
        if number < size:
            first, last = number * total // size + 1, -(-(number + 1) * total // size)
            heapq.heappush(waiting, (first, last, rank, c, number + 1))
    return order


def base_split(
    dataset: "ImageDataset", sizes: SplitSizes, seed: int, apart_from: Collection[str] = ()
) -> pd.DataFrame:
    """Draw train and validation set from the published train part, the test set from the published test part.

    Stratified; the validation set of a seed does not depend on the size of the train set, and the train sets
    of one validation size are nested.

    Args:
        dataset: the images.
        sizes: of the sets.
        seed: of the draws.
        apart_from: content hashes of images that are left out of the train part before anything is drawn.

    Returns:
        A split with the sets train, validation and test, of exactly the sizes asked for.

    Raises:
        ValueError: a part has too few images.
    """
    train, test = describe(dataset, "train"), describe(dataset, "test")
    train = train[~train["sha256"].isin(list(apart_from))]
    wanted = sizes.train + sizes.validation
    if wanted > len(train):
        left, mend = ("", "") if not apart_from else (" left", ", or let splits share images")
        raise ValueError(
            f"train + validation = {sizes.train} + {sizes.validation} = {wanted} images, but the train "
            f"part of {dataset.name} has {len(train)}{left}: lower one of the two sizes{mend}"
        )
    if sizes.test is not None and sizes.test > len(test):
        raise ValueError(
            f"test = {sizes.test} images, but the test part of {dataset.name} has {len(test)}: lower it, or "
            "set it to null for all"
        )
    order = stratified_order(train["label"].to_numpy(), generator(seed, Stream.TRAIN_PART))
    validation_rows, train_rows = order[: sizes.validation], order[sizes.validation : wanted]
    test_rows = stratified_order(test["label"].to_numpy(), generator(seed, Stream.TEST_PART))[: sizes.test]
    chosen = [
        train.iloc[np.sort(train_rows)].assign(set="train"),
        train.iloc[np.sort(validation_rows)].assign(set="validation"),
        test.iloc[np.sort(test_rows)].assign(set="test"),
    ]
    return _checked(pd.concat(chosen, ignore_index=True))


def scenario_split(base: pd.DataFrame, scenario: RandomScenario | ClassScenario, seed: int) -> pd.DataFrame:
    """Divide the train set of a base split into forget set and retain pool, and order the pool.

    random: a stratified share of the train set is forgotten, rounded to whole images; the forget sets of one
    seed are nested as the share grows. class: all of a class is forgotten, and its held-out images become the
    sets `validation_forgotten` and `test_forgotten`.

    The retain pool's order is stratified in every prefix, so that one file serves every size of the retain
    subset (`retain_subset`) and the subsets are nested.

    Returns:
        A split with the sets forget, retain, validation, test (in the class scenario also those two), and the
        column `retain_order`.

    Raises:
        ValueError: the forget set or the retain pool would be empty.
    """
    split = base.copy()
    training = (split["set"] == "train").to_numpy()
    match scenario:
        case RandomScenario():
            positions = np.flatnonzero(training)
            count = round(scenario.fraction * len(positions))
            if not 0 < count < len(positions):
                raise ValueError(
                    f"fraction = {scenario.fraction} of {len(positions)} training images: {count} to forget, "
                    f"{len(positions) - count} to retain, but neither may be 0: change fraction or train size"
                )
            order = stratified_order(split["label"].to_numpy()[positions], generator(seed, Stream.FORGET))
            forget = np.zeros(len(split), dtype=bool)
            forget[positions[order[:count]]] = True
        case ClassScenario():
            of_class = (split["label"] == scenario.label).to_numpy()
            forget = training & of_class
            labels = sorted(set(split.loc[training, "label"].tolist()))
            if not forget.any():
                raise ValueError(f"no training image has the label {scenario.label}: choose one of {labels}")
            if labels == [scenario.label]:
                raise ValueError(
                    f"all training images have the label {scenario.label}, so none is left to "
                    "retain: make the train set larger"
                )
            for name in ("validation", "test"):
                split.loc[of_class & (split["set"] == name).to_numpy(), "set"] = f"{name}_forgotten"
    split.loc[training, "set"] = "retain"
    split.loc[forget, "set"] = "forget"

    pool = np.flatnonzero(training & ~forget)
    order = stratified_order(split["label"].to_numpy()[pool], generator(seed, Stream.RETAIN))
    retain_order = np.full(len(split), -1, dtype=np.int64)
    retain_order[pool[order]] = np.arange(len(pool))
    split["retain_order"] = retain_order
    return _checked(split)


def shadow_splits(split: pd.DataFrame, seeds: Sequence[int]) -> list[pd.DataFrame]:
    """The splits of shadow models, in pairs: one half of the forget set is unlearned, the other is never seen.

    The second of a pair has the halves of the first exchanged, so that with each pair every image of the forget set has
    one more model that unlearned it and one more that never saw it. The halves are drawn class by class. All other
    sets are those of the split.

    Args:
        split: what `scenario_split` returns.
        seeds: of the shadow models, an even number; a pair's halves are drawn from the first of its two.

    Raises:
        ValueError: the number of seeds is odd, or the forget set cannot be halved.
    """
    forget = np.flatnonzero(split["set"] == "forget")
    if len(seeds) % 2 or len(forget) < 2:
        raise ValueError(
            f"{len(seeds)} shadow models, {len(forget)} images to forget: give an even number of models, and two "
            "images at least"
        )
    result = []
    for seed in seeds[::2]:
        order = forget[stratified_order(split["label"].to_numpy()[forget], generator(seed, Stream.SHADOWS))]
        half = len(order) // 2
        for unseen in (order[half:], order[:half]):
            shadow = split.copy()
            shadow.loc[split.index[unseen], "set"] = "unseen"
            result.append(_checked(shadow))
    return result


def trained_split(split: pd.DataFrame) -> pd.DataFrame:
    """What the original model of a shadow's split is trained on: the sets `forget` and `retain`, as the set `train`."""
    seen = split[split["set"].isin(["forget", "retain"])]
    return _checked(seen.drop(columns="retain_order").assign(set="train").reset_index(drop=True))


def retain_subset(
    split: pd.DataFrame, size: int, source: Literal["retain", "proxy"] = "retain"
) -> pd.DataFrame:
    """The first `size` rows of the retain pool, or of the proxy pool that replaces it, in the pool's order.

    Raises:
        ValueError: the pool is smaller, or the size is not positive.
    """
    pool = split[split["set"] == source]
    if not 0 < size <= len(pool):
        mend = "the train set" if source == "retain" else "the proxy's size"
        raise ValueError(
            f"retain subset of {size} images, but the {source} pool has {len(pool)}: choose a size from 1 to "
            f"{len(pool)}, or make {mend} larger"
        )
    return pool[pool["retain_order"] < size].sort_values("retain_order", ignore_index=True)


def check_disjoint(split: pd.DataFrame) -> None:
    """Check that every image is in the split once: neither in two sets nor twice in one.

    Raises:
        ValueError: a content hash or a (source, row) occurs again; names the first one and its sets.
    """
    for key in (["sha256"], ["source", "row"]):
        again = split[split.duplicated(key, keep=False)]
        if not again.empty:
            first = again.iloc[0]
            same = again[(again[key] == first[key]).all(axis=1)]
            names, values = " and ".join(key), ", ".join(map(str, first[key]))
            sets = ", ".join(sorted(set(same["set"])))
            raise ValueError(
                f"the same {names} ({values}) occurs {len(same)} times, in {sets}: the sets are not "
                "disjoint; prepare the data and make the split again"
            )


def write_split(split: pd.DataFrame, path: Path) -> None:
    """Check a split and write it as CSV.

    Raises:
        ValueError: the split is malformed or its sets are not disjoint.
    """
    _checked(split)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    split.to_csv(part, index=False, lineterminator="\n")
    part.replace(path)


def read_split(path: Path) -> pd.DataFrame:
    """Read what `write_split` wrote and check it again.

    Raises:
        ValueError: the file is malformed or its sets are not disjoint; names the file.
    """
    try:
        return _checked(pd.read_csv(path, dtype=_DTYPES, keep_default_na=False))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def describe(dataset: "ImageDataset", source: Literal["train", "test"]) -> pd.DataFrame:
    """One row for each prepared image of a part: the columns of a split up to `sha256`."""
    from orthograd.data.images import content_hashes

    part = dataset.part(source)
    table = pd.DataFrame(
        {
            "source": source,
            "row": np.arange(len(part.labels)),
            "published_index": part.index.numpy(),
            "label": part.labels.numpy(),
            "sha256": content_hashes(part.images),
        }
    )
    return table.astype({column: _DTYPES[column] for column in table.columns})


def _checked(split: pd.DataFrame) -> pd.DataFrame:
    with_order = "retain_order" in split.columns
    expected = list(_DTYPES) if with_order else _BASE_COLUMNS
    if list(split.columns) != expected:
        raise ValueError(f"columns {list(split.columns)}, expected {expected}: make the split again")
    unknown = set(split["set"]) - (_SCENARIO_SETS if with_order else _BASE_SETS)
    if unknown:
        raise ValueError(f"unknown sets {sorted(unknown)}: make the split again")
    if with_order:
        order = split["retain_order"].to_numpy()
        pools = [(split["set"] == name).to_numpy() for name in ("retain", "proxy")]
        numbered = all((np.sort(order[pool]) == np.arange(pool.sum())).all() for pool in pools)
        if not numbered or (order[~(pools[0] | pools[1])] != -1).any():
            raise ValueError(
                "retain_order must number the retain pool, and the proxy pool, from 0, and be -1 elsewhere: make the "
                "split again"
            )
    check_disjoint(split)
    return split.astype({column: _DTYPES[column] for column in expected})
