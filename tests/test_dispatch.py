"""Which backend serves a call: settings, environment, explanations; and what an import brings in."""

import ast
import contextvars
import itertools
import json
import pathlib
import re
import shutil
import threading

import numpy as np
import pytest
import support

import fastact
from fastact import axis, catalog, dispatch, executor, settings

FIRST = support.RECORDS[0].name
X = np.linspace(-2, 2, 9)


def test_auto_is_the_default():
    assert fastact.get_backend() == "auto"


def test_set_backend(backend):
    assert fastact.get_backend() == backend
    assert fastact.explain(FIRST, X).backend == backend
    fastact.set_backend("auto")
    assert fastact.get_backend() == "auto"


@pytest.mark.parametrize("name", ["", "torch", "NUMPY", None, 3, "cython ", np.ones(2), np.void(b"ab")])
def test_unknown_backend(name):
    with pytest.raises(ValueError, match="backend.*auto, cython, numba, numpy"):
        fastact.set_backend(name)
    with pytest.raises(ValueError, match="backend"), fastact.use_backend(name):
        pass
    assert fastact.get_backend() == "auto"


@pytest.mark.skipif(len(support.AVAILABLE) == len(support.BACKENDS), reason="every backend is installed")
def test_backend_that_is_not_installed():
    for name in set(support.BACKENDS) - set(support.AVAILABLE):
        with pytest.raises(RuntimeError, match=f"backend.*{name}.*numpy"):
            fastact.set_backend(name)
    assert fastact.get_backend() == "auto"


def test_use_backend_nests(backend):
    fastact.set_backend("auto")
    with fastact.use_backend("numpy"):
        with fastact.use_backend(backend):
            assert fastact.get_backend() == backend
            with fastact.use_backend("auto"):
                assert fastact.get_backend() == "auto"
            assert fastact.get_backend() == backend
        assert fastact.get_backend() == "numpy"
    assert fastact.get_backend() == "auto"


def test_use_backend_ends_with_an_exception(backend):
    fastact.set_backend("auto")
    with pytest.raises(ZeroDivisionError), fastact.use_backend(backend):
        raise ZeroDivisionError
    assert fastact.get_backend() == "auto"
    np.testing.assert_array_equal(fastact.get(FIRST)(X), fastact.get(FIRST)(X.tolist()))


def test_use_backend_within_set_backend(backend):
    with fastact.use_backend("numpy"):
        fastact.set_backend("auto")
        assert fastact.get_backend() == "numpy"
        fastact.set_backend(backend)
        assert fastact.get_backend() == "numpy"
    assert fastact.get_backend() == backend


def test_use_backend_is_of_this_thread_only():
    inside, done, seen = threading.Event(), threading.Event(), []

    def other():
        inside.wait(60)
        seen.append(fastact.get_backend())
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    with fastact.use_backend("numpy"):
        inside.set()
        assert done.wait(60)
    thread.join()
    assert seen == ["auto"]


def test_use_backend_follows_the_context():
    with fastact.use_backend("numpy"):
        context = contextvars.copy_context()
    assert fastact.get_backend() == "auto"
    assert context.run(fastact.get_backend) == "numpy"


def test_set_backend_is_of_all_threads():
    fastact.set_backend("numpy")
    seen = []
    thread = threading.Thread(target=lambda: seen.append(fastact.get_backend()))
    thread.start()
    thread.join()
    assert seen == ["numpy"]


def test_auto_prefers_what_is_ready(record):
    for mode in record.modes:
        for precision in support.DTYPES:
            choice = dispatch.choose(record, mode, precision, "auto")
            if support.COMPILED:
                assert choice.backend in support.COMPILED
            else:
                assert choice.backend == "numpy"
            if support.HAS_EXTENSION and not dispatch.ready(record, mode, precision, "numba"):
                assert choice.backend == "cython", "no call may wait for a compiler"


