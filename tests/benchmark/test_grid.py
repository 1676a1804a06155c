"""The grid of a benchmark: its file, its cells, and their commands."""

from pathlib import Path

import pytest

from iqlearn import InputError
from iqlearn.benchmark import grid

SMALL = {
    "seeds": [0, 1],
    "steps": 50,
    "tasks": [
        {"env": "CartPole-v1", "trajectories": [1, 3], "demos": "a.npz"},
        {"env": "CartPole-v1", "name": "other"},
    ],
    "methods": [
        {"name": "IQ-Learn, paper", "group": "paper", "algorithm": "iq", "preset": "paper", "steps": 70},
        {"name": "clone", "algorithm": "bc", "cloning.weight": 0, "sampled": True, "absorbing": False},
    ],
}


def test_grid_has_a_cell_per_seed_task_demonstrations_and_method():
    cells = grid.grid_of(SMALL, "small").cells
    assert len(cells) == 2 * (2 + 1) * 2
    assert [cell.seed for cell in cells] == [0] * 6 + [1] * 6, "the first seed of everything comes first"
    assert cells[0].name == "CartPole-v1-1/IQ-Learn-paper/seed-0"
    assert cells[5].name == "other/clone/seed-0"
    assert (cells[0].group, cells[5].group) == ("paper", "")
    assert len({cell.name for cell in cells}) == len(cells)


def test_cell_command_has_the_flags_of_its_task_and_method():
    cells = grid.grid_of(SMALL, "small").cells
    assert cells[2].words(Path("out"), Path("data")) == [
        *("train", "--steps", "70", "--env", "CartPole-v1", "--demos", "data/a.npz", "--algorithm", "iq"),
        *("--preset", "paper", "--trajectories", "3", "--seed", "0", "--out", "out"),
    ]
    assert cells[5].words(Path("out")) == [
        *("train", "--steps", "50", "--env", "CartPole-v1", "--algorithm", "bc", "--cloning.weight", "0", "--sampled"),
        *("--no-absorbing", "--seed", "0", "--out", "out"),
    ]


def test_grid_overrides_keys_of_the_preset_that_it_extends():
    own = {"extends": "online", "seeds": [7], "eval-episodes": 3}
    found, online = grid.grid_of(own, "mine"), grid.read("online")
    assert {cell.method for cell in found.cells} == {cell.method for cell in online.cells}
    assert {cell.task for cell in found.cells} == {cell.task for cell in online.cells}
    assert {(cell.seed, cell.flags["eval-episodes"]) for cell in found.cells} == {(7, 3)}


@pytest.mark.parametrize("name", grid.PRESETS)
def test_presets_are_valid_grids(name):
    found = grid.read(name)
    assert found.name == name
    assert found.about
    assert len({cell.method for cell in found.cells}) > 1


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"tasks": []}, r"\[\[tasks\]\] is missing; expected at least one such table"),
        ({"methods": None}, r"\[\[methods\]\] is missing"),
        ({"tasks": [{"demos": "a.npz"}]}, r"a table of \[\[tasks\]\] has no env; expected a text"),
        ({"methods": [{"algorithm": "iq"}]}, r"a table of \[\[methods\]\] has no name"),
        ({"task": [{"env": "T"}]}, r"\[\[task\]\] is no table of a grid; expected \[\[tasks\]\]"),
        ({"seeds": [-1]}, r"seeds is \[-1\]; expected a list of whole numbers from 0 up"),
        ({"seeds": 3}, "seeds is 3; expected a list"),
        ({"methods": [{"name": "a", "trajectories": 3}]}, r"trajectories in a table of \[\[methods\]\] has no effect"),
        ({"extends": "onlin"}, "extends is 'onlin'; expected a preset, one of quick, offline"),
        ({"out": "x"}, "out is given by the benchmark itself; leave it out"),
        ({"network": {"hidden": [[8]]}}, r"network\.hidden is .*; expected a text, a number, true, false, or a list"),
        ({"name": "mine"}, "name outside of a table has no effect; set it in"),
        *(
            (
                {"tasks": [{"env": "T", "trajectories": wrong}]},
                r"task T: trajectories is .*; expected whole numbers from 1",
            )
            for wrong in ([], 0, 3.0, "3", [1, 2.5], True)
        ),
        ({"group": "all"}, r"group is a key of \[\[methods\]\]"),
        ({"tasks": [{"env": "T", "group": "all"}]}, r"group is a key of \[\[methods\]\]"),
        ({"tasks": [{"env": "T", "seeds": [1]}]}, r"a task: seeds has no effect here; expected a list at the top"),
        ({"seed": 1}, r"the grid: seed has no effect here; expected a list at the top of the file, seeds = \[0\]"),
        ({"early-stopping": 3}, "does not continue early-stopping; leave it out"),
        ({"methods": [{"name": "m", "tensorboard": "d"}]}, "does not continue tensorboard; leave it out"),
        (
            {"methods": [{"name": "a b"}, {"name": "a-b"}]},
            "two runs are called CartPole-v1-1/a-b/seed-0; expected names",
        ),
    ],
)
def test_invalid_grid_is_rejected(change, told):
    with pytest.raises(InputError, match=f"Grid small.*{told}"):
        grid.grid_of(SMALL | change, "small")


def test_dotted_keys_need_no_quotes(tmp_path):
    text = 'critic.hidden = [8]\n[[tasks]]\nenv = "T"\n[[methods]]\nname = "m"\n{}\n[[methods]]\nname = "n"\n'
    commands = []
    for key in ('"cloning.weight" = 0', "cloning.weight = 0", "[methods.cloning]\nweight = 0"):
        (tmp_path / "g.toml").write_text(text.format(key))
        cells = grid.read(str(tmp_path / "g.toml")).cells
        commands.append([cell.words(Path("out")) for cell in cells])
    assert commands[0][0][1:7] == ["--critic.hidden", "8", "--env", "T", "--cloning.weight", "0"]
    assert commands[0] == commands[1] == commands[2]


def test_method_replaces_a_key_of_the_grid_with_underscores_or_hyphens():
    found = grid.grid_of(SMALL | {"eval-episodes": 20, "methods": [{"name": "m", "eval_episodes": 5}]}, "small")
    assert found.cells[0].words(Path("out")).count("--eval-episodes") == 1
    assert found.cells[0].flags["eval-episodes"] == 5


def test_arguments_of_an_environment_are_a_list():
    (cell,) = grid.grid_of({"tasks": [{"env": "T", "env-arg": ["a=1", "b=2"]}], "methods": [{"name": "m"}]}, "g").cells
    assert cell.words(Path("out"))[3:7] == ["--env-arg", "a=1", "--env-arg", "b=2"]


def test_flags_are_compared_in_any_order():
    some = ["--steps", "40", "--extensions", "a", "b", "--no-absorbing"]
    assert grid.same(some, ["--no-absorbing", "--extensions", "a", "b", "--steps", "40"])
    for other in (
        ["--steps", "41", *some[2:]],
        [*some, "--sampled"],
        some[:-1],
        ["--steps", "40", "--extensions", "b", "a"],
    ):
        assert not grid.same(some, other)


def test_missing_grid_and_invalid_toml_are_rejected(tmp_path):
    with pytest.raises(InputError, match=r"No grid 'nowhere'; expected a TOML file, or one of quick, offline"):
        grid.read("nowhere")
    (tmp_path / "g.toml").write_text("[[tasks]\n")
    with pytest.raises(InputError, match=r"g\.toml is no TOML file"):
        grid.read(str(tmp_path / "g.toml"))
