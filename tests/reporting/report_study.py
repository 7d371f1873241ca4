"""A small study with the structure and shapes of a real one: 3 seeds, 2 retrained references, 4 methods."""

import zlib
from collections.abc import Sequence

import numpy as np
import pandas as pd

from orthograd.measures import CLOSENESS, MEMBERSHIP, PER_CLASS, SUCCESS
from orthograd.reporting.experiment import Experiment
from orthograd.scores import PROBES

METHODS = ["orthograd", "ft", "neggrad", "neggrad_plus"]
STEPS = np.arange(0, 205, 5)


# Class by class, the test accuracy is this part of that of all.
CLASSES = {"shirt": 0.5, "bag": 1.0, "sandal": 0.8}


def _keys(kind, method, seed, replicate):
    retain_size = np.nan if method in ("original", "retrained") else 500
    return {
        "dataset": "fashion_mnist",
        "model": "small_resnet",
        "scenario": {"random": "random_10", "class": "class_3"}[kind],
        "scenario_kind": kind,
        "retain_size": retain_size,
        "proxy": np.nan,
        "method": method,
        "seed": seed,
        "replicate": replicate,
    }


def _path(kind, method, original, target, damage, rng):
    """Accuracies by step until the first check at or below the target; ft hardly forgets."""
    rate = {"orthograd": 0.03, "ft": 0.0004, "neggrad": 0.05, "neggrad_plus": 0.025}[method]
    floor = 0.0 if kind == "class" else 0.4
    forget = floor + (original["accuracy_forget"] - floor) * np.exp(-rate * STEPS)
    fell = original["accuracy_forget"] - forget
    noise = np.concatenate([[0.0], rng.normal(0, 0.004, len(STEPS) - 1)])
    frame = pd.DataFrame({"step": STEPS, "accuracy_forget": np.clip(forget + noise, 0, 1)})
    for name in ("retain", "retain_subset", "validation", "test"):
        drop = damage * fell * (0.7 if name.startswith("retain") else 1.0)
        frame[f"accuracy_{name}"] = np.clip(original[f"accuracy_{name}"] - drop + noise / 2, 0, 1)
    below = np.flatnonzero(frame["accuracy_forget"] <= target)
    return (frame.iloc[: below[0] + 1], True) if len(below) else (frame, False)


def _at_target(path, reached, target):
    """The accuracy on the straight line between the last two checks."""
    if not reached:
        return np.nan
    (f0, t0), (f1, t1) = path[["accuracy_forget", "accuracy_test"]].tail(2).to_numpy()
    return float(np.interp(target, [f1, f0], [t1, t0]))


