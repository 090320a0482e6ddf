"""Other libraries' ways to compute an activation, found by its name or an alias: a new activation is found here without a change.

Each adapter takes a `Case` and gives a `Contender`, or None where its library has no such function. Whatever an adapter finds has to agree
with fastact before it is timed (`agrees`), so that a function which merely has the same name is not compared.
"""

import contextlib
import dataclasses
import functools
import importlib
import importlib.util
import os

import numpy as np

import fastact
from fastact import catalog
from fastact.bench import Contender, alternate, numpy_way, sample

# A second way where a library's function of that name has no variant with out=.
TORCH_ALSO = {"relu": "torch.clamp_min(x, 0, out=y)", "tanh": "torch.tanh(x, out=y)", "sigmoid": "torch.sigmoid(x, out=y)"}


@dataclasses.dataclass
class Case:
    """What is computed: an activation in one mode, on arrays of one dtype and size."""

    record: object
    mode: str
    dtype: str
    size: int

    def __post_init__(self):
        self.x = sample(self.size, self.dtype)
        self.grad_output = sample(self.size, self.dtype, seed=1)
        # Written once here, so that no contender pays for the first touch of its output.
        self.y, self.dy = np.ones_like(self.x), np.ones_like(self.x)

    @property
    def group(self):
        """What pytest-benchmark compares."""
        return f"{self.record.name} {self.mode} {self.dtype} {self.size:,}"

    @property
    def names(self):
        """All names an activation goes by."""
        return (self.record.name, *self.record.aliases)

    @property
    def defaults(self):
        """The parameters' defaults, in order; conventions are fastact's own."""
        return tuple(p.default for p in self.record.parameters if not p.convention)


# --- fastact and NumPy ---------------------------------------------------------------------------------------------------


def fastact_way(case, out=True):
    """Give the contender that is compared with the others: into given arrays, or returning new ones."""
    activation = fastact.get(case.record.name)
    function = activation if case.mode == "value" else getattr(activation, case.mode)
    names = {"f": function, "x": case.x, "y": case.y, "dy": case.dy, "grad_output": case.grad_output}
    inputs = "grad_output, x" if case.mode == "backward" else "x"
    outs = "y, dy" if catalog.OUTPUTS[case.mode] == 2 else "y"
    if out:
        return Contender(f"f({inputs}, out=({outs}))", names)
    # A result that nobody keeps would give its memory back to the system in each call.
    return Contender(f"{outs} = f({inputs})", names)


def numpy_contender(case):
    """Give NumPy's way, or None where nobody wrote it down."""
    return numpy_way(case.record, case.mode, case.x, case.grad_output)


# --- torch ---------------------------------------------------------------------------------------------------------------


@functools.cache
def _torch():
    import torch

    torch.set_num_threads(fastact.get_num_threads())
    return torch


def torch_ways(case):
    """Give all of torch's ways as a list: with out=, fresh, and the backward operators that autograd calls."""
    torch = _torch()
    nn = torch._C._nn  # where the variants with out= are that torch.nn.functional hides
    name = next((n for n in case.names if hasattr(torch.nn.functional, n) or hasattr(torch, n)), None)
    if name is None:
        return []
    names = {"torch": torch, "F": torch.nn.functional, "nn": nn, "d": case.defaults}
    names |= {"x": torch.from_numpy(case.x), "y": torch.from_numpy(case.y), "dy": torch.from_numpy(case.dy)}
    names |= {"g": torch.from_numpy(case.grad_output), "ones": torch.ones(case.size, dtype=getattr(torch, case.dtype))}
    backward = _torch_backward(torch, name, case)
    fresh = f"F.{name}(x, *d)" if hasattr(torch.nn.functional, name) else f"torch.{name}(x, *d)"
    values = [f"torch.{name}(x, *d, out=y)", f"nn.{name}(x, *d, out=y)", fresh]
    values += [TORCH_ALSO[name]] if name in TORCH_ALSO else []
    ways = {
        "value": values,
        "grad": [backward.format(g="ones")] if backward else [],
        "backward": [backward.format(g="g")] if backward else [],
        # As a training step does it: the value first, and the derivative from what it left.
        "value_and_grad": [f"y = {value.replace(', out=y', '')}\n{backward.format(g='ones')}" for value in values] if backward else [],
    }[case.mode]
    if case.mode != "value":
        leaf = names["x"].clone().requires_grad_()
        names |= {"leaf": leaf}
        result = fresh.replace("(x", "(leaf")
        back = "torch.autograd.grad({0}, leaf, {1})"
        if case.mode == "value_and_grad":
            ways.append(f"r = {result}\n{back.format('r', 'ones')}")
        else:
            ways.append(back.format(result, "g" if case.mode == "backward" else "ones"))
    return [Contender(way, names) for way in ways if _runs(Contender(way, names))]


