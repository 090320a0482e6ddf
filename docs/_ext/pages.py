"""Pages made at build time, into docs/generated: one for each activation, the reference, notebooks of the examples, and what README and
CONTRIBUTING say already."""

import ast
import inspect
import json
import re
import sys
from pathlib import Path

import mathematics
import nbformat

import fastact
from fastact import catalog, formulas, plotting

DOCS = Path(__file__).resolve().parent.parent
ROOT = DOCS.parent
OUT = DOCS / "generated"

sys.path.insert(0, str(ROOT / "ci"))
import docs as tables  # noqa: E402

_INK = "#808894"  # legible on white and on black, as the colours of plotting.COLORS are


def _write(name, text):
    path = OUT / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text(encoding="utf-8") != text:  # Sphinx reads again what is newer
        path.write_text(text, encoding="utf-8")


# --- Activations ---------------------------------------------------------------------------------------------------------


def _plot(record):
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    path = OUT / "activations" / f"{record.name}.svg"
    path.parent.mkdir(parents=True, exist_ok=True)
    style = dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "axes.titlecolor", "grid.color"), _INK
    )
    style |= {"svg.hashsalt": record.name, "savefig.transparent": True, "font.size": 11}
    with plt.rc_context(style):
        figure, axes = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
        plotting.plot(record.name, axes=axes)
        axes.set_title("")
        for line in axes.lines:  # a dot, where a ring would be filled with white
            line.set_markerfacecolor(line.get_color())
        axes.legend(frameon=False, fontsize="small")
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


def _signatures(record):
    act = fastact.get(record.name)
    calls = [("", act), (".grad", act.grad), (".value_and_grad", act.value_and_grad), (".backward", act.backward)]
    return "".join(f"fastact.{record.name}{mode}{inspect.signature(call)}\n" for mode, call in calls)


def _source(record):
    formula = getattr(formulas, record.name)
    texts = [inspect.getsource(formula)]
    if record.from_output is not None:
        texts.append(inspect.getsource(record.from_output))
    return "\n".join(texts)


def _table(heads, rows):
    """A table without the columns that would be empty."""
    kept = [i for i in range(len(heads)) if any(row[i] for row in rows)]
    return tables.table([heads[i] for i in kept], [[row[i] for i in kept] for row in rows])


def _libraries(record):
    rows = []
    for library, names in record.like.items():
        for name, changed in names:
            own = ", ".join(f"{k}={v:.7g}" for k, v in changed.items())
            rows.append([library, f"`{name}`", own and f"`{own}`", f'`fastact.get("{name}", like="{library}")`'])
    return _table(["library", "its name", "its own defaults and conventions", "to have them"], rows) if rows else ""


def _activation(record, speed):
    value, derivative = record.ulp
    parts = [
        f"# {record.name}\n",
        record.summary + "\n",
        f"$$\n{mathematics.formula(record)}\n$$\n",
        f"$$\n{mathematics.derivative(record)}\n$$\n",
    ]
    words = f"{record.name} (solid) and its derivative (dashed)"
    parts.append(f"```{{image}} {record.name}.svg\n:alt: {words}\n:class: plot\n```\n")
    if record.parameters:
        rows = []
        for p in record.parameters:
            kinks = ", ".join(f"{k:g}" for k in record.kinks)
            rows.append([f"`{p.name}`", f"{p.default:.7g}", f"convention: the derivative at the kink, x = {kinks}" if p.convention else ""])
        parts += ["## Parameters\n", _table(["name", "default", "what it is"], rows)]
    parts += ["## Calls\n", f"```python\n{_signatures(record)}```\n"]
    parts.append("What the modes and arguments mean is the same [for all activations](../modes.md).\n")
    bound = f"At most {value:g} ULP for the value and {derivative:g} ULP for the derivative, in float32 and float64, wherever the result is normal."
    parts += ["## Error and special values\n", bound + "\n"]
    parts.append(_notes(record) + "\n")
    if record.like or record.aliases:
        parts.append("## Names elsewhere\n")
        if record.aliases:
            parts.append(f"Also known as {', '.join(f'`{a}`' for a in record.aliases)}.\n")
        parts.append(_libraries(record))
    parts.append("[Where definitions differ](../../activations.md#where-definitions-differ) compares them all.\n" if record.like else "")
    if record.name in speed[0]:
        parts += ["## Speed\n", _speed(speed[0][record.name], speed[1])]
    parts += ["## Source\n", f"The record and the formula, in `fastact/formulas.py`:\n\n```python\n{_source(record)}```\n"]
    if record.paper:
        parts.append(f"Reference: {record.paper}.\n")
    return "\n".join(parts)