def make_frames(seeds: Sequence[int] = (0, 1, 2), replicates: int = 2):
    """runs, costs, trajectories, controls; the derived columns of accuracies follow their definitions."""
    rng = np.random.default_rng(7)
    runs, costs, paths = [], [], []
    for kind in ("random", "class"):
        for seed in seeds:
            base = 0.87 + 0.01 * rng.normal()
            original = {"accuracy_forget": 1.0, "accuracy_retain": 1.0, "accuracy_retain_subset": 1.0}
            original |= {"accuracy_validation": base, "accuracy_test": base + 0.004 * rng.normal()}
            references = []
            for _ in range(replicates):
                test = base + 0.006 * rng.normal() - 0.002
                references.append(
                    original
                    | {"accuracy_forget": 0.0 if kind == "class" else test + 0.012 * rng.normal()}
                    | {"accuracy_test": test}
                    | {"accuracy_retain": 1.0 - 0.001 * rng.random()}
                )
            target = 0.0 if kind == "class" else original["accuracy_validation"]
            target = target + 0.01 if kind == "class" else target
            models = [("original", 0, original, None)]
            models += [("retrained", i, reference, None) for i, reference in enumerate(references)]
            for method in METHODS:
                damage = {"orthograd": 0.12, "ft": 0.3, "neggrad": 0.6, "neggrad_plus": 0.25}[method]
                damage *= (1 + 0.15 * rng.normal()) * (0.6 if kind == "class" else 1.0)
                path, reached = _path(kind, method, original, target, damage, rng)
                last = path.iloc[-1]
                models.append((method, 0, last.drop("step").to_dict(), (path, reached)))
                seconds = 0.04 * path["step"] + 0.001
                paths.append(
                    path.drop(columns=["accuracy_retain", "accuracy_retain_subset"]).assign(
                        seconds=seconds, **_keys(kind, method, seed, 0), **_diagnostics(method, path)
                    )
                )
            for method, replicate, accuracy, run in models:
                others = [r for i, r in enumerate(references) if method != "retrained" or i != replicate]
                row = _keys(kind, method, seed, replicate) | accuracy
                for name in ("forget", "retain", "validation", "test"):
                    column = f"accuracy_{name}"
                    row[f"diff_{name}"] = (
                        accuracy[column] - np.mean([r[column] for r in others]) if others else np.nan
                    )
                distances = [abs(row[f"diff_{name}"]) for name in ("forget", "retain", "test")]
                row["tow"] = np.prod([1 - distance for distance in distances])
                row["average_gap"] = row["gap"] = np.mean(
                    [abs(row[f"diff_{name}"]) for name in ("forget", "retain", "test")]
                )
                row["aus"] = (1 - original["accuracy_test"] + accuracy["accuracy_test"]) / 1.1
                # Nothing here follows from the accuracies: any numbers will do, the same for each run again.
                row |= {
                    name: rng_of(method, seed, replicate, name) for name in (*CLOSENESS, *MEMBERSHIP, *PROBES)
                }
                for name in MEMBERSHIP:
                    row |= {f"{name}_low": 0.9 * row[name], f"{name}_high": 1.1 * row[name]}
                unlearned = accuracy["accuracy_forget"]
                test, before = accuracy["accuracy_test"], original["accuracy_test"]
                second = unlearned if kind == "class" else abs(before - unlearned)
                row["uis"] = np.nan if method == "original" else (abs(before - test) + second) / 2 / before
                row["accuracy_test_forgotten"] = np.clip(unlearned * 0.9, 0, 1) if kind == "class" else np.nan
                row["target"] = target if run else np.nan
                row["target_reached"] = run[1] if run else np.nan
                row["test_at_target"] = _at_target(*run, target) if run else np.nan
                row |= {f"{PER_CLASS}{name}": row["accuracy_test"] * part for name, part in CLASSES.items()}
                row["diverged"] = False if run else np.nan
                row["steps"] = float(run[0]["step"].iloc[-1]) if run else np.nan
                runs.append(row)
                steps = row["steps"] if run else 3000
                retrain = 130.0
                seconds = 0.04 * steps + rng.random() if run else retrain + rng.random()
                costs.append(
                    _keys(kind, method, seed, replicate)
                    | {"seconds": seconds, "peak_bytes": int((180 if run else 90) * 2**20 + seed * 1000)}
                    | {"forward": 128 * steps, "backward": 96 * steps, "rte": retrain / seconds}
                )
    controls = [
        {"dataset": "fashion_mnist", "model": "small_resnet", "scenario": scenario, "seed": seed}
        | {"attack": attack, "passed": True, "reason": "it found what it should"}
        for scenario in ("random_10", "class_3")
        for seed in seeds
        for attack in SUCCESS
    ]
    return (
        pd.DataFrame(runs),
        pd.DataFrame(costs),
        pd.concat(paths, ignore_index=True),
        pd.DataFrame(controls),
    )


def _diagnostics(method, path):
    values = {"rank": 60.0 - path["step"] / 10, "removed_fraction": 0.3, "condition_number": 30.0}
    effects = {"g_effect_forget": 0.01 * path["step"], "g_effect_retain": -1e-4 * path["step"]}
    return effects | {name: value if method == "orthograd" else np.nan for name, value in values.items()}


def rng_of(*key):
    return float(np.random.default_rng(zlib.crc32(repr(key).encode())).uniform(0.3, 0.7))


def make_experiment(kind: str = "random", **changes) -> Experiment:
    values = {
        "id": {"random": "T-IMG-R", "class": "T-IMG-C"}[kind],
        "title": f"Image classification, {kind} unlearning",
        "dataset": "fashion_mnist",
        "models": ["small_resnet"],
        "scenario": {"random": "random_10", "class": "class_3"}[kind],
        "retain_size": 500,
        "methods": METHODS,
        "substitutions": ["Fashion-MNIST in place of ImageNet"],
    }
    return Experiment(**(values | changes))
