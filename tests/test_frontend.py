"""The callables as a user meets them: what they accept, and what help, repr, pickle, copy, fork and threads make of them."""

import ast
import copy
import doctest
import importlib
import inspect
import itertools
import multiprocessing
import pickle
import pydoc
import re
import sys
import threading

import numpy as np
import pytest
import support

import fastact
from fastact import callables, catalog, pipeline, ufuncs

ROWS = pytest.mark.parametrize("record, mode", support.rows())
CALLABLES = [pytest.param(r, m, id=f"{r.name}-{m}") for r in support.REPRESENTATIVES for m in r.modes if m != "backward_from_output"]
EACH_CALLABLE = pytest.mark.parametrize("record, mode", CALLABLES)
FUNCTIONS = {name: getattr(fastact, name) for name in fastact.__all__ if inspect.isfunction(getattr(fastact, name))}


def plain(record, mode, x):
    x = np.asarray(x)
    return support.outputs(record, mode, [x] * len(catalog.INPUTS[mode]))


# --- Inputs --------------------------------------------------------------------------------------------------------------


@ROWS
def test_dtypes(record, mode, backend):
    small = [-2, 0, 1, 3]
    for dtype in "?bBhHiIlLqQefd":
        found = np.array(small).astype(dtype)
        # integers and bools: float32, or float64 if that is too narrow
        wanted = np.result_type(dtype, np.float16 if dtype == "e" else np.float32)
        results = plain(record, mode, found)
        assert all(r.dtype == wanted for r in results), f"{np.dtype(dtype)} gives {results[0].dtype}, not {wanted}"
        support.all_same_bits(results, plain(record, mode, found.astype(wanted)), dtype)


@ROWS
def test_python_numbers_and_lists(record, mode):
    for given in (
        0.5,
        2,
        -3,
        True,
        np.float32(0.5),
        np.int8(2),
        [0.5, -1.0],
        (1, 2),
        [[1, 2], [3, 4]],
        [],
        range(3),
        [np.float32(1), np.float32(2)],
    ):
        array = np.asarray(given)
        arrays = [given] * len(catalog.INPUTS[mode])
        results = support.outputs(record, mode, arrays)
        expected = plain(record, mode, array.astype(np.float64 if given is True else np.result_type(array.dtype, np.float32)))
        support.all_same_bits(results, expected, repr(given))
        assert array.ndim or all(isinstance(r, np.floating) for r in results)


@ROWS
def test_numbers_that_do_not_fit(record, mode):
    for bad in (np.ones(2, complex), 1j, np.ones(2, object), "1", b"1", None, [None], [1, None], ["a"], np.array(["a"]), {}, object()):
        arrays = [bad] * len(catalog.INPUTS[mode])
        with pytest.raises(TypeError, match=rf"{record.name}.*({'|'.join(catalog.INPUTS[mode])}|\bx\b)"):
            support.call(record, mode, arrays)


@ROWS
def test_whole_numbers_beyond_any_float(record, mode):
    for bad in (10**400, [1, -(10**400)]):
        with pytest.raises(TypeError, match=rf"{record.name}.*: {catalog.INPUTS[mode][0]} has a whole number that is too large"):
            support.call(record, mode, [bad] * len(catalog.INPUTS[mode]))


@ROWS
def test_what_is_no_out(record, mode):
    arrays = support.inputs(record, mode, support.sample(3, np.float64))
    two = r"a tuple \(y, dy\) of two arrays"
    listed, three = (two, two) if catalog.OUTPUTS[mode] == 2 else ("an array", "one array")
    for out, words in (([np.zeros(3)] * catalog.OUTPUTS[mode], f"{listed}, not list"), ((np.zeros(3),) * 3, f"{three}, not a tuple of 3")):
        with pytest.raises(TypeError, match=rf"^{record.name}.*: out: expected {words}$"):
            support.call(record, mode, arrays, out=out)