# --- explain -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("record", support.by_name(support.REPRESENTATIVES))
def test_explain(record, backend):
    for mode, dtype in itertools.product(record.modes, support.DTYPES):
        found = fastact.explain(record.name, np.ones((3, 4), dtype), mode=mode)
        assert (found.activation, found.mode, found.dtype, found.size, found.backend) == (record.name, mode, dtype, 12, backend)
        assert found.threads == 1 and found.why and found.path
        assert (found.level in support.LEVELS) == (backend == "cython")
        assert record.name in str(found) and backend in str(found)


@pytest.mark.parametrize("look", [fastact.explain, fastact.check, fastact.plot, lambda act: fastact.health(act, np.ones((2, 2)))])
@pytest.mark.parametrize(
    ("given", "hint"),
    [
        (fastact.swiglu, "its activation is 'silu'"), (fastact.bias("gelu"), "its activation is 'gelu'"), (fastact.softmax, "along an axis"),
        (np.tanh, "give 'tanh'"), (lambda x: x, "fastact.activation makes one"), (3, "not 3"),
    ],
)  # fmt: skip
def test_what_is_no_activation_is_told_so(look, given, hint):
    with pytest.raises(TypeError, match=f"^activation: expected an activation or its name.*{hint}"):
        look(given)


def test_explain_takes_what_a_call_takes():
    f = fastact.get(FIRST)
    for activation in (FIRST, f, f.grad):
        assert fastact.explain(activation).activation == FIRST
    assert fastact.explain(f.grad).mode == "grad"
    assert fastact.explain(f, [1, 2]).dtype == "float64"
    assert fastact.explain(f, np.ones(3, np.float32)[::-1]).dtype == "float32"
    assert fastact.explain(f, np.ones(3, ">f4")).size == 3
    assert fastact.explain(f, 1.5).size == 1
    assert fastact.explain(f, dtype="float64").dtype == "float64"
    assert fastact.explain(f, np.ones(3, np.int8)).dtype == "float32"
    assert fastact.explain(f).size is None


def test_explain_counts_threads():
    fastact.set_num_threads(4)
    x = np.broadcast_to(np.float32(1), 10**9)
    assert 1 < fastact.explain(FIRST, x).threads <= 4
    fastact.set_num_threads(1)
    assert fastact.explain(FIRST, x).threads == 1


@pytest.mark.skipif(not support.HAS_EXTENSION, reason="of the extension's kernels beside Numba's")
def test_explain_says_why_no_other_kernel_serves(monkeypatch):
    record = support.CATALOG[FIRST]
    monkeypatch.setattr(dispatch, "ready", lambda record, mode, precision, backend: backend == "cython")
    for there, pays, told in (
        (False, False, "compiled ahead of time$"), (True, False, "not measured as faster$"), (True, True, "once fastact.warmup has compiled it$"),
    ):  # fmt: skip
        monkeypatch.setattr(dispatch.numba, "available", lambda there=there: there)
        monkeypatch.setattr(dispatch, "numba_pays", lambda *_, pays=pays: pays)
        assert re.search(told, fastact.explain(record.name).why)


def test_explain_refuses():
    with pytest.raises(LookupError, match="no_such"):
        fastact.explain("no_such")
    with pytest.raises(ValueError, match="mode.*value"):
        fastact.explain(FIRST, mode="no_such")
    with pytest.raises(TypeError, match="^x: .*complex"):
        fastact.explain(FIRST, np.ones(3, complex))
    with pytest.raises(TypeError, match="^dtype: .*complex"):
        fastact.explain(FIRST, dtype=complex)
    with pytest.raises(TypeError, match="^dtype: .*float16, .*not 'float31'"):
        fastact.explain(FIRST, dtype="float31")


# --- warmup --------------------------------------------------------------------------------------------------------------


def test_warmup_counts():
    count = fastact.warmup(FIRST, dtype="float32", mode="value")
    assert count in (0, 1)
    assert fastact.warmup(FIRST, dtype="float32", mode="value") == 0


