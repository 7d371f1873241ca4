from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal
from pydantic import TypeAdapter, ValidationError

from orthograd.data.images import ImageDataset, ImagePart, content_hashes
from orthograd.data.scenarios import ClassScenario, RandomScenario, Scenario, SplitSizes
from orthograd.data.splits import (
    Stream,
    base_split,
    check_disjoint,
    generator,
    read_split,
    retain_subset,
    scenario_split,
    shadow_splits,
    stratified_order,
    trained_split,
    write_split,
)

SIZES = SplitSizes(train=120, validation=40, test=30)
TENTH = RandomScenario(kind="random", fraction=0.1)


def make_part(counts: list[int], rng: np.random.Generator) -> ImagePart:
    """`counts[c]` random images (64 bytes, so unique) of each class c, shuffled, from a file with gaps."""
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    images = rng.integers(0, 256, (len(labels), 1, 8, 8), dtype=np.uint8)
    return ImagePart(torch.from_numpy(images), torch.from_numpy(labels), 3 * torch.arange(len(labels)) + 1)


@pytest.fixture(scope="module")
def dataset() -> ImageDataset:
    rng = np.random.default_rng(11)
    train, test = make_part([100, 50, 30, 20], rng), make_part([20, 20, 20, 20], rng)
    return ImageDataset("toy", "1", ("a", "b", "c", "d"), {}, (0.5,), (0.25,), train, test)


@pytest.fixture
def base(dataset: ImageDataset) -> pd.DataFrame:
    return base_split(dataset, SIZES, seed=0)


def members(split: pd.DataFrame, *sets: str) -> set[tuple[str, int]]:
    rows = split[split["set"].isin(sets)]
    return set(zip(rows["source"], rows["row"], strict=True))


def counts(split: pd.DataFrame, name: str) -> list[int]:
    return np.bincount(split.loc[split["set"] == name, "label"], minlength=4).tolist()


class TestStratifiedOrder:
    @settings(max_examples=300, deadline=None)
    @given(st.lists(st.integers(1, 60), min_size=1, max_size=12), st.integers(0, 2**32 - 1))
    def test_every_prefix_is_within_one_of_proportional(self, sizes: list[int], seed: int) -> None:
        rng = np.random.default_rng(seed)
        labels = rng.permutation(np.repeat(7 * np.arange(len(sizes)) - 3, sizes))
        order = stratified_order(labels, rng)
        assert sorted(order.tolist()) == list(range(len(labels)))
        hits = labels[order][:, None] == 7 * np.arange(len(sizes)) - 3
        so_far = hits.cumsum(axis=0)
        # Integers throughout: |count − s·n_c/N| < 1  ⟺  |N·count − s·n_c| < N.
        proportional = np.arange(1, len(labels) + 1)[:, None] * np.array(sizes)
        assert (np.abs(len(labels) * so_far - proportional) < len(labels)).all()

    def test_every_sample_may_come_first(self) -> None:
        labels = np.array([0, 0, 0, 1, 1, 1])
        firsts = [int(stratified_order(labels, np.random.default_rng(seed))[0]) for seed in range(600)]
        # Uniform: 100 expected each; 60 is more than four standard deviations (9.1) off.
        assert (np.bincount(firsts, minlength=6) > 60).all()

    def test_nothing_to_order(self) -> None:
        assert stratified_order(np.array([], dtype=np.int64), np.random.default_rng(0)).tolist() == []


