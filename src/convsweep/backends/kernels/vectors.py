"""Vector of float32 as a Numba type, and the LLVM instructions that intrinsics are generated from.

LLVM lowers a vector of 8 floats to one register of AVX2 or two of NEON, one of 16 to one register
of AVX-512. The target decides which, or the variable CONVSWEEP_LANES: on a narrower machine a
vector of 16 is two registers of AVX2. Addresses are int64, in bytes, and not checked.
"""

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import binding, ir
from numba import extending, types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import models, register_model

from convsweep.backends.kernels.width import requested_lanes


def _has_avx512() -> bool:
    """Return whether the target that Numba compiles for adds 16 floats in one register."""
    triple, cpu, features = cpu_target.target_context.codegen().magic_tuple()
    machine = binding.Target.from_triple(triple).create_target_machine(cpu=cpu, features=features)
    body = "{%y = fadd <16 x float> %x, %x\nret <16 x float> %y}"
    module = binding.parse_assembly(f"define <16 x float> @add(<16 x float> %x) {body}")
    return "zmm" in machine.emit_assembly(module)


_AVX512 = _has_avx512()
LANES = requested_lanes() or (16 if _AVX512 else 8)  # floats per vector
REGISTERS = 32 if _AVX512 else 16 * 8 // LANES  # vectors that fit into the registers
FLOAT_BYTES = 4
LINE_BYTES = 64  # bytes that caches read and write at a time
VECTOR_BYTES = LANES * FLOAT_BYTES
QUAD = 4  # floats of the smallest part that is copied at once

FLOAT, INT = ir.FloatType(), ir.IntType(32)
VECTOR, _QUAD = ir.VectorType(FLOAT, LANES), ir.VectorType(FLOAT, QUAD)
CONTRACT = ("contract",)  # only allows a product and a sum to become one operation


def pointer(builder: Any, address: Any, kind: Any) -> Any:
    """Convert an address (int64, in bytes) to a pointer to values of a kind."""
    return builder.inttoptr(address, kind.as_pointer())


def read_vector(builder: Any, address: Any, kind: Any = VECTOR) -> Any:
    """Read the vector at an address, which need not be aligned."""
    value = builder.load(pointer(builder, address, kind))
    value.align = FLOAT_BYTES
    return value


def write_vector(builder: Any, value: Any, address: Any) -> None:
    """Write a vector to an address, which need not be aligned."""
    builder.store(value, pointer(builder, address, value.type)).align = FLOAT_BYTES


def pick_lanes(builder: Any, x: Any, y: Any, which: Sequence[int]) -> Any:
    """Return lanes of x (numbered from 0) and of y (from the length of x), in the given order."""
    mask = ir.Constant(ir.VectorType(INT, len(which)), list(which))
    return builder.shuffle_vector(x, y, mask)


def in_every_lane(builder: Any, value: Any) -> Any:
    """Return a vector with the value in every lane."""
    undefined = ir.Constant(VECTOR, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(INT, 0))
    return pick_lanes(builder, first, undefined, [0] * LANES)


def moved(builder: Any, address: Any, step: Any, times: Any) -> Any:
    """Return `address + step * times`; step and times may be Python integers."""
    kind = address.type
    step, times = (ir.Constant(kind, n) if isinstance(n, int) else n for n in (step, times))
    return builder.add(address, builder.mul(step, times))


def multiply_add(builder: Any, x: Any, y: Any, total: Any) -> Any:
    """Return the vector `x * y + total`, which may be rounded once or twice."""
    kind = ir.FunctionType(VECTOR, [VECTOR] * 3)
    name = f"llvm.fmuladd.v{LANES}f32"
    function = cgutils.get_or_insert_function(builder.module, kind, name)
    return builder.call(function, [x, y, total])


def fetch(builder: Any, address: Any) -> None:
    """Prefetch the cache line at an address; any address is allowed."""
    byte, flag = ir.IntType(8).as_pointer(), INT
    kind = ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    read, keep, data = flag(0), flag(3), flag(1)
    builder.call(function, [builder.inttoptr(address, byte), read, keep, data])


