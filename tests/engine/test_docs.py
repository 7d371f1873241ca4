"""The example on the page about the engine runs as it stands."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "engine.md"


def test_the_example_for_an_own_model_runs(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(example, str(PAGE), "exec"), names)
    diagnostics = names["diagnostics"]
    assert diagnostics.rank > 0
    assert diagnostics.max_cosine < 1e-4
    assert diagnostics.solver == "gramian"
    assert str(diagnostics.rank) in capsys.readouterr().out


def test_the_stated_constants_are_those_of_the_code():
    from orthograd.engine.gramian import REFINE_ABOVE
    from orthograd.engine.layers import ELEMENT_COST
    from orthograd.engine.recompute import EXPECTED_ITERATIONS
    from tests.engine.test_gramian import C

    text = PAGE.read_text(encoding="utf-8")
    assert f"with C = {C}," in text
    assert f"ε = {ELEMENT_COST} of them" in text
    assert f"eps·κ² exceeds {REFINE_ABOVE:.0e}".replace("e-0", "e-") in text
    assert f"more than {2 * EXPECTED_ITERATIONS} times" in text
