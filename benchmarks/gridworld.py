"""Measure the distance of the recovered reward of the grid world from the true one, into `results/gridworld.csv`.

It also draws `results/gridworld.png`.

    python benchmarks/gridworld.py

Cases:
- `demos`: 30 built-in demonstrations of a soft-optimal expert, one run for each seed, online with `SETTINGS`, which
  were tuned on seeds from 1000 up and other demonstrations;
- `recommended`: the same demonstrations offline with `iq.recommended`; `paper`: the same offline with `iq.IQLearn()`;
- `exact`: infinite data. The objective is minimised over a table Q(s,a), weighted by the expert's exact occupancy, for
  decreasing weights of the penalty on the reward (column `penalty`, τ/(4α));
- `table, penalty on …`: the same, weighted by the frequencies of the 30 demonstrations. The penalty is on the expert's
  transitions (`expert`), on all possible ones (`all`), or half on each (`both`).

Three distances are computed for each recovered reward (column `reward`):
- `state`: EPIC, uniform over all S·A·S triples, of the reward of entering a state (`tabular.state_reward`);
- `possible`: the distance of r(s,a,s') itself over the transitions that can occur, without shaping;
- `all`: EPIC, uniform over all triples, of r(s,a,s') itself. It is large even for a good reward, because it includes
  triples in which a does not lead from s to s', where nothing determines r(s,a,s').
`pearson` is the plain correlation with the true reward over the same triples, including shaping.
"""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tables
import tabular
import tyro
from jaxtyping import Float
from scipy.optimize import minimize

import iqlearn as iq
from iqlearn.envs.worlds.grid import STEPS as MOVES
from iqlearn.envs.worlds.grid import GridWorld
from iqlearn.objectives import soft_value
from iqlearn.rewards.epic import correlation

COLUMNS = ("seed", "case", "penalty", "reward", "commit", "epic", "pearson")
ENV = "iqlearn/GridWorld-v0"
GAMMA, TEMPERATURE = 0.99, 1.0
"""Discount and temperature of expert and learner."""
SETTINGS = iq.IQLearn(
    divergence="chi2_mixture",
    temperature=TEMPERATURE,
    chi2_alpha=0.25,
    value_term="expert",
    batch_size=256,
    scaling="whiten",
    output_scale=50.0,
    network=iq.Network(hidden=()),
)
"""Settings of the online runs: the likelihood of the expert's actions, and a penalty on the squared reward, half on
expert and half on learner transitions. A linear layer on one-hot cells is a table."""
ACTING = iq.Interaction(num_envs=10, random_steps=20_000, update_ratio=100.0, round_steps=500)
"""Most steps have random actions, so that the learner visits every cell."""
STEPS = 21_500
PENALTIES = (0.5, 1e-2, 1e-4, 1e-6)
PENALTIES_OF_FEW = (0.1, 0.5, 1.0, 2.5)
"""Penalties of the table with 30 demonstrations."""
Table = Float[np.ndarray, "S A S"]
Frequency = Float[np.ndarray, "S A"]


class Recovered(NamedTuple):
    """The recovered reward, value and policy as tables."""

    reward: Table
    value: Float[np.ndarray, " S"]
    policy: Float[np.ndarray, "S A"]


def learned(run: iq.Run, world: GridWorld) -> Recovered:
    """Return reward, value and policy of a run."""
    actions = world.moves().shape[1]
    s, a, t = np.indices((world.cells, actions, world.cells)).reshape(3, -1)
    rows = (world.observe(s), a.astype(np.int32), world.observe(t), np.zeros(len(s), bool))
    reward = np.asarray(run.reward(iq.Transitions(*map(jnp.asarray, rows))), np.float64)
    cells = jnp.asarray(world.observe(np.arange(world.cells)))
    log_policy = [run.model.log_prob(cells, jnp.full(world.cells, i)) for i in range(actions)]
    policy = np.exp(np.stack(log_policy, axis=1))
    return Recovered(reward.reshape(world.cells, actions, world.cells), np.asarray(run.model.v(cells)), policy)


