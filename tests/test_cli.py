"""Commands: each says what it found, as text and as JSON, helps, and ends with the exit code that it promises."""

import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
import weakref
import zipfile

import numpy as np
import pytest
import support

import fastact
from fastact import bench, catalog, cli, completion, vendoring
from fastact.backends import cython, numba

COMMANDS = {name: made for name, (made, _) in completion.commands(cli.parser()).items()}


def run(*words):
    """The exit code of a command, also where argparse ends it."""
    try:
        return cli.main(list(words))
    except SystemExit as end:
        return end.code


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples_that_parse(command, capsys):
    assert run(command, "--help") == cli.OK
    text = capsys.readouterr().out
    examples = re.findall(rf"^  {cli.PROGRAM} (.*)$", text, re.MULTILINE)
    assert examples and all(example.split()[0] == command for example in examples)
    for example in examples:
        assert cli.parser().parse_args(example.split()).function.__doc__ in text


def test_without_docstrings():
    code = (
        "import fastact, numpy as np\nfrom fastact import cli\n"
        "assert fastact.gelu.__doc__ and not fastact.get.__doc__\n"
        "fastact.softmax(fastact.swiglu(np.ones((2, 4))))\n"
        "fastact.activation(lambda x: x * fastact.sigmoid(2 * x), name='mine')(1.0)\n"
        "[cli.main(words.split()) for words in ('info', 'list', 'explain gelu', 'check relu')]"
    )
    assert "relu" in support.isolated(code, PYTHONOPTIMIZE=2).stdout


def test_a_terminal_of_few_characters():
    there = support.isolated("from fastact import cli; print(cli.main(['info']))", PYTHONIOENCODING="ascii", PYTHONUTF8=0).stdout
    assert "threads" in there and there.endswith("0\n")


