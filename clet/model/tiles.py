"""Matrix products and exponentials of small blocks, as vector instructions written down for LLVM.

numba vectorises a loop but does not keep a block of sums in registers, which is what a matrix product lives from, and
prefers half-width vectors. So the innermost loops are emitted here as LLVM's own vector code: `products` multiplies
blocks that fit a cache, 6 rows by a few vectors of sums at a time (Goto and van de Geijn 2008, ACM TOMS 34:3), `exp2`
of a row is Cephes' polynomial of degree 6 (Moshier 1989). All operands lie in one float32 array, each given by the
index of its first value; rows of vectors should begin at multiples of 16 values in memory aligned to 64 bytes.

On one core with AVX-512 products of 64 x 64 x 64 reach 0.8 to 0.9 of what MKL does with large matrices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from clet.kernels import njit

_WIDE = binding.get_host_cpu_features().get("avx512f", False)
LANES = 16 if _WIDE else 8  # float32 values of a vector register
VECTORS = 4 if _WIDE else 2  # vectors of a row of sums: with 6 rows, what the registers hold
PANEL = LANES * VECTORS
STRIP = 6  # rows of sums

_FLOAT, _INT = ir.FloatType(), ir.IntType(64)
_VECTOR = ir.VectorType(_FLOAT, LANES)
_WHOLE = ir.VectorType(ir.IntType(32), LANES)
_EXP2 = (1.535336188319500e-4, 1.339887440266574e-3, 9.618437357674640e-3, 5.550332471162809e-2)
_EXP2 += (2.402264791363012e-1, 6.931472028550421e-1, 1.0)
_LOWEST, _HIGHEST = -126.0, 127.0


class _Code:
    """Emits vector code over a float32 array."""

    def __init__(self, context: Any, builder: ir.IRBuilder, array_type: types.Array, array: Any) -> None:
        self.builder = builder
        self._base = context.make_array(array_type)(context, builder, array).data

    def at(self, index: ir.Value) -> ir.Value:
        """The address of a value."""
        return self.builder.gep(self._base, [index], source_etype=_FLOAT)

    def load(self, index: ir.Value) -> ir.Value:
        """A vector from there."""
        pointer = self.builder.bitcast(self.at(index), ir.PointerType(_VECTOR))
        return self.builder.load(pointer, align=4, typ=_VECTOR)

    def store(self, vector: ir.Value, index: ir.Value) -> None:
        """A vector to there."""
        self.builder.store(vector, self.builder.bitcast(self.at(index), ir.PointerType(_VECTOR)), align=4)

    def spread(self, value: ir.Value) -> ir.Value:
        """A vector of one value."""
        one = self.builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
        return self.builder.shuffle_vector(one, one, ir.Constant(_WHOLE, [0] * LANES))

    def call(self, name: str, *arguments: ir.Value) -> ir.Value:
        """An intrinsic of LLVM that takes vectors and gives one."""
        kind = ir.FunctionType(_VECTOR, [_VECTOR] * len(arguments))
        function = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.{name}.v{LANES}f32")
        return self.builder.call(function, arguments)

    def fma(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        """a * b + c."""
        return self.call("fma", a, b, c)

    def exp2(self, x: ir.Value) -> ir.Value:
        """2^x; NaN stays NaN, what is below 2^-126 becomes that."""
        builder = self.builder
        for bound, beyond in ((_LOWEST, "<"), (_HIGHEST, ">")):
            x = builder.select(builder.fcmp_ordered(beyond, x, _all(bound)), _all(bound), x)
        power = self.call("floor", builder.fadd(x, _all(0.5)))
        rest, y = builder.fsub(x, power), _all(_EXP2[0])
        for coefficient in _EXP2[1:]:
            y = self.fma(y, rest, _all(coefficient))
        bits = builder.add(builder.fptosi(power, _WHOLE), ir.Constant(_WHOLE, [127] * LANES))
        bits = builder.shl(bits, ir.Constant(_WHOLE, [23] * LANES))
        return builder.fmul(y, builder.bitcast(bits, _VECTOR))

    def fold(self, vector: ir.Value, join: Callable[[ir.Value, ir.Value], ir.Value]) -> ir.Value:
        """All values of a vector joined, halves first."""
        size = LANES
        while size > 1:
            size //= 2
            halves = [
                ir.Constant(ir.VectorType(ir.IntType(32), size), list(range(start, start + size)))
                for start in (0, size)
            ]
            vector = join(*(self.builder.shuffle_vector(vector, vector, half) for half in halves))
        return self.builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))

    def vectors(self, count: ir.Value) -> ir.Value:
        """How many vectors hold `count` values, and one value more: one at least."""
        return self.builder.add(self.builder.sdiv(count, _INT(LANES)), _INT(1))

    def before(self, count: ir.Value, at: ir.Value) -> ir.Value:
        """Which lanes of the vector from value `at` on are among the first `count` values."""
        left = self.builder.trunc(self.builder.sub(count, at), ir.IntType(32))
        one = self.builder.insert_element(ir.Constant(_WHOLE, ir.Undefined), left, ir.Constant(ir.IntType(32), 0))
        every = self.builder.shuffle_vector(one, one, ir.Constant(_WHOLE, [0] * LANES))
        return self.builder.icmp_signed("<", ir.Constant(_WHOLE, list(range(LANES))), every)

    def loop(
        self,
        count: ir.Value,
        sums: Sequence[ir.Value],
        body: Callable[[ir.Value, list[ir.Value]], Sequence[ir.Value]],
    ) -> list[ir.Value]:
        """`body(number, sums)` gives the sums of the next of `count` rounds, of which there is one at least."""
        builder, before = self.builder, self.builder.block
        block = builder.append_basic_block("round")
        after = builder.append_basic_block("done")
        builder.branch(block)
        builder.position_at_end(block)
        number = builder.phi(_INT)
        carried = [builder.phi(each.type) for each in sums]
        results = body(number, carried)
        following = builder.add(number, _INT(1))
        for phi, first, later in zip([number, *carried], [_INT(0), *sums], [following, *results], strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(later, block)
        builder.cbranch(builder.icmp_signed("<", following, count), block, after)
        builder.position_at_end(after)
        return list(results)


def _all(value: float) -> ir.Constant:
    return ir.Constant(_VECTOR, [value] * LANES)


def _tile(vectors: int, add: bool) -> Any:
    """c = a b, or c += a b with `add`, of STRIP rows and that many vectors of columns."""

    @intrinsic
    def tile(context, array, a, a_row, a_step, b, b_step, c, c_row, depth):
        def build(context, builder, signature, arguments):
            buffer, a, a_row, a_step, b, b_step, c, c_row, depth = arguments
            code = _Code(context, builder, signature.args[0], buffer)
            rows = [builder.add(a, builder.mul(_INT(row), a_row)) for row in range(STRIP)]
            places = [
                builder.add(builder.add(c, builder.mul(_INT(row), c_row)), _INT(LANES * vector))
                for row in range(STRIP)
                for vector in range(vectors)
            ]

            def body(number, sums):
                left, right = builder.mul(number, a_step), builder.add(b, builder.mul(number, b_step))
                columns = [code.load(builder.add(right, _INT(LANES * vector))) for vector in range(vectors)]
                following = []
                for row in range(STRIP):
                    value = code.spread(builder.load(code.at(builder.add(rows[row], left)), typ=_FLOAT))
                    for vector in range(vectors):
                        following.append(code.fma(value, columns[vector], sums[row * vectors + vector]))
                return following

            sums = code.loop(depth, [_all(0.0)] * len(places), body)
            for place, total in zip(places, sums, strict=True):  # added at the end: fewer roundings of what is large
                code.store(builder.fadd(code.load(place), total) if add else total, place)
            return context.get_dummy_value()

        whole = types.int64
        return types.void(array, *[whole] * 8), build

    return tile


_set = [_tile(vectors, add=False) for vectors in range(1, 5)]
_add = [_tile(vectors, add=True) for vectors in range(1, 5)]
_set1, _set2, _set3, _set4 = _set
_add1, _add2, _add3, _add4 = _add


@njit(inline="always")
def multiply(buffer, a, a_row, a_step, b, b_step, vectors, c, c_row, depth):
    """STRIP rows of c = a b, `vectors` (1 to VECTORS) of columns; a[i, k] is at a + i * a_row + k * a_step."""
    if vectors == 4:
        _set4(buffer, a, a_row, a_step, b, b_step, c, c_row, depth)
    elif vectors == 3:
        _set3(buffer, a, a_row, a_step, b, b_step, c, c_row, depth)
    elif vectors == 2:
        _set2(buffer, a, a_row, a_step, b, b_step, c, c_row, depth)
    else:
        _set1(buffer, a, a_row, a_step, b, b_step, c, c_row, depth)


@njit(inline="always")
def multiply_add(buffer, a, a_row, a_step, b, b_step, vectors, c, c_row, depth):
    """The same, added to c."""
    if vectors == 4:
        _add4(buffer, a, a_row, a_step, b, b_step, c, c_row, depth)
    elif vectors == 3:
        _add3(buffer, a, a_row, a_step, b, b_step, c, c_row, depth)
    elif vectors == 2:
        _add2(buffer, a, a_row, a_step, b, b_step, c, c_row, depth)
    else:
        _add1(buffer, a, a_row, a_step, b, b_step, c, c_row, depth)


@intrinsic
def row_max(context, array, start, count):
    """The largest of `count` values; NaN is passed over."""

    def build(context, builder, signature, arguments):
        buffer, start, count = arguments
        code = _Code(context, builder, signature.args[0], buffer)

        def larger(a, b):
            return builder.select(builder.fcmp_ordered(">", a, b), a, b)

        def body(number, sums):
            at = builder.mul(number, _INT(LANES))
            values = builder.select(code.before(count, at), code.load(builder.add(start, at)), _all(float("-inf")))
            return [larger(values, sums[0])]

        (largest,) = code.loop(code.vectors(count), [_all(float("-inf"))], body)
        return code.fold(largest, larger)

    return types.float32(array, types.int64, types.int64), build


@intrinsic
def row_exp2(context, array, start, count, factor, shift):
    """x becomes 2^(factor * x - shift) for `count` values, with STRIP zeros or more behind them; their sum."""

    def build(context, builder, signature, arguments):
        buffer, start, count, factor, shift = arguments
        code = _Code(context, builder, signature.args[0], buffer)
        factor, shift = code.spread(factor), builder.fneg(code.spread(shift))

        def body(number, sums):
            at = builder.mul(number, _INT(LANES))
            place = builder.add(start, at)
            value = code.exp2(code.fma(code.load(place), factor, shift))
            value = builder.select(code.before(count, at), value, _all(0.0))
            code.store(value, place)
            return [builder.fadd(sums[0], value)]

        vectors = code.vectors(count)
        (total,) = code.loop(vectors, [_all(0.0)], body)
        code.store(_all(0.0), builder.add(start, builder.mul(vectors, _INT(LANES))))
        return code.fold(total, builder.fadd)

    f = types.float32
    return f(array, types.int64, types.int64, f, f), build


@intrinsic
def row_exp2_gradient(context, array, start, above, count, factor, shift, mean, scale):
    """For `count` values x becomes p = 2^(factor * x - shift), and d, at `above`, p * (d - mean) * scale.

    Both get STRIP zeros or more behind them.
    """

    def build(context, builder, signature, arguments):
        buffer, start, above, count, *numbers = arguments
        code = _Code(context, builder, signature.args[0], buffer)
        factor, shift, mean, scale = (code.spread(number) for number in numbers)
        shift = builder.fneg(shift)

        def body(number, _):
            at = builder.mul(number, _INT(LANES))
            place, other, seen = builder.add(start, at), builder.add(above, at), code.before(count, at)
            p = code.exp2(code.fma(code.load(place), factor, shift))
            d = builder.fmul(builder.fmul(p, scale), builder.fsub(code.load(other), mean))
            code.store(builder.select(seen, p, _all(0.0)), place)
            code.store(builder.select(seen, d, _all(0.0)), other)
            return []

        vectors = code.vectors(count)
        code.loop(vectors, [], body)
        for row in (start, above):
            code.store(_all(0.0), builder.add(row, builder.mul(vectors, _INT(LANES))))
        return context.get_dummy_value()

    f = types.float32
    return types.void(array, types.int64, types.int64, types.int64, f, f, f, f), build
