"""The config schema: what is wrong is named with its key, its cause and its mend."""

import copy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from orthograd import methods
from orthograd.config import ConfigError, load, validate

ROOT = Path(__file__).resolve().parents[2]
PROFILES = sorted(
    path
    for path in (ROOT / "config").glob("*.yaml")
    if "profile" in yaml.safe_load(path.read_text(encoding="utf-8"))
)


@pytest.fixture
def config() -> dict[str, Any]:
    """The widest profile, with the parameters in it and not in a file of their own."""
    content: dict[str, Any] = yaml.safe_load((ROOT / "config" / "full.yaml").read_text(encoding="utf-8"))
    content["methods"] = yaml.safe_load((ROOT / content["methods"]).read_text(encoding="utf-8"))
    del content["trials"]
    return content


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_every_profile_is_valid_and_named_like_its_file(path: Path) -> None:
    assert load(path).profile == path.stem


def test_the_widest_profile_searches_every_method_that_has_a_space() -> None:
    tuning = load(ROOT / "config" / "full.yaml").tuning
    assert tuning is not None
    assert sorted(tuning.methods) == sorted(tuning.spaces)


def test_the_smoke_profile_runs_every_method() -> None:
    smoke = load(ROOT / "config" / "smoke.yaml")
    shown = {name for experiment in smoke.experiments for name in experiment.methods}
    assert set(methods.names()) - set(methods.entries()) <= shown


@pytest.mark.parametrize("profile", ["gpu", "paper"])
def test_the_profiles_of_real_speech_run_every_baseline_for_speech(profile: str) -> None:
    speech = load(ROOT / "config" / f"{profile}.yaml").speech
    assert speech is not None
    own = set(methods.names()) - set(methods.entries())
    wanted = {name for name in own if "speaker" in methods.load(name).scenarios}
    for section in speech.methods.values():
        # Forms of OrthoGrad are ablations.
        assert {name for name in wanted - set(section) if not name.startswith("orthograd_")} == set()


@pytest.mark.parametrize("profile", ["gpu", "paper"])
def test_the_profiles_of_real_speech_train_the_whole_model_on_enough_speakers_and_seeds(profile: str) -> None:
    speech = load(ROOT / "config" / f"{profile}.yaml").speech
    assert speech is not None
    assert speech.trained == "model"
    assert len(speech.speakers.forgettable) >= 5
    assert len(speech.seeds) >= 3


STUDY = {
    "experiment": "T-IMG-R",
    "model": "small-resnet",
    "methods": ["orthograd"],
    "number": 6,
    "first_seed": 1000,
}


@pytest.fixture
def speech() -> dict[str, Any]:
    """The laptop profile, which has a speech experiment."""
    content: dict[str, Any] = yaml.safe_load((ROOT / "config" / "laptop.yaml").read_text(encoding="utf-8"))
    return content


def _ft(config: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = config["speech"]["methods"]["pretrained"]["ft"]
    return found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda config: config["speech"]["methods"]["pretrained"].update(duck={}),
            r"pretrained\.duck: the method is not for speech: it moves samples to the centroid",
        ),
        (
            lambda config: _ft(config).update(batch_size=17),
            r"ft\.batch_size: a batch of 17 cannot be drawn from 16",
        ),
        (lambda config: _ft(config).update(rate=1), r"speech\.methods\.pretrained\.ft\.rate: unknown key"),
        (lambda config: config["speech"].update(whisper="whisper-tinny"), "Did you mean 'whisper-tiny'"),
        (
            lambda config: config["speech"].update(id="T-ABL"),
            r"another section of the report is called 'T-ABL'",
        ),
        (
            lambda config: config["speech"]["speakers"]["test"].append("4"),
            r"speakers: \['4'\] have two roles",
        ),
        (lambda config: config["speech"]["corpus"].update(sentence=3), r"corpus\.sentence: unknown key"),
        (lambda config: config["speech"].pop("trained"), r"speech\.trained: Field required"),
        (
            lambda config: config["speech"].update(trained="encoder"),
            r"speech\.trained: .*'decoder' or 'model'",
        ),
    ],
)
def test_what_is_wrong_with_a_speech_experiment_is_named(
    speech: dict[str, Any], change: Callable[[Any], object], message: str
) -> None:
    speech = copy.deepcopy(speech)
    change(speech)
    with pytest.raises(ConfigError, match=message):
        validate(speech)