def _torch_backward(torch, name, case):
    """Find the call of aten's backward operator, its arguments filled in by their names; None where there is none or one is unknown."""
    operator = getattr(torch.ops.aten, f"{name}_backward", None)
    forward = getattr(torch.ops.aten, name, None)
    if operator is None or forward is None:
        return None
    known = {a.name: repr(a.default_value) for a in forward.default._schema.arguments if a.has_default_value()}
    known |= {p.name: repr(p.default) for p in case.record.parameters}
    known |= {"grad_output": "{g}", "self": "x", "self_or_result": "x", "input": "x", "output": "y", "result": "y"}
    known |= {"is_result": "False", "self_is_result": "False"}
    arguments = operator.default._schema.arguments
    if any(a.name not in known for a in arguments):
        return None
    # An operator that takes the output finds it in y, where the value wrote it.
    call = ", ".join(f"{a.name}={known[a.name]}" if a.kwarg_only else known[a.name] for a in arguments)
    if any(a.name in ("output", "result") for a in arguments):
        case.y[...] = fastact.get(case.record.name)(case.x)
    return f"torch.ops.aten.{name}_backward({call})"


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
    found = found._replace(names=found.names | tensors)
    return names, found if _runs(found) else None


def torch_way(case, out=True):
    """Give the fastest of torch's ways (without `out`, of those that return a new tensor), or None."""
    ways = [w for w in torch_ways(case) if out or "out=" not in w.statement]
    if len(ways) < 2:
        return ways[0] if ways else None
    samples = alternate({str(i): w for i, w in enumerate(ways)}, rounds=3, seconds=0.001)
    return ways[int(min(samples, key=lambda i: min(samples[i])))]


# --- The others ----------------------------------------------------------------------------------------------------------


def jax_way(case):
    """Give jax's way, compiled, waiting for the result; its own thread pool decides about threads."""
    os.environ.setdefault("JAX_ENABLE_X64", "1")
    import jax

    name = next((n for n in case.names if hasattr(jax.nn, n)), None)
    if name is None:
        return None
    one = functools.partial(_called, getattr(jax.nn, name), case.defaults)
    total = {
        "value": one,
        "grad": jax.vmap(jax.grad(one)),
        "value_and_grad": jax.vmap(jax.value_and_grad(one)),
        "backward": lambda x, g: g * jax.vmap(jax.grad(one))(x),
    }[case.mode]
    names = {"f": jax.jit(total), "x": jax.numpy.asarray(case.x), "g": jax.numpy.asarray(case.grad_output), "jax": jax}
    return Contender(f"jax.block_until_ready(f(x{', g' if case.mode == 'backward' else ''}))", names)


def _called(function, defaults, x):
    return function(x, *defaults)


def onnxruntime_way(case):
    """Give onnxruntime's operator of that name in camel case, bound to arrays; values only."""
    if case.mode != "value" or importlib.util.find_spec("onnx") is None or len(case.defaults) > 1:
        return None
    import onnx
    import onnxruntime

    kind = {"float32": onnx.TensorProto.FLOAT, "float64": onnx.TensorProto.DOUBLE}[case.dtype]
    for name in case.names:
        operator = "".join(part.capitalize() for part in name.split("_"))
        # ONNX calls a single parameter alpha.
        attributes = {"alpha": case.defaults[0]} if case.defaults else {}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = fastact.get_num_threads()
        options.log_severity_level = 4
        try:
            node = onnx.helper.make_node(operator, ["x"], ["y"], **attributes)
            tensors = [onnx.helper.make_tensor_value_info(n, kind, [case.size]) for n in "xy"]
            graph = onnx.helper.make_graph([node], "activation", tensors[:1], tensors[1:])
            model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 24)], ir_version=10)
            session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception:  # no such operator, or not for this dtype: every layer has its own exception
            continue
        binding = session.io_binding()
        binding.bind_ortvalue_input("x", onnxruntime.OrtValue.ortvalue_from_numpy(case.x))
        binding.bind_ortvalue_output("y", onnxruntime.OrtValue.ortvalue_from_numpy(case.y))
        names = {"run": session.run_with_iobinding, "binding": binding, "get": lambda b=binding: b.copy_outputs_to_cpu()[0]}
        return Contender("run(binding)", names)
    return None


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
    """Give scipy.special's ufunc of that name; values only."""
    if case.mode != "value" or case.defaults:
        return None
    import scipy.special

    found = (getattr(scipy.special, n, None) for n in case.names)
    function = next((f for f in found if isinstance(f, np.ufunc) and f.nin == 1 and f.nout == 1), None)
    return function and Contender("f(x, out=y)", {"f": function, "x": case.x, "y": case.y})


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
    case = Case(record, mode, dtype, 512)
    try:
        contender = PEERS[peer](case)
        if contender is None or not agrees(case, contender):
            return False
        # Another definition under the same name (a gelu by tanh) shows in the values, and rules out its derivative too.
        return mode == "value" or has(peer, record, "value", dtype)
    except (AttributeError, TypeError, ValueError, RuntimeError, NotImplementedError):
        return False


def agrees(case, contender):
    """Tell whether a contender computes the same function; only values are compared, to a tolerance that any library meets."""
    if case.mode != "value":
        return _runs(contender)
    case.y[...] = np.nan
    result = Contender(f"return {contender.statement}", contender.names).function()()
    if "get" in contender.names:
        result = contender.names["get"]()
    return np.allclose(np.asarray(result), fastact.get(case.record.name)(case.x), rtol=1e-3, atol=1e-4)
