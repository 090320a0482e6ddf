"""Render the tables of activations, in docs/activations.md and README.md, from the catalog.

python ci/docs.py            rewrite them
python ci/docs.py --check    fail if they are not what this script makes
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fastact import catalog  # noqa: E402

PAGE = ROOT / "docs" / "activations.md"
README = ROOT / "README.md"
BEGIN, END = "<!-- made by ci/docs.py: -->\n", "<!-- end -->\n"

HEAD = """# Activations

Made from the catalog by `ci/docs.py`. Every one is `fastact.NAME`, with the modes `grad`, `value_and_grad` and `backward`; `help(fastact.NAME)` says more.

The error is the largest of value and derivative, in units in the last place, for float32 and float64 alike and wherever the result is a normal number;
near a zero inside, where terms cancel, it counts in units of those terms. A result below the normal numbers is within 4 of the smallest ones. "From output"
says whether `backward(grad_output, output=y)` works without `x`; where parameters are named, only while those are not negative.
At a kink the derivative is PyTorch's, but for `relu` and `leaky_relu`, where it is 0. NaN gives NaN, infinities their limits.

"""

DIFFER = """
## Where definitions differ

`fastact.get(name, like=library)` returns what a library means by a name, with its defaults and its conventions at kinks; so does
`fastact.NAME_LIBRARY`, such as `fastact.leaky_relu_keras`. Only what follows differs from fastact's own; all else of the table above has the same defaults
everywhere. Where a library is wrong (NaN at infinities, a tail that is lost, a jump in `xielu` at 0), fastact is right all the same.
An `at_zero` of NaN stands for the `negative_slope` of the call.

"""

SAME_NAME = """
One name can mean two functions:

"""


def cell(text):
    return text.replace("|", "\\|")


def parameters(record):
    """Parameters with their defaults; conventions behind a semicolon."""
    plain = [f"{p.name}={p.default:.7g}" for p in record.parameters if not p.convention]
    conventions = [f"{p.name}={p.default:.7g}" for p in record.parameters if p.convention]
    others = [f"{name}={default!r}" for name, (default, _) in record.also.items()]
    return "; ".join(", ".join(part) for part in (plain + others, conventions) if part)


def elsewhere(record):
    """Who calls it what: one entry for each name."""
    names = {}
    for library, called in record.like.items():
        for name, _ in called:
            names.setdefault(name, []).append(library)
    entries = [f"`{name}` ({', '.join(libraries)})" for name, libraries in names.items()]
    return ", ".join([*entries, *[f"`{alias}`" for alias in record.aliases]])


def from_output(record):
    if record.from_output is None:
        return ""
    return "yes" if not record.nonnegative else ", ".join(f"`{name}`" for name in record.nonnegative)


def table(heads, rows):
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(cell(c) for c in line)} |\n" for line in lines)


def page():
    records = catalog.records().values()
    text = HEAD + table(
        ["name", "formula", "parameters; conventions", "error", "from output", "elsewhere"],
        [
            [
                f"`{r.name}`",
                f"`{r.definition}`",
                parameters(r) and f"`{parameters(r)}`",
                f"{r.ulp[0]:g}, {r.ulp[1]:g}",
                from_output(r),
                elsewhere(r),
            ]
            for r in records
        ],
    )
    rows = [
        [
            f"`{r.name}`" + (f" as `{name}`" if i else ""),
            library,
            f"`{', '.join(f'{k}={v:.7g}' for k, v in changed.items())}`",
            f"`{parameters(r)}`",
        ]
        for r in records
        for library, names in r.like.items()
        for i, (name, changed) in enumerate(names)
        if changed
    ]
    text += DIFFER + table(["name", "library", "its own", "fastact"], rows) + SAME_NAME
    for library in catalog.LIBRARIES:
        for r in records:
            for name, _ in r.like.get(library, ()):
                if catalog.known(name) and catalog.find(name) is not r:
                    text += f"- {library}'s `{name}` is `{r.name}` here, not `{catalog.find(name).name}`.\n"
    return text


def readme():
    rows = [[f"`{r.name}`", f"`{r.definition}`", f"`{parameters(r)}`" if parameters(r) else ""] for r in catalog.records().values()]
    return "\n" + table(["activation", "formula", "parameters; conventions"], rows) + "\n"


def main():
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    made = {PAGE: page(), README: before + BEGIN + readme() + END + rest.partition(END)[2]}
    for path, text in made.items():
        if "--check" not in sys.argv[1:]:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            sys.exit(f"{path} is not what ci/docs.py makes: run it")


if __name__ == "__main__":
    main()