class TestBaseSplit:
    def test_sizes_are_exact_and_classes_proportional(self, base: pd.DataFrame) -> None:
        # Train part: 100, 50, 30, 20 of 200. All shares below are whole numbers, so they must be met exactly.
        assert counts(base, "train") == [60, 30, 18, 12]
        assert counts(base, "validation") == [20, 10, 6, 4]
        test = counts(base, "test")  # 30 of 4 × 20: 7.5 each
        assert sum(test) == 30
        assert set(test) == {7, 8}

    def test_test_null_takes_all(self, dataset: ImageDataset) -> None:
        split = base_split(dataset, SplitSizes(train=1, validation=1, test=None), seed=0)
        assert members(split, "test") == {("test", row) for row in range(80)}

    def test_all_images_can_be_used(self, dataset: ImageDataset) -> None:
        split = base_split(dataset, SplitSizes(train=150, validation=50), seed=0)
        assert members(split, "train", "validation") == {("train", row) for row in range(200)}

    def test_rows_describe_the_images(self, dataset: ImageDataset, base: pd.DataFrame) -> None:
        assert set(base.loc[base["set"] != "test", "source"]) == {"train"}
        assert set(base.loc[base["set"] == "test", "source"]) == {"test"}
        for source in ("train", "test"):
            rows = base[base["source"] == source]
            part, index = dataset.part(source), torch.tensor(rows["row"].to_numpy())
            assert rows["label"].tolist() == part.labels[index].tolist()
            assert rows["published_index"].tolist() == part.index[index].tolist()
            assert rows["sha256"].tolist() == content_hashes(part.images[index])

    def test_deterministic_and_different_between_seeds(
        self, dataset: ImageDataset, base: pd.DataFrame
    ) -> None:
        assert_frame_equal(base_split(dataset, SIZES, seed=0), base)
        other = base_split(dataset, SIZES, seed=1)
        for name in ("train", "validation", "test"):
            assert members(other, name) != members(base, name)

    def test_validation_does_not_depend_on_the_train_size_and_test_not_on_either(
        self, dataset: ImageDataset, base: pd.DataFrame
    ) -> None:
        smaller = base_split(dataset, SplitSizes(train=60, validation=40, test=30), seed=0)
        assert members(smaller, "validation") == members(base, "validation")
        assert members(smaller, "train") < members(base, "train")
        other = base_split(dataset, SplitSizes(train=60, validation=10, test=30), seed=0)
        assert members(other, "test") == members(base, "test")

    @pytest.mark.parametrize(
        ("sizes", "message"),
        [
            (
                {"train": 180, "validation": 21},
                r"180 \+ 21 = 201 images, but the train part of toy has 200: lower",
            ),
            (
                {"train": 1, "validation": 1, "test": 81},
                r"test = 81 images, but the test part of toy has 80: lower",
            ),
        ],
    )
    def test_too_large(self, dataset: ImageDataset, sizes: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            base_split(dataset, SplitSizes(**sizes), seed=0)

    def test_nothing_of_what_others_took_is_drawn(self, dataset: ImageDataset, base: pd.DataFrame) -> None:
        taken = set(base.loc[base["source"] == "train", "sha256"])
        assert len(taken) == 160
        apart = base_split(dataset, SplitSizes(train=30, validation=10, test=30), 0, taken)
        own = apart[apart["source"] == "train"]
        assert taken.isdisjoint(own["sha256"])
        assert own["sha256"].tolist() == content_hashes(
            dataset.train.images[torch.tensor(own["row"].tolist())]
        )
        # All 40 that are left, so that the classes have the shares of the rest.
        assert len(own) == 40
        assert counts(apart, "test") == counts(base, "test")
        with pytest.raises(ValueError, match="30 \\+ 11 = 41 images, but the train part of toy has 40 left"):
            base_split(dataset, SplitSizes(train=30, validation=11, test=30), 0, taken)


class TestRandomScenario:
    def test_train_set_is_divided_and_the_rest_stays(self, base: pd.DataFrame) -> None:
        split = scenario_split(base, TENTH, seed=0)
        assert set(split["set"]) == {"forget", "retain", "validation", "test"}
        assert sum(counts(split, "forget")) == 12
        # 12 of 60, 30, 18, 12 in 120: shares 6, 3, 1.8, 1.2.
        assert counts(split, "forget")[:2] == [6, 3]
        assert sorted(counts(split, "forget")[2:]) == [1, 2]
        assert members(split, "forget", "retain") == members(base, "train")
        assert len(members(split, "retain")) == 108
        for name in ("validation", "test"):
            assert members(split, name) == members(base, name)
        kept = [column for column in base.columns if column != "set"]
        assert_frame_equal(split[kept], base[kept])

    def test_base_split_is_left_as_it_was(self, base: pd.DataFrame) -> None:
        before = base.copy(deep=True)
        scenario_split(base, TENTH, seed=0)
        assert_frame_equal(base, before)

    def test_deterministic_different_between_seeds_nested_in_the_fraction(self, base: pd.DataFrame) -> None:
        split = scenario_split(base, TENTH, seed=0)
        assert_frame_equal(scenario_split(base, TENTH, seed=0), split)
        other = scenario_split(base, TENTH, seed=1)
        assert members(other, "forget") != members(split, "forget")
        half = scenario_split(base, RandomScenario(kind="random", fraction=0.5), seed=0)
        assert members(split, "forget") < members(half, "forget")

    @pytest.mark.parametrize(("fraction", "count"), [(0.004, 0), (0.996, 120)])
    def test_nothing_left_on_one_side(self, base: pd.DataFrame, fraction: float, count: int) -> None:
        scenario = RandomScenario(kind="random", fraction=fraction)
        with pytest.raises(ValueError, match=f"fraction = {fraction} of 120 .*: {count} to forget.*change"):
            scenario_split(base, scenario, seed=0)


class TestClassScenario:
    def test_held_out_images_of_the_class_are_sets_of_their_own(self, base: pd.DataFrame) -> None:
        split = scenario_split(base, ClassScenario(kind="class", label=2), seed=0)
        assert counts(split, "forget") == [0, 0, 18, 0]
        assert counts(split, "retain") == [60, 30, 0, 12]
        assert counts(split, "validation") == [20, 10, 0, 4]
        assert counts(split, "validation_forgotten") == [0, 0, 6, 0]
        assert members(split, "forget", "retain") == members(base, "train")
        for name in ("validation", "test"):
            assert members(split, name, f"{name}_forgotten") == members(base, name)
            assert counts(split, name)[2] == 0
            assert counts(split, f"{name}_forgotten")[2] == counts(base, name)[2] > 0

    def test_label_that_is_not_there(self, base: pd.DataFrame) -> None:
        with pytest.raises(
            ValueError, match=r"no training image has the label 4: choose one of \[0, 1, 2, 3\]"
        ):
            scenario_split(base, ClassScenario(kind="class", label=4), seed=0)

    def test_only_label(self, base: pd.DataFrame) -> None:
        only = base[(base["label"] == 0) | (base["set"] != "train")].reset_index(drop=True)
        with pytest.raises(ValueError, match="none is left to retain"):
            scenario_split(only, ClassScenario(kind="class", label=0), seed=0)


class TestRetainSubset:
    @pytest.mark.parametrize("scenario", [TENTH, ClassScenario(kind="class", label=1)])
    def test_nested_exact_and_stratified(
        self, base: pd.DataFrame, scenario: RandomScenario | ClassScenario
    ) -> None:
        split = scenario_split(base, scenario, seed=0)
        pool = split[split["set"] == "retain"]
        shares = np.bincount(pool["label"], minlength=4) / len(pool)
        previous: list[int] = []
        for size in range(1, len(pool) + 1):
            subset = retain_subset(split, size)
            assert len(subset) == size
            assert set(subset["set"]) == {"retain"}
            assert subset["row"].tolist()[:-1] == previous
            previous = subset["row"].tolist()
            assert (np.abs(np.bincount(subset["label"], minlength=4) - size * shares) < 1).all()
        assert set(previous) == set(pool["row"])

    @pytest.mark.parametrize("size", [0, -1, 109])
    def test_impossible_size(self, base: pd.DataFrame, size: int) -> None:
        split = scenario_split(base, TENTH, seed=0)
        with pytest.raises(
            ValueError, match=f"retain subset of {size} images.*has 108: choose a size from 1 to 108"
        ):
            retain_subset(split, size)


def stream(seed: int, number: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, number])))


