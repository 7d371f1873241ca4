"""What the page says of the data files."""

import json
from pathlib import Path

import pytest

from orthograd.data.download import PROVENANCE
from orthograd.steps.page import data_files


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("/home/somebody/mirror/images.gz", "images.gz"),
        ("https://example.org/images.gz", "https://example.org/images.gz"),
        ("dataset_1.0.deb: usr/share/images.gz", "dataset_1.0.deb: usr/share/images.gz"),
    ],
)
def test_no_folder_of_the_machine_is_shown(tmp_path: Path, location: str, shown: str) -> None:
    entry = {"file": "images", "source": "mirror", "location": location, "sha256": "ab", "md5": None}
    (tmp_path / PROVENANCE).write_text(json.dumps([entry]), encoding="utf-8")
    (found,) = data_files([tmp_path])
    assert found.source == f"mirror: {shown}"