@pytest.mark.parametrize("record", support.by_name(support.PARAMETRIC))
def test_a_time_is_no_parameter(record):
    for time in (np.timedelta64(3), np.timedelta64(3, "s"), np.datetime64(3, "s"), np.ones(2, "m8[s]")):
        for p in record.given("value"):
            with pytest.raises(TypeError, match=f"{record.name}: {p.name}: expected a real number"):
                fastact.get(record.name)(np.ones(2), **{p.name: time})


@pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="this machine's long double is float64")
@ROWS
def test_long_double_is_refused(record, mode):
    with pytest.raises(TypeError, match=catalog.INPUTS[mode][0]):
        support.call(record, mode, [np.ones(2, np.longdouble)] * len(catalog.INPUTS[mode]))


@ROWS
def test_array_like_objects(record, mode):
    class Like:
        def __init__(self, data):
            self.data = data

        def __array__(self, dtype=None, copy=None):
            return np.array(self.data, dtype)

    x = support.sample(20, np.float32)
    arrays = support.inputs(record, mode, x)
    support.all_same_bits(support.outputs(record, mode, [Like(a) for a in arrays]), support.outputs(record, mode, arrays), "__array__")
    views = [memoryview(a) for a in arrays]
    support.all_same_bits(support.outputs(record, mode, views), support.outputs(record, mode, arrays), "memoryview")


@EACH_CALLABLE
def test_input_is_left_alone(record, mode, backend):
    x = support.sample(100, np.float32)
    arrays = [x.copy() for _ in catalog.INPUTS[mode]]
    for a in arrays:
        a.flags.writeable = False
    for result in support.outputs(record, mode, arrays):
        assert result.flags.writeable and result.flags.owndata and not any(np.shares_memory(result, a) for a in arrays)
    for a in arrays:
        support.same_bits(a, x, "input")


# --- Signatures ----------------------------------------------------------------------------------------------------------


