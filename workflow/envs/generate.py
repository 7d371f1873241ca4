"""Write the conda environments from the lock: `make lock` runs this after it has written requirements.lock.

environment.yml takes the lock by its name. Snakemake copies an environment file elsewhere before it uses it, so that
the one for `--software-deployment-method conda` has to hold the pins themselves.
"""

from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
PYTHON = "3.11"


def pins(lock: str) -> list[str]:
    """The lock's requirements, each on one line with its marker and hashes."""
    lines = lock.replace("\\\n", " ").splitlines()
    return [" ".join(line.split()) for line in lines if line and not line.startswith("#")]


def environment(requirements: list[str]) -> str:
    """A conda environment of Python and the given pip requirements."""
    content = {
        "name": "orthograd",
        "channels": ["conda-forge"],
        "dependencies": [f"python={PYTHON}", "pip", {"pip": requirements}],
    }
    header = "# Written by `make lock` from requirements.lock: change pyproject.toml instead.\n"
    return header + yaml.safe_dump(content, sort_keys=False, width=10_000)


def files() -> dict[Path, str]:
    """The environment files and their content."""
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    return {
        ROOT / "environment.yml": environment(["-r requirements.lock"]),
        ROOT / "workflow" / "envs" / "orthograd.yaml": environment(pins(lock)),
    }


if __name__ == "__main__":
    for path, content in files().items():
        path.write_text(content, encoding="utf-8")