def test_streams_of_all_seeds_and_purposes_are_distinct() -> None:
    draws = {
        tuple(generator(seed, purpose).integers(0, 2**63, 4)) for seed in range(20) for purpose in Stream
    }
    assert len(draws) == 20 * len(Stream)


def test_each_purpose_draws_from_its_own_stream(dataset: ImageDataset) -> None:
    """Streams 1 to 4 of the seed, in the documented order: a file that was written stays reproducible."""
    labels = dataset.train.labels.numpy()
    order = stratified_order(labels, stream(7, 1))
    validation, train = order[:40], np.sort(order[40:160])
    test = stratified_order(dataset.test.labels.numpy(), stream(7, 2))[:30]
    forget = train[stratified_order(labels[train], stream(7, 3))[:12]]
    pool = np.setdiff1d(train, forget)
    retain = pool[stratified_order(labels[pool], stream(7, 4))]

    split = scenario_split(base_split(dataset, SIZES, seed=7), TENTH, seed=7)
    assert members(split, "validation") == {("train", row) for row in validation}
    assert members(split, "test") == {("test", row) for row in test}
    assert members(split, "forget") == {("train", row) for row in forget}
    assert retain_subset(split, 108)["row"].tolist() == retain.tolist()


class TestDisjoint:
    def test_planted_image_is_caught_when_checked_written_and_read(
        self, base: pd.DataFrame, tmp_path: Path
    ) -> None:
        split = scenario_split(base, TENTH, seed=0)
        check_disjoint(split)
        write_split(split, tmp_path / "good.csv")
        good = (tmp_path / "good.csv").read_text(encoding="utf-8")
        forget = split.index[split["set"] == "forget"][0]
        test = split.index[split["set"] == "test"][0]
        old, planted = split.loc[test, "sha256"], split.loc[forget, "sha256"]

        bad = split.copy()
        bad.loc[test, "sha256"] = planted
        with pytest.raises(ValueError, match=f"the same sha256 .{planted}. occurs 2 times, in forget, test"):
            check_disjoint(bad)
        with pytest.raises(ValueError, match="not disjoint"):
            write_split(bad, tmp_path / "bad.csv")
        assert [path.name for path in tmp_path.iterdir()] == ["good.csv"]

        (tmp_path / "bad.csv").write_text(good.replace(old, planted), encoding="utf-8")
        with pytest.raises(ValueError, match=r"bad\.csv: the same sha256 .* occurs 2 times, in forget, test"):
            read_split(tmp_path / "bad.csv")

    def test_row_in_two_sets(self, base: pd.DataFrame) -> None:
        bad = base.copy()
        rows = [bad.index[bad["set"] == name][0] for name in ("train", "validation")]
        bad.loc[rows[1], "row"] = bad.loc[rows[0], "row"]
        with pytest.raises(ValueError, match=r"the same source and row \(train, \d+\).*in train, validation"):
            check_disjoint(bad)

    def test_equal_row_numbers_of_different_parts_are_no_repetition(self, base: pd.DataFrame) -> None:
        assert base["row"].duplicated().any()
        check_disjoint(base)