@pytest.mark.parametrize(
    "given, error, words", [({"dtype": "float31"}, TypeError, "^dtype: .*float31"), ({"mode": 3}, TypeError, "^mode: .* not 3")]
)
def test_warmup_says_what_is_wrong(given, error, words):
    with pytest.raises(error, match=words):
        fastact.warmup(FIRST, **given)


@pytest.mark.skipif(not support.HAS_NUMBA, reason="Numba is not installed")
def test_warmup_compiles_for_numba():
    fastact.warmup([FIRST], dtype=np.float32, mode=["value"], backend="numba")
    assert dispatch.ready(support.CATALOG[FIRST], "value", "float32", "numba")


@pytest.mark.skipif(support.HAS_NUMBA, reason="Numba is installed")
def test_warmup_without_numba():
    assert fastact.warmup() == 0
    with pytest.raises(RuntimeError, match="numba"):
        fastact.warmup(FIRST, backend="numba")


def test_warmup_refuses():
    with pytest.raises(LookupError, match="no_such"):
        fastact.warmup("no_such")
    with pytest.raises(ValueError, match="mode"):
        fastact.warmup(FIRST, mode="no_such")
    with pytest.raises(ValueError, match="dtype"):
        fastact.warmup(FIRST, dtype="int32")
    with pytest.raises(ValueError, match="backend"):
        fastact.warmup(FIRST, backend="cython")
    with pytest.raises(TypeError, match="name: expected an activation"):
        fastact.warmup(5)


# --- Threads -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 7, np.int64(3), 2.0, True])
def test_set_num_threads(n):
    fastact.set_num_threads(n)
    assert fastact.get_num_threads() == n
    assert executor.get_num_threads() == n, "it holds for the NumPy backend too"


@pytest.mark.parametrize(
    "n, error",
    [
        (0, ValueError),
        (-1, ValueError),
        (1.5, ValueError),
        ("two", TypeError),
        ("2", TypeError),
        (b"2", TypeError),
        (None, TypeError),
        ([], TypeError),
    ],
)
def test_bad_number_of_threads(n, error):
    before = fastact.get_num_threads()
    with pytest.raises(error, match=r"\bn\b"):
        fastact.set_num_threads(n)
    assert fastact.get_num_threads() == before


@pytest.mark.parametrize("n", [float("nan"), float("inf")])
def test_number_of_threads_that_is_no_number(n):
    with pytest.raises((ValueError, TypeError), match=r"\bn\b"):
        fastact.set_num_threads(n)


# --- Names ---------------------------------------------------------------------------------------------------------------


def test_get_and_names(record):
    f = fastact.get(record.name)
    assert record.name in fastact.names()
    for name in (record.name, record.name.upper(), record.name.replace("_", "-"), record.name.replace("_", ""), *record.aliases):
        assert fastact.get(name) is f
    assert getattr(fastact, record.name) is f and record.name in fastact.__all__ and f.name == record.name


def test_get_hints():
    with pytest.raises(LookupError, match=FIRST):
        fastact.get(FIRST + "x")
    with pytest.raises(LookupError, match="names"):
        fastact.get("qqqqqq")
    for bad in (None, 3, b"x"):
        with pytest.raises(TypeError, match="name"):
            fastact.get(bad)
    for name in (*axis.__all__, *catalog.gated_units()):
        for given in (name, name.upper(), name.title(), name.title().replace("_", ""), name.replace("_", "-"), f"{name[:3]}_{name[3:]}"):
            with pytest.raises(LookupError, match=f"no activation.* it is fastact.{name}$"):
                fastact.get(given)


# --- Environment ---------------------------------------------------------------------------------------------------------


def test_environment_backend(backend):
    code = "import fastact; print(fastact.get_backend(), fastact.explain(fastact.names()[0], [1.0]).backend)"
    assert support.isolated(code, FASTACT_BACKEND=backend).stdout.split() == [backend, backend]


def test_ufunc_whatever_the_environment_says(backend):
    code = (
        "import fastact, numpy as np\n"
        "for name in fastact.names()[1::12]:\n"
        "    f = fastact.get(name)\n"
        "    p = [q.default for q in f.record.given('value')]\n"
        "    assert f.ufunc(np.ones(3), *p).shape == f.grad_ufunc(np.ones(3), *p).shape == (3,)\n"
        "print('done')"
    )
    assert support.isolated(code, FASTACT_BACKEND=backend).stdout == "done\n"