@EACH_CALLABLE
def test_signature_is_what_a_call_takes(record, mode):
    f = support.function(record, mode)
    signature = inspect.signature(f)
    x = support.sample(10, np.float64)
    data = dict.fromkeys(catalog.INPUTS[mode], x)
    defaults = {p.name: p.default for p in signature.parameters.values() if p.default is not p.empty and p.name not in data}
    expected = plain(record, mode, x)
    # all by name; then as many by position as there may be, in order; and every default spelled out
    by_position = [p.name for p in signature.parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    for count in range(len(by_position) + 1):
        for spelled in ({}, defaults):
            given = {**data, **spelled}
            args = [given.pop(name, signature.parameters[name].default) for name in by_position[:count]]
            bound = signature.bind(*args, **given)
            result = f(*bound.args, **bound.kwargs)
            support.all_same_bits(result if isinstance(result, tuple) else (result,), expected, f"{args} {given}")


@EACH_CALLABLE
def test_signature_refuses_what_a_call_refuses(record, mode):
    f = support.function(record, mode)
    signature = inspect.signature(f)
    x = np.ones(3)
    inputs = [x] * len(catalog.INPUTS[mode])
    positional = [p for p in signature.parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    for args, kwargs in [
        ((), {}),
        ([x] * (len(positional) + 1), {}),
        (inputs, {catalog.INPUTS[mode][-1]: x}),
    ]:
        with pytest.raises(TypeError):
            signature.bind(*args, **kwargs)
        with pytest.raises(TypeError, match=re.escape(f.__qualname__)):
            f(*args, **kwargs)
    with pytest.raises(TypeError, match="no_such"):
        f(*inputs, no_such=1)
    defaults = [p.default for p in record.given(mode)]
    for i, p in enumerate(record.given(mode), 1):
        with pytest.raises(TypeError, match=p.name):
            f(*inputs, *defaults[:i], **{p.name: p.default})


@pytest.mark.parametrize("record", support.by_name(support.REPRESENTATIVES))
def test_backward_wants_x_or_output(record):
    backward, y = fastact.get(record.name).backward, np.ones(3)
    for missing in ({}, {"x": None}):
        with pytest.raises(TypeError, match="x"):
            backward(y, **missing)
    with pytest.raises(TypeError, match="output"):
        backward(y, y, output=y)
    if record.from_output is None:
        with pytest.raises(TypeError, match="output"):
            backward(y, output=y)
        assert catalog.find(record.name).modes == tuple(m for m in support.MODES if m != "backward_from_output")


@EACH_CALLABLE
def test_names_of_a_callable(record, mode):
    f = support.function(record, mode)
    assert f.__name__ == (record.name if mode == "value" else mode)
    assert f.__qualname__ == (record.name if mode == "value" else f"{record.name}.{mode}")
    assert f.__module__ == "fastact"
    assert repr(f) == f"<activation {f.__qualname__}{inspect.signature(f)}>"
    assert callable(f)


def test_as_a_class_attribute(record):
    class Layer:
        activation = fastact.get(record.name)

    x = np.ones(3)
    support.same_bits(Layer().activation(x), fastact.get(record.name)(x), "through an instance")


# --- Pickle, copy --------------------------------------------------------------------------------------------------------


@EACH_CALLABLE
def test_pickle_and_copy(record, mode):
    f = support.function(record, mode)
    ufunc = fastact.get(record.name).mode_ufunc(mode)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(f, protocol)) is f
        assert pickle.loads(pickle.dumps(ufunc, protocol)) is ufunc
    for thing in (f, ufunc):
        assert copy.copy(thing) is thing and copy.deepcopy(thing) is thing and copy.deepcopy([thing])[0] is thing


def _in_another_process(f, x):
    return f(x)


def test_pickle_to_a_spawned_process():
    x = np.linspace(-2, 2, 11)
    jobs = [(g, x) for r in support.REPRESENTATIVES for f in [fastact.get(r.name)] for g in (f, f.grad, f.value_and_grad)]
    jobs += [(fastact.get(r.name).ufunc, x) for r in support.REPRESENTATIVES if not r.given("value")]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.starmap_async(_in_another_process, jobs).get(300)
    for (f, _), result in zip(jobs, found, strict=True):
        np.testing.assert_array_equal(result, f(x))


# --- Ufuncs --------------------------------------------------------------------------------------------------------------


@ROWS
def test_ufunc(record, mode, backend):
    activation = fastact.get(record.name)
    ufunc = activation.mode_ufunc(mode)
    assert isinstance(ufunc, np.ufunc)
    assert ufunc.__name__ == record.ufunc_name(mode)
    assert ufunc is getattr(ufuncs, record.ufunc_name(mode)) is activation.mode_ufunc(mode)
    assert record.ufunc_name(mode) in dir(ufuncs)
    if mode != "backward_from_output":
        assert ufunc is getattr(activation, "ufunc" if mode == "value" else f"{mode}_ufunc") is support.function(record, mode).ufunc
    assert ufunc.nin == len(catalog.INPUTS[mode]) + len(record.given(mode))
    assert ufunc.nout == catalog.OUTPUTS[mode]
    inputs, out = ("f" * ufunc.nin, "f" * ufunc.nout)
    assert f"{inputs}->{out}" in ufunc.types and f"{inputs}->{out}".replace("f", "d") in ufunc.types
    for dtype in support.DTYPES:
        arrays = support.inputs(record, mode, support.sample(50, dtype))
        results = ufunc(*arrays, *[np.dtype(dtype).type(p.default) for p in record.given(mode)])
        fastact.set_backend("auto")
        expected = support.outputs(record, mode, arrays)
        for r, e in zip(results if isinstance(results, tuple) else (results,), expected, strict=True):
            assert r.dtype == e.dtype
            np.testing.assert_array_max_ulp(r, e, 4)
        fastact.set_backend(backend)


def test_ufunc_that_is_not_there():
    with pytest.raises(AttributeError, match="no_such"):
        ufuncs.no_such  # noqa: B018


@pytest.mark.parametrize("record", support.by_name(support.REPRESENTATIVES))
def test_ufunc_methods(record, backend):
    ufunc = fastact.get(record.name).ufunc
    if ufunc.nin == 1:
        x = support.sample(10, np.float64)
        expected = x.copy()
        expected[[1, 3]] = ufunc(x[[1, 3]])
        ufunc.at(x, [1, 3])
        support.same_bits(x, expected, "ufunc.at")
        with pytest.raises(ValueError):
            ufunc.reduce(np.ones(3))
    elif ufunc.nin == 2:
        x, parameter = np.array([-1.0, 2.0]), np.array([0.25, 0.5])
        support.same_bits(ufunc.outer(x, parameter), ufunc(x[:, None], parameter), "ufunc.outer")
    else:
        with pytest.raises(ValueError, match="binary"):
            ufunc.outer(*[np.ones(2)] * ufunc.nin)


# --- Documentation -------------------------------------------------------------------------------------------------------

SECTIONS = ["Parameters", "Returns", "Yields", "Raises", "See Also", "Notes", "References", "Examples"]


def sections(text):
    """The sections of a numpydoc docstring, by title, after the summary; and their order."""
    lines = inspect.cleandoc(text).splitlines()
    assert lines[0].endswith(".") and len(lines[0]) < 120, f"no summary: {lines[0]!r}"
    assert len(lines) == 1 or not lines[1]
    found, title = {"": []}, ""
    for line, below in itertools.zip_longest(lines, lines[1:], fillvalue=""):
        if below and set(below) == {"-"} and len(below) == len(line):
            title = line
            found[title] = []
        elif set(line) != {"-"}:
            found[title].append(line)
    order = [t for t in found if t]
    assert all(t in SECTIONS for t in order), order
    assert order == sorted(order, key=SECTIONS.index)
    return found


def documented(found):
    """The names in a section of parameters."""
    return [line.partition(" :")[0].strip() for line in found.get("Parameters", []) if line and not line.startswith(" ")]


def run_examples(text, name, scope):
    examples = doctest.DocTestParser().get_doctest(text, scope, name, None, 0)
    log = []
    result = doctest.DocTestRunner(verbose=False, optionflags=doctest.NORMALIZE_WHITESPACE).run(examples, out=log.append)
    assert not result.failed, "".join(log)
    return result.attempted


@EACH_CALLABLE
def test_docstring_of_an_activation(record, mode):
    f = support.function(record, mode)
    found = sections(f.__doc__)
    for title in ("Parameters", "Returns", "Raises", "Notes", "Examples"):
        assert title in found
    signature = inspect.signature(f)
    named = [("**" if p.kind is p.VAR_KEYWORD else "") + p.name for p in signature.parameters.values()]
    assert sorted(documented(found)) == sorted(named)
    assert record.definition in f.__doc__ and record.summary in f.__doc__
    bound = record.ulp[0] if mode == "value" else record.ulp[1]
    assert f"{bound:g} ULP" in f.__doc__, "the bound that is tested is the one that is promised"
    assert max(map(len, f.__doc__.splitlines())) < 250
    assert run_examples(f.__doc__, f.__qualname__, {}) >= 3


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_docstring_of_a_function(function):
    found = sections(function.__doc__)
    assert documented(found) == list(inspect.signature(function).parameters)
    assert "Raises" in found or not found.get("Parameters"), "what is given may be wrong"
    assert run_examples(function.__doc__, function.__name__, {}) >= 1


BACKWARD = {name: function.backward for name, function in FUNCTIONS.items() if hasattr(function, "backward")}


@pytest.mark.parametrize("function", BACKWARD.values(), ids=BACKWARD)
def test_docstring_of_a_backward(function):
    found = sections(function.__doc__)
    for title in ("Parameters", "Returns", "Raises"):
        assert title in found
    run_examples(function.__doc__, function.__qualname__, {})


def python_modules():
    """All modules of the package: none needs more than the package does, or says so when it is used."""
    paths = [p.relative_to(support.PACKAGE).with_suffix("") for p in sorted(support.PACKAGE.rglob("*.py"))]
    names = [".".join(["fastact", *p.parts]).removesuffix(".__init__") for p in paths if p.name != "__main__"]
    return [n for n in names if support.HAS_NUMBA or not n.endswith("numba_intrinsics")]


@pytest.mark.parametrize("name", python_modules())
def test_examples_of_a_module(name):
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if ".interop." not in name:  # only an adapter may need the package that it adapts to
            raise
        pytest.skip(str(error))
    assert module.__doc__, "every module says what it is for"
    assert fastact.relu.__doc__  # to describe one imports modules: not while doctest goes through those of the package
    for test in doctest.DocTestFinder(exclude_empty=True).find(module, name):
        if test.examples:
            log = []
            result = doctest.DocTestRunner(verbose=False, optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=log.append)
            assert not result.failed, "".join(log)


@EACH_CALLABLE
def test_help(record, mode):
    f = support.function(record, mode)
    text = pydoc.plain(pydoc.render_doc(f))
    assert f.__name__ in text and record.summary in text


def test_help_of_the_package():
    text = pydoc.plain(pydoc.render_doc(fastact))
    for name in fastact.__all__:
        assert name in text


def test_public_names():
    assert len(set(fastact.__all__)) == len(fastact.__all__)
    assert set(fastact.names()) <= set(fastact.__all__)
    for name in fastact.__all__:
        thing = getattr(fastact, name)
        assert callable(thing) and thing.__doc__ and not name.startswith("_")
        assert name in dir(fastact)
    scope = {}
    exec("from fastact import *", scope)
    assert set(fastact.__all__) <= set(scope)


STUB = support.PACKAGE / "__init__.pyi"


def stub_arguments(node, method=False):
    a = node.args
    names = [x.arg for x in a.posonlyargs + a.args][method:] + [x.arg for x in a.kwonlyargs]
    return names + [x.arg for x in (a.vararg, a.kwarg) if x]


@pytest.mark.skipif(not STUB.exists(), reason="stubs are written by the build")
def test_stub_has_the_public_names():
    tree = ast.parse(STUB.read_text())
    names = set()
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign):
            names.add(node.target.id)
        elif isinstance(node, ast.Assign):
            names.update(t.id for t in node.targets if isinstance(t, ast.Name))
        elif isinstance(node, ast.ImportFrom):
            names.update(a.asname or a.name for a in node.names)
    assert set(fastact.__all__) <= names


