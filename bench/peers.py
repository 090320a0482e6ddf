"""Other libraries' ways to compute an activation, found by the names that its record says they have for it: a new activation is found
here without a change.

Each adapter takes a `Case` and gives a `Contender`, or None where its library has no such function. Whatever an adapter finds has to agree
with fastact before it is timed (`agrees`), so that a function which merely has the same name is not compared.
"""

import contextlib
import dataclasses
import functools
import importlib
import importlib.util
import operator
import os
import statistics

import numpy as np

import fastact
from fastact import catalog
from fastact.bench import Contender, alternate, numpy_way, sample

# A second way where a library's function of that name has no variant with out=.
TORCH_ALSO = {"relu": "torch.clamp_min(x, 0, out=y)"}
MODULES = {
    "torch": ("torch.nn.functional", "torch", "torch.special"),
    "jax": ("jax.nn", "jax.numpy", "jax.scipy.special", "jax.scipy.stats"),
    "scipy": ("scipy.special",),
}


@dataclasses.dataclass
class Case:
    """What is computed: an activation in one mode, on arrays of one dtype and size."""

    record: object
    mode: str
    dtype: str
    size: int

    def __post_init__(self):
        self.x = sample(self.size, self.dtype, domain=self.record.domain)
        self.grad_output = sample(self.size, self.dtype, seed=1)
        # Written once here, so that no contender pays for the first touch of its output.
        self.y, self.dy = np.ones_like(self.x), np.ones_like(self.x)

    @property
    def group(self):
        """What pytest-benchmark compares."""
        return f"{self.record.name} {self.mode} {self.dtype} {self.size:,}"

    @functools.cached_property
    def output(self):
        """What a backward pass from the output is given."""
        return fastact.get(self.record.name)(self.x)

    @property
    def defaults(self):
        """The parameters' defaults, in order; conventions are fastact's own."""
        return tuple(p.default for p in self.record.parameters if not p.convention)


# --- fastact and NumPy ---------------------------------------------------------------------------------------------------


def fastact_way(case, out=True):
    """Give the contender that is compared with the others: into given arrays, or returning new ones."""
    activation = fastact.get(case.record.name)
    function = activation if case.mode == "value" else getattr(activation, case.mode.removesuffix("_from_output"))
    names = {"f": function, "x": case.x, "y": case.y, "dy": case.dy, "grad_output": case.grad_output}
    inputs = {"backward": "grad_output, x", "backward_from_output": "grad_output, output=o"}.get(case.mode, "x")
    names |= {"o": case.output} if case.mode == "backward_from_output" else {}
    outs = "y, dy" if catalog.OUTPUTS[case.mode] == 2 else "y"
    if out:
        return Contender(f"f({inputs}, out=({outs}))", names)
    # A result that nobody keeps would give its memory back to the system in each call.
    return Contender(f"{outs} = f({inputs})", names)


def numpy_contender(case):
    """Give NumPy's way, or None where nobody wrote it down."""
    return numpy_way(case.record, case.mode, case.x, case.grad_output)


# --- What they call it ---------------------------------------------------------------------------------------------------


def names_in(record, library):
    """Give each name a library has for an activation, with the arguments that select it there: ("gelu", 'approximate="tanh"')."""
    for written, _ in record.like.get(library, ()):
        name, _, more = written.partition("(")
        yield name, more.removesuffix(")")


def calls(case, library):
    """Give what a library's function may be: module, name, and what it is given after x, as text; with the defaults and without."""
    for name, more in names_in(case.record, library):
        for module in MODULES[library]:
            with contextlib.suppress(AttributeError):
                operator.attrgetter(name)(importlib.import_module(module))
                for given in dict.fromkeys([case.defaults, ()]):
                    yield module, name, "".join(f", {a}" for a in [*map(repr, given), *([more] if more else [])])


def first_that_agrees(case, contenders):
    """Give the first contender that computes the same, or None."""
    return next((c for c in contenders if c is not None and agrees(case, c)), None)


# --- torch ---------------------------------------------------------------------------------------------------------------


@functools.cache
def _torch():
    import torch

    torch.set_num_threads(fastact.get_num_threads())
    return torch


