"""The NumPy ufuncs of all activations and modes, by their names: ``fastact.ufuncs.relu``, ``fastact.ufuncs.gelu_grad``. Pickle finds
them here, by name; so ufuncs of one's own activations, which are in no module, can't be pickled, but the activations can."""

from . import callables, catalog


def __getattr__(name):
    for mode in reversed(catalog.MODES):  # longest suffix first
        stem = name.removesuffix(f"_{mode}")
        if stem != name or mode == "value":
            try:
                record = catalog.find(stem)
            except LookupError:
                continue
            if record.ufunc_name(mode) == name and mode in record.modes:
                return callables.get(record.name).mode_ufunc(mode)
    raise AttributeError(f"there is no ufunc {name!r}")


def __dir__():
    return sorted(record.ufunc_name(mode) for record in catalog.records().values() for mode in record.modes)
