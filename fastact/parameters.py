"""The gradients of an activation's own parameters, with that of its input, in one pass over memory."""

import functools

from . import catalog, pipeline
from .pipeline import Program, Step


@functools.cache
def _program(names, summed):
    """`summed`: for each parameter, whether its gradient is a sum; otherwise it has a number for each element."""
    terms = [f"terms of {name}" for name in names]
    return Program(
        catalog.TRAINING, ("grad_output", "x"), ("dx", *(name for name, s in zip(names, summed, strict=True) if not s)),
        tuple(name for name, s in zip(names, summed, strict=True) if s), (), (
            Step("kernel", ("x", "grad_output"), ("products", *terms)), Step("copy", ("products",), ("dx",)),
            *(Step("sum" if s else "copy", (term,), (name,)) for name, term, s in zip(names, terms, summed, strict=True)),
        ),
    )  # fmt: skip


def backward(function, grad_output=None, x=None, *given, out=None, accuracy=None, **parameters):
    """Serve ``f.backward(grad_output, x, ..., parameters=True)``; `function` is ``f.backward``."""
    record, who = function.record, function.__qualname__
    if record.parameter_gradients is None:
        there = ", ".join(p.name for p in record.given("backward"))
        why = f"no gradients by {there}, which no library trains" if there else "no parameters"
        raise TypeError(f"{who}: parameters=True, but {record.name} has {why}; leave it out")
    if accuracy not in (None, "default"):
        raise ValueError(f"{who}: accuracy: {accuracy!r} is not to be had with parameters=True; leave it out, or give float64 arrays")
    for name, value in (("grad_output", grad_output), ("x", x)):
        if value is None:
            raise TypeError(
                f"{who}: {name} is missing" + (": with parameters=True an output does not do" if "output" in parameters else "")
            )
    names = tuple(p.name for p in record.given("backward"))
    if len(given) > len(names):
        raise TypeError(f"{who}: {2 + len(given)} positional arguments were given, but there are only grad_output, x, {', '.join(names)}")
    for name, value in zip(names, given, strict=False):
        if name in parameters:
            raise TypeError(f"{who}: {name} was given twice, by position and by name")
        parameters[name] = value

    call = pipeline.Arguments(who, record)
    x, grad_output = call.array("x", x), call.array("grad_output", grad_output)
    call.broadcasts("grad_output", grad_output.shape, x.shape)
    values = call.parameters(parameters, catalog.TRAINING, x.shape)
    shapes = [getattr(value, "shape", ()) for value in values[: len(names)]]
    dtype = call.dtype()
    if out is not None and not isinstance(out, tuple):
        out = (out, *(None,) * len(names))
    out = call.outputs(out, ("dx", *names), (x.shape, *shapes), dtype)

    summed = tuple(shape != x.shape or not shape for shape in shapes)
    whole = [a for a, s in zip(out[1:], summed, strict=True) if not s]
    results, totals = pipeline.execute(
        record, _program(names, summed), x.shape, [grad_output, x], values, [out[0], *whole], dtype,
        [shape for shape, s in zip(shapes, summed, strict=True) if s], x,
    )  # fmt: skip
    results, totals = iter(results), iter(totals)
    dx = next(results)
    return dx, *(pipeline.hand_over(next(totals), a, dtype) if s else next(results) for a, s in zip(out[1:], summed, strict=True))