@functools.cache
def _torch_values(record):
    """Give torch's calls for the value that agree with fastact: with out= and fresh, as statements."""
    case = Case(record, "value", "float32", 512)
    with contextlib.suppress(ImportError):
        # A parameter may have to be a tensor: prelu's weight.
        found = [(m, n, a) for m, n, given in calls(case, "torch") for a in dict.fromkeys([given, ", w"] if case.defaults else [given])]
        # torch._C._nn has the variants with out= that torch.nn.functional hides, some by another name: log_sigmoid.
        into = [f"{m}.{n}(x{a}, out=y)" for _, name, a in found for m in ("torch", "nn", "torch.special") for n in (name, record.name)]
        fresh = [f"y = {m}.{name}(x{a})" for m, name, a in found]
        names = _torch_names(case)
        return [s for s in dict.fromkeys([*into, *fresh, TORCH_ALSO.get(record.name, "")]) if s and _agrees_in_y(case, Contender(s, names))]
    return []


def _agrees_in_y(case, contender):
    """Tell whether a statement that leaves its result in y computes the same."""
    contender = contender._replace(statement=f"{contender.statement}\nreturn y")
    with contextlib.suppress(Exception):
        return _same(case, contender.function()())
    return False


def _torch_names(case):
    torch = _torch()
    names = {
        "torch": torch,
        "nn": torch._C._nn,
        "x": torch.from_numpy(case.x),
        "y": torch.from_numpy(case.y),
        "dy": torch.from_numpy(case.dy),
    }
    names |= {"g": torch.from_numpy(case.grad_output), "ones": torch.ones(case.size, dtype=getattr(torch, case.dtype))}
    return names | ({"w": torch.tensor(case.defaults[:1], dtype=getattr(torch, case.dtype))} if case.defaults else {})


def torch_ways(case):
    """Give all of torch's ways as a list: with out=, fresh, and the backward operators that autograd calls."""
    values = _torch_values(case.record)
    if not values:
        return []
    torch, names = _torch(), _torch_names(case)
    backward = _torch_backward(torch, case) or ""
    from_output = "{o}" in backward
    ways = {
        "value": values,
        "grad": [backward.format(g="ones")] if backward and not from_output else [],
        "backward": [backward.format(g="g")] if backward and not from_output else [],
        "backward_from_output": [backward.format(g="g", o="o")] if from_output else [],
        # As a training step does it: the value first, and the derivative from what it left.
        "value_and_grad": [f"{value}\n{backward.format(g='ones', o='y')}" for value in values] if backward else [],
    }[case.mode]
    if case.mode == "backward_from_output":
        names["o"] = torch.from_numpy(case.output)
    elif case.mode != "value":
        names["leaf"] = names["x"].clone().requires_grad_()
        back = "torch.autograd.grad({0}, leaf, {1})"
        for value in (v.removeprefix("y = ").replace("(x", "(leaf") for v in values if "out=" not in v):
            if case.mode == "value_and_grad":
                ways.append(f"r = {value}\n{back.format('r', 'ones')}")
            else:
                ways.append(back.format(value, "g" if case.mode == "backward" else "ones"))
    return [Contender(way, names) for way in ways if _runs(Contender(way, names))]


def _torch_backward(torch, case):
    """Find the call of aten's backward operator, its arguments filled in by their names; None where there is none or one is unknown."""
    for name, more in ((n, more) for written, more in names_in(case.record, "torch") for n in (written, case.record.name)):
        backward, forward = (getattr(torch.ops.aten, n, None) for n in (f"{name}_backward", name))
        if backward is None or forward is None:
            continue
        known = {a.name: repr(a.default_value) for a in forward.default._schema.arguments if a.has_default_value()}
        known |= {p.name: repr(p.default) for p in case.record.parameters if not p.convention}
        known |= {
            "grad_output": "{g}",
            "grad_out": "{g}",
            "self": "x",
            "self_or_result": "x",
            "input": "x",
            "output": "{o}",
            "result": "{o}",
        }
        known |= {"is_result": "False", "self_is_result": "False", "weight": "w"}
        known |= dict([more.split("=")]) if more else {}
        arguments = backward.default._schema.arguments
        if any(a.name not in known for a in arguments):
            continue
        call = ", ".join(f"{a.name}={known[a.name]}" if a.kwarg_only else known[a.name] for a in arguments)
        return f"torch.ops.aten.{name}_backward({call})"
    return None