@pytest.mark.parametrize(
    "variable, value",
    [
        ("FASTACT_BACKEND", "torch"),
        ("FASTACT_NUM_THREADS", "0"),
        ("FASTACT_NUM_THREADS", "many"),
        ("FASTACT_NUM_THREADS", "-1"),
        ("FASTACT_NUM_THREADS", "1.5"),
        ("FASTACT_NUM_THREADS", "²"),
        pytest.param("FASTACT_NUM_THREADS", "9" * 5000, id="FASTACT_NUM_THREADS-5000 digits"),
        ("FASTACT_TUNING", "/no/such/file"),
        *[
            pytest.param("FASTACT_SPIN_US", us, marks=pytest.mark.skipif(not support.HAS_EXTENSION, reason="the extension's pool"))
            for us in ("long", "nan", "inf", "-5")
        ],
        pytest.param("FASTACT_LEVEL", "v9", marks=pytest.mark.skipif(not support.HAS_EXTENSION, reason="the extension's levels")),
    ],
)
def test_bad_environment(variable, value):
    # The table is read when it is needed first, and here that may be never.
    code = "import fastact; fastact.get(fastact.names()[0])([1.0]); from fastact import dispatch; dispatch.tuning()"
    done = support.isolated(code, check=False, **{variable: value})
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and variable in last and value in last, done.stderr


def test_empty_environment_is_none():
    nothing = dict.fromkeys(["FASTACT_BACKEND", "FASTACT_NUM_THREADS", "FASTACT_LEVEL", "FASTACT_SPIN_US"], "")
    assert support.isolated("import fastact; print(fastact.get_backend())", **nothing).stdout.split() == ["auto"]


def test_environment_threads():
    assert support.isolated("import fastact; print(fastact.get_num_threads())", FASTACT_NUM_THREADS=3).stdout.split() == ["3"]


@pytest.mark.skipif(not support.HAS_EXTENSION, reason="levels are the extension's")
@pytest.mark.parametrize("level", [level for level in support.LEVELS if level != "base"] or [None])
def test_environment_level(level):
    code = "import fastact\nfastact.set_backend('cython')\nprint(fastact.explain(fastact.names()[0], [1.0]).level)"
    assert support.isolated(code, FASTACT_LEVEL=level).stdout.split() == [level]


def test_environment_tuning(tmp_path):
    record = support.RECORDS[0]
    table = tmp_path / "tuning.json"
    table.write_text(json.dumps({"ns_per_element": {record.name: {"value": {"float32": {"numba": 0.001, "numpy": 5.0}}}}}))
    code = (
        "from fastact import catalog, dispatch\n"
        "r = next(iter(catalog.records().values()))\n"
        "print(*[dispatch.measured(r, mode, 'float32', 'numba') for mode in ('value', 'grad')], dispatch.tuning()['source'])"
    )
    assert support.isolated(code, FASTACT_TUNING=table).stdout.split() == ["0.001", "None", str(table)]


