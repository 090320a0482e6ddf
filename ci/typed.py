"""A use of every part of the API, for mypy alone (`ci/lint.py`); it is never run.

What is right must type-check, and `assert_type` says with what result. What is wrong must not: its line carries an ignore, and
mypy's strict mode complains about an ignore that ignores nothing.
"""

from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import fastact

Single = NDArray[np.float32]
Double = NDArray[np.float64]


def right(x: Single, d: Double, h: NDArray[np.float16], i: NDArray[np.int64], gradient: Single, some: NDArray[Any]) -> None:
    assert_type(fastact.relu(x), Single)
    assert_type(fastact.relu(d), Double)
    assert_type(fastact.relu(h), NDArray[np.float16])
    assert_type(fastact.relu(2.0), np.float64)
    assert_type(fastact.relu(True), np.float64)
    assert_type(fastact.relu(h, out=x), Single)
    assert_type(fastact.gelu(x, accuracy="high"), Single)
    assert_type(fastact.relu(np.float32(2)), np.float32)
    assert_type(fastact.relu(x, out=x), Single)
    assert_type(fastact.relu(x, out=(d,)), Double)
    assert_type(fastact.relu(x, where=x > 0, order="C", casting="same_kind"), Single)
    assert_type(fastact.leaky_relu(x, 0.2), Single)
    assert_type(fastact.elu(x, alpha=2), Single)
    for mixed in (i, some, [1, 2], [[1.0], [2.0]], True):
        fastact.relu(mixed)
    fastact.relu(x, dtype=np.float64)
    fastact.elu(x, alpha=d)

    assert_type(fastact.leaky_relu.grad(x, 0.2, at_zero=0.2), Single)
    assert_type(fastact.gelu.grad(x, out=x), Single)
    assert_type(fastact.gelu.grad.vectorized, Any)
    assert_type(fastact.gelu.value_and_grad(x), tuple[Single, Single])
    assert_type(fastact.gelu.value_and_grad(x, out=(x, d)), tuple[Single, Double])
    assert_type(fastact.gelu.value_and_grad(2.0), tuple[np.float64, np.float64])
    fastact.gelu.value_and_grad(x, out=(None, x))
    assert_type(fastact.silu.backward(gradient, x), Single)
    assert_type(fastact.silu.backward(gradient, x, out=gradient), Single)
    assert_type(fastact.tanh.backward(gradient, output=x), Single)
    assert_type(fastact.leaky_relu.backward(gradient, output=x, negative_slope=0.2, at_zero=0.2, out=x), Single)

    assert_type(fastact.softmax(x), Single)
    assert_type(fastact.softmax(x, (0, 1), temperature=2, where=x > 0, lengths=[1, 2]), Single)
    assert_type(fastact.log_softmax(x, None, out=x), Single)
    assert_type(fastact.softmax.backward(gradient, output=x), Single)
    assert_type(fastact.maxout(x), tuple[Single, Any])
    fastact.logsumexp(x, keepdims=True)
    fastact.gumbel_softmax(i, 0.5, hard=True, rng=np.random.default_rng(0))
    assert_type(fastact.leaky_relu.backward(gradient, x, 0.2, parameters=True), tuple[Any, Any])

    assert_type(fastact.swiglu(x), Single)
    assert_type(fastact.swiglu(x, x, limit=7.0, value_offset=1.0), Single)
    assert_type(fastact.swiglu(x, "first", axis=0, out=d), Double)
    assert_type(fastact.swiglu.backward(gradient, x, x), tuple[Single, Single])
    assert_type(fastact.gated("gelu").backward(gradient, x, gate="first", out=x), Single)
    assert_type(fastact.bias(fastact.gelu)(x, x, 1, mask=x > 0, scale=2.0), Single)
    assert_type(fastact.bias("gelu").backward(gradient, x, x, out=(x, None)), tuple[Single, Single])

    assert_type(fastact.gelu.value_and_grad_ufunc, np.ufunc)
    assert_type(fastact.gelu.backward.ufunc, np.ufunc)
    assert_type(fastact.gelu.name, str)
    fastact.get("swish").grad(x, out=x)
    print(fastact.get("swish").record.ulp)
    assert_type(fastact.names(), list[str])
    with fastact.use_backend("numpy"):
        fastact.set_backend(fastact.get_backend())
    with fastact.use_accuracy("high"):
        fastact.set_accuracy(fastact.get_accuracy())
    fastact.set_num_threads(fastact.get_num_threads())
    assert_type(fastact.warmup(["relu", "gelu"], dtype="float32", mode="value", backend="numba"), int)
    print(fastact.explain(fastact.gelu, x, mode="grad").backend)
    fastact.explain("gelu", dtype=np.float32)

    own = fastact.activation(lambda v: v * np.tanh(v), name="own")
    own.backward(gradient, x, out=x)

    @fastact.activation(name="other", derivative=lambda v: 2 * v)
    def other(v: Any, beta: float = 1.0) -> Any:
        return fastact.math.where(v > 0, beta * fastact.math.exp(v), v)

    other(x)
    print(fastact.check(other), fastact.check("gelu").passed, fastact.export(own))
    print(fastact.health("relu", x, axis=(0, 1)).advice)
    with fastact.watch() as seen:
        fastact.relu(x)
    print(seen.layers[0].dead)
    fastact.plot("gelu", own, span=(-3, 3), path="x.png")
    fastact.gelu.plot(dark=True)
    fastact.warmup(own)


def wrong(x: Single, c: NDArray[np.complex128], gradient: Single) -> None:
    fastact.reul(x)  # type: ignore[attr-defined]
    fastact.relu()  # type: ignore[call-overload]
    fastact.relu("x")  # type: ignore[arg-type]
    fastact.relu(c)  # type: ignore[type-var]
    fastact.relu(1j)  # type: ignore[call-overload]
    fastact.relu(x, 0.1)  # type: ignore[call-overload]
    fastact.relu(x, outt=x)  # type: ignore[call-overload]
    fastact.relu(x, out=[1.0])  # type: ignore[call-overload]
    fastact.leaky_relu(x, at_zero=0.1)  # type: ignore[call-overload]
    fastact.elu(x, alpha="1")  # type: ignore[arg-type]
    fastact.gelu.value_and_grad(x, out=x)  # type: ignore[call-overload]
    fastact.gelu.backward(gradient)  # type: ignore[call-overload]
    fastact.gelu.backward(gradient, output=x)  # type: ignore[call-overload]
    fastact.tanh.backward(gradient, x, output=x)  # type: ignore[call-overload]
    fastact.softmax(x, axis=1.5)  # type: ignore[call-overload]
    fastact.softmax(x, temprature=2)  # type: ignore[call-overload]
    fastact.relu.backward(gradient, x, parameters=True)  # type: ignore[call-overload]
    fastact.swiglu(x, "third")  # type: ignore[arg-type]
    fastact.bias("gelu")(x)  # type: ignore[call-overload]
    fastact.set_backend("torch")  # type: ignore[arg-type]
    fastact.set_accuracy("low")  # type: ignore[arg-type]
    fastact.relu(x, accuracy="low")  # type: ignore[call-overload]
    fastact.explain("gelu", x, mode="valeu")  # type: ignore[arg-type]
    fastact.activation("relu")  # type: ignore[call-overload]
    fastact.check(3)  # type: ignore[arg-type]
    fastact.health("relu")  # type: ignore[call-arg]
    y: int = fastact.relu(x)  # type: ignore[assignment]
    print(y)
