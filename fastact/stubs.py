"""Write ``__init__.pyi`` from the catalog; setup.py calls this before it builds.

Each activation gets a class of its own for each mode, with the parameters and defaults that the call has at run time.
"""

from . import catalog

_HEADER = """# Generated from the catalog by fastact/stubs.py.
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol, TypeAlias, TypedDict, TypeVar, Unpack, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from . import math as math
from .dispatch import Explanation as _Explanation
from .errors import ActivationError as ActivationError
from .errors import ActivationWarning as ActivationWarning
from .errors import DerivativeError as DerivativeError
from .errors import LinearActivationError as LinearActivationError
from .errors import UnsupportedOperationError as UnsupportedOperationError

__version__: str

_F = TypeVar("_F", np.float16, np.float32, np.float64)
_Out = TypeVar("_Out", bound=NDArray[Any])
_Out2 = TypeVar("_Out2", bound=NDArray[Any])

class _HasArray(Protocol):
    def __array__(self) -> np.ndarray[Any, np.dtype[np.bool | np.integer[Any] | np.floating[Any]]]: ...

# What stands for an array of real numbers. Not numpy.typing.ArrayLike, which lets strings and complex numbers pass.
_Number: TypeAlias = float | _HasArray
_Real: TypeAlias = (
    _Number | Sequence[_Number] | Sequence[Sequence[_Number]] | Sequence[Sequence[Sequence[_Number]]] | Sequence[Sequence[Sequence[Sequence[_Number]]]]
)
_Backend: TypeAlias = Literal["auto", "cython", "numba", "numpy"]
_Accuracy: TypeAlias = Literal[<accuracies>]
_Library: TypeAlias = Literal[<libraries>]
_Mode: TypeAlias = Literal[<modes>]

class _Options(TypedDict, total=False):  # those that leave the result's dtype alone
    where: ArrayLike
    casting: Literal["no", "equiv", "safe", "same_kind", "unsafe"]
    order: Literal["K", "A", "C", "F"]
    subok: bool

class _AllOptions(_Options, total=False):
    dtype: DTypeLike
    signature: str | tuple[DTypeLike, ...]

class _Function:
    record: Any  # fastact.catalog.Record
    mode: _Mode
    __name__: str
    __qualname__: str
    @property
    def ufunc(self) -> np.ufunc: ...
    @property
    def vectorized(self) -> Any: ...  # of numba.vectorize, which may be absent

class _Activation(_Function):
    grad: Any
    value_and_grad: Any
    backward: Any
    @property
    def name(self) -> str: ...
    @property
    def grad_ufunc(self) -> np.ufunc: ...
    @property
    def value_and_grad_ufunc(self) -> np.ufunc: ...
    @property
    def backward_ufunc(self) -> np.ufunc: ...
    def mode_ufunc(self, mode: _Mode) -> np.ufunc: ...
    def plot(
        self, *, span: float | tuple[float, float] | None = None, derivative: bool = True, axes: Any = None, dark: bool | None = None,
        path: str | os.PathLike[str] | None = None,
    ) -> Any: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

_Half: TypeAlias = Literal["first", "second"]

class _GatedBackward(Protocol):
    @overload
    def __call__(
        self, grad_output: NDArray[_F], value: NDArray[_F], /, gate: NDArray[_F], *, limit: float | None = None, value_offset: float = 0.0,
        out: tuple[NDArray[Any] | None, NDArray[Any] | None] | None = None, **parameters: _Real
    ) -> tuple[NDArray[_F], NDArray[_F]]: ...
    @overload
    def __call__(
        self, grad_output: NDArray[_F], value: NDArray[_F], /, gate: _Half = "second", *, axis: int = -1, limit: float | None = None,
        value_offset: float = 0.0, out: NDArray[Any] | tuple[NDArray[Any]] | None = None, **parameters: _Real
    ) -> NDArray[_F]: ...
    @overload
    def __call__(
        self, grad_output: _Real, value: _Real, /, gate: _Half | _Real = "second", *, axis: int = -1, limit: float | None = None,
        value_offset: float = 0.0, out: NDArray[Any] | tuple[NDArray[Any] | None, ...] | None = None, **parameters: _Real
    ) -> Any: ...

class _Gated:
    __name__: str
    __qualname__: str
    activation: _Activation
    record: Any  # fastact.catalog.Record
    backward: _GatedBackward
    @overload
    def __call__(
        self, value: NDArray[_F], /, gate: _Half | NDArray[_F] = "second", *, axis: int = -1, limit: float | None = None, value_offset: float = 0.0,
        out: None = None, **parameters: _Real
    ) -> NDArray[_F]: ...
    @overload
    def __call__(
        self, value: _Real, /, gate: _Half | _Real = "second", *, axis: int = -1, limit: float | None = None, value_offset: float = 0.0,
        out: _Out | tuple[_Out], **parameters: _Real
    ) -> _Out: ...
    @overload
    def __call__(
        self, value: _Real, /, gate: _Half | _Real = "second", *, axis: int = -1, limit: float | None = None, value_offset: float = 0.0,
        out: None = None, **parameters: _Real
    ) -> Any: ...

class _Bias:
    __name__: str
    __qualname__: str
    activation: _Activation
    record: Any  # fastact.catalog.Record
    @overload
    def __call__(
        self, x: NDArray[_F], b: NDArray[_F], /, axis: int = -1, *, mask: ArrayLike | None = None, scale: float = 1.0, out: None = None,
        **parameters: _Real
    ) -> NDArray[_F]: ...
    @overload
    def __call__(
        self, x: _Real, b: _Real, /, axis: int = -1, *, mask: ArrayLike | None = None, scale: float = 1.0, out: _Out | tuple[_Out],
        **parameters: _Real
    ) -> _Out: ...
    @overload
    def __call__(
        self, x: _Real, b: _Real, /, axis: int = -1, *, mask: ArrayLike | None = None, scale: float = 1.0, out: None = None, **parameters: _Real
    ) -> Any: ...
    @overload
    def backward(
        self, grad_output: NDArray[_F], x: NDArray[_F], b: NDArray[_F], /, axis: int = -1, *, mask: ArrayLike | None = None, scale: float = 1.0,
        out: tuple[NDArray[Any] | None, NDArray[Any] | None] | None = None, **parameters: _Real
    ) -> tuple[NDArray[_F], NDArray[_F]]: ...
    @overload
    def backward(
        self, grad_output: _Real, x: _Real, b: _Real, /, axis: int = -1, *, mask: ArrayLike | None = None, scale: float = 1.0,
        out: tuple[NDArray[Any] | None, NDArray[Any] | None] | None = None, **parameters: _Real
    ) -> tuple[Any, Any]: ...

def bias(act: str | _Activation) -> _Bias: ...
class _Report:
    name: str
    formula: str
    passed: bool
    linear: bool
    problems: list[str]
    warnings: list[str]
    kinks: list[tuple[float, float, float, float]]
    limits: dict[str, tuple[float, float] | None]
    range: tuple[float, float]
    special: str
    derivative_error: float
    ulp: tuple[float, float] | None
    def as_dict(self) -> dict[str, Any]: ...

class _Health:
    name: str
    activation: str
    samples: int
    units: int
    dead: float
    saturated: float
    flat: float
    gain: float
    nan: int
    infinite: int
    threshold: float
    dead_units: NDArray[np.bool]
    @property
    def advice(self) -> list[str]: ...
    def through(self, layers: int = 10) -> float: ...
    def as_dict(self) -> dict[str, Any]: ...
    def plot(self, axes: Any = None) -> Any: ...

class _Watch(AbstractContextManager[_Watch, None]):
    threshold: float
    cost: float
    @property
    def layers(self) -> list[_Health]: ...
    @property
    def through(self) -> float: ...
    def plot(self, axes: Any = None) -> Any: ...
    def __exit__(self, *error: object) -> None: ...

@overload
def activation(
    function: Callable[..., Any], *, name: str | None = None, derivative: Callable[..., Any] | None = None, kinks: Sequence[float] = (),
    paper: str = "", check: bool = True,
) -> _Activation: ...
@overload
def activation(
    function: None = None, *, name: str | None = None, derivative: Callable[..., Any] | None = None, kinks: Sequence[float] = (),
    paper: str = "", check: bool = True,
) -> Callable[[Callable[..., Any]], _Activation]: ...
def check(activation: str | _Function) -> _Report: ...
def explain(
    activation: str | _Function,
    x: ArrayLike | None = None,
    *,
    mode: _Mode = "value",
    dtype: DTypeLike | None = None,
    accuracy: _Accuracy | None = None,
) -> _Explanation: ...
def gated(act: str | _Activation) -> _Gated: ...
def export(activation: _Activation) -> str: ...
def get(name: str, like: _Library | None = None) -> _Activation: ...
def get_accuracy() -> _Accuracy: ...
def get_backend() -> _Backend: ...
def get_num_threads() -> int: ...
def health(activation: str | _Function, preactivations: ArrayLike, axis: int | tuple[int, ...] = 0, *, threshold: float = 0.01) -> _Health: ...
def names() -> list[str]: ...
def plot(
    *activations: str | _Function, span: float | tuple[float, float] | None = None, derivative: bool = True, axes: Any = None,
    dark: bool | None = None, path: str | os.PathLike[str] | None = None,
) -> Any: ...
def rrelu_training(x: ArrayLike, rng: np.random.Generator, lower: float = ..., upper: float = ...) -> tuple[NDArray[Any], NDArray[Any]]: ...
def set_accuracy(name: _Accuracy) -> None: ...
def set_backend(name: _Backend) -> None: ...
def set_num_threads(n: int) -> None: ...
def use_accuracy(name: _Accuracy) -> AbstractContextManager[None]: ...
def use_backend(name: _Backend) -> AbstractContextManager[None]: ...
def warmup(
    name: str | _Function | Iterable[str | _Function] | None = None,
    dtype: DTypeLike | None = None,
    mode: _Mode | Iterable[_Mode] | None = None,
    backend: Literal["numba"] | None = None,
) -> int: ...
def watch(threshold: float = 0.01) -> _Watch: ...
"""

