"""The intrinsics of the formula language for Numba: one or a few LLVM instructions each, for float32 and float64."""

import llvmlite.binding
import llvmlite.ir as ir
from numba import types
from numba.extending import intrinsic

from ..language import PRECISIONS, RECIPROCAL_BITS, RSQRT_BITS, SPLITTER, type_of

_HAS_FMA = llvmlite.binding.get_host_cpu_features().get("fma", False) or "x86" not in llvmlite.binding.get_process_triple()


def _define(name, count, build, first=(), precisions=PRECISIONS):
    """An intrinsic of `count` real arguments of one type, after those in `first`; `build` writes its instructions."""

    def typed(typing, *arguments):
        real = arguments[-1]
        if str(real) not in map(type_of, precisions) or len(arguments) != len(first) + count:
            return None
        signature = real(*first, *[real] * count)
        return signature, lambda context, builder, signature, values: build(builder, *values)

    names = ", ".join("abcd"[: len(first) + count])
    scope = {"typed": typed}
    exec(f"def {name}(typing, {names}):\n    return typed(typing, {names})", scope)  # Numba wants the arguments by name
    function = intrinsic(scope[name])
    for precision in precisions:
        globals()[f"{name}_{precision}"] = function
        __all__.append(f"{name}_{precision}")


def _biased_power(builder, shifted):
    # As in primitives.h.
    integer, mantissa = (ir.IntType(64), 52) if shifted.type == ir.DoubleType() else (ir.IntType(32), 23)
    return builder.bitcast(builder.shl(builder.bitcast(shifted, integer), ir.Constant(integer, mantissa)), shifted.type)


def _exponent(builder, x):
    # As in primitives.h.
    real, (integer, mantissa, bias, bits) = x.type, _half_bits(builder, x)
    magic = ((bias + mantissa) << mantissa) + (1 << (mantissa - 1))
    shifted = builder.add(builder.lshr(bits, ir.Constant(integer, mantissa)), ir.Constant(integer, magic))
    return builder.fsub(builder.bitcast(shifted, real), ir.Constant(real, 1.5 * 2.0**mantissa + bias))


def _mantissa(builder, x):
    real, (integer, mantissa, _bias, bits) = x.type, _half_bits(builder, x)
    fraction = builder.and_(bits, ir.Constant(integer, (1 << mantissa) - 1))
    return builder.bitcast(builder.add(fraction, ir.Constant(integer, _SQRT_HALF[mantissa])), real)


_SQRT_HALF = {23: 0x3F3504F3, 52: 0x3FE6A09E667F3BCD}  # the bits of sqrt(1/2)


def _half_bits(builder, x):
    integer, mantissa, bias = (ir.IntType(64), 52, 1023) if x.type == ir.DoubleType() else (ir.IntType(32), 23, 127)
    offset = ir.Constant(integer, (bias << mantissa) - _SQRT_HALF[mantissa])
    return integer, mantissa, bias, builder.add(builder.bitcast(x, integer), offset)


def _rough(least, shift):
    def build(builder, x):
        integer = ir.IntType(64 if x.type == ir.DoubleType() else 32)
        less = builder.lshr(builder.bitcast(x, integer), ir.Constant(integer, shift))
        return builder.bitcast(builder.sub(ir.Constant(integer, least["float64" if integer.width == 64 else "float32"]), less), x.type)

    return build


def _product_rest(builder, a, b, product):
    if _HAS_FMA:
        return builder.fma(a, b, builder.fneg(product))
    (high_a, low_a), (high_b, low_b) = _halves(builder, a), _halves(builder, b)
    rest = builder.fsub(builder.fmul(high_a, high_b), product)
    for u, v in ((high_a, low_b), (low_a, high_b), (low_a, low_b)):
        rest = builder.fadd(rest, builder.fmul(u, v))
    return builder.select(builder.fcmp_ordered("==", rest, rest), rest, ir.Constant(rest.type, 0.0))  # NaN: too large to be parted


def _product_sum(builder, a, b, c):
    if _HAS_FMA:
        return builder.fma(a, b, c)
    product = builder.fmul(a, b)
    return builder.fadd(builder.fadd(product, c), _product_rest(builder, a, b, product))


def _halves(builder, a):
    split = builder.fmul(a, ir.Constant(a.type, getattr(SPLITTER, "float64" if a.type == ir.DoubleType() else "float32")))
    high = builder.fsub(split, builder.fsub(split, a))
    return high, builder.fsub(a, high)


def _call(name):
    def build(builder, *values):
        function = builder.module.declare_intrinsic(
            f"llvm.{name}", [values[0].type], ir.FunctionType(values[0].type, [v.type for v in values])
        )
        return builder.call(function, values)

    return build


__all__ = []
_define("abs", 1, _call("fabs"))
_define("sqrt", 1, _call("sqrt"))
_define("copysign", 2, _call("copysign"))
_define("fma", 3, lambda b, x, y, z: b.fma(x, y, z) if _HAS_FMA else b.fadd(b.fmul(x, y), z))
_define("product_rest", 3, _product_rest)
_define("product_sum", 3, _product_sum)
_define("exponent", 1, _exponent)
_define("mantissa", 1, _mantissa)
_define("rough_reciprocal", 1, _rough(RECIPROCAL_BITS, 0))
_define("rough_rsqrt", 1, _rough(RSQRT_BITS, 1))
_define("minimum", 2, lambda b, x, limit: b.select(b.fcmp_ordered(">", x, limit), limit, x))
_define("maximum", 2, lambda b, x, limit: b.select(b.fcmp_ordered("<", x, limit), limit, x))
_define("select", 2, lambda b, condition, yes, no: b.select(condition, yes, no), first=(types.boolean,))
_define("biased_power", 1, _biased_power)