@pytest.mark.skipif(not STUB.exists(), reason="stubs are written by the build")
def test_stub_has_the_signatures():
    tree = ast.parse(STUB.read_text())
    functions = [n for n in tree.body if isinstance(n, ast.FunctionDef)]
    for node in functions:
        wanted = list(inspect.signature(getattr(fastact, node.name)).parameters)
        assert set(stub_arguments(node)) == set(wanted), node.name
    classes = {n.name: n for n in tree.body if isinstance(n, ast.ClassDef)}

    def calls(name):
        return [m for m in classes[name].body if isinstance(m, ast.FunctionDef) and m.name == "__call__"]

    def kind(annotation):
        return annotation.id if isinstance(annotation, ast.Name) else annotation.value if isinstance(annotation, ast.Constant) else ""

    checked = 0
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and node.target.id in support.CATALOG and kind(node.annotation) in classes:
            activation = fastact.get(node.target.id)
            rows = [(activation, kind(node.annotation))]
            for member in classes[kind(node.annotation)].body:
                if isinstance(member, ast.AnnAssign) and kind(member.annotation) in classes:
                    rows.append((getattr(activation, member.target.id), kind(member.annotation)))
            for callable_, name in rows:
                wanted = set(inspect.signature(callable_).parameters)
                for call in calls(name):
                    given = set(stub_arguments(call, method=True))
                    assert wanted - {"ufunc_options"} <= given | {"ufunc_options"}, (callable_, call.lineno)
                    checked += 1
    assert functions and (checked or not classes)