# The functions along an axis: what each takes after its inputs, and whether these may be several axes.
_ROWS = "where: ArrayLike | None = None, out: {out} = None, dtype: DTypeLike | None = None"
_RAGGED = f"{_ROWS}, lengths: ArrayLike | None = None"
_AXIS = "axis: int | tuple[int, ...] | None = -1"
_ALONG_AXIS = {
    "softmax": (f"x: {{x}}, {_AXIS}, *, temperature: float = 1.0, {_RAGGED}", f"{_AXIS}, *, temperature: float = 1.0, {_RAGGED}"),
    "softmin": (f"x: {{x}}, {_AXIS}, *, temperature: float = 1.0, {_RAGGED}", f"{_AXIS}, *, temperature: float = 1.0, {_RAGGED}"),
    "log_softmax": (f"x: {{x}}, {_AXIS}, *, temperature: float = 1.0, {_RAGGED}", f"{_AXIS}, *, temperature: float = 1.0, {_RAGGED}"),
    "logsumexp": (
        f"x: {{x}}, {_AXIS}, *, keepdims: bool = False, {_RAGGED}",
        f"{_AXIS}, *, output: _Real | None = None, keepdims: bool = False, {_RAGGED}",
    ),
    "hardmax": (f"x: {{x}}, {_AXIS}, *, {_ROWS}", None),
    "sparsemax": (f"x: {{x}}, {_AXIS}, *, {_ROWS}", f"{_AXIS}, *, {_ROWS}"),
    "gumbel_softmax": (
        f"x: {{x}}, temperature: float = 1.0, hard: bool = False, {_AXIS}, *, rng: np.random.Generator | None = None, "
        f"{_ROWS.partition(', ')[2]}",
        f"{_AXIS}, *, temperature: float = 1.0, {_ROWS.partition(', ')[2]}",
    ),
    "maxout": (f"x: {{x}}, axis: int = -1, *, {_ROWS.partition(', ')[2]}", f"pieces: int, axis: int = -1, *, {_ROWS.partition(', ')[2]}"),
}