SIZES = {"train": 20, "validation": 10, "test": 5}
CHOSEN = {"classes": ["n01440764", "n02123045"], "train": 20, "test": 5}


def test_of_a_dataset_that_does_not_fit_into_memory_a_subset_is_chosen(config: dict[str, Any]) -> None:
    config["datasets"]["imagenet"] = {**SIZES, "subset": CHOSEN}
    assert validate(config).datasets["imagenet"].subset is not None


def test_shadow_models_have_seeds_of_their_own(config: dict[str, Any]) -> None:
    study = validate({**config, "shadows": STUDY}).shadows
    assert study is not None
    assert study.seeds == [1000, 1001, 1002, 1003, 1004, 1005]


def test_a_variant_takes_what_its_method_knows_and_changes_the_rest(config: dict[str, Any]) -> None:
    config["variants"] |= {
        "orthograd_mean-same": {"like": "orthograd", "change": {}},
        "orthograd-k16": {"like": "orthograd", "change": {"retain_batch": 16}},
    }
    profile = validate(config)
    ours = config["methods"]["random"]["orthograd"]
    assert profile.parameters("random", "orthograd") == ours
    assert profile.parameters("random", "orthograd-k16") == {**ours, "retain_batch": 16}
    # The mean's projection has no tolerance.
    mean = {key: value for key, value in ours.items() if key != "rtol"}
    assert profile.parameters("random", "orthograd_mean-same") == mean
    assert {"orthograd-k16", "orthograd_mean-same"} <= set(profile.runs("class"))