class TestFile:
    @pytest.mark.parametrize("scenario", [None, TENTH, ClassScenario(kind="class", label=1)])
    def test_round_trip(
        self, base: pd.DataFrame, tmp_path: Path, scenario: RandomScenario | ClassScenario | None
    ) -> None:
        split = base if scenario is None else scenario_split(base, scenario, seed=3)
        path = tmp_path / "new" / "split.csv"
        write_split(split, path)
        assert_frame_equal(read_split(path), split)
        assert [file.name for file in path.parent.iterdir()] == ["split.csv"]

    def test_hash_that_looks_like_a_number_stays_text(self, base: pd.DataFrame, tmp_path: Path) -> None:
        odd = base.copy()
        odd.loc[0, "sha256"] = "1e5".zfill(64)
        write_split(odd, tmp_path / "split.csv")
        assert read_split(tmp_path / "split.csv").loc[0, "sha256"] == "1e5".zfill(64)

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("published_index", "index", "columns .*expected"),
            (",validation,", ",holdout,", r"unknown sets \['holdout'\]"),
            (",test,-1", ",test,5000", "retain_order must number"),
            (",retain,0\n", ",retain,500\n", "retain_order must number"),
            ("train,", "train,x", "x"),
        ],
    )
    def test_malformed_file(
        self, base: pd.DataFrame, tmp_path: Path, old: str, new: str, message: str
    ) -> None:
        path = tmp_path / "split.csv"
        write_split(scenario_split(base, TENTH, seed=0), path)
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")
        with pytest.raises(ValueError, match=rf"split\.csv: .*{message}"):
            read_split(path)