def test_shipped_tuning_table():
    table = json.loads((support.PACKAGE / "tuning.json").read_text())
    for name, modes in table["ns_per_element"].items():
        assert name in support.CATALOG
        for mode, precisions in modes.items():
            assert mode in support.CATALOG[name].modes
            for precision, costs in precisions.items():
                assert precision in support.DTYPES
                assert all(cost > 0 and key.partition("-")[0] in support.BACKENDS for key, cost in costs.items())


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"ns_per_element": {"relu": 5}}', '{"ns_per_element": {"relu": {"value": {"float32": {"cython-v3": "a"}}}}}',
             '{"ns_per_element": {}, "hot_ns": "a", "cold_ns": 1}', '{"ns_per_element": {}, "stream_bytes": -1}',
             '{"ns_per_element": {}, "stream_bytes": 1e300}', '{"ns_per_element": {}, "hot_ns": 1e18, "cold_ns": 1}',
             pytest.param("[" * 100_000, id="deep")],
)  # fmt: skip
def test_a_broken_tuning_table_of_the_user_is_passed_over(text, tmp_path):
    (tmp_path / "tuning.json").write_text(text)
    done = support.isolated("from fastact import dispatch; dispatch.tuning()", check=False, FASTACT_TUNING=tmp_path / "tuning.json")
    assert "ValueError: FASTACT_TUNING" in done.stderr, "that was asked for"
    code = "import fastact; from fastact import dispatch; fastact.get(fastact.names()[0])([1.0]); print(dispatch.tuning()['source'])"
    assert support.isolated(code, FASTACT_CACHE_DIR=tmp_path, FASTACT_TUNING="").stdout.split() == ["none"]


@pytest.mark.skipif(not support.HAS_NUMBA, reason="Numba is not installed")
def test_a_cache_that_cannot_be_written(tmp_path):
    path = tmp_path / "file"
    path.write_text("")  # not a folder: nothing can be made under it
    code = f"import fastact, numpy as np\nfastact.set_backend('numba')\nprint(fastact.get({FIRST!r})(np.array([1.0, -1.0])))"
    expected = str(fastact.get(FIRST)(np.array([1.0, -1.0])))
    assert support.isolated(code, FASTACT_CACHE_DIR=path / "cache").stdout.strip() == expected


def test_variables_are_all_known():
    texts = {n.value for p in support.PACKAGE.rglob("*.py") for n in ast.walk(ast.parse(p.read_text())) if isinstance(n, ast.Constant)}
    used = {name for text in texts if isinstance(text, str) for name in re.findall(r"\bFASTACT_[A-Z_]+", text)}
    assert used == set(settings.VARIABLES)


# --- Imports -------------------------------------------------------------------------------------------------------------


def test_import_is_light():
    code = (
        "import sys, numpy\nbefore = set(sys.modules)\nimport fastact\n"
        "print(*sorted({m.partition('.')[0] for m in set(sys.modules) - before}))"
    )
    brought = set(support.isolated(code).stdout.split())
    heavy = {"numba", "llvmlite", "scipy", "multiprocessing", "concurrent", "asyncio", "torch", "matplotlib", "rich", "unittest"}
    assert not brought & heavy, brought


def test_a_call_imports_no_compiler_where_kernels_are_there():
    code = (
        "import sys, numpy as np, fastact\n"
        "for name in fastact.names():\n"
        "    f = fastact.get(name)\n"
        "    f(np.ones(5)), f.grad(np.ones(5)[::2]), f.value_and_grad([1, 2]), f.backward(np.ones(5), np.ones(5))\n"
        "    fastact.explain(name)\n"
        "print('numba' in sys.modules)"
    )
    expected = not support.HAS_EXTENSION and support.HAS_NUMBA
    assert support.isolated(code, timeout=300).stdout.split() == [str(expected)]


def modules():
    return {path.relative_to(support.PACKAGE).with_suffix("").as_posix().replace("/", "."): path for path in support.PACKAGE.rglob("*.py")}


def test_modules_are_attributes():
    found = [name for name in modules() if "." not in name and not name.startswith("_")] + ["backends", "interop"]
    support.isolated(f"import fastact\nfor name in {found}: assert getattr(fastact, name).__name__ == f'fastact.{{name}}'")