def _set(*keys: str | int, value: object) -> Callable[[Any], None]:
    def change(config: Any) -> None:
        for key in keys[:-1]:
            config = config[key]
        config[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            _set("variants", value={"fine": {"like": "ft", "change": {}}}),
            r"variants\.fine: starts with no method's name\. Mend: call it <method>-<what differs>",
        ),
        (
            _set("variants", value={"ft-slow": {"like": "fft", "change": {}}}),
            r"variants\.ft-slow\.like: 'fft' has no parameters in `methods`\. Mend: use one of",
        ),
        (
            _set("variants", value={"ft-slow": {"like": "ft", "change": {"learning_rate": 0.0}}}),
            r"variants\.ft-slow\.change\.learning_rate: .*greater than 0",
        ),
        (
            _set("experiments", 6, "proxy", value="other"),
            r"experiments\.T-PROXY\.proxy: unknown proxy 'other'",
        ),
        (
            _set("proxies", "shifted", "size", value=100),
            r"T-PROXY\.retain_size: 500 is larger than the proxy's 100 images\. Mend: lower it, or raise",
        ),
        (
            _set("sweeps", 0, "retain_sizes", value=[500, 64]),
            r"retain_sizes of F-SIZE are \[500, 64\]; name each once, in ascending order",
        ),
        (_set("sweeps", 0, "retain_sizes", value=[500, 50000]), r"F-SIZE\.retain_size: 50000 is larger"),
        (_set("sedes", value=[1]), r"sedes: unknown key\. Did you mean 'seeds'\? Mend: remove it"),
        (_set("datasets", "imagenet", value=SIZES), r"imagenet\.subset: imagenet does not fit into memory"),
        (
            _set("datasets", "cifar10", value={**SIZES, "subset": CHOSEN}),
            r"cifar10\.subset: .*Mend: remove it",
        ),
        (
            _set("datasets", "imagenet", value={**SIZES, "subset": {**CHOSEN, "classes": ["tench"]}}),
            r"imagenet\.subset\.classes: unknown class 'tench'",
        ),
        (
            _set("datasets", "imagenet", value={**SIZES, "subset": {**CHOSEN, "classes": ["n01440764"] * 2}}),
            r"imagenet\.subset\.classes: one is named twice",
        ),
        (
            _set("datasets", "imagenet", value={**SIZES, "train": 31, "subset": CHOSEN}),
            r"31 training and 10 validation images are more than the 40 that are in the subset",
        ),
        (
            _set("datasets", "imagenet", value={**SIZES, "test": 11, "subset": CHOSEN}),
            r"11 is more than the 10 test images that are in the subset",
        ),
        (
            _set("methods", "random", "orthograd", "alpha", value=1.5),
            r"methods\.random\.orthograd\.alpha: .*less than or equal to 1",
        ),
        (
            _set("methods", "random", "orthograd", "alpha", value=-0.1),
            r"methods\.random\.orthograd\.alpha: .*got -0\.1\)\. Mend: .*\[0, 1\]",
        ),
        (
            _set("methods", "random", "orthograd", "alhpa", value=1),
            r"methods\.random\.orthograd\.alhpa: unknown key\. Did you mean 'alpha'",
        ),
        (
            _set("scenarios", "random", "fraction", value=0),
            r"scenarios\.random\.fraction: .*greater than 0.*Mend: share",
        ),
        (
            _set("scenarios", "random", "fraction", value=1.0),
            r"scenarios\.random\.fraction: .*less than 1.*Mend: share",
        ),
        (
            _set("scenarios", "class", "label", value=10),
            r"scenarios\.class\.label: 10 is not a class.*0 to\s+9",
        ),
        (_set("scenarios", "class", "kind", value="clas"), r"scenarios\.class: .*'random', 'class'"),
        (
            _set("experiments", 0, "retain_size", value=4501),
            r"T-IMG-R\.retain_size: 4501 is larger than .* pool of 4500",
        ),
        (
            _set("methods", "random", "orthgrad", value={}),
            r"methods\.random\.orthgrad: unknown method .*Did you mean 'orthograd'",
        ),
        (_set("models", "resnet19", value={}), r"models\.resnet19\.epochs: Field required\. Mend: passes"),
        (
            _set("datasets", "mnist", value={"train": 1, "validation": 1}),
            r"datasets\.mnist: unknown dataset 'mnist'",
        ),
        (
            _set("datasets", "fashion-mnist", "train", value=59_000),
            r"fashion-mnist\.train: 59000 .* more\s+than the 60000",
        ),
        (
            _set("datasets", "fashion-mnist", "test", value=10_001),
            r"fashion-mnist\.test: 10001 is more than the 10000",
        ),
        (
            _set("methods", "rnd", value={}),
            r"methods\.rnd: unknown scenario 'rnd'\..*Mend: use one of class, random",
        ),
        (
            lambda config: config["experiments"][0]["methods"].append("sgd"),
            r"T-IMG-R\.methods: unknown method 'sgd'",
        ),
        (
            _set("experiments", 0, "single_seed", value=True),
            r"experiments\.0: .*T-IMG-R has a single_seed, by which no claim can be decided",
        ),
        (
            lambda config: config["experiments"][0].update(single_seed=True, illustration="one seed"),
            r"T-IMG-R\.models: 'small-resnet' has a single seed here and all in .*Mend: take single_seed out",
        ),
        (_set("experiments", 0, "scenario", value="clas"), r"T-IMG-R\.scenario: .*Did you mean 'class'"),
        (_set("seeds", value=[]), r"seeds: .*at least 1 item.*Mend: at least one whole number"),
        (_set("seeds", value=[0, 0]), r"seeds: \[0, 0\] names one twice"),
        (_set("seeds", value=[-1]), r"seeds\.0: .*greater than or equal to 0"),
        (_set("mirror", value="/no/such/folder"), r"mirror.*/no/such/folder.*does not exist"),
        (
            _set("methods", "random", "orthograd", "retain_batch", value=501),
            r"retain_batch: a batch of 501 .* 500 retain images",
        ),
        (_set("stopping", "every", value=3), r"stopping\.record_every: \d+ is no multiple of every = 3"),
        (_set("profile", value="published"), r"profile: a folder of the DAG"),
        (
            _set("scenarios", "random", "fraction", value=1e-5),
            r"scenarios\.random\.fraction: .* leaves none to forget",
        ),
        (
            _set("scenarios", "a b", value={"kind": "random", "fraction": 0.1}),
            r"scenarios\.a b: String should match",
        ),
        (
            _set("models", "small-resnet", "batch_size", value=4501),
            r"small-resnet\.batch_size: 4501 is more than .*4500",
        ),
        (
            _set("models", "small-resnet", "learning_rate", value=float("inf")),
            r"learning_rate: .*finite number",
        ),
        (
            _set("methods", "random", "orthograd", "retain_batch", value="64"),
            r"retain_batch: .*valid integer",
        ),
        (
            _set("tuning", "max_steps", value=97),
            r"tuning\.max_steps: 97 is more than reported runs have, stopping\.max_steps = 96: .*Mend: take at",
        ),
        (_set("stopping", "max_steps", value=0), r"stopping\.max_steps: .*greater than 0.*Mend: steps"),
        (
            _set("trials", value="config/tuned/none.csv"),
            r"trials: no file 'config/tuned/none\.csv' .*take the key out.*`snakemake tune`",
        ),
        (_set("trials", value=1), r"trials: .*valid string.*Mend: table of all trials"),
        (_set("experiments", 0, "id", value="search"), r"experiments\.search: a section of the report"),
        (_set("shadows", value={**STUDY, "experiment": "T-IMG"}), r"shadows\.experiment: unknown experiment"),
        (_set("shadows", value={**STUDY, "experiment": "T-PROXY"}), r"experiment without a proxy 'T-PROXY'"),
        (_set("shadows", value={**STUDY, "model": "resnet18"}), r"shadows\.model: unknown model 'resnet18'"),
        (_set("shadows", value={**STUDY, "methods": ["duck"]}), r"shadows\.methods: unknown method 'duck'"),
        (_set("shadows", value={**STUDY, "number": 7}), r"number: .*multiple of 2.*an even number >= 6"),
        (_set("shadows", value={**STUDY, "number": 4}), r"number: .*equal to 6.*an even number >= 6"),
        (
            _set("shadows", value={**STUDY, "first_seed": 98}),
            r"shadows\.first_seed: the seeds \[100, 101, 102\] of shadow models are taken\. Mend: take one above 102",
        ),
        (
            lambda config: config.update(
                shadows=STUDY,
                scenarios=config["scenarios"] | {"random": {"kind": "random", "fraction": 0.02}},
            ),
            r"shadows\.methods: orthograd takes batches of 64 forget images, .* forgets 50",
        ),
        (lambda config: config.pop("threads"), r"threads: Field required\. Mend: torch's CPU threads"),
    ],
)
def test_what_is_wrong_is_named_with_its_mend(
    config: dict[str, Any], change: Callable[[Any], None], message: str
) -> None:
    validate(copy.deepcopy(config))  # the config is right before the change
    change(config)
    with pytest.raises(ConfigError, match=message):
        validate(config)


def test_trials_need_the_section_that_says_on_what_they_were_made(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orthograd.config._REPOSITORY", tmp_path)
    config["tuning"] = None
    (tmp_path / "trials.csv").write_text("scenario\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"trials: without `tuning` .*Mend: add the section"):
        validate({**config, "trials": "trials.csv"})
    assert validate(config).trials is None


def test_the_environment_variable_of_the_mirror_is_checked_too(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORTHOGRAD_MIRROR", "/no/such/folder")
    with pytest.raises(ConfigError, match="ORTHOGRAD_MIRROR"):
        validate(config)


def test_all_problems_are_named_at_once(config: dict[str, Any]) -> None:
    config["methods"]["random"]["orthograd"]["alpha"] = 2
    config["scenarios"]["class"]["label"] = 99
    with pytest.raises(ConfigError) as error:
        validate(config)
    assert "methods.random.orthograd.alpha" in str(error.value)
    assert "scenarios.class.label" in str(error.value)


def test_checking_a_config_does_not_import_torch() -> None:
    program = "import sys, orthograd.config; from orthograd import methods; [methods.load(n) for n in methods.names()]"
    run = subprocess.run(
        [sys.executable, "-c", f"{program}; print('torch' in sys.modules)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "False"