def _along_axis(name):
    """The class and the function of one function along an axis, as text."""
    call, backward = _ALONG_AXIS[name]
    first = {"logsumexp": "x", "maxout": "which"}.get(name, "output")

    def overloads(head, arguments):
        text = ""
        for x, out, result in (("NDArray[_F]", "None", "NDArray[_F]"), ("_Real", "_Out", "_Out"), ("_Real", "NDArray[Any] | None", "Any")):
            if name in ("logsumexp",) and x == "NDArray[_F]" and head == "__call__":
                continue  # a scalar where no axis is left
            result = f"tuple[{result}, Any]" if name == "maxout" and head == "__call__" else result
            filled = arguments.format(x=x, out=out)
            filled = (
                filled.replace("out: _Out = None", "out: _Out").replace(", dtype: DTypeLike | None = None", "")
                if x == "NDArray[_F]"
                else filled
            )
            text += f"    @overload\n    def __call__(self, {filled.replace('out: _Out = None', 'out: _Out')}) -> {result}: ...\n"
        return text

    title = "".join(word.title() for word in name.split("_"))
    text = ""
    if backward is not None:
        text += f"class _{title}Backward:\n    __name__: str\n{overloads('backward', f'grad_output: {{x}}, {first}: _Real, {backward}')}\n"
    text += f"class _{title}:\n    __name__: str\n" + (f"    backward: _{title}Backward\n" if backward is not None else "")
    return text + overloads("__call__", call) + f"\n{name}: _{title}\n\n"


# One overload a row: the type of the inputs and of `out`, whether options may change the dtype, and the type of one result.
_TYPED = ("NDArray[_F]", None, "NDArray[_F]")
_SCALAR = ("_F", None, "_F")
_PYTHON = ("float", None, "np.float64")
_INTO = ("_Real", "out", "out")
_ANY = ("_Real", None, "Any")
_OVERLOADS = (_TYPED, _SCALAR, _PYTHON, _INTO, _ANY)