@pytest.mark.parametrize("words", ["--epochs 0", "--epochs x", "--batch -1", "--hidden 3 0", "--seed -1"])
def test_options_of_examples(words):
    script = pathlib.Path(__file__).parent.parent / "examples" / "classify.py"
    environment = {**os.environ, "PYTHONPATH": str(vendoring.HERE.parent)}
    environment.pop("PYTHONSAFEPATH", None)  # or a script would not find those beside it
    done = subprocess.run([sys.executable, str(script), *words.split()], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == cli.USAGE and f"argument {words.split()[0]}: " in done.stderr


def test_help_lists_every_command(capsys):
    assert run("--help") == cli.OK
    text = capsys.readouterr().out
    wanted = ["info", "list", "explain", "bench", "report", "tune", "warmup", "plot", "check", "demo", "vendor", "completion"]
    assert set(COMMANDS) == set(wanted) and all(re.search(rf"^    {name}\b", text, re.MULTILINE) for name in wanted)


@pytest.mark.parametrize(
    "words", [(), ("nonsense",), ("explain",), ("explain", "nonsense"), ("warmup", "nonsense"), ("bench", "--rounds", "0")]
)
def test_wrong_usage(words, capsys):
    assert run(*words) == cli.USAGE
    told = capsys.readouterr()
    assert not told.out and "python -m" in told.err and "Traceback" not in told.err


def test_info(capsys):
    assert run("info") == cli.OK
    text = capsys.readouterr().out
    assert fastact.__version__ in text and "backends" in text and "cache" in text
    assert run("info", "--json") == cli.OK
    found = json.loads(capsys.readouterr().out)
    assert found["versions"]["numpy"] == np.__version__ and found["activations"] == len(catalog.records())


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("FASTACT_BACKEND", "torch", "FASTACT_BACKEND: there is no backend 'torch'"), ("FASTACT_NUM_THREADS", "many", "'many' is not a number"),
        ("FASTACT_ACCURACY", "low", "FASTACT_ACCURACY: 'low' is not one of default, high"), ("FASTACT_TUNING", "/no/file", "is not a tuning table"),
    ],
)  # fmt: skip
def test_a_wrong_variable_is_said_in_a_line(variable, value, told, tmp_path):
    script = tmp_path / "fastact"
    script.write_text("import sys\nfrom fastact.cli import main\nsys.exit(main())\n")  # as an installation has it
    variables = {k: v for k, v in os.environ.items() if not k.startswith("FASTACT_")}
    variables |= {"PYTHONPATH": str(vendoring.HERE.parent), "FASTACT_CACHE_DIR": str(tmp_path), variable: value}
    for command in (["-m", "fastact"], [str(script)]):
        done = subprocess.run([sys.executable, *command, "explain", "relu"], env=variables, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == cli.USAGE and told in done.stderr and done.stderr.count("\n") == 1, done.stderr
    done = subprocess.run([sys.executable, "-m", "fastact", "info"], env=variables, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == cli.OK and f"wrong: {variable}" in done.stdout, done.stderr


def test_info_names_unknown_variables(capsys, monkeypatch):
    monkeypatch.setenv("FASTACT_NUMTHREADS", "2")
    assert run("info") == cli.OK
    assert "FASTACT_NUMTHREADS: there is no such variable; did you mean FASTACT_NUM_THREADS?" in capsys.readouterr().out


def test_list(capsys):
    assert run("list", "--json") == cli.OK
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == fastact.names()
    assert run("list") == cli.OK
    assert set(fastact.names()) <= set(re.findall(r"^\w+", capsys.readouterr().out, re.MULTILINE))


def test_explain(capsys):
    with fastact.use_backend("numpy"):
        assert run("explain", "swish", "--json", "--size", "1,000") == cli.OK
    found = json.loads(capsys.readouterr().out)
    assert found["backend"] == "numpy"


def test_explain_of_bfloat16(capsys, monkeypatch):
    pytest.importorskip("ml_dtypes")
    assert run("explain", "relu", "--dtype", "bfloat16", "--json") == cli.OK
    found = json.loads(capsys.readouterr().out)
    assert found["dtype"] == "bfloat16" and found["computed"] == "float32"
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    assert run("explain", "relu", "--dtype", "bfloat16") == cli.FAILED
    assert "pip install ml_dtypes" in capsys.readouterr().err


@pytest.mark.parametrize("size", ["1000000", "1,000,000", "1_000_000", "1e6"])
def test_sizes(size):
    assert cli.parser().parse_args(["explain", "relu", "--size", size]).size == 1_000_000


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("explain relu --size 99999999999999999999", "argument --size: there is no room"), ("explain relu --size 1.5", "give an integer"),
        ("plot relu --span 1e30", "below 1,000,000"),
    ],
)  # fmt: skip
def test_numbers_that_will_not_do(words, told, capsys):
    assert run(*words.split()) == cli.USAGE
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(("text", "told"), [("x", "is no JSON"), ("[1]", "is not the JSON of"), ('{"a": 1}', "'results' is missing")])
def test_report_of_something_else(text, told, tmp_path, capsys):
    (tmp_path / "a.json").write_text(text)
    assert run("report", str(tmp_path / "a.json"), "-o", "-") == cli.FAILED
    found = capsys.readouterr().err
    assert told in found and "Error" not in found


def test_report_reads_what_bench_writes(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with fastact.use_backend("numpy"):
        assert run("bench", "relu", "--rounds", "1", "-o", "here.html", "--json") == cli.OK
    found = json.loads(capsys.readouterr().out)
    assert {row["activation"] for row in found["results"]} == {"relu"}
    monkeypatch.setattr(sys, "stdin", io.StringIO(pathlib.Path("here.json").read_text()))
    assert run("report", "-", "-o", "-") == cli.OK
    assert capsys.readouterr().out == pathlib.Path("here.html").read_text()
    assert run("report", "nowhere.json") == cli.FAILED
    assert "nowhere.json" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["bench relu", "demo", "tune", "plot relu"])
