"""The README is true: its example runs, its table is the config's, its files and profiles exist."""

import html
import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_library_example_runs() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(example, "README.md", "exec"), names)
    assert 0 < names["diagnostics"].rank <= 32
    assert all(p.grad is not None for p in names["model"].parameters())


def test_the_table_of_experiments_is_the_one_of_the_config() -> None:
    states = yaml.safe_load((ROOT / "config" / "experiments.yaml").read_text(encoding="utf-8"))
    for entry in states:
        assert f"| {entry['id']} | {entry['experiment']} | {entry['state']} |" in README


def test_what_it_points_to_is_there() -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / link).exists(), link
    for profile in re.findall(r"config/\w+\.yaml", README):
        assert (ROOT / profile).is_file(), profile


def test_results_are_quoted_from_the_committed_page() -> None:
    quotes = re.findall(r"<!-- quoted from (\S+) -->\n(.*?)<!-- /quoted -->", README, flags=re.DOTALL)
    assert len(quotes) == 2
    for page, quote in quotes:
        text = html.unescape(re.sub(r"<[^>]+>", "", (ROOT / page).read_text(encoding="utf-8")))
        words = re.sub(r"^> ", "", quote, flags=re.MULTILINE).split()
        assert " ".join(words) in " ".join(text.split())


def test_it_names_every_part_of_the_package() -> None:
    for part in (ROOT / "orthograd").iterdir():
        if part.is_dir() and part.name != "__pycache__":
            assert f"  {part.name}/" in README, part.name