def _notes(record):
    """The notes of the docstring of `backward`, which knows most, but for the bounds."""
    text = fastact.get(record.name).grad.__doc__.split("Notes\n-----\n")[1].split("\n\n")[0]
    lines = [line for line in text.splitlines() if not line.startswith(("Error:", "float16 and bfloat16", "Also known"))]
    return " ".join(lines)


def _bench():
    """What `python -m fastact bench -o docs/data/bench` found, by activation, and on which machine; ({}, "") where nobody measured."""
    path = DOCS / "data" / "bench.json"
    if not path.is_file():
        return {}, ""
    found = json.loads(path.read_text(encoding="utf-8"))
    by_name = {}
    for row in found["results"]:
        by_name.setdefault(row["activation"], []).append(row)
    there = found["environment"]
    kernels = f"the extension's kernels for {there['instruction_set']}" if there["extension"] else "Numba's kernels"
    return by_name, f"{there['processor']}, {there['system']}, {there['threads']} threads, {kernels}, {found['made'][:10]}"


def _chart(rows):
    """Bars of nanoseconds an element, fastact's over NumPy's, as SVG in the colour of the text."""
    ways = (("fastact_out", "fastact", plotting.COLORS[0]), ("numpy", "NumPy's way", _INK))
    ns = [{way: row["seconds"][way] / row["size"] * 1e9 for way, *_ in ways if way in row["seconds"]} for row in rows]
    longest, left, width, step = max(max(each.values()) for each in ns), 236, 330, 36
    parts = []
    for i, (row, each) in enumerate(zip(rows, ns, strict=True)):
        y = 26 + i * step
        parts.append(f'<text x="{left - 8}" y="{y + 16}" text-anchor="end">{row["mode"]}, {row["dtype"]}, {row["size"]:,}</text>')
        for j, (way, _, color) in enumerate(ways):
            if way in each:
                long = max(1.0, each[way] / longest * width)
                parts.append(f'<rect x="{left}" y="{y + 13 * j}" width="{long:.1f}" height="11" rx="1.5" fill="{color}"/>')
                parts.append(f'<text class="figure" x="{left + long + 5:.1f}" y="{y + 13 * j + 9.5}">{each[way]:.3g} ns</text>')
    key = "".join(
        f'<rect x="{left + 90 * j}" y="4" width="11" height="11" rx="1.5" fill="{color}"/><text x="{left + 90 * j + 16}" y="14">{words}</text>'
        for j, (_, words, color) in enumerate(ways)
    )
    height = 30 + len(rows) * step
    words = f"nanoseconds an element of {rows[0]['activation']}: fastact and NumPy's way"
    return (
        f'<svg class="chart" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 {height}" role="img" aria-label="{words}">'
        f"<title>{words}</title>{key}{''.join(parts)}</svg>"
    )


def _speed(rows, where):
    """The section about speed of one activation: a chart for large arrays, and all figures as a table."""
    from fastact import bench

    large = [row for row in rows if row["size"] >= 1024]
    cells = [
        [
            row["mode"], row["dtype"], f"{row['size']:,}", bench.duration(row["seconds"]["fastact_out"]), bench.duration(row["seconds"]["fastact"]),
            bench.duration(row["seconds"]["numpy"]) if "numpy" in row["seconds"] else "",
            bench.times(row["speedup_out"][1]) if "speedup_out" in row else "",
        ]
        for row in rows
    ]  # fmt: skip
    heads = ["mode", "dtype", "elements", "with `out=`", "new array", "NumPy's way", "times as fast with `out=`"]
    chart = (
        f"Nanoseconds an element, results into arrays that are there (`out=`):\n\n```{{raw}} html\n{_chart(large)}\n```\n\n"
        if large
        else ""
    )
    return f"{chart}{_table(heads, cells)}\nMeasured on {where}. `python -m fastact bench {rows[0]['activation']}` measures it where you are.\n"