def _call(record, mode, row):
    """One overload of one mode's ``__call__``, as text."""
    inputs, out, result = row
    real = "float" if row is not _INTO and row is not _ANY else "_Real"  # an array may change the dtype of the result
    if mode == "backward_from_output":
        words = [f"grad_output: {inputs}", "x: None = None"]
    else:
        words = [f"{name}: {inputs}" for name in catalog.INPUTS[mode]]
    words += [f"{p.name}: {real} = {p.default!r}" for p in record.given(mode)]
    words.append("*")
    if mode == "backward_from_output":
        words.append(f"output: {inputs}")
    elif mode == "backward":
        words.append("output: None = None")
    words += [f"{p.name}: {real} = {p.default!r}" for p in record.accepted(mode) if p.convention]
    words += [f"{name}: {'float' if choices is None else 'str | bool'} = {default!r}" for name, (default, choices) in record.also.items()]
    if mode.startswith("backward") and record.parameter_gradients is not None:
        words.append("parameters: Literal[False] = False")
    two = catalog.OUTPUTS[mode] == 2
    if out:
        words.append("out: tuple[_Out, _Out2]" if two else "out: _Out | tuple[_Out]")
        result = "tuple[_Out, _Out2]" if two else "_Out"
    else:
        words.append("out: tuple[NDArray[Any] | None, NDArray[Any] | None] | None = None" if two and row is _ANY else "out: None = None")
        result = f"tuple[{result}, {result}]" if two else result
    words.append("accuracy: _Accuracy | None = None")
    words.append(f"**ufunc_options: Unpack[{'_AllOptions' if row in (_INTO, _ANY) else '_Options'}]")
    return f"    @overload\n    def __call__(self, {', '.join(words)}) -> {result}: ...\n"


def _training_call(record):
    """The overload of ``backward`` with ``parameters=True``, as text."""
    given = record.given("backward")
    words = [
        "grad_output: _Real",
        "x: _Real",
        *[f"{p.name}: _Real = {p.default!r}" for p in given],
        "*",
        "parameters: Literal[True]",
        "output: None = None",
        'accuracy: Literal["default"] | None = None',
    ]
    words += [f"{p.name}: _Real = {p.default!r}" for p in record.accepted("backward") if p.convention]
    words += [f"{name}: {'float' if choices is None else 'str | bool'} = {default!r}" for name, (default, choices) in record.also.items()]
    words.append("out: NDArray[Any] | tuple[NDArray[Any] | None, ...] | None = None")
    return f"    @overload\n    def __call__(self, {', '.join(words)}) -> tuple[{', '.join(['Any'] * (1 + len(given)))}]: ...\n"


def _class_name(record, mode):
    return "_" + "".join(word.title() for word in f"{record.name}_{'' if mode == 'value' else mode}".split("_"))


def _class(record, mode):
    modes = [m for m in (mode, f"{mode}_from_output") if m in record.modes]
    calls = "".join(_call(record, m, row) for m in modes for row in _OVERLOADS)
    if mode == "backward" and record.parameter_gradients is not None:
        calls += _training_call(record)
    if mode != "value":
        return f"class {_class_name(record, mode)}(_Function):\n{calls}\n"
    parts = "".join(f"    {m}: {_class_name(record, m)}\n" for m in ("grad", "value_and_grad", "backward"))
    return f"class {_class_name(record, mode)}(_Activation):\n{parts}{calls}\n"


def _header():
    """`_HEADER` with the words that arguments take, as the catalog has them."""
    text = _HEADER
    for name, words in (("accuracies", catalog.ACCURACIES), ("libraries", catalog.LIBRARIES), ("modes", catalog.MODES)):
        text = text.replace(f"<{name}>", ", ".join(f'"{word}"' for word in words))
    return text


def stub():
    """The text of ``__init__.pyi``."""
    header = _header()
    functions = [line.removeprefix("def ").partition("(")[0] for line in header.splitlines() if line.startswith("def ")]
    functions += [line.rpartition(" ")[2] for line in header.splitlines() if line.startswith("from .errors ")]
    text = f"{header}\n__all__ = {[*dict.fromkeys(functions), *catalog.gated_units(), *catalog.records(), *_ALONG_AXIS]}\n\n"
    text += "".join(f"{name}: _Gated\n" for name in catalog.gated_units()) + "\n"
    for record in catalog.records().values():
        text += "".join(_class(record, mode) for mode in ("grad", "value_and_grad", "backward", "value"))
        text += f"{record.name}: {_class_name(record, 'value')}\n\n"
    for alias, name in catalog.aliases().items():
        text += f"{alias}: {_class_name(catalog.records()[name], 'value')}\n"
    for record in catalog.records().values():
        text += "".join(
            f"{preset.name}: {_class_name(record, 'value')}\n" for preset in catalog.presets(record) if preset.name.isidentifier()
        )
    return text + "".join(map(_along_axis, _ALONG_AXIS))
