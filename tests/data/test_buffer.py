"""The buffer holds the rows it is filled with, and draws only these."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from iqlearn.data.replay import Buffer, filled


def row(i: int) -> dict[str, jax.Array]:
    """A row that holds its number twice. Numbers start at 1, because 0 is padding."""
    return {"a": jnp.int32(i), "b": jnp.full(2, i, jnp.float32)}


def rows(*numbers: int) -> dict[str, jax.Array]:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(row, numbers))


def drawn(buffer: Buffer, n: int = 400) -> set[int]:
    """The numbers of n drawn rows. The arrays of each row must agree."""
    sample = buffer.sample(jr.key(1), n)
    assert sample["a"].shape == (n,)
    assert sample["b"].shape == (n, 2)
    assert (sample["b"] == sample["a"][:, None]).all()
    return set(sample["a"].tolist())


def test_filled_pads_the_rows_to_the_capacity():
    buffer = filled(rows(1, 2), capacity=4)
    assert buffer.rows["a"].tolist() == [1, 2, 0, 0]
    assert int(buffer.size) == 2
    assert jax.tree.map(lambda x: (x.shape, str(x.dtype)), buffer.rows) == {
        "a": ((4,), "int32"),
        "b": ((4, 2), "float32"),
    }


def test_filled_without_capacity_holds_only_the_rows():
    buffer = filled(rows(1, 2, 3))
    assert buffer.rows["a"].tolist() == [1, 2, 3]
    assert int(buffer.size) == 3


def test_sample_draws_every_row():
    assert drawn(filled(rows(1, 2, 3))) == {1, 2, 3}


def test_padding_is_never_drawn():
    assert drawn(filled(rows(1), capacity=1_000)) == {1}


def test_sample_is_uniform():
    counts = np.bincount(np.asarray(filled(rows(1, 2, 3, 4), capacity=9).sample(jr.key(0), 8_000)["a"]), minlength=5)
    assert counts[0] == 0
    assert (np.abs(counts[1:] - 2_000) < 5 * np.sqrt(8_000 * 0.25 * 0.75)).all()  # five standard deviations


def test_sample_depends_on_the_key_alone():
    buffer = filled(rows(1, 2, 3, 4))
    first, again, other = (buffer.sample(jr.key(i), 32)["a"].tolist() for i in (0, 0, 1))
    assert first == again
    assert first != other


def test_padding_does_not_change_the_sample():
    """A seed that is trained beside others, with padded demonstrations, sees the same batches as alone."""
    alone, padded = filled(rows(1, 2, 3)), filled(rows(1, 2, 3), capacity=50)
    assert alone.sample(jr.key(3), 64)["a"].tolist() == padded.sample(jr.key(3), 64)["a"].tolist()


def test_stacked_buffers_of_unequal_size_sample_under_vmap():
    buffers = [filled(rows(*range(1, n + 1)), capacity=6) for n in (1, 4, 6)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *buffers)
    keys = jr.split(jr.key(5), 3)
    sample = jax.jit(jax.vmap(lambda buffer, key: buffer.sample(key, 200)))(stacked, keys)["a"]
    assert [set(numbers.tolist()) for numbers in sample] == [{1}, {1, 2, 3, 4}, {1, 2, 3, 4, 5, 6}]
    for i, buffer in enumerate(buffers):
        assert sample[i].tolist() == buffer.sample(keys[i], 200)["a"].tolist()