def in_half(case, dtype, torch_too):
    """Give the names for fastact's way in half precision, and the fastest of torch's ways (None where it has none, or is not wanted).

    torch reads and writes the same numbers: its tensors are the arrays' memory.
    """
    held = np.dtype(dtype) if dtype == "float16" else np.dtype(getattr(importlib.import_module("ml_dtypes"), dtype))
    half = dataclasses.replace(case)
    half.x, half.y, half.dy, half.grad_output = (a.astype(held) for a in (case.x, case.y, case.dy, case.grad_output))
    names = {"f": fastact.get(case.record.name), "x": half.x, "y": half.y}
    if not torch_too:
        return names, None
    found = torch_way(case)
    if found is None:
        return names, None
    tensors = {n: _torch().from_numpy(names[n].view(np.int16)).view(getattr(_torch(), dtype)) for n in ("x", "y")}
    tensors |= {"w": found.names["w"].to(getattr(_torch(), dtype))} if "w" in found.names else {}
    found = found._replace(names=found.names | tensors)
    return names, found if _runs(found) else None


def torch_way(case, out=True):
    """Give the fastest of torch's ways (without `out`, of those that return a new tensor), or None."""
    ways = [w for w in torch_ways(case) if out or "out=" not in w.statement]
    if len(ways) < 2:
        return ways[0] if ways else None
    samples = alternate({str(i): w for i, w in enumerate(ways)}, rounds=3, seconds=0.001)
    return ways[int(min(samples, key=lambda i: min(samples[i])))]


def by_threads(way):
    """Give torch's contender with all threads, and with one: where it has little to do, or beside a busy process, all of them are slower."""
    names = way.names | {"torch": _torch()}
    return {f"torch, {n} threads": way._replace(names=names, setup=f"torch.set_num_threads({n})") for n in {fastact.get_num_threads(), 1}}


def best_torch(samples):
    """Give samples with torch's own: those of the number of threads that serves it better by the median."""
    torchs = [name for name in samples if name.startswith("torch, ")]
    return samples | ({"torch": samples[min(torchs, key=lambda name: statistics.median(samples[name]))]} if torchs else {})


# --- The others ----------------------------------------------------------------------------------------------------------


def jax_way(case):
    """Give jax's way, compiled, waiting for the result; its own thread pool decides about threads."""
    os.environ.setdefault("JAX_ENABLE_X64", "1")
    import jax

    return first_that_agrees(case, (_jax_contender(case, jax, *call) for call in calls(case, "jax")))


def _jax_contender(case, jax, module, name, arguments):
    one = eval(f"lambda x: module.{name}(x{arguments})", {"module": importlib.import_module(module)})
    total = {
        "value": one,
        "grad": jax.vmap(jax.grad(one)),
        "value_and_grad": jax.vmap(jax.value_and_grad(one)),
        "backward": lambda x, g: g * jax.vmap(jax.grad(one))(x),
    }[case.mode]
    names = {"f": jax.jit(total), "x": jax.numpy.asarray(case.x), "g": jax.numpy.asarray(case.grad_output), "jax": jax}
    return Contender(f"jax.block_until_ready(f(x{', g' if case.mode == 'backward' else ''}))", names)


def onnxruntime_way(case):
    """Give onnxruntime's operator, bound to arrays; values only."""
    if case.mode != "value" or importlib.util.find_spec("onnx") is None:
        return None
    # ONNX has its own names for most parameters.
    own = {p.name: p.default for p in case.record.parameters if not p.convention}
    attributes = ({}, dict(zip(("alpha", "beta"), case.defaults, strict=False)), own)
    tried = [
        (name, a | (dict([more.replace('"', "").split("=")]) if more else {}))
        for name, more in names_in(case.record, "onnx")
        for a in attributes
    ]
    return first_that_agrees(case, (_onnxruntime_contender(case, *call) for call in tried))


