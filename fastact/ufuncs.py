"""The NumPy ufuncs of all activations and modes, by their names: ``fastact.ufuncs.relu``, ``fastact.ufuncs.gelu_grad``. Pickle finds
them here."""

from . import activation, catalog


def _by_name():
    return {record.ufunc_name(mode): (record, mode) for record in catalog.records().values() for mode in record.modes}


def __getattr__(name):
    try:
        record, mode = _by_name()[name]
    except KeyError:
        raise AttributeError(f"there is no ufunc {name!r}") from None
    found = activation.get(record.name)
    return found.mode_ufunc(mode)


def __dir__():
    return sorted(_by_name())