def test_output_that_can_not_be_written_is_said_first(command, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(cli, "progress", None)  # nothing is to be measured
    monkeypatch.chdir(tmp_path)
    assert run(*command.split(), "-o", "no/such/folder/page.html") == cli.FAILED
    assert "there is no folder" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_picture_is_where_it_says(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    assert run("plot", "relu", "-o", str(tmp_path)) == cli.FAILED
    assert "folder" in capsys.readouterr().err and not list(tmp_path.parent.glob(f"{tmp_path.name}.*"))
    assert run("plot", "relu", "-o", str(tmp_path / "curve")) == cli.OK
    assert pathlib.Path(capsys.readouterr().out.strip().removeprefix("The picture is ")).is_file()


def test_plot_without_matplotlib_says_what_is_needed(capsys, tmp_path, monkeypatch):
    for module in [m for m in sys.modules if m.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert run("plot", "relu", "-o", str(tmp_path / "a.png")) == cli.FAILED
    assert "pictures need matplotlib: pip install matplotlib" in capsys.readouterr().err


def test_warmup_of_nothing(capsys):
    for most in (1, 0):  # whatever was to be compiled is, the second time
        assert run("warmup", "relu", "--dtype", "float32", "--mode", "value", "--json") == cli.OK
        assert json.loads(capsys.readouterr().out)["kernels"] <= most


def test_warmup_says_why_nothing_was_compiled(capsys, monkeypatch):
    with fastact.use_backend("numpy"):
        assert run("warmup", "relu") == cli.OK
    assert "is set is numpy" in capsys.readouterr().out
    monkeypatch.setattr(numba, "available", lambda: False)
    for there, told in ((True, "every call has a compiled kernel.\n"), (False, "neither the extension nor Numba is installed")):
        monkeypatch.setattr(cython, "available", lambda there=there: there)
        assert run("warmup", "relu") == cli.OK
        assert told in capsys.readouterr().out


# --- Measuring -----------------------------------------------------------------------------------------------------------


class Result:
    """Something that takes memory, as an array does."""


def test_a_batch_measures_what_a_loop_does():
    held, free = [0], [0]

    def give_back():
        held[0] -= 1
        free[0] = free[0] + 1 if held[0] else 0  # once nothing is held, all of it goes back to the system

    def call():
        if free[0]:
            free[0] -= 1
        else:
            time.sleep(0.003)  # memory that has yet to be mapped
        result = Result()
        weakref.finalize(result, give_back)
        held[0] += 1
        return result

    samples = bench.alternate({"new": bench.Contender("y = f()", {"f": call})}, rounds=3, seconds=0.004)
    assert max(samples["new"]) < 0.001


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0009996, "1 ms"),
        (0.9996, "1 s"),
        (0.00099949, "999 µs"),
        (1.2345e-6, "1.23 µs"),
        (3e-9, "3 ns"),
        (9.996e-7, "1 µs"),
        (12.34, "12.3 s"),
    ],
)
def test_durations(seconds, text):
    assert bench.duration(seconds) == text


# --- Completion ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_completion_has_every_command_and_option(shell, capsys):
    assert run("completion", shell) == cli.OK
    script = capsys.readouterr().out
    for name, made in COMMANDS.items():
        assert re.search(rf"\b{name}\b", script)
        for slot in completion.slots(made, ()):
            for flag in slot.flags:
                assert flag in script or f"-l {flag[2:]}" in script
    assert "leaky_relu" in script and "hardswish" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


def completed(script, *words):
    """What bash offers for the last of these words."""
    line = " ".join(f"'{word}'" for word in ("fastact", *words))
    script += f'COMP_WORDS=({line}); COMP_CWORD={len(words)}; _fastact; printf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "--norc"], input=script, capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.skipif(os.name == "nt" or not shutil.which("bash"), reason="this machine has no bash")
def test_bash_completes():
    script = completion.script("bash", cli.parser(), catalog.records())
    assert completed(script, "ex") == ["explain"]
    assert completed(script, "explain", "leaky") == ["leaky_relu"]
    assert completed(script, "explain", "gelu", "--mode", "value_") == ["value_and_grad"]
    assert completed(script, "explain", "gelu", "--si") == ["--size"]
    assert completed(script, "tune", "-o", "") == []


# --- Vendoring -----------------------------------------------------------------------------------------------------------

