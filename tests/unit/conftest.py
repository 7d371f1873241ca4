"""One small study for the tests of what steps note and of the audit."""

from pathlib import Path
from typing import Any

import pytest
from tiny_pipeline import Place, run_study


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, list[dict[str, Any]]]:
    folder: Path = tmp_path_factory.mktemp("study")
    return run_study(folder)