def activations():
    records, speed = catalog.records(), _bench()
    for record in records.values():
        _plot(record)
        _write(f"activations/{record.name}.md", _activation(record, speed))
    cells = "".join(f'<a class="card" href="{r.name}.html">{plotting.svg(r.name)}<span>{r.name}</span></a>\n' for r in records.values())
    listed = "\n".join(records)
    text = "# Each activation\n\nValue (solid) and derivative (dashed) from -4 to 4. [All in one table](../../activations.md).\n\n"
    _write(
        "activations/index.md",
        f'{text}```{{raw}} html\n<div class="cards">\n{cells}</div>\n```\n\n```{{toctree}}\n:hidden:\n\n{listed}\n```\n',
    )
    _write("modes.md", _modes())


def _modes():
    """What is the same for all activations, said by the docstrings of one that has everything."""
    act = fastact.get("elu")
    parts = [
        "# Modes and arguments\n",
        "What holds for every activation, shown for `elu`, which has a parameter and can go back from its output.\n",
    ]
    for name, call in (("elu", act), ("elu.grad", act.grad), ("elu.value_and_grad", act.value_and_grad), ("elu.backward", act.backward)):
        parts += [f"## {name}\n", _directive(f"py:function:: fastact.{name}{inspect.signature(call)}", _napoleon(call.__doc__))]
    return "\n".join(parts)


def _napoleon(text):
    from sphinx.ext.napoleon import Config, NumpyDocstring

    return str(NumpyDocstring(text, Config(napoleon_use_rtype=False, napoleon_use_param=False), what="function"))


def _directive(head, body, options=(":no-index:",)):
    lines = [f".. {head}", *[f"   {o}" for o in options], "", *[f"   {line}".rstrip() for line in body.splitlines()]]
    return "```{eval-rst}\n" + "\n".join(lines) + "\n```\n"


# --- Reference -----------------------------------------------------------------------------------------------------------


def reference():
    groups = {
        "Choosing and asking": [],
        "Along an axis": [],
        "Gates, biases and training": [],
        "One's own activations": [],
        "What activations do": [],
        "Errors": [],
    }
    places = {
        "callables": "Choosing and asking", "axis": "Along an axis", "gating": "Gates, biases and training", "biasing": "Gates, biases and training",
        "training": "Gates, biases and training", "custom": "One's own activations", "checking": "One's own activations",
        "monitor": "What activations do", "plotting": "What activations do", "errors": "Errors",
    }  # fmt: skip
    units = [*catalog.gated_units()]
    for name in fastact.__all__:
        if name not in catalog.records() and name not in units:
            groups[places.get(fastact._LATER.get(name), "Choosing and asking")].append(name)
    missing = [name for names in groups.values() for name in names if not (getattr(fastact, name).__doc__ or "").strip()]
    if missing:
        raise ValueError(f"no docstring: {', '.join(missing)}")
    parts = [
        "# Reference\n",
        "The public names but for the activations, [which have a page each](activations/index.md) and [share their arguments](modes.md).\n",
    ]
    for title, names in groups.items():
        parts.append(f"## {title}\n")
        for name in sorted(names):
            found = getattr(fastact, name)
            if inspect.isclass(found):
                parts.append(f"```{{eval-rst}}\n.. autoexception:: fastact.{name}\n```\n")
            else:
                parts.append(_directive(f"py:function:: fastact.{name}{inspect.signature(found)}", _napoleon(inspect.getdoc(found)), ()))
        if title.startswith("Gates"):
            parts.append(f"The gated units {', '.join(f'`{u}`' for u in units)} share their arguments:\n")
            unit = fastact.swiglu
            for name, call in (("swiglu", unit), ("swiglu.backward", unit.backward)):
                parts.append(_directive(f"py:function:: fastact.{name}{inspect.signature(call)}", _napoleon(inspect.getdoc(call)), ()))
    from fastact import math, settings

    names = ", ".join(f"`{n}`" for n in sorted(n for n in vars(math) if not n.startswith("_")))
    parts.append(f"## fastact.math\n\nThe functions that an activation of one's own is written with: {names}.\n")
    parts += [
        "## Environment variables\n",
        tables.table(["variable", "what it says"], [[f"`{k}`", v] for k, v in settings.VARIABLES.items()]),
    ]
    _write("reference.md", "\n".join(parts))


# --- Notebooks -----------------------------------------------------------------------------------------------------------

