"""Prose about activations, rendered from their records: docstrings in numpydoc's shape."""

import functools

import numpy as np

from . import primitives

_VERBS = {
    "value": "Compute the {name} activation.",
    "grad": "Compute the derivative of {name}.",
    "value_and_grad": "Compute {name} and its derivative in one pass over memory.",
    "backward": "Multiply a gradient by the derivative of {name}: its backward pass.",
    "backward_from_output": "Multiply a gradient by the derivative of {name}, from its output.",
}

_EXAMPLES = {
    "value": "{name}({x})",
    "grad": "{name}.grad({x})",
    "value_and_grad": "{name}.value_and_grad({x})",
    "backward": "{name}.backward(np.ones(3), {x})",
}

_EXAMPLE_X = np.array([-1.0, 0.0, 2.0])


def one_line(record, mode):
    """The sentence that says what a mode does."""
    return _VERBS[mode].format(name=record.name)


@functools.cache
def docstring(record, mode):
    """The docstring of a mode's callable; its example is computed here."""
    value, derivative = record.ulp or (0, 0)
    outs = "a tuple ``(y, dy)`` of two arrays" if mode == "value_and_grad" else "an array"
    lines = [one_line(record, mode), ""]
    lines += [record.summary, "", f"``{record.definition}``", "", "Parameters", "----------"]
    if mode == "backward":
        lines += ["grad_output : array_like", "    The gradient with respect to the output."]
    optional = ", optional" if mode == "backward" and record.from_output is not None else ""
    lines += [
        f"x : array_like{optional}",
        "    Real numbers, of any shape. The result has their dtype: float64, float32, float16, or bfloat16 of ml_dtypes. Integers give float32 or float64.",
    ]
    for p in record.given(mode):
        lines += [
            f"{p.name} : array_like, default {p.default:g}",
            "    A scalar, or an array that broadcasts with `x`. A scalar does not change the dtype of the result.",
        ]
    if mode == "backward" and record.from_output is not None:
        lines += ["output : array_like, optional", f"    The output ``{record.name}(x)``, in place of `x`."]
        if record.nonnegative:
            lines += [f"    Only while {' and '.join(record.nonnegative)} is not negative."]
    for p in record.accepted(mode):
        if p.convention:
            lines += [
                f"{p.name} : float, default {p.default:g}",
                f"    The derivative at the kink, x = {', '.join(f'{k:g}' for k in record.kinks)}.",
            ]
    for name, (default, choices) in record.also.items():
        what = "Does nothing: there is no need for it." if choices is None else ", ".join(f"{k!r} is {v}" for k, v in choices.items()) + "."
        lines += [f"{name} : {'float' if choices is None else 'str or bool'}, default {default!r}", f"    {what}"]
    if mode == "backward" and record.parameter_gradients is not None:
        names = ", ".join(f"d{p.name}" for p in record.given(mode))
        lines += [
            "parameters : bool, default False",
            f"    Return the gradients of the parameters too, in the same pass: ``(dx, {names})``,",
        ]
        lines += [
            "    each summed to its parameter's shape, with an error that does not grow with the number of elements; a scalar for a scalar."
        ]
        lines += ["    Then parameters broadcast to the shape of `x`, `out` is such a tuple, and there are no ufunc options."]
    lines += [
        "out : ndarray or tuple of ndarray, optional",
        f"    Where the result goes: {outs} of the result's shape. It may be an input.",
    ]
    lines += [
        "accuracy : {'default', 'high'}, optional",
        "    ``high`` computes float32 in float64 and rounds once. Otherwise what `set_accuracy` set.",
    ]
    lines += [
        "**ufunc_options",
        "    ``where``, ``casting``, ``order``, ``dtype``, ``subok``, ``signature``: as every NumPy ufunc takes them.",
        "",
    ]
    lines += ["Returns", "-------"]
    shape = "    Of the broadcast shape of the inputs; a scalar if all are scalars."
    lines += ["y, dy : ndarray", shape] if mode == "value_and_grad" else ["ndarray", shape]
    lines += ["", "Raises", "------", "TypeError", "    An input is not real, or an argument is unknown or missing."]
    lines += ["ValueError", "    Shapes do not fit, or `out` can't be written to.", "", "Notes", "-----"]
    bounds = {"value": f"{value:g} ULP", "value_and_grad": f"{value:g} ULP (value) and {derivative:g} ULP (derivative)"}
    if record.ulp is None:
        lines += ["No bound of its error is known; ``fastact.check`` measures it."]
    else:
        lines += [
            f"Error: at most {bounds.get(mode, f'{derivative:g} ULP' + (' plus the rounding of the product' if 'backward' in mode else ''))}, wherever the result is normal."
        ]
    lines += [
        "float16 and bfloat16 are computed in float32 and rounded once; so is float32 in float64 with ``accuracy='high'``, to 0.51 ULP."
    ]
    if record.derivative_zero and mode != "value":
        x0, term = record.derivative_zero
        where = "Near the derivative's zeros" if x0 is None else f"Near the derivative's zero at x = {x0:.6g}"
        lines += [f"{where} it counts in ULP of the terms that cancel there, about {term:g}."]
    if record.value_zero and mode in ("value", "value_and_grad"):
        lines += [
            f"Near the zero at x = {record.value_zero[0]:.6g} it counts in ULP of the terms that cancel there, about {record.value_zero[1]:g}."
        ]
    lines += ["NaN gives NaN; infinities give the limit."] if record.reach is None else [
        f"NaN gives NaN. From {record.reach:.3g} on (float32: {record.reach.float32:.3g}) numbers are too far apart to follow a wave: there the",
        "derivative is its mean.",
    ]  # fmt: skip
    if wave := wave_reach(record):
        lines += [wave + "."]
    if record.domain:
        lines += [f"Outside of {record.domain[0]:g} to {record.domain[1]:g} it is NaN, without a warning."]
    if record.library:
        lines += [f"With the defaults and conventions of {record.library}, which calls it ``{record.like[record.library][0][0]}``."]
    if record.kinks and mode != "value":
        lines += [f"The derivative has a kink at x = {', '.join(f'{k:g}' for k in record.kinks)}; there it is {_at_kinks(record)}."]
    if len(record.spellings) > 1:
        lines += [f"Also known as {', '.join(n for n in record.spellings if n != record.kernel_name)}."]
    if record.paper:
        lines += ["", "References", "----------", f".. [1] {record.paper}."]
    if mode in _EXAMPLES and not hasattr(record.formula, "custom"):
        lines += ["", "Examples", "--------", ">>> import numpy as np", ">>> import fastact"]
        x = "np.array([-1.0, 0.0, 2.0])"
        lines += [">>> fastact." + _EXAMPLES[mode].format(name=record.name, x=x) + ".round(6)" * (mode != "value_and_grad")]
        if mode == "value_and_grad":
            lines[-1] = f">>> y, dy = fastact.{record.name}.value_and_grad({x})"
            lines += [">>> dy.round(6)"]
        lines += [repr(_example(record, mode))]
    return "\n".join(lines) + "\n"


def _example(record, mode):
    value, derivative = _evaluate(record, _EXAMPLE_X)
    return (value if mode == "value" else derivative).round(6)


def wave_reach(record):
    """How far sines and cosines in a user's activation are followed, as a sentence without its end; empty where it has none."""
    calls = record.formula.custom.calls if hasattr(record.formula, "custom") else {}
    if not {"sin", "cos"} & calls.keys():
        return ""
    reach = primitives.SINE_REACH
    return f"A sine or cosine of {reach.float32:.3g} or more (float64: {reach.float64:.3g}) is 0, its mean, but by NumPy"


def _at_kinks(record):
    return ", ".join(f"{d:g}" for d in _evaluate(record, np.array(record.kinks, float))[1])


def _evaluate(record, x):
    # By NumPy, so that reading a docstring compiles nothing.
    from .backends import numpy as backend

    value, derivative = np.empty_like(x), np.empty_like(x)
    backend.kernel(record, "value_and_grad", "float64")(x, value, derivative, [p.default for p in record.parameters])
    return value, derivative
