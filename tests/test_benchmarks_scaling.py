"""What a compiled program says its devices send each other."""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import scaling
from mtl_jax import parallel


def test_bytes_of_collectives_are_those_of_what_is_summed():
    mesh = parallel.make_mesh(jax.devices()[:2])
    whole, split = parallel.replicated(mesh), parallel.batch_sharding(mesh)

    def gradient(weights, x):
        return jax.grad(lambda w: jnp.sum(jnp.tanh(x @ w)))(weights)

    compiled = jax.jit(gradient, in_shardings=(whole, split), out_shardings=whole).lower(
        jax.ShapeDtypeStruct((6, 10), np.float32), jax.ShapeDtypeStruct((8, 6), np.float32)
    )
    sizes, counts = scaling.collectives(compiled.compile().as_text())
    assert sizes == {"all-reduce": 6 * 10 * 4}
    assert counts == {"all-reduce": 1}


def test_results_of_every_form_are_counted():
    program = """
      %a = (f32[3,4]{1,0}, bf16[]) all-reduce(%x, %y), replica_groups={}
      %b = ((f32[5]{0}), (f32[5]{0})) all-gather-start(%z), dimensions={0}
      %c = f32[5]{0} all-gather-done(%b)
      %d = u8[2,2]{1,0} collective-permute(%w)
    """
    sizes, counts = scaling.collectives(program)
    assert sizes == {"all-reduce": 50, "all-gather": 20, "collective-permute": 4}
    assert sum(counts.values()) == 3


def test_efficiency_is_beside_one_device():
    rows = [
        {"devices": 1, "operations": 4e9, "planned": 0, "sent": {}, "collectives": {}},
        {"devices": 2, "operations": 5e9, "planned": 0, "sent": {"all-reduce": 8e6},
         "collectives": {"all-reduce": 3}},
    ]  # fmt: skip
    rows = [row | {"parameters": 1_000_000} for row in rows]
    one, two = scaling.table(rows).splitlines()[2:]
    assert "| 1.000 |" in one
    assert "| 0.800 |" in two
    assert "| 3 all-reduce | 8.00 | 50% |" in two
