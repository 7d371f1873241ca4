"""What can be checked of models of images: splits, what each step read, budgets, seeds, checksums of the data."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from orthograd.audit.checks import Check, Record, decide, differing, no_runs, stop_rule
from orthograd.audit.conditions import Making
from orthograd.data.registry import Dataset
from orthograd.reads import digest

# Sets that a step of unlearning loads to measure: the target, the stop rule, the curves and the G-effect.
MEASURED = frozenset({"forget", "validation", "test", "retain_measured"})
REFERENCES = ("original", "retrained")
# Of two means of the same zeros and ones: far less than one image.
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class SplitFile:
    """A scenario's split of a seed, as it stands in its file."""

    file: str
    dataset: str
    scenario: str
    seed: int
    rows: pd.DataFrame

    @property
    def key(self) -> tuple[str, str, int]:
        """What runs of this split have in common."""
        return (self.dataset, self.scenario, self.seed)

    def digest(self, *sets: str) -> str:
        """`orthograd.reads.digest` of all images of some sets."""
        return digest(self.rows.loc[self.rows["set"].isin(sets), "sha256"])

    def retain_subset(self, size: int) -> str:
        """The same of the first images of the retain pool."""
        order = self.rows["retain_order"]
        return digest(self.rows.loc[(order >= 0) & (order < size), "sha256"])

    def held_out(self) -> str:
        """The same of the images that are distributed like the forget set but were never trained on."""
        forgotten = "validation_forgotten"
        return self.digest(forgotten if (self.rows["set"] == forgotten).any() else "validation")


@dataclass(frozen=True)
class Raw:
    """The files of a dataset as they lie on disk, and what was noted of them when they arrived."""

    dataset: Dataset
    folder: Path
    provenance: Sequence[Record]


