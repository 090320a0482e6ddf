"""Copy this package into another project, under a name of that project's own.

All imports inside the package are relative, so that a copy needs no change. The copy has no compiled extension: it runs over Numba, where
that is installed, or over NumPy.
"""

import keyword
import os
import pathlib
import shutil
import tempfile

from . import __version__

HERE = pathlib.Path(__file__).parent
NOTE = "VENDORED.txt"  # says that a folder is a copy, which may be replaced
_DATA = ("py.typed", "__init__.pyi", "tuning.json")
_SOURCES = (".h", ".hpp", ".cpp", ".pyx", ".pxi")


def _license():
    """The text of the licence, from the checkout or from the installed package's metadata."""
    beside = HERE.parent / "LICENSE"
    if beside.is_file() and (HERE.parent / "pyproject.toml").is_file():
        return beside.read_text(encoding="utf-8")
    if (HERE / "LICENSE").is_file():  # a copy of a copy
        return (HERE / "LICENSE").read_text(encoding="utf-8")
    import importlib.metadata

    try:
        found = importlib.metadata.distribution(__package__)
    except importlib.metadata.PackageNotFoundError:
        found = None
    for file in (found and found.files) or ():
        if file.name == "LICENSE":
            return file.read_text(encoding="utf-8")
    raise FileNotFoundError("the licence, which belongs to every copy, is not beside this package: use a checkout or an installed wheel")


def _files(sources):
    for path in sorted(HERE.rglob("*")):
        wanted = path.suffix == ".py" or path.name in _DATA or (sources and path.parent.name == "_cy" and path.suffix in _SOURCES)
        if wanted and path.is_file() and "__pycache__" not in path.parts:
            yield path.relative_to(HERE)


def vendor(destination, name="fastact", sources=False, replace=False):
    """Copy the package into a folder.

    Parameters
    ----------
    destination : str or path
        A folder that is there: usually a package of the other project.
    name : str
        What the copy is to be called.
    sources : bool
        Copy the extension's sources too, as far as they are here, for a project that compiles them itself.
    replace : bool
        Replace an earlier copy. Anything else by that name is left alone.

    Returns
    -------
    dict
        ``folder``, ``version``, ``files`` (relative paths) and ``bytes``.

    Raises
    ------
    ValueError
        The name is no module name.
    FileNotFoundError, NotADirectoryError
        There is no such folder, or no licence to copy.
    FileExistsError
        There is something by that name, and `replace` is not given or it is no copy.
    """
    if not name.isidentifier() or keyword.iskeyword(name):
        raise ValueError(f"{name!r} is no name that a module can have")
    destination = pathlib.Path(destination)
    if not destination.is_dir():
        kind = NotADirectoryError if destination.exists() else FileNotFoundError
        raise kind(f"{destination} is not a folder: make it first")
    folder = destination / name
    if folder.resolve() == HERE.resolve():
        raise FileExistsError(f"{folder} is this package itself")
    if os.path.lexists(folder):
        if not (folder / NOTE).is_file():
            raise FileExistsError(f"{folder} is there and is no copy of fastact: choose another name")
        if not replace:
            raise FileExistsError(f"{folder} is there: say that it may be replaced (--replace), or choose another name")
    licence = _license()
    # Beside its place, and moved there when it is whole.
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=destination) as temporary:
        new, files = pathlib.Path(temporary, "new"), []
        for file in _files(sources):
            (new / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(HERE / file, new / file)
            files.append(file.as_posix())
        (new / "LICENSE").write_text(licence, encoding="utf-8")
        says = f"fastact {__version__}, copied by `fastact vendor`. Do not edit: make the copy anew (--replace).\n"
        (new / NOTE).write_text(says, encoding="utf-8")
        files += ["LICENSE", NOTE]
        size = sum((new / file).stat().st_size for file in files)
        if folder.exists():
            folder.rename(pathlib.Path(temporary, "old"))
        new.rename(folder)
    return {"folder": str(folder.resolve()), "version": __version__, "files": files, "bytes": size}