@pytest.mark.skipif(not STUB.exists(), reason="stubs are written by the build")
def test_stub_has_the_attributes():
    classes = {n.name: n for n in ast.parse(STUB.read_text()).body if isinstance(n, ast.ClassDef)}

    def stated(name):
        if name not in classes:
            return set()
        body = classes[name].body
        own = {n.name for n in body if isinstance(n, ast.FunctionDef)} | {n.target.id for n in body if isinstance(n, ast.AnnAssign)}
        return own.union(*(stated(b.id) for b in classes[name].bases if isinstance(b, ast.Name)))

    runner = {name for name in dir(callables.Runner) if not name.startswith("_")}  # what the package sets up, not its users
    activation, found = fastact.relu, fastact.health("relu", np.ones((2, 1)))
    rows = {"_Activation": activation, "_Function": activation.grad, "_Gated": fastact.swiglu, "_Bias": fastact.bias("relu")}
    rows |= {"_Report": fastact.check("relu"), "_Health": found, "_Watch": fastact.watch()}
    inner = {"_Watch": {"see", "see_inside"}}  # whom the front end calls
    for name, thing in rows.items():
        there = {n for n in dir(thing) if not n.startswith("_")} - runner - inner.get(name, set())
        assert there == {n for n in stated(name) if not n.startswith("_")}, name