@dataclass(frozen=True, eq=False)
class Search:
    """The search for parameters, as the config plans it and as it wrote it.

    Attributes:
        seeds: those of the config.
        file: of `record`, as the repository names it.
        record: what the searches noted of what they read; None where it is not there.
        planned: (scenario, method) → trials of the config; one where there is nothing to search.
        table: all trials, one a row; None where they are not there.
        images: whether the tuning splits share images with the reported ones by the config, see `Tuning.images`.
        splits: of every scenario and tuning seed; none where they were not made.
    """

    seeds: Sequence[int]
    file: str
    record: Record | None
    planned: Mapping[tuple[str, str], int]
    table: pd.DataFrame | None
    images: Literal["apart", "shared"]
    splits: Sequence[SplitFile] = ()

    @property
    def table_file(self) -> str:
        """The trials stand beside what was noted of them."""
        return str(Path(self.file).with_suffix(".csv"))


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the audit looks at of models of images.

    Attributes:
        runs: what `collect` wrote of each run, each run once.
        splits: of every dataset, scenario and reported seed.
        seeds: those of the config.
        raw: the datasets' files.
        search: None where the profile has none.
        single_seed_models: those of which the config wants the first seed alone.
    """

    runs: Sequence[Record]
    splits: Sequence[SplitFile]
    seeds: Sequence[int]
    raw: Sequence[Raw]
    search: Search | None
    single_seed_models: Collection[str] = ()


def _name(run: Record) -> str:
    key = run["run"]
    parts = [key["dataset"], key["model"], key["scenario"], key["method"], f"seed {key['seed']}"]
    if key["method"] == "retrained":
        parts.append(f"replicate {key['replicate']}")
    return " ".join(parts)


def unlearned(evidence: Evidence) -> list[Record]:
    return [run for run in evidence.runs if run["run"]["method"] not in REFERENCES]


def _of_method(evidence: Evidence, method: str) -> list[Record]:
    return [run for run in evidence.runs if run["run"]["method"] == method]


def split_of(evidence: Evidence, run: Record) -> SplitFile | None:
    key = (run["run"]["dataset"], run["run"]["scenario"], run["run"]["seed"])
    return next((split for split in evidence.splits if split.key == key), None)


def files_of(runs: Iterable[Record], evidence: Evidence | None = None) -> list[str]:
    splits = [] if evidence is None else [split.file for split in evidence.splits]
    return [*(run["made_with"]["record"] for run in runs), *splits]


def splits_disjoint(evidence: Evidence) -> Check:
    """No image is twice in a split: neither its content nor its row."""
    problems = []
    for split in evidence.splits:
        for what, key in (("content hash", ["sha256"]), ("row", ["source", "row"])):
            again = split.rows[split.rows.duplicated(key, keep=False)]
            if not again.empty:
                sets = ", ".join(sorted(set(again["set"])))
                problems.append(f"{split.file}: {len(again)} images share a {what} (sets {sets})")
    images = sum(len(split.rows) for split in evidence.splits)
    return decide(
        "splits disjoint",
        "In every split of every scenario and seed no image occurs twice, by content hash and by row.",
        problems,
        f"{len(evidence.splits)} splits with {images:,} images in all",
        [split.file for split in evidence.splits],
        None if evidence.splits else "there is no split in the results",
    )


def trained(evidence: Evidence, method: str, sets: tuple[str, ...]) -> tuple[list[str], list[Record]]:
    """What models of a kind read beside the sets that they may be trained on."""
    problems = []
    runs = _of_method(evidence, method)
    for run in runs:
        split = split_of(evidence, run)
        if split is None:
            problems.append(f"{_name(run)}: its split is not there to compare with")
            continue
        reads = run["made_with"]["reads"]
        found = [read["sha256"] for read in reads]
        if found != [split.digest(*sets)]:
            names = ", ".join(f"{read['set']} ({read['images']:,} images)" for read in reads) or "nothing"
            problems.append(f"{_name(run)}: it read {names}, which is not exactly {' and '.join(sets)}")
    return problems, runs


def original_read(evidence: Evidence) -> Check:
    """Original models were trained on the training images alone."""
    problems, runs = trained(evidence, "original", ("forget", "retain"))
    return decide(
        "original models",
        "Each original model read exactly the training images of its seed: forget set and retain pool together.",
        problems,
        f"the digests of what {len(runs)} trainings loaded equal those of the splits",
        files_of(runs, evidence),
        no_runs(runs, "original model"),
    )


def retrained_read(evidence: Evidence) -> Check:
    """Retrained models never read a forget image."""
    problems, runs = trained(evidence, "retrained", ("retain",))
    for split in evidence.splits:
        pool, forget = (
            set(split.rows.loc[split.rows["set"] == name, "sha256"]) for name in ("retain", "forget")
        )
        if pool & forget:
            problems.append(f"{split.file}: {len(pool & forget)} forget images are in the retain pool")
    return decide(
        "retrained models",
        "No retrained model read a forget image: what it loaded is exactly the retain pool of its "
        "split, which shares "
        "no content hash with the forget set. (Two numbers a channel, mean and deviation of the published training "
        "part, standardise the images of every model.)",
        problems,
        f"the digests of what {len(runs)} trainings loaded equal those of the retain pools",
        files_of(runs, evidence),
        no_runs(runs, "retrained model"),
    )


def tuning_seeds(evidence: Evidence) -> Check:
    """No seed of the search is reported."""
    claim = "The seeds on which parameters were searched are none of the reported ones."
    if evidence.search is None:
        return Check("tuning seeds", claim, "not checked", "the profile has no search for parameters", ())
    search = evidence.search
    searched = set(search.seeds)
    for found in (search.record or {"searches": []})["searches"]:
        searched |= set(found["seeds"])
    shared = sorted(searched & set(evidence.seeds))
    return decide(
        "tuning seeds",
        claim,
        [f"seeds {shared} are searched on and reported"] if shared else [],
        f"searched on {sorted(searched)}, reported {sorted(evidence.seeds)}",
        [search.file] if search.record else ["config.yaml"],
        None if search.record else _no_search_record(search),
    )


def _no_search_record(search: Search) -> str:
    return f"there is no {search.file}, in which a search notes what it read; run `snakemake tune` with this version"


def tuning_read(evidence: Evidence) -> Check:
    """The search read no test image."""
    claim = "The search for parameters loaded no image of the published test part, from which all test sets are drawn."
    if evidence.search is None:
        return Check("tuning data", claim, "not checked", "the profile has no search for parameters", ())
    searches = (evidence.search.record or {"searches": []})["searches"]
    problems = [
        f"{search['method']} in scenario {search['scenario']}, seed {seed}: it read {read['images']:,} images "
        f"({read['set']}) of the {read['source']} part"
        for search in searches
        for seed, reads in search["reads"].items()
        for read in reads
        if read["source"] != "train" or read["set"].startswith("test")
    ]
    unread = [search["method"] for search in searches if not all(search["reads"].values())]
    missing = None
    if not searches:
        missing = _no_search_record(evidence.search)
    elif unread:
        missing = f"the searches of {', '.join(unread)} noted nothing that they read"
    return decide(
        "tuning data",
        claim,
        problems,
        f"{len(searches)} searches",
        [evidence.search.file] if evidence.search.record else [],
        missing,
    )


def tuning_images(evidence: Evidence) -> Check:
    """No image of the search is in a reported split."""
    name = "tuning images"
    claim = (
        "What the search for parameters loaded is exactly what its splits say, and no image of these splits' training "
        "part has the content hash of one in a reported split."
    )
    search = evidence.search
    if search is None:
        return Check(name, claim, "not checked", "the profile has no search for parameters", ())
    searches = (search.record or {"searches": []})["searches"]
    splits = {(split.scenario, split.seed): split for split in search.splits}
    reported: set[str] = set()
    for split in evidence.splits:
        reported.update(split.rows.loc[split.rows["source"] == "train", "sha256"])
    problems = []
    shared = 0
    for split in search.splits:
        own = split.rows.loc[split.rows["source"] == "train", "sha256"]
        common = int(own.isin(reported).sum())
        shared += common
        if common:
            problems.append(
                f"scenario {split.scenario}, seed {split.seed}: {common:,} of {len(own):,} images are in reported "
                "splits"
            )
    if search.images == "shared":
        # A stated choice, no fault; but nothing that could pass either.
        files = [split.file for split in search.splits]
        reason = (
            f"the profile lets the tuning splits share images with the reported ones; {shared:,} are shared"
        )
        return Check(name, claim, "not checked", reason, tuple(files))
    for found in searches:
        for seed, reads in found["reads"].items():
            place = (found["scenario"], int(seed))
            if place not in splits:
                continue
            of_split = splits[place]
            problems += [
                f"{found['method']} in scenario {place[0]}, seed {seed}: what it read as {read['set']} is not what "
                f"{of_split.file} has"
                for read in reads
                if read["sha256"]
                != (
                    of_split.retain_subset(read["images"])
                    if read["set"] == "retain_subset"
                    else of_split.digest(read["set"])
                )
            ]
    wanted = {(found["scenario"], int(seed)) for found in searches for seed in found["reads"]}
    missing = None
    if not searches:
        missing = _no_search_record(search)
    elif wanted - set(splits):
        missing = f"the splits of {len(wanted - set(splits))} searched scenarios and seeds are not there"
    return decide(
        name,
        claim,
        problems,
        f"{len(searches)} searches on {len(splits)} splits, which share none of {len(reported):,} reported images",
        [*([search.file] if search.record else []), *(split.file for split in search.splits)],
        missing,
    )


def _measured(read: Record, split: SplitFile) -> str:
    """What a step may have measured under the name of this set."""
    # Of the retain subset the first images.
    return (
        split.retain_subset(read["images"]) if read["set"] == "retain_measured" else split.digest(read["set"])
    )


def _judge_unlearning(run: Record, split: SplitFile) -> list[str]:
    made, size = run["made_with"], run["run"]["retain_size"]
    allowed = {
        "forget": ("the forget set", split.digest("forget")),
        "retain": (f"the retain subset of {size} images", split.retain_subset(size)),
        "heldout": ("the held-out images", split.held_out()),
    }
    problems = []
    for name, read in made["method_reads"].items():
        if name not in made["declared"]:
            problems.append(f"{_name(run)}: the method read {name}, which it does not declare")
        elif read is None:
            continue
        elif read["source"] != "train":
            problems.append(f"{_name(run)}: the method's {name} is of the published {read['source']} part")
        elif name == "retain" and read["set"] == "proxy" and run["run"].get("proxy"):
            own = {split.digest(known) for known in set(split.rows["set"])} | {split.retain_subset(size)}
            if read["sha256"] in own:
                problems.append(f"{_name(run)}: the method's proxy is a set of the split")
        elif read["sha256"] != allowed[name][1]:
            problems.append(
                f"{_name(run)}: the method's {name} ({read['set']}, {read['images']:,} images) is not "
                f"{allowed[name][0]}"
            )
    problems += [
        f"{_name(run)}: the step's {read['set']} ({read['images']:,} images) is not that of its split"
        for read in made["reads"]
        if read["set"] in MEASURED and read["sha256"] != _measured(read, split)
    ]
    handed_out = {read["sha256"] for read in made["method_reads"].values() if read is not None}
    given = handed_out | {allowed[name][1] for name in made["declared"]}
    proxied = {"proxy"} if run["run"].get("proxy") else set()
    problems += [
        f"{_name(run)}: the step loaded {read['set']} ({read['images']:,} images), which is neither "
        "declared nor measured"
        for read in made["reads"]
        if read["set"] not in MEASURED | proxied and read["sha256"] not in given
    ]
    return problems


def unlearning_read(evidence: Evidence) -> Check:
    """Methods read what they declare, of their own split, and nothing else."""
    runs = unlearned(evidence)
    problems: list[str] = []
    unlogged = []
    for run in runs:
        split = split_of(evidence, run)
        if split is None:
            problems.append(f"{_name(run)}: its split is not there to compare with")
            continue
        problems += _judge_unlearning(run, split)
        if not run["made_with"]["method_reads"] or None in run["made_with"]["method_reads"].values():
            unlogged.append(_name(run))
    heldout = sorted(
        {run["run"]["method"] for run in runs if "heldout" in run["made_with"].get("method_reads", {})}
    )
    proxies = sum(
        read is not None and read["set"] == "proxy"
        for run in runs
        for read in run["made_with"]["method_reads"].values()
    )
    return decide(
        "unlearning data",
        "No method read validation or test images, except held-out images where it declares them; what it was handed "
        "is the forget set and the retain subset of its split, or a proxy. (The step itself loads validation and test "
        "images to set the target and to record curves; the stop rule looks at the forget set alone. A proxy is "
        "compared as a whole here: that none of its images is in a set of the split is checked where it is drawn, by "
        "`orthograd.data.proxy`, which stops otherwise.)",
        problems,
        f"{len(runs)} runs; held-out images were read by {', '.join(heldout) or 'no method'}"
        + (
            f"; {proxies} runs read a proxy, which is no whole set of their splits and not their retain subset"
            if proxies
            else ""
        ),
        files_of(runs, evidence),
        no_runs(runs, "unlearning run")
        or (
            f"nothing is noted of what was read by {unlogged[0]} ({len(unlogged)} runs)" if unlogged else None
        ),
    )


def evaluation_read(evidence: Evidence) -> Check:
    """All models of a split were evaluated on the same images."""
    problems = []
    for run in evidence.runs:
        split = split_of(evidence, run)
        if split is None:
            problems.append(f"{_name(run)}: its split is not there to compare with")
            continue
        expected = {name: split.digest(name) for name in sorted(set(split.rows["set"]))}
        found = {read["set"]: read["sha256"] for read in run["evaluated_with"]["reads"]}
        wrong = sorted(
            name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)
        )
        if wrong:
            problems.append(f"{_name(run)}: evaluated on other images than those of {', '.join(wrong)}")
    return decide(
        "evaluation data",
        "Every model was evaluated on exactly the sets of its split, the same for all models of a seed.",
        problems,
        f"{len(evidence.runs)} evaluations",
        [*(run["file"] for run in evidence.runs), *(split.file for split in evidence.splits)],
        no_runs(evidence.runs, "evaluated model"),
    )


def equal_stop_rule(evidence: Evidence) -> Check:
    """One stop rule and one budget of steps."""
    runs = [run for run in unlearned(evidence) if not run["made_with"]["spec"]["own_end"]]

    return decide(
        "equal stop rule",
        "All methods run under one stop rule and one budget of steps (rows at published defaults, which are not "
        "ranked, go to their own end).",
        [
            *differing(runs, (), stop_rule, "the stop rule"),
            *(
                f"{_name(run)}: {run['outcome']['steps']} steps, more than the budget"
                for run in runs
                if run["outcome"]["steps"] > run["made_with"]["spec"]["stopping"]["max_steps"]
            ),
        ],
        f"{len(runs)} runs: {stop_rule(runs[0]) if runs else ''}",
        files_of(runs),
        no_runs(runs, "unlearning run"),
    )


def equal_search(evidence: Evidence) -> Check:
    """One budget of trials and seeds a search."""
    name, claim = (
        "equal search",
        "Every method was searched in every scenario with the trials and the number of seeds that the config says, and "
        "no search was cut by its time limit (a method without anything to search has one trial).",
    )
    search = evidence.search
    if search is None:
        return Check(name, claim, "not checked", "the profile has no search for parameters", ())
    if search.table is None:
        return Check(name, claim, "not checked", f"the trials {search.table_file} are not there to count", ())
    found = {
        (str(scenario), str(method)): rows
        for (scenario, method), rows in search.table.groupby(["scenario", "method"], sort=False)
    }
    problems = [
        f"{method} in scenario {scenario}: no search, though the config has one"
        for scenario, method in search.planned
        if (scenario, method) not in found
    ]
    for (scenario, method), rows in found.items():
        place = f"{method} in scenario {scenario}"
        trials, planned = rows["trial"].nunique(), search.planned.get((scenario, method))
        if planned is None:
            problems.append(f"{place}: searched, though the config has no such search")
        elif trials < planned:
            # A search ends before its last trial for no other reason.
            problems.append(f"{place}: cut by the time limit after {trials} of {planned} trials")
        elif trials > planned or len(rows) > trials:
            problems.append(f"{place}: {len(rows)} trials, {planned} in the config")
        seeds = sorted(set(rows["seeds"]))
        if seeds != [len(search.seeds)]:
            listed = ", ".join(map(str, seeds))
            problems.append(f"{place}: trials on {listed} seeds, {len(search.seeds)} in the config")
    return decide(
        name,
        claim,
        problems,
        f"{len(found)} searches, {len(search.table)} trials on {len(search.seeds)} seeds each",
        [search.table_file],
        no_runs(list(search.planned), "search in the config"),
    )


def tuned_parameters(evidence: Evidence) -> Check:
    """Runs have the parameters that the search chose."""
    name, claim = (
        "tuned parameters",
        "Each method ran with the parameters of the trial that its search chose in that scenario (but for rows at "
        "published defaults, and for variants, whose names say what differs).",
    )
    search = evidence.search
    if search is None:
        return Check(name, claim, "not checked", "the profile has no search for parameters", ())
    if search.table is None:
        return Check(
            name, claim, "not checked", f"the trials {search.table_file} are not there to compare with", ()
        )
    kept = search.table[search.table["chosen"]]
    chosen = {
        (scenario, method): json.loads(params)
        for scenario, method, params in kept[["scenario", "method", "params"]].to_numpy()
    }
    runs = [
        run
        for run in unlearned(evidence)
        if not run["made_with"]["spec"]["own_end"]
        and run["run"]["method"] == run["made_with"]["spec"]["method"]
    ]
    problems = []
    for run in runs:
        own = chosen.get((run["run"]["scenario"], run["run"]["method"]))
        if own is None:
            problems.append(f"{_name(run)}: no search chose its parameters")
        elif own != run["made_with"]["spec"]["params"]:
            problems.append(f"{_name(run)}: its parameters are not those of the chosen trial")
    return decide(
        name,
        claim,
        problems,
        f"{len(runs)} runs, {len(chosen)} chosen trials",
        [search.table_file, *files_of(runs)],
        no_runs(runs, "unlearning run"),
    )


def equal_target(evidence: Evidence) -> Check:
    """One target a split and model, and the one that is stated."""
    runs = unlearned(evidence)
    keys = ("dataset", "model", "scenario", "seed")
    originals = {
        tuple(run["run"][key] for key in keys): run["accuracy"]["validation"]
        for run in _of_method(evidence, "original")
    }
    problems = differing(runs, keys, lambda run: run["outcome"]["target"], "the target")
    unknown = []
    for run in runs:
        stated = run["made_with"]["spec"]["target"]
        expected = originals.get(tuple(run["run"][key] for key in keys)) if stated is None else stated
        if expected is None:
            unknown.append(_name(run))
        elif abs(run["outcome"]["target"] - expected) > _ROUNDING:
            problems.append(f"{_name(run)}: its target is {run['outcome']['target']:g}, not {expected:g}")
    return decide(
        "equal target",
        "All methods of a dataset, model, scenario and seed have the same forget target: that of the config, and where "
        "it has none the original model's accuracy on the validation images, as its evaluation found it.",
        problems,
        f"{len(runs)} runs",
        files_of(runs),
        no_runs(runs, "unlearning run")
        or (
            f"no original model's accuracy is there for {unknown[0]} ({len(unknown)} runs)"
            if unknown
            else None
        ),
    )


def equal_retain(evidence: Evidence) -> Check:
    """One retain subset a split and size."""
    runs = [run for run in unlearned(evidence) if run["made_with"]["method_reads"].get("retain")]
    return decide(
        "equal retain subset",
        "All methods that read retain images of a dataset, scenario, seed and size read the same ones.",
        differing(
            runs,
            ("dataset", "scenario", "retain_size", "proxy", "seed"),
            lambda run: run["made_with"]["method_reads"]["retain"]["sha256"],
            "the retain subset",
        ),
        f"{len(runs)} runs that read retain images",
        files_of(runs),
        no_runs(runs, "run that noted retain images"),
    )


def equal_seeds(evidence: Evidence) -> Check:
    """Every row is over the seeds of the config."""
    groups: dict[tuple[Any, ...], set[int]] = defaultdict(set)
    for run in evidence.runs:
        key = run["run"]
        group = (
            key["dataset"],
            key["model"],
            key["scenario"],
            key["retain_size"],
            key.get("proxy"),
            key["method"],
        )
        groups[group].add(key["seed"])
    problems = [
        f"{' '.join(str(part) for part in group if part is not None)}: seeds {sorted(found)}"
        for group, found in groups.items()
        if found != set(evidence.seeds[:1] if group[1] in evidence.single_seed_models else evidence.seeds)
    ]
    shown = {run["run"]["model"] for run in evidence.runs}
    single = sorted(shown & set(evidence.single_seed_models))
    return decide(
        "seeds",
        "Every method and reference was run with exactly the seeds of the config.",
        problems,
        f"{len(groups)} rows, seeds {sorted(evidence.seeds)}"
        + (f"; of {', '.join(single)} seed {evidence.seeds[0]} alone" if single else ""),
        [run["file"] for run in evidence.runs],
        no_runs(evidence.runs, "run"),
    )


def data_checksums(evidence: Evidence) -> Check:
    """The datasets' files are those of the registry."""
    problems = []
    files = []
    for raw in evidence.raw:
        noted = {entry["file"]: entry for entry in raw.provenance}
        for file in raw.dataset.files:
            path = raw.folder / file.name
            files.append(str(path))
            if not path.is_file() or file.name not in noted:
                problems.append(f"{path}: not there, or nothing noted of where it came from")
                continue
            for algorithm, expected in file.checksums.items():
                with path.open("rb") as content:
                    found = hashlib.file_digest(content, algorithm).hexdigest()
                if found != expected:
                    problems.append(f"{path}: {algorithm} {found}, in the registry {expected}")
                elif noted[file.name][algorithm] != expected:
                    problems.append(f"{path}: {algorithm} noted at download is not the registry's")
    return decide(
        "data checksums",
        "Every file of every dataset has the checksum of the registry: now, and when it arrived.",
        problems,
        f"{len(files)} files",
        files,
        None if files else "there are no files of a dataset in the results",
    )


CHECKS: tuple[Callable[[Evidence], Check], ...] = (
    splits_disjoint,
    original_read,
    retrained_read,
    tuning_seeds,
    tuning_read,
    tuning_images,
    unlearning_read,
    evaluation_read,
    equal_stop_rule,
    equal_search,
    tuned_parameters,
    equal_target,
    equal_retain,
    equal_seeds,
    data_checksums,
)


def makings(runs: Sequence[Record], evaluation: str = "evaluation") -> list[Making]:
    """What was run for each model: its making, and its evaluation, which is called so."""
    found = []
    for run in runs:
        method = run["run"]["method"]
        step = "training" if method in REFERENCES else f"unlearning by {run['made_with']['spec']['method']}"
        found.append(Making(run["file"], step, run["made_with"]))
        found.append(Making(run["file"], evaluation, run["evaluated_with"]))
    return found
