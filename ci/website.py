"""Build the documentation into build/docs/html: warnings are errors, every example is executed, every link between pages is checked.

    python3 ci/website.py                 in a virtual environment made for it
    python3 ci/website.py --here          with the Python that runs this: what docs/conf.py imports must be there
    python3 ci/website.py --here --quick  without executing the notebooks

Examples in Markdown, the README's too, are blocks marked ``python``, which must run, and ``pycon``, which must print what they show. The blocks
of a page share their names. ``<!-- needs PACKAGE -->`` above a block leaves it out, and says so, where that package is not installed.
"""

import argparse
import collections
import doctest
import html.parser
import importlib.util
import os
import re
import shutil
import sys
import tempfile
import time
import urllib.parse
import warnings

from environment import ROOT, Environment, run, say

DOCS, BUILD = ROOT / "docs", ROOT / "build" / "docs"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def blocks(text):
    """``(language, needs, line, code)`` of each block of code in a page."""
    found = re.finditer(r"^(?:<!-- needs (\S+) -->\n)?```(python|pycon)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    for match in found:
        yield match[2], match[1], text[: match.start(3)].count("\n"), match[3]


def examples():
    """Run the examples of all pages; the number of failures."""
    failures, ran, left = 0, 0, []
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner(optionflags=FLAGS, verbose=False)
    here = os.getcwd()
    warnings.simplefilter("error")  # as in the tests
    for page in sorted([ROOT / "README.md", DOCS / "index.md", *DOCS.glob("guides/*.md")]):
        names = {"__name__": "__main__"}
        for language, needs, line, code in blocks(page.read_text(encoding="utf-8")):
            if needs and not _installed(needs):
                left.append(f"{page.name}:{line} needs {needs}")
                continue
            ran += 1
            with tempfile.TemporaryDirectory() as folder:
                os.chdir(folder)
                try:
                    if language == "pycon":
                        test = parser.get_doctest(code, names, page.name, str(page), line)
                        failures += runner.run(test, clear_globs=False).failed
                        names = test.globs
                    else:
                        exec(compile("\n" * line + code, str(page), "exec"), names)
                except Exception as error:
                    failures += 1
                    at = [f.lineno for f in _frames(error) if f.filename == str(page)]
                    print(f"{page}:{at[-1] if at else line}: {type(error).__name__}: {error}")
                finally:
                    os.chdir(here)
    print(f"{ran} examples, {failures} failures" + "".join(f"\n  left out: {what}" for what in left))
    warnings.resetwarnings()
    return failures


def files():
    """Check the links of Markdown files to files of the repository, for those who read it there; the number that lead nowhere."""
    wrong = 0
    for page in sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md"), *DOCS.glob("guides/*.md"), *ROOT.glob("examples/*.md")]):
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            address = urllib.parse.urlsplit(link)
            made = DOCS / "generated" in (page.parent / address.path).resolve().parents
            if not address.scheme and (made or not (page.parent / address.path).exists()):
                wrong += 1
                print(f"{page.relative_to(ROOT)}: {link} leads nowhere in the repository")
    return wrong


def _installed(package):
    try:
        return importlib.util.find_spec(package) is not None
    except ImportError:
        return False


def _frames(error):
    import traceback

    return traceback.extract_tb(error.__traceback__)


class Page(html.parser.HTMLParser):
    """What a page links to, and what can be linked to in it."""

    def __init__(self, text):
        super().__init__()
        self.links, self.places = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.places |= {given[k] for k in ("id", "name") if given.get(k)}
        self.links += [given[k] for k in ("href", "src") if given.get(k)]


def links(folder):
    """Check the links between the built pages; the number that lead nowhere."""
    pages = {path.resolve(): Page(path.read_text(encoding="utf-8")) for path in folder.rglob("*.html")}
    wrong = collections.defaultdict(set)
    for path, page in pages.items():
        for link in page.links:
            address = urllib.parse.urlsplit(link)
            if address.scheme or address.netloc:
                continue
            target = (path.parent / urllib.parse.unquote(address.path)).resolve() if address.path else path
            place = urllib.parse.unquote(address.fragment)
            if not target.exists() or (place and target in pages and place not in pages[target].places):
                wrong[link].add(path.relative_to(folder.resolve()).as_posix())
    for link, where in sorted(wrong.items()):
        print(f"{link} leads nowhere, in {', '.join(sorted(where)[:3])}")
    print(f"{sum(len(p.links) for p in pages.values())} links in {len(pages)} pages, {len(wrong)} lead nowhere")
    return len(wrong)


def build(quick):
    """Everything, with the Python that runs this."""
    import sphinx.cmd.build

    start = time.monotonic()
    say("Examples")
    bad = examples() + files()
    say(f"Pages ({time.monotonic() - start:.0f} s)")
    shutil.rmtree(BUILD / "html", ignore_errors=True)
    settings = ["-D", "nb_execution_mode=off", "-D", "suppress_warnings=myst-nb.lexer"] if quick else []
    command = ["-b", "html", "-q", "-W", "--keep-going", *settings, "-d", str(BUILD / "trees"), str(DOCS), str(BUILD / "html")]
    bad += sphinx.cmd.build.main(command)
    say(f"Links ({time.monotonic() - start:.0f} s)")
    if not (BUILD / "html" / "index.html").is_file():
        sys.exit("no pages were made")
    bad += links(BUILD / "html")
    say(f"{BUILD / 'html' / 'index.html'} after {time.monotonic() - start:.0f} s")
    return 1 if bad else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--here", action="store_true", help="use the Python that runs this")
    parser.add_argument("--quick", action="store_true", help="execute no notebooks")
    options = parser.parse_args()
    if options.here:
        sys.exit(build(options.quick))
    venv = Environment(ROOT / ".venv-docs")
    os.environ["FASTACT_BUILD_EXTENSION"] = "0"  # compiling takes longer than all of this; Numba's kernels say the same
    venv.install_fastact("docs")
    venv.where()
    run(venv.python, ROOT / "ci" / "website.py", "--here", *["--quick"] * options.quick)


if __name__ == "__main__":
    main()