USE = """
import pickle, sys, numpy as np
import project._act as act
assert "fastact" not in sys.modules
x = np.linspace(-3, 3, 101, dtype=np.float32)
y, dy = act.gelu.value_and_grad(x)
assert act.explain("gelu", x).backend == "numpy", act.explain("gelu", x)
assert abs(act.softmax(x).sum() - 1) < 1e-6
assert pickle.loads(pickle.dumps(act.gelu)) is act.gelu and type(pickle.loads(pickle.dumps(act.gelu.ufunc))) is np.ufunc
serf = act.activation(lambda x: x * act.math.erf(np.log1p(np.exp(x))), name="serf")
assert np.isfinite(serf.grad(x)).all()
assert act.health("relu", x[:, None]).dead == 0
assert "fastact" not in sys.modules
np.save(sys.argv[1], [y, dy])
"""


def test_vendored_copy_works_under_its_name(tmp_path, capsys):
    project = tmp_path / "project"
    project.mkdir()
    (project / "__init__.py").touch()
    assert run("vendor", str(project), "--name", "_act", "--json") == cli.OK
    found = json.loads(capsys.readouterr().out)
    copy = project / "_act"
    assert found["folder"] == str(copy.resolve()) and found["version"] == fastact.__version__
    there = {f.relative_to(copy).as_posix() for f in copy.rglob("*") if f.is_file()}
    assert there == set(found["files"]) and found["bytes"] == sum((copy / f).stat().st_size for f in there)
    assert "LICENSE" in there and "_cy/__init__.py" in there and not [f for f in there if f.endswith((".so", ".pyd", ".pyc", ".cpp"))]
    variables = {**os.environ, "PYTHONPATH": str(tmp_path), "FASTACT_BACKEND": "numpy", "FASTACT_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", USE, str(tmp_path / "y.npy")],
        env=variables,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with fastact.use_backend("numpy"):
        wanted = fastact.gelu.value_and_grad(np.linspace(-3, 3, 101, dtype=np.float32))
    support.same_bits(np.load(tmp_path / "y.npy"), np.stack(wanted))
    done = subprocess.run(
        [sys.executable, "-m", "project._act", "explain", "nonsense"],
        env=variables,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == cli.USAGE and "python -m project._act list" in done.stderr


def test_import_from_a_zip_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "package.zip", "w") as package:
        for file in vendoring._files(sources=False):
            package.write(vendoring.HERE / file, pathlib.PurePath("fastact", file).as_posix())
    code = (
        "import fastact, numpy as np; assert 'package.zip' in fastact.__file__\n"
        "print(fastact.explain('relu').backend, fastact.relu(np.array([-1.0, 2.0])), fastact.softmax(np.ones(2)))"
    )
    variables = {**os.environ, "PYTHONPATH": str(tmp_path / "package.zip"), "FASTACT_CACHE_DIR": str(tmp_path / "cache")}
    variables.pop("FASTACT_TUNING", None)
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, env=variables, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == f"{'numba' if numba.available() else 'numpy'} [0. 2.] [0.5 0.5]\n", done.stderr


def test_vendor_replaces_copies_only(tmp_path, capsys):
    assert run("vendor", str(tmp_path), "--name", "act") == cli.OK
    assert str(tmp_path / "act") in capsys.readouterr().out
    assert run("vendor", str(tmp_path), "--name", "act") == cli.FAILED
    assert "--replace" in capsys.readouterr().err
    (tmp_path / "act" / "old.py").touch()
    assert run("vendor", str(tmp_path), "--name", "act", "--replace", "--sources") == cli.OK
    assert not (tmp_path / "act" / "old.py").exists() and sorted(p.name for p in tmp_path.iterdir()) == ["act"]
    (tmp_path / "mine").mkdir()
    assert run("vendor", str(tmp_path), "--name", "mine", "--replace") == cli.FAILED
    assert not list((tmp_path / "mine").iterdir())


@pytest.mark.parametrize("words", [(".", "--name", "a-b"), (".", "--name", "class"), ("nowhere",), ("file",)])
def test_vendor_refuses(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert run("vendor", *words) == (cli.USAGE if "--name" in words else cli.FAILED)
    assert capsys.readouterr().err and [p.name for p in tmp_path.iterdir()] == ["file"]


def test_the_package_itself_is_never_replaced():
    with pytest.raises(FileExistsError, match="itself"):
        vendoring.vendor(vendoring.HERE.parent, vendoring.HERE.name, replace=True)