# The scripts stay what is edited. Their settings here are short, for a build on slow machines.
NOTEBOOKS = {
    "classify": ("A classifier", ["--epochs", "12"]),
    "gan": ("A generative adversarial network", ["--epochs", "60", "-o", "digits.png"]),
    "dead_relu": ("Units that die", []),
    "vanishing": ("A gradient that vanishes", ["--epochs", "8"]),
    "own_activation": ("An activation of one's own", None),
}


def _cells(name):
    """A script as cells: its docstring and comment blocks between functions become text, `main` is called with short settings."""
    source = (ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8")
    tree = ast.parse(source)
    lines = source.splitlines()
    doc = ast.get_docstring(tree)
    title, _, rest = doc.partition("\n")
    rest = re.sub(r"\n *python examples.*\n", "\n", "\n" + rest)
    rest = re.sub(r"^=+( +=+)+$[\s\S]*^=+( +=+)+$", _grid, rest, flags=re.MULTILINE).replace("``", "`")
    yield "markdown", f"# {title.rstrip('.')}\n{rest}\n\nMade from `examples/{name}.py`."
    bodies, imports = tree.body[1:], []
    at = bodies[0].lineno
    for node in bodies:
        if isinstance(node, ast.If) and "__main__" in ast.unparse(node.test):
            continue
        start = min([node.lineno, *[d.lineno for d in getattr(node, "decorator_list", ())]])
        above = start - 1
        while above >= at and lines[above - 1].startswith("#"):
            above -= 1
        comment = "\n".join(line.lstrip("# ") for line in lines[above : start - 1])
        code = "\n".join(lines[start - 1 : node.end_lineno])
        at = node.end_lineno + 1
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) or comment:
            if imports:
                yield "code", "\n".join(imports)
                imports = []
            if comment:
                yield "markdown", comment
            yield "code", code
        else:
            imports.append(code)
    if imports:
        yield "code", "\n".join(imports)
    arguments = NOTEBOOKS[name][1]
    yield "code", "main()" if arguments is None else f"main({arguments!r})"


def _grid(match):
    """A table of reStructuredText as one of Markdown."""
    rows = match[0].splitlines()
    widths = [m.span() for m in re.finditer("=+", rows[0])]
    cells = [
        [row[a : max(b, len(row)) if i == len(widths) - 1 else b].strip() for i, (a, b) in enumerate(widths)]
        for row in rows
        if not row.startswith("=")
    ]
    return tables.table(cells[0], cells[1:])


def notebooks():
    for name in NOTEBOOKS:
        book = nbformat.v4.new_notebook()
        book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        where = f"import sys\nsys.path.insert(0, {str(ROOT / 'examples')!r})"
        new = {"markdown": nbformat.v4.new_markdown_cell, "code": nbformat.v4.new_code_cell}
        hidden = nbformat.v4.new_code_cell(where, metadata={"tags": ["remove-cell"]})
        cells = [new[kind](text) for kind, text in _cells(name)]
        if name == "gan":
            cells.append(nbformat.v4.new_code_cell('from IPython.display import Image\n\nImage("digits.png")'))
        else:  # what a script returns is its exit code
            cells[-1].source = f"assert {cells[-1].source} == 0" if name != "classify" else cells[-1].source + ";"
        book.cells = [cells[0], hidden, *cells[1:]]
        for i, cell in enumerate(book.cells):
            cell["id"] = f"cell-{i}"
        _write(f"examples/{name}.ipynb", nbformat.writes(book) + "\n")
    listed = "\n".join(f"{title} <{name}>" for name, (title, _) in NOTEBOOKS.items())
    text = "# Examples\n\nThe scripts of `examples/` as notebooks, executed with short settings when these pages are built.\n"
    _write("examples/index.md", f"{text}\n```{{toctree}}\n:maxdepth: 1\n\n{listed}\n```\n")


# --- Links ---------------------------------------------------------------------------------------------------------------

# Pages link to files, so that they can be read in the repository too; here what was made of a file is better.
_MADE = (
    (r"(?:\.\./)+(CONTRIBUTING|CHANGELOG)\.md", lambda match: f"{match[1].lower()}.md"),
    (r"(?:\.\./)+examples/README\.md", lambda match: "examples/index.md"),
    (r"(?:\.\./)*activations\.md#(\w+)(?=\))", lambda match: f"activations/{match[1]}.md"),
)