def occupancy(world: GridWorld) -> Frequency:
    """Return the exact discounted occupancy of the expert."""
    mdp = tabular.of_grid(world, GAMMA)
    expert = tabular.soft_optimal(mdp, mdp.transition @ entering(world), TEMPERATURE)
    return tabular.occupancy(mdp, expert.policy)


def frequency(world: GridWorld, demos: iq.Demos) -> Frequency:
    """Return the share of each cell and action in the transitions; the sum is 1."""
    counts = np.zeros(world.moves().shape)
    np.add.at(counts, (world.cells_of(demos.obs), demos.act), 1.0)
    return counts / counts.sum()


def table(world: GridWorld, rho: Frequency, penalised: Frequency, penalty: float) -> Recovered:
    """Minimise −J over a table and return the solution. Expert transitions have the weights `rho`, squared rewards the
    weights `penalty` times `penalised`."""
    moves = world.moves()

    def loss(flat: jax.Array) -> jax.Array:
        q = flat.reshape(rho.shape)
        v = soft_value(q, TEMPERATURE)
        next_v = GAMMA * v[moves]
        reward = q - next_v
        return jnp.sum(rho * (v[:, None] - next_v - reward)) / TEMPERATURE + penalty * jnp.sum(
            penalised * (reward / TEMPERATURE) ** 2
        )

    start, options = np.zeros(rho.size), {"gtol": 1e-11, "maxiter": 300}
    functions = [jax.jit(f) for f in (loss, jax.grad(loss), jax.hessian(loss))]
    value, slope, curvature = ((lambda x, f=f: np.asarray(f(x))) for f in functions)
    q = minimize(value, start, jac=slope, hess=curvature, method="trust-exact", options=options).x.reshape(rho.shape)
    v = np.asarray(soft_value(jnp.asarray(q), TEMPERATURE))
    return Recovered(q[:, :, None] - GAMMA * v, v, np.exp((q - v[:, None]) / TEMPERATURE))


def entering(world: GridWorld) -> Float[np.ndarray, " S"]:
    """Return the true reward of entering each cell."""
    cells = np.arange(world.cells)
    return world.true_reward(world.observe(cells), cells, world.observe(cells)).astype(np.float64)


def distances(found: Recovered, world: GridWorld) -> list[tuple[str, float, float]]:
    """Return a tuple (column `reward`, EPIC distance, plain correlation) for each of the three distances."""
    transition = tabular.of_grid(world, GAMMA).transition
    true = np.broadcast_to(entering(world), found.reward.shape)
    state = tabular.state_reward(found.reward, transition, GAMMA)
    of_state = np.broadcast_to(state, found.reward.shape)
    r, t = found.reward.ravel(), true.ravel()
    return [
        ("state", tabular.epic_distance(of_state, true, GAMMA), correlation(state, entering(world))),
        (
            "possible",
            tabular.epic_distance(found.reward, true, GAMMA, transition),
            correlation(r, t, transition.ravel()),
        ),
        ("all", tabular.epic_distance(found.reward, true, GAMMA), correlation(r, t)),
    ]


def without_learner(world: GridWorld, demos: iq.Demos) -> list[tuple[str, float, str, float, float]]:
    """Return a tuple (case, penalty, column `reward`, EPIC distance, plain correlation) for each case without a run."""
    known, few = occupancy(world), frequency(world, demos)
    anywhere = np.full(few.shape, 1.0 / few.size)
    cases = [("exact", known, known, penalty) for penalty in PENALTIES]
    for place, penalised in (("expert", few), ("both", 0.5 * (few + anywhere)), ("all", anywhere)):
        cases += [(f"table, penalty on {place}", few, penalised, penalty) for penalty in PENALTIES_OF_FEW]
    return [
        (case, penalty, *distance)
        for case, rho, penalised, penalty in cases
        for distance in distances(table(world, rho, penalised, penalty), world)
    ]


