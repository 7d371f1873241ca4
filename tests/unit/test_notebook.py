"""Notebooks: committed without outputs, run as a step, and a cell that fails ends the step."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from orthograd import notebook
from orthograd.reporting.names import NOTEBOOKS

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = sorted((ROOT / "notebooks").glob("*.ipynb"))


def _notebook(*sources, text="# Title"):
    cells = [new_markdown_cell(text, id="text"), new_code_cell("a = 1", id="parameters")]
    cells[1].metadata["tags"] = [notebook.PARAMETERS]
    return new_notebook(cells=[*cells, *(new_code_cell(s, id=f"c{i}") for i, s in enumerate(sources))])


def _step(path, folder, parameters):
    return subprocess.run(
        [
            *(sys.executable, "-m", "orthograd", "notebook", "--notebook", str(path)),
            *("--parameters", json.dumps(parameters)),
            *("--out", str(folder / "out.ipynb"), "--page", str(folder / "out.html")),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def test_the_notebooks_of_the_report_are_those_of_the_repository() -> None:
    assert {path.stem for path in COMMITTED} == set(NOTEBOOKS)


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.name)
def test_notebooks_are_committed_without_outputs(path) -> None:
    code = [cell for cell in notebook.read(path).cells if cell.cell_type == "code"]
    assert code
    for cell in code:
        assert cell.outputs == []
        assert cell.execution_count is None
    assert [cell.metadata.get("tags") for cell in code].count([notebook.PARAMETERS]) == 1
    # The step's rule re-runs when what the notebook imports changes.
    assert notebook.imported(notebook.read(path))


def test_a_failing_cell_fails_the_step_and_nothing_is_written(tmp_path) -> None:
    path = tmp_path / "broken.ipynb"
    notebook.write(_notebook("b = a + 1", "print('so far')\nassert b == a, 'b is not a'", "1 + 1"), path)
    run = _step(path, tmp_path, {"a": 3})
    assert run.returncode != 0
    assert "AssertionError: b is not a" in run.stderr
    # With the cell's source.
    assert "print('so far')" in run.stderr
    assert not (tmp_path / "out.ipynb").exists()
    assert not (tmp_path / "out.html").exists()


def test_the_step_writes_the_notebook_with_its_outputs_and_a_page(tmp_path) -> None:
    path = tmp_path / "sound.ipynb"
    notebook.write(_notebook("print('printed')\na * 14"), path)
    run = _step(path, tmp_path, {"a": 3})
    assert run.returncode == 0, run.stderr
    *_, cell = notebook.read(tmp_path / "out.ipynb").cells
    assert [output.output_type for output in cell.outputs] == ["stream", "execute_result"]
    assert cell.outputs[0].text == "printed\n"
    assert cell.outputs[1].data["text/plain"] == "42"
    page = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert "<h1>Title</h1>" in page
    assert re.search(r"<pre[^>]*>42</pre>", page)
    first = (tmp_path / "out.ipynb").read_bytes()
    assert _step(path, tmp_path, {"a": 3}).returncode == 0
    assert (tmp_path / "out.ipynb").read_bytes() == first


@pytest.mark.parametrize(
    ("given", "named"), [({}, "declared without being given ['a']"), ({"a": 1, "b": 2}, "['b']")]
)
def test_parameters_that_do_not_fit_are_refused(given, named) -> None:
    with pytest.raises(notebook.NotebookError, match=re.escape(named)):
        notebook.inject(_notebook(), given, "any.ipynb")


def test_there_is_one_cell_of_parameters() -> None:
    content = _notebook()
    content.cells.append(content.cells[1])
    with pytest.raises(notebook.NotebookError, match="2 cells are tagged 'parameters'"):
        notebook.inject(content, {"a": 1}, "any.ipynb")


def test_values_show_themselves_and_no_text_becomes_markup() -> None:
    content = _notebook(
        "from IPython.display import Image, Markdown\nMarkdown('**bold** <script>x</script>')",
        "Image(b'\\x89PNG\\r\\n\\x1a\\n', alt='an \"arrow\"')",
        "c = a",
        text="<img src='https://example.org/x.png'>\n\n| h |\n|---|\n| 1 |",
    )
    notebook.execute(content)
    prose, picture, nothing = (cell.outputs for cell in content.cells[2:])
    assert prose[0].data["text/markdown"] == "**bold** <script>x</script>"
    assert picture[0].data["image/png"] == "iVBORw0KGgo="
    assert nothing == []
    page = notebook.to_html(content, "T <&>")
    assert "<title>T &lt;&amp;&gt;</title>" in page
    assert "<strong>bold</strong> &lt;script&gt;" in page
    assert 'src="data:image/png;base64,iVBORw0KGgo=" alt="an &#34;arrow&#34;"' in page
    assert "<td>1</td>" in page
    assert "<script" not in page
    assert not re.findall(r"<[^>]*(?:src|href)\s*=\s*[\"']?(?:https?:)?//", page)


def test_imports_are_found_wherever_they_stand() -> None:
    content = _notebook(
        "import json\nif a:\n    from orthograd.engine import OrthoGrad", "import orthograd.cost as cost"
    )
    assert notebook.imported(content) == ["orthograd.cost", "orthograd.engine"]