def call_address(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Call the machine code at the address `args[0]` with the other arguments."""
    kind = ir.FunctionType(ir.VoidType(), [argument.type for argument in args[1:]])
    builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])
    return context.get_dummy_value()


# Results of both are called in kernels, without `typing`.
intrinsic: Any = extending.intrinsic
intrinsic_of_constants: Any = extending.intrinsic(prefer_literal=True)


class VectorType(types.Type):
    """Numba type of `LANES` floats."""

    def __init__(self) -> None:
        super().__init__(name=f"vector of {LANES} float32")


vector = VectorType()


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, VECTOR)


@intrinsic
def load(typing: Any, address: Any) -> Any:
    """Read the vector at an address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return read_vector(builder, args[0])

    return vector(types.int64), generate


@intrinsic
def store(typing: Any, address: Any, value: Any) -> Any:
    """Write a vector to an address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        write_vector(builder, args[1], args[0])
        return context.get_dummy_value()

    return types.void(types.int64, vector), generate


@intrinsic
def zeros(typing: Any) -> Any:
    """Return a vector of zeros."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return ir.Constant(VECTOR, [0.0] * LANES)

    return vector(), generate


@intrinsic
def float_of(typing: Any, bits: Any) -> Any:
    """Return the float32 that has these bits."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(builder.trunc(args[0], INT), FLOAT)

    return types.float32(types.int64), generate


@intrinsic
def clipped(typing: Any, value: Any, high: Any) -> Any:
    """Return the vector with zeros for negative numbers, and `high` for larger ones."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        none, most = ir.Constant(VECTOR, [0.0] * LANES), in_every_lane(builder, args[1])
        value = builder.select(builder.fcmp_ordered("<", args[0], none), none, args[0])
        return builder.select(builder.fcmp_ordered(">", value, most), most, value)

    return vector(vector, types.float32), generate


@intrinsic
def load_float(typing: Any, address: Any) -> Any:
    """Read the float at an address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(pointer(builder, args[0], FLOAT))

    return types.float32(types.int64), generate


@intrinsic
def store_float(typing: Any, address: Any, value: Any) -> Any:
    """Write a float to an address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[1], pointer(builder, args[0], FLOAT))
        return context.get_dummy_value()

    return types.void(types.int64, types.float32), generate


@intrinsic
def copy_quad(typing: Any, source: Any, target: Any) -> Any:
    """Copy `QUAD` floats."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        write_vector(builder, read_vector(builder, args[0], _QUAD), args[1])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


def _joined(builder: Any, parts: list[Any]) -> Any:
    """Return one vector of all parts, whose number is a power of two."""
    while len(parts) > 1:
        lanes = range(2 * parts[0].type.count)
        pairs = zip(parts[::2], parts[1::2], strict=True)
        parts = [pick_lanes(builder, x, y, lanes) for x, y in pairs]
    return parts[0]


def _transposed(builder: Any, rows: list[Any]) -> list[Any]:
    """Transpose groups of as many lanes as rows, in log2 rounds.

    In a round, rows `reach` apart exchange blocks of `reach`.
    """
    reach = 1
    while reach < len(rows):
        exchanged = list(rows)
        for i in range(len(rows)):
            if i & reach:
                continue
            low = [LANES + lane - reach if lane & reach else lane for lane in range(LANES)]
            high = [LANES + lane if lane & reach else lane + reach for lane in range(LANES)]
            exchanged[i] = pick_lanes(builder, rows[i], rows[i + reach], low)
            exchanged[i + reach] = pick_lanes(builder, rows[i], rows[i + reach], high)
        rows, reach = exchanged, 2 * reach
    return rows


def _transposition(count: int, kind: Any, transposed: Callable[[Any, list[Any]], list[Any]]) -> Any:
    """Return an intrinsic `(source, source_step, target, target_step)` that transposes rows.

    It reads `count` rows, `source_step` bytes apart, and writes rows `target_step` apart.
    """

    @intrinsic
    def transpose(typing: Any, source: Any, source_step: Any, target: Any, target_step: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            source, source_step, target, target_step = args
            places = (moved(builder, source, source_step, i) for i in range(count))
            rows = [read_vector(builder, place, kind) for place in places]
            for i, row in enumerate(transposed(builder, rows)):
                write_vector(builder, row, moved(builder, target, target_step, i))
            return context.get_dummy_value()

        return types.void(*[types.int64] * 4), generate

    return transpose


def _transposed_quads(builder: Any, rows: list[Any]) -> list[Any]:
    side_by_side = [_joined(builder, rows[i::QUAD]) for i in range(QUAD)]
    return _transposed(builder, side_by_side)


def _quads_of_transposed(builder: Any, rows: list[Any]) -> list[Any]:
    columns, firsts = _transposed(builder, rows), range(0, LANES, QUAD)
    return [pick_lanes(builder, c, c, range(i, i + QUAD)) for i in firsts for c in columns]


transpose = _transposition(LANES, VECTOR, _transposed)  # transpose `LANES` vectors
transpose_columns = _transposition(LANES, _QUAD, _transposed_quads)
"""Transpose `LANES` rows of `QUAD` floats to vectors."""
transpose_rows = _transposition(QUAD, VECTOR, _quads_of_transposed)
"""Transpose `QUAD` vectors to rows of `QUAD` floats."""


@intrinsic
def deinterleave(typing: Any, source: Any, even: Any, odd: Any) -> Any:
    """Write the even of 2 * LANES floats to one address, the odd ones to another."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source, even, odd = args
        x = read_vector(builder, source)
        y = read_vector(builder, builder.add(source, ir.Constant(source.type, VECTOR_BYTES)))
        write_vector(builder, pick_lanes(builder, x, y, range(0, 2 * LANES, 2)), even)
        write_vector(builder, pick_lanes(builder, x, y, range(1, 2 * LANES, 2)), odd)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate
