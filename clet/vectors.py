"""Many bytes at once: what numba has no words for, as instructions of the compiler behind it (LLVM).

They are portable: where a processor has narrower vectors, or none, LLVM makes of them what there is.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

WORD_WIDTH, WIDTH = 32, 64  # bytes that are looked at for a word, and for a run of anything


def _load(context, builder, kind, data, at, width):
    array = context.make_array(kind)(context, builder, data)
    loaded = builder.load(builder.bitcast(builder.gep(array.data, [at]), ir.VectorType(_BYTE, width).as_pointer()))
    loaded.align = 1
    return loaded


_BYTE = ir.IntType(8)


def _every(loaded, byte):
    return ir.Constant(loaded.type, [byte] * loaded.type.count)


def _among(builder, loaded, *ranges):
    """A bit for each byte that is in one of the ranges, (first, last) or one byte."""
    found = None
    for one in ranges:
        first, last = one if isinstance(one, tuple) else (one, one)
        if first == last:
            hit = builder.icmp_unsigned("==", loaded, _every(loaded, first))
        else:
            hit = builder.icmp_unsigned("<=", builder.sub(loaded, _every(loaded, first)), _every(loaded, last - first))
        found = hit if found is None else builder.or_(found, hit)
    return builder.bitcast(found, ir.IntType(loaded.type.count))


def _whole(builder, mask):
    return mask if mask.type.width == 64 else builder.zext(mask, ir.IntType(64))


def _first(builder, mask):
    return _whole(builder, builder.cttz(mask, ir.Constant(ir.IntType(1), 0)))


def emit_prefetch(builder, pointer, *, to_write):
    """Have what is at `pointer` brought into the cache; where nothing is, nothing happens."""
    number = ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, number, number, number])
    prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    near, data = number(3), number(1)
    builder.call(prefetch, [pointer, number(int(to_write)), near, data])


@intrinsic
def letters_from(typingctx, data, at):
    """How many ASCII letters stand in a row from byte `at` (uint64) of `data` on; at most WORD_WIDTH, all readable."""

    def generate(context, builder, signature, args):
        loaded = _load(context, builder, signature.args[0], *args, WORD_WIDTH)
        letters = _among(builder, builder.or_(loaded, _every(loaded, 32)), (97, 122))
        return _first(builder, builder.not_(letters))

    return types.uint64(data, at), generate


@intrinsic
def look_at(typingctx, data, at):
    """What the WIDTH bytes from `at` (uint64) on are, as masks of which bit i is of byte i.

    Returns (how many are neither blanks nor control characters nor beyond ASCII before the first that is, letters,
    digits, marks that words may be cut at, number signs, full stops, apostrophes, slashes and colons).
    """

    def generate(context, builder, signature, args):
        loaded = _load(context, builder, signature.args[0], *args, WIDTH)
        run = _first(builder, builder.not_(_among(builder, loaded, (33, 126))))
        masks = [_among(builder, builder.or_(loaded, _every(loaded, 32)), (97, 122)), _among(builder, loaded, (48, 57))]
        cuts = (ord("*"), ord("/")), ord("'"), ord(":"), (ord("<"), ord(">")), ord("^"), ord("~")
        masks += [_among(builder, loaded, *cuts)]
        masks += [_among(builder, loaded, *map(ord, signs)) for signs in ("#", ".", "'", "/:")]
        whole = [_whole(builder, mask) for mask in masks]
        return context.make_tuple(builder, signature.return_type, [run, *whole])

    return types.UniTuple(types.uint64, 8)(data, at), generate


@intrinsic
def ends_of_strings(typingctx, data, at):
    """Which of the WIDTH bytes from `at` (uint64) on, all readable, are a quote or a backslash: bit i is of byte i."""

    def generate(context, builder, signature, args):
        loaded = _load(context, builder, signature.args[0], *args, WIDTH)
        return _whole(builder, _among(builder, loaded, ord('"'), ord("\\")))

    return types.uint64(data, at), generate


@intrinsic
def first_bit(typingctx, mask):
    """The place of the lowest bit of a uint64 that is set; 64 where none is."""

    def generate(context, builder, signature, args):
        return _first(builder, args[0])

    return types.uint64(mask), generate


@intrinsic
def count_bits(typingctx, mask):
    """How many bits of a uint64 are set."""

    def generate(context, builder, signature, args):
        return builder.ctpop(args[0])

    return types.uint64(mask), generate


@intrinsic
def ask_for(typingctx, table, row):
    """Have row `row` (uint64) of a table brought into the cache, without waiting for it."""

    def generate(context, builder, signature, args):
        array = context.make_array(signature.args[0])(context, builder, args[0])
        step = builder.extract_value(array.strides, 0)
        place = builder.add(builder.ptrtoint(array.data, step.type), builder.mul(args[1], step))
        emit_prefetch(builder, builder.inttoptr(place, cgutils.voidptr_t), to_write=True)
        return context.get_dummy_value()

    return types.none(table, row), generate


LANES = 16


@intrinsic
def marked(typingctx, values, at, step, table, fold, multiply, shift):
    """Which of LANES blocks of four bytes of `values`, `step` bytes apart from `at` (uint64) on, a table has marked.

    A bit each, from the lowest on. A block is marked where `table` (bytes, three more than are used) is not 0 at the
    place that its bits together with `fold`, times `multiply`, give above `shift` (all uint32). All of the blocks must
    be readable.
    """

    def generate(context, builder, signature, args):
        values, at, step, table, *numbers = args
        word, wide = ir.VectorType(ir.IntType(32), LANES), ir.VectorType(ir.IntType(64), LANES)

        def every(number, kind):
            one = builder.insert_element(ir.Constant(kind, ir.Undefined), number, ir.IntType(32)(0))
            zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
            return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), zeros)

        def gather(kind, array, places):
            """Four bytes from each of `places` of an array of bytes."""
            data = context.make_array(kind)(context, builder, array).data
            places = builder.add(every(builder.ptrtoint(data, ir.IntType(64)), wide), places)
            pointers = builder.inttoptr(places, ir.VectorType(ir.IntType(32).as_pointer(), LANES))
            mask = ir.VectorType(ir.IntType(1), LANES)
            shape = ir.FunctionType(word, [pointers.type, ir.IntType(32), mask, word])
            function = cgutils.get_or_insert_function(
                builder.module, shape, f"llvm.masked.gather.v{LANES}i32.v{LANES}p0"
            )
            return builder.call(
                function, [pointers, ir.IntType(32)(1), mask([1] * LANES), ir.Constant(word, ir.Undefined)]
            )

        steps = builder.mul(every(step, wide), wide(list(range(LANES))))
        block = gather(signature.args[0], values, builder.add(every(at, wide), steps))
        fold, multiply, shift = (every(number, word) for number in numbers)
        place = builder.lshr(builder.mul(builder.or_(block, fold), multiply), shift)
        found = gather(signature.args[3], table, builder.zext(place, wide))
        hit = builder.icmp_unsigned("!=", builder.and_(found, word([255] * LANES)), word([0] * LANES))
        return builder.zext(builder.bitcast(hit, ir.IntType(LANES)), ir.IntType(64))

    return types.uint64(values, at, step, table, fold, multiply, shift), generate
