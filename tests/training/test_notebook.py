"""Output of training in a notebook, from a real Jupyter kernel."""

import pytest

nbformat = pytest.importorskip("nbformat", reason="nbclient and ipykernel are not installed")
nbclient = pytest.importorskip("nbclient", reason="nbclient and ipykernel are not installed")
pytest.importorskip("ipykernel", reason="nbclient and ipykernel are not installed")

CELLS = (
    """
import iqlearn as iq
demos = iq.Demos.builtin("iqlearn/GridWorld-v0")
settings = iq.recommended(demos, network=iq.Network((4,)))
how = {"env": demos.env, "evaluations": 20, "eval_episodes": 1, "max_episode_steps": 50}
""",
    "run = iq.learn(settings, demos, steps=200, **how)",
    "run = iq.learn(settings, demos, steps=200, quiet=True, **how)",
    """
from iqlearn.training.callbacks import working
with working("judging …") as tell:
    for percent in range(101):
        tell("fitting", percent / 100)
""",
    """
broken = demos.arrays() | {"trunc": demos.trunc & (demos.ep > 0)}
run = iq.learn(settings, iq.Demos.from_arrays(broken), steps=2, quiet=True, **how)
""",
)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """The outputs of each cell, as a notebook stores them."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    where = {"metadata": {"path": str(tmp_path_factory.mktemp("notebook"))}}
    nbclient.NotebookClient(book, timeout=300, kernel_name="python3", resources=where).execute()
    return [cell.outputs for cell in book.cells]


def test_remark_is_printed_to_stdout(outputs):
    (remark,) = outputs[0]
    assert remark.name == "stdout"
    assert remark.text.startswith("iqlearn: Recommended for builtin:iqlearn/GridWorld-v0")


def test_training_leaves_one_line_without_its_speed(outputs):
    assert "stderr" not in [output.get("name") for output in outputs[1]]
    (line,) = (output for output in outputs[1] if output.output_type == "display_data")
    (text,) = line.data.values()
    assert text.startswith("iq · iqlearn/GridWorld-v0  200 of 200  loss ")
    assert "\n" not in text
    assert "/s" not in text


def test_quiet_training_shows_no_output(outputs):
    assert outputs[2] == []


def test_working_leaves_one_line(outputs):
    (line,) = outputs[3]
    assert line.data == {"text/plain": "fitting: done"}


def test_a_warning_names_the_line_of_the_cell(outputs):
    (warning,) = outputs[4]
    assert warning.name == "stderr"
    assert "UserWarning: memory: 1 of 30 episodes have neither term" in warning.text
    assert "run = iq.learn(" in warning.text