def picture(path: Path, found: Recovered, world: GridWorld, title: str) -> None:
    """Draw the true reward, the recovered reward, the value and the policy as maps, and save them to `path`."""
    from matplotlib.figure import Figure

    state = tabular.state_reward(found.reward, tabular.of_grid(world, GAMMA).transition, GAMMA)
    maps = {
        "true reward of entering": entering(world),
        "recovered, up to shaping and scale": state,
        "recovered value V(s)": found.value,
    }
    figure = Figure(figsize=(13.0, 3.7), layout="constrained")
    panels = figure.subplots(1, 4)
    for panel, (name, values) in zip(panels, maps.items(), strict=False):
        image = panel.imshow(values.reshape(world.size, -1), cmap="viridis")
        figure.colorbar(image, ax=panel, shrink=0.75)
        panel.set_title(name, fontsize="medium")
    arrows(panels[3], found.policy, world)
    for panel in panels:
        panel.set(xticks=[], yticks=[])
        column, row = world.goal % world.size, world.goal // world.size
        panel.plot(column, row, marker="*", markersize=15, color="white", markeredgecolor="black")
    figure.suptitle(title)
    figure.savefig(path, dpi=120)


def arrows(panel: Any, policy: Float[np.ndarray, "S A"], world: GridWorld) -> None:
    """Draw an arrow for each action, its length proportional to the probability, and a disc for staying."""
    row, column = np.divmod(np.arange(world.cells), world.size)
    panel.imshow(np.ones((world.size, world.size)), cmap="gray", vmin=0, vmax=1.05)
    panel.set_title("recovered policy: length is probability", fontsize="medium")
    for action, (down, right) in enumerate(MOVES):
        likely = policy[:, action]
        if down == right == 0:
            panel.scatter(column, row, s=220 * likely, color="tab:orange")
        else:
            length = 0.9 * likely
            panel.quiver(
                *(column, row, right * length, down * length),
                **{"angles": "xy", "scale_units": "xy", "scale": 1.0, "width": 0.008, "color": "tab:blue"},
            )


def main(seeds: int = 5, steps: int = STEPS, out: Path = tables.RESULTS) -> None:
    """Measure all cases and write the table and the picture.

    Args:
        seeds: number of seeds.
        steps: environment steps of the online runs.
        out: folder of the table and the picture.
    """
    world, demos, rows = GridWorld(), iq.Demos.builtin(ENV), []
    with jax.enable_x64(True):
        rows += [("", *row) for row in without_learner(world, demos)]
    plain = {"recommended": iq.recommended(demos, ENV, mode="offline", quiet=True), "paper": iq.IQLearn()}
    cases = {
        "demos": (SETTINGS, {"mode": "online", "interaction": ACTING, "steps": steps}),
        **{case: (settings, {"mode": "offline"}) for case, settings in plain.items()},
    }
    for seed in range(seeds):
        for case, (settings, options) in cases.items():
            run = iq.learn(settings, demos, env=ENV, seed=seed, evaluations=1, quiet=True, **options)
            found, penalty = learned(run, world), settings.temperature / (4.0 * settings.chi2_alpha)
            rows += [(seed, case, penalty, *distance) for distance in distances(found, world)]
            print(*rows[-3:], sep="\n", flush=True)
            if (seed, case) == (0, "demos"):
                picture(out / "gridworld.png", found, world, f"Grid world, 30 demonstrations, seed {seed}")
    rows = [(*row[:4], tables.COMMIT, round(row[4], 4), round(row[5], 4)) for row in rows]
    tables.merge(out / "gridworld.csv", COLUMNS, [dict(zip(COLUMNS, row, strict=True)) for row in rows], key=5)


if __name__ == "__main__":
    tyro.cli(main)