def imports(path):
    """The (level, module, names) of every import statement, those inside functions marked."""
    tree = ast.parse(path.read_text())
    inner = {id(n) for f in ast.walk(tree) if isinstance(f, (ast.FunctionDef, ast.AsyncFunctionDef)) for n in ast.walk(f)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield 0, alias.name, [], id(node) in inner
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or "", [a.name for a in node.names], id(node) in inner


@pytest.mark.parametrize("path", modules().values(), ids=modules())
def test_imports_inside_the_package_are_relative(path):
    for level, module, _, _ in imports(path):
        assert level or module.partition(".")[0] != support.PACKAGE.name, f"import {module}"


def test_no_import_cycles():
    # Of imports at import time: one inside a function waits until everything is there.
    known = modules()
    graph = {}
    for name, path in known.items():
        package = name.split(".")[:-1]
        graph[name] = set()
        for level, module, names, inner in imports(path):
            if not level or inner:
                continue
            base = package[: len(package) - level + 1] + ([module] if module else [])
            for n in names:
                for target in (".".join([*base, n]), ".".join(base)):
                    if target in known and target != name:
                        graph[name].add(target)
                        break
    done, path = set(), []

    def visit(name):
        assert name not in path, " imports ".join([*path[path.index(name) :], name])
        if name not in done:
            path.append(name)
            for other in sorted(graph[name]):
                visit(other)
            path.pop()
            done.add(name)

    for name in graph:
        visit(name)


def test_imports_run_downwards():
    # In the order of CONTRIBUTING's table.
    guide = pathlib.Path(__file__).parent.parent / "CONTRIBUTING.md"
    table = guide.read_text(encoding="utf-8").partition("## What may know what")[2].partition("\n\nNo module")[0]
    lines = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    rank = {name: i for i, line in enumerate(lines) for name in re.findall(r"`(\w+)(?:\.py|/)`", line)}
    known = {name.removesuffix(".__init__"): path for name, path in modules().items() if name != "__main__"}
    assert {name.partition(".")[0] for name in known} == rank.keys()
    for name, path in known.items():
        package = [] if name == "__init__" else name.split(".")[: None if path.stem == "__init__" else -1]
        for level, module, names, inner in imports(path):
            if level and not inner:
                base = [*package[: len(package) - level + 1], *filter(None, [module])]
                for target in [".".join(base)] if base else names:
                    if target.partition(".")[0] in rank:
                        assert rank[target.partition(".")[0]] >= rank[name.partition(".")[0]], f"{name} imports {target}"


def test_vendored_under_another_name(tmp_path):
    target = tmp_path / "vendored" / "act"
    shutil.copytree(support.PACKAGE, target, ignore=shutil.ignore_patterns("__pycache__"))
    (target.parent / "__init__.py").touch()
    code = (
        "import sys, pickle\nsys.path.insert(0, sys.argv[1])\nimport numpy as np\nimport vendored.act as act\n"
        "for name in act.names()[1::12]:\n"
        "    f = act.get(name)\n"
        "    x = np.linspace(-2, 2, 100, dtype=np.float32)\n"
        "    y, dy = f.value_and_grad(x)\n"
        "    np.testing.assert_allclose(f(x), y, rtol=1e-6)\n"
        "    np.testing.assert_allclose(f.grad(x), dy, rtol=1e-6)\n"
        "    assert pickle.loads(pickle.dumps(f.grad)) is f.grad\n"
        "    assert pickle.loads(pickle.dumps(f.grad_ufunc)) is f.grad_ufunc\n"
        "assert 'fastact' not in sys.modules\n"
        "print(act.explain(act.names()[0], x).backend)"
    )
    expected = "cython" if support.HAS_EXTENSION else "numba" if support.HAS_NUMBA else "numpy"
    assert support.isolated(code, tmp_path, timeout=300).stdout.split() == [expected]


@pytest.mark.skipif(not support.HAS_NUMBA, reason="Numba is not installed")
def test_vendored_with_numba(tmp_path):
    target = tmp_path / "vendored" / "act"
    shutil.copytree(support.PACKAGE, target, ignore=shutil.ignore_patterns("__pycache__"))
    code = (
        "import sys\nsys.path.insert(0, sys.argv[1])\nimport numpy as np\nfrom vendored import act\n"
        f"act.set_backend('numba')\nx = np.linspace(-2, 2, 5)\nf = act.get({FIRST!r})\n"
        "print((f(x) == f(list(x))).all(), 'fastact' in sys.modules)"
    )
    assert support.isolated(code, tmp_path).stdout.split() == ["True", "False"]