def lead_to_generated(app, page, source):
    """Let links of a page to files of the repository lead to the pages made of these files."""
    if page.startswith("generated/"):
        return
    for pattern, name in _MADE:
        source[0] = re.sub(rf"\]\({pattern}", lambda match, name=name: f"]({'../' * page.count('/')}generated/{name(match)}", source[0])


# --- What is said elsewhere ----------------------------------------------------------------------------------------------


def elsewhere():
    """CONTRIBUTING, the changelog and the README's installation, with links that work from here."""

    def linked(text):
        text = re.sub(r"\[([^\]]*)\]\((?!https?:|#|docs/)([^)]*)\)", r"`\1`", text)  # files of the repository
        return text.replace("](docs/", "](../")

    _write("contributing.md", linked((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")))
    _write("changelog.md", linked((ROOT / "CHANGELOG.md").read_text(encoding="utf-8")))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    [installing] = re.findall(r"^## Installing\n(.*?)^## ", readme, re.DOTALL | re.MULTILINE)
    [limits] = re.findall(r"^## What it does not do\n(.*?)^## ", readme, re.DOTALL | re.MULTILINE)
    [why] = re.findall(r"^## Why not.*?\n(.*?)^## ", readme, re.DOTALL | re.MULTILINE)
    _write("install.md", linked(f"# Installing\n{installing}"))
    _write("limits.md", linked(f"# What it does not do\n{limits}"))
    _write("why.md", linked(f"# Why not `1 / (1 + np.exp(-x))`?\n{why}"))


def speed():
    """Speed on one page: of all activations by docs/data/bench.json, and the claims of docs/data/shows.json, where these files are there."""
    from fastact.bench import duration, times

    text = "# Speed\n\nContenders take turns in short batches; figures are medians of the rounds, and ratios medians of the rounds' ratios.\n\n"
    by_name, where = _bench()
    if by_name:
        cells = {}
        for row in (row for rows in by_name.values() for row in rows):
            if row["mode"] == "value" and row["size"] >= 1024:
                ratio = f", {times(row['speedup_out'][1])}x" if "speedup_out" in row else ""
                cells.setdefault(row["activation"], {})[row["dtype"], row["size"]] = (
                    f"{row['seconds']['fastact_out'] / row['size'] * 1e9:.3g}{ratio}"
                )
        kinds = sorted({kind for each in cells.values() for kind in each})
        rows = [[f"[{name}](activations/{name}.md)", *[each.get(kind, "") for kind in kinds]] for name, each in cells.items()]
        text += "## Every activation\n\nThe value into an array that is there: nanoseconds an element, and how many times as fast as NumPy's usual way.\n"
        text += f"Measured by `python -m fastact bench` on {where}. An activation's page has the other modes.\n\n"
        text += tables.table(["activation", *[f"{dtype}, {size:,}" for dtype, size in kinds]], rows)
    path = DOCS / "data" / "shows.json"
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))
        rows = []
        for row in found["claims"]:
            spent = ", ".join(f"{name} {duration(row['seconds'][name])}" for name in row["compared"]) if "seconds" in row else ""
            rows.append([row["claim"], row["wanted"], str(row["measured"]), row["verdict"], spent])
        there = found["environment"]
        text += f"\n## Claims\n\nMade by `python bench/shows.py` on {there['processor']} ({there['system']}), {there['threads']} threads, "
        text += f"in {found['rounds']} rounds.\n\n" + tables.table(["claim", "wanted", "measured", "verdict", "times"], rows)
    if by_name or path.is_file():
        _write("speed.md", text)
    else:
        (OUT / "speed.md").unlink(missing_ok=True)


def figures():
    """Accuracy and speed, as far as there are figures: docs/accuracy.md is made by whoever measures accuracy."""
    there = [("../accuracy", DOCS / "accuracy.md"), ("speed", OUT / "speed.md")]
    listed = [name for name, path in there if path.is_file()]
    text = "# Accuracy and speed\n\nEach [activation's page](activations/index.md) has the bound of its error, which the tests demand.\n"
    text += "`python bench/shows.py -o docs/data/shows.json` measures what is claimed about speed, `python -m fastact bench` your own machine.\n"
    if listed:
        text += "\n```{toctree}\n:maxdepth: 1\n\n" + "\n".join(listed) + "\n```\n"
    _write("figures.md", text)


def make():
    """All of them."""
    activations()
    reference()
    notebooks()
    elsewhere()
    speed()
    figures()


if __name__ == "__main__":
    make()
