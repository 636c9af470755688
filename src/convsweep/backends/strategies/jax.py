"""JAX's convolution, compiled by XLA."""

from convsweep.backends.base import Backend, imported_late, library_bound

BACKEND = Backend(
    name="jax",
    prepare=imported_late("engines.jax"),
    error_bound=library_bound,
    source="jax.lax.conv_general_dilated, compiled by XLA",
    direct=False,
    own_padding_end=True,
    device_types=("cpu",),
    dtypes=("float32", "float64"),
    family="engines",
    modules=("jax",),
    extra="jax",
    compile_s=60.0,
    compiles_per_problem=True,
    own_threads=True,
)