# --- Processes and threads -----------------------------------------------------------------------------------------------

_FORK = """
import os, signal, sys
import numpy as np
import fastact

fastact.set_num_threads(4)


def same(a, b):
    return np.array_equal(a, b, equal_nan=True)


x = np.linspace(-20, 20, 2_000_003, dtype=np.float32)
name = fastact.names()[-1]
f = fastact.get(name)
expected = f(x)
for generation in range(2):
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # a child that hangs dies of it
        good = all(same(f(x), expected) for _ in range(3)) and same(f(x[::2]), expected[::2])
        if generation == 0:
            grandchild = os.fork()
            if grandchild == 0:
                signal.alarm(60)
                os._exit(0 if same(f(x), expected) else 3)
            good &= os.waitpid(grandchild, 0)[1] == 0
        os._exit(0 if good else 2)
    status = os.waitpid(child, 0)[1]
    assert status == 0, status
    assert same(f(x), expected)
print("done")
"""


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="this machine has no fork")
def test_fork_after_a_large_call():
    code = "import warnings\nwarnings.simplefilter('ignore', DeprecationWarning)\n" + _FORK  # Python warns of forks beside threads
    assert support.isolated(code, timeout=300).stdout == "done\n"


_FORK_BESIDE = """
import os, signal
import numpy as np
import fastact
from fastact import executor

fastact.set_backend("numpy")
fastact.set_num_threads(2)
with executor._lock:  # as another thread may at that moment
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        os._exit(0 if (fastact.relu(np.ones(2_000_000, np.float32)) == 1).all() else 2)
assert os.waitpid(child, 0)[1] == 0
print("done")
"""


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="this machine has no fork")
def test_fork_while_another_thread_starts_a_call():
    code = "import warnings\nwarnings.simplefilter('ignore', DeprecationWarning)\n" + _FORK_BESIDE  # as above
    assert support.isolated(code, timeout=300).stdout == "done\n"


@pytest.mark.parametrize("mode", ["value", "value_and_grad", "backward"])
def test_many_threads_call_at_once(mode, backend, many_threads):
    record = support.RECORDS[-1]
    sizes = [16, 1000, 5003, 40_001]
    cases = []
    for n in sizes:
        arrays = support.inputs(record, mode, support.sample(n, np.float32))
        cases.append((arrays, support.outputs(record, mode, arrays)))
    errors = []

    def work(seed):
        try:
            for i in range(12):
                arrays, expected = cases[(i + seed) % len(cases)]
                support.all_same_bits(support.outputs(record, mode, arrays), expected, f"thread {seed}")
                results = [np.empty_like(e) for e in expected]
                support.call(record, mode, arrays, out=support.outs(tuple(results)))
                support.all_same_bits(results, expected, f"thread {seed}")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(12)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        raise errors[0]