def _onnxruntime_contender(case, name, attributes):
    import onnx
    import onnxruntime

    kind = {"float32": onnx.TensorProto.FLOAT, "float64": onnx.TensorProto.DOUBLE}[case.dtype]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = fastact.get_num_threads()
    options.log_severity_level = 4
    try:
        node = onnx.helper.make_node(name, ["x"], ["y"], **attributes)
        tensors = [onnx.helper.make_tensor_value_info(n, kind, [case.size]) for n in "xy"]
        graph = onnx.helper.make_graph([node], "activation", tensors[:1], tensors[1:])
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 24)], ir_version=10)
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception:  # no such operator, or not for this dtype: every layer has its own exception
        return None
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", onnxruntime.OrtValue.ortvalue_from_numpy(case.x))
    binding.bind_ortvalue_output("y", onnxruntime.OrtValue.ortvalue_from_numpy(case.y))
    names = {"run": session.run_with_iobinding, "binding": binding, "get": lambda b=binding: b.copy_outputs_to_cpu()[0]}
    return Contender("run(binding)", names)


def numexpr_way(case):
    """Give NumPy's way as one numexpr expression; values only."""
    if case.mode != "value":
        return None
    import numexpr

    numexpr.set_num_threads(fastact.get_num_threads())
    expression = case.record.numpy.replace("scipy.special.", "").replace("np.", "")
    # float32 stays float32 only beside float32 constants.
    variables = {"x": case.x} | {p.name: case.x.dtype.type(p.default) for p in case.record.parameters if not p.convention}
    if numexpr.validate(expression, local_dict=variables, out=case.y, truediv=True) is not None:
        return None
    return Contender("evaluate(e, local_dict=v, out=y)", {"evaluate": numexpr.evaluate, "e": expression, "v": variables, "y": case.y})


def scipy_way(case):
    """Give scipy.special's ufunc; values only."""
    if case.mode != "value":
        return None
    import scipy.special

    found = (getattr(scipy.special, name, None) for name, _ in names_in(case.record, "scipy"))
    ufuncs = (f for f in found if isinstance(f, np.ufunc) and (f.nin, f.nout) == (1, 1))
    return first_that_agrees(case, (Contender("f(x, out=y)", {"f": f, "x": case.x, "y": case.y}) for f in ufuncs))


PEERS = {"torch": torch_way, "jax": jax_way, "onnxruntime": onnxruntime_way, "numexpr": numexpr_way, "scipy": scipy_way}


def installed():
    """List the peers that are installed, without importing them."""
    return [name for name in PEERS if importlib.util.find_spec(name) is not None]


def _runs(contender):
    with contextlib.suppress(Exception):
        contender.function()()
        return True
    return False


@functools.cache
def has(peer, record, mode, dtype):
    """Tell whether a peer has this function and agrees with fastact about its values."""
    # Another definition under the same name (a gelu by tanh) shows in the values, and rules out its derivative too.
    if mode != "value" and not has(peer, record, "value", dtype) or mode == "backward_from_output" and peer != "torch":
        return False
    case = Case(record, mode, dtype, 512)
    try:
        contender = PEERS[peer](case)
        return contender is not None and (peer == "torch" or agrees(case, contender))
    except (AttributeError, TypeError, ValueError, RuntimeError, NotImplementedError):
        return False


def agrees(case, contender):
    """Tell whether a contender computes the same function; only values are compared."""
    if case.mode != "value":
        return _runs(contender)
    case.y[...] = np.nan
    with contextlib.suppress(Exception):
        result = Contender(f"return {contender.statement}", contender.names).function()()
        if "get" in contender.names:
            result = contender.names["get"]()
        return _same(case, result)
    return False


def _same(case, result):
    """Tell whether these are the values, to a tolerance that any library meets, and x is as it was: with an argument more, torch's hardswish works in place."""
    given = sample(case.size, case.dtype, domain=case.record.domain)
    if not np.array_equal(case.x, given):
        case.x[...] = given
        return False
    return np.allclose(np.asarray(result), case.output, rtol=1e-3, atol=1e-4)