@pytest.mark.parametrize(
    ("scenario", "key"),
    [
        ({"kind": "random", "fraction": 0}, "fraction"),
        ({"kind": "random", "fraction": 1}, "fraction"),
        ({"kind": "random", "fraction": -0.1}, "fraction"),
        ({"kind": "random", "fraction": float("nan")}, "fraction"),
        ({"kind": "random", "fraction": 0.1, "label": 1}, "label"),
        ({"kind": "class", "label": -1}, "label"),
        ({"kind": "class"}, "label"),
        ({"kind": "cluster"}, "kind"),
    ],
)
def test_bad_scenario_names_the_key(scenario: dict, key: str) -> None:
    with pytest.raises(ValidationError, match=key):
        TypeAdapter(Scenario).validate_python(scenario)


@pytest.mark.parametrize("key", ["train", "validation", "test"])
def test_sizes_are_positive(key: str) -> None:
    with pytest.raises(ValidationError, match=key):
        SplitSizes(**({"train": 1, "validation": 1, "test": 1} | {key: 0}))


class TestShadowSplits:
    @pytest.mark.parametrize("scenario", [TENTH, ClassScenario(kind="class", label=1)])
    def test_pairs_exchange_the_halves_of_the_forget_set(
        self, base: pd.DataFrame, scenario: Scenario, tmp_path: Path
    ) -> None:
        split = scenario_split(base, scenario, seed=0)
        shadows = shadow_splits(split, [100, 101, 102, 103])
        forget = members(split, "forget")
        for first, second in zip(shadows[::2], shadows[1::2], strict=True):
            assert members(first, "forget") == members(second, "unseen")
            assert members(first, "unseen") == members(second, "forget")
        for shadow in shadows:
            assert members(shadow, "forget", "unseen") == forget
            assert len(members(shadow, "forget")) == len(forget) // 2
            others = ~split["set"].isin(["forget"])
            assert_frame_equal(shadow[others], split[others])
            assert members(trained_split(shadow), "train") == members(shadow, "forget", "retain")
            write_split(trained_split(shadow), tmp_path / "trained.csv")
            write_split(shadow, tmp_path / "shadow.csv")
            assert_frame_equal(read_split(tmp_path / "shadow.csv"), shadow)
        # Another pair has other halves, and a pair depends on its seed alone.
        assert members(shadows[0], "forget") not in (
            members(shadows[2], "forget"),
            members(shadows[3], "forget"),
        )
        assert_frame_equal(shadow_splits(split, [102, 103])[0], shadows[2])

    def test_halves_are_drawn_class_by_class(self, base: pd.DataFrame) -> None:
        split = scenario_split(base, RandomScenario(kind="random", fraction=0.5), seed=0)
        assert counts(split, "forget") == [30, 15, 9, 6]
        for shadow in shadow_splits(split, [7, 8]):
            differences = np.array(counts(shadow, "forget")) - np.array([15, 7.5, 4.5, 3])
            assert (np.abs(differences) < 1).all()

    def test_what_cannot_be_paired(self, base: pd.DataFrame) -> None:
        split = scenario_split(base, TENTH, seed=0)
        with pytest.raises(ValueError, match="3 shadow models, 12 images"):
            shadow_splits(split, [1, 2, 3])