def test_settings_change_while_threads_call(record):
    x = support.sample(3000, np.float32)
    f = fastact.get(record.name)
    with support.quiet():
        near = f(x.astype(np.float64)).astype(np.float32)
    stop, errors = threading.Event(), []
    atol = 1e-6 if record.value_zero else 1e-37  # near a zero the terms' roundings are what is left

    def work():
        try:
            while not stop.is_set():
                np.testing.assert_allclose(f(x), near, rtol=1e-5, atol=atol)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for t in threads:
        t.start()
    for i in range(40):
        fastact.set_backend(support.AVAILABLE[i % len(support.AVAILABLE)])
        fastact.set_num_threads(1 + i % 3)
        f(x)
    stop.set()
    for t in threads:
        t.join()
    if errors:
        raise errors[0]


@pytest.mark.skipif(len(support.COMPILED) < 2, reason="there is but one compiled backend")
def test_the_backend_changes_while_a_call_runs(many_threads):
    """Of kernels for half precision some convert by themselves: one taken for the other would reach beyond the arrays."""
    f, x = fastact.gelu, np.linspace(-8, 8, 1_000_003).astype(np.float16)
    fastact.warmup("gelu", dtype="float16", mode="value", backend="numba")
    expected, stop = f(x).astype(np.float32), threading.Event()

    def change():
        for backend in itertools.cycle(support.COMPILED):
            if stop.wait(0.0003):
                return
            fastact.set_backend(backend)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for call in (f, f.ufunc):
            for _ in range(40):
                np.testing.assert_allclose(call(x).astype(np.float32), expected, atol=0.01)
    finally:
        stop.set()
        thread.join()


@pytest.mark.skipif(not support.HAS_EXTENSION, reason="the extension's short cut")
def test_the_backend_changes_while_a_call_is_prepared(monkeypatch):
    compiled = pipeline._compiled

    def changes(*args):
        if fastact.get_backend() != "numpy":
            fastact.set_backend("numpy")  # as another thread may, between a decision and what follows from it
        return compiled(*args)

    fastact.set_backend("cython")
    monkeypatch.setattr(pipeline, "_compiled", changes)
    np.testing.assert_array_equal(fastact.reglu(np.ones(4)), 1)
    assert fastact.get_backend() == "numpy"
    assert fastact.reglu._quick.call is None, "the next call follows what was decided last"


_SCARCE = """
import resource
import numpy as np
import fastact

fastact.set_num_threads(1)
memory = np.zeros(2**24)
few, size = np.zeros(8), memory.nbytes // 2  # so large that the system takes it back at once
arrays = memory[: 2**23], memory[::2]
fastact.gelu(few), fastact.gelu.value_and_grad(few), fastact.gelu.value_and_grad(few[::2])
taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + size * 3 // 2, -1))
for x in arrays:
    for _ in range(3):
        try:
            fastact.gelu.value_and_grad(x)
        except MemoryError:
            print("refused")
        fastact.gelu(x)  # there is room for one result, unless the first of two was lost
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems limit memory in other ways, or not at all")
def test_no_memory_for_the_second_result():
    assert support.isolated(_SCARCE, timeout=300).stdout == "refused\n" * 6


_LITTLE_STACK = """
import threading
import numpy as np
import fastact

x, slopes, half = np.ones((64, 130), np.float32), np.ones(130, np.float32), np.ones((64, 130), np.float16)


def calls():
    yield fastact.gelu(x[:, ::2])
    yield fastact.prelu(x, slopes)
    yield fastact.gelu(half)
    yield fastact.swiglu(x)
    yield from fastact.bias("gelu").backward(half, half, half[0])
    yield fastact.softmax(x, 0)


expected, found = list(calls()), []
threading.stack_size(2**17)
thread = threading.Thread(target=lambda: found.extend(calls()))
thread.start()
thread.join()
assert len(found) == len(expected) and all(np.array_equal(a, b) for a, b in zip(found, expected))
print("done")
"""


def test_a_thread_with_little_stack():
    assert support.isolated(_LITTLE_STACK).stdout == "done\n"


def test_interpreter_ends_quietly():
    code = (
        "import numpy as np, fastact\nfastact.set_num_threads(4)\nx = np.ones(2_000_003, np.float32)\n"
        "for name in fastact.names()[1::12]:\n    fastact.get(name)(x)"
    )
    done = support.isolated(code, timeout=300)
    assert not done.stderr and not done.stdout
