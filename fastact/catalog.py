"""What there is: one `Record` per activation, read off the functions in `formulas`."""

import collections
import functools
import types

from . import formulas, language

MODES = ("value", "grad", "value_and_grad", "backward", "backward_from_output")
DTYPES = language.PRECISIONS  # what kernels compute in
HELD = ("float16", "bfloat16", *DTYPES)  # what arrays may hold
HALF = HELD[:2]
ACCURACIES = ("default", "high")

NO_FMA_ULP = 2  # what the level without FMA, and the NumPy backend, may add to a record's bounds



def computed_in(held, accuracy="default"):
    """The dtype that arrays of dtype `held` are computed in."""
    return "float32" if held in HALF else "float64" if accuracy == "high" else held


# What each mode reads and writes, in the order of the ufunc's operands (parameters stand between the two).
INPUTS = {
    "value": ("x",),
    "grad": ("x",),
    "value_and_grad": ("x",),
    "backward": ("grad_output", "x"),
    "backward_from_output": ("grad_output", "output"),
}
OUTPUTS = {mode: 2 if mode == "value_and_grad" else 1 for mode in MODES}


# Named tuples and not dataclasses, which import `inspect` and a dozen modules more: a third of the time of `import fastact`.
Parameter = collections.namedtuple("Parameter", "name default convention")
Parameter.__doc__ = "A parameter of an activation; a convention is one that only says what the derivative is at a kink."

_FIELDS = "name formula from_output nonnegative parameters summary definition numpy numpy_grad ulp kinks aliases paper derivative_zero"


class Record(collections.namedtuple("Record", _FIELDS)):
    """One activation: its formula and all that is said about it. Everything else is derived from this."""

    __slots__ = ()

    def __hash__(self):
        return id(self.formula)

    def __eq__(self, other):
        return self is other

    @property
    def modes(self):
        """The modes that this activation has."""
        return tuple(m for m in MODES if m != "backward_from_output" or self.from_output is not None)

    def given(self, mode):
        """The parameters a ufunc of this mode takes: all but the conventions."""
        return tuple(p for p in self.parameters if not p.convention)

    def accepted(self, mode):
        """The parameters a call of this mode accepts: a value has no use for conventions."""
        return self.given(mode) if mode == "value" else self.parameters

    def function(self, mode):
        """The formula that serves this mode."""
        return self.from_output if mode == "backward_from_output" else self.formula

    def ufunc_name(self, mode):
        """The name of this mode's ufunc, as `fastact.ufuncs` has it."""
        return self.name if mode == "value" else f"{self.name}_{mode}"


def _record(name, formula):
    code = formula.__code__
    plain, conventions = code.co_varnames[1 : code.co_argcount], code.co_varnames[code.co_argcount :][: code.co_kwonlyargcount]
    parameters = [Parameter(p, float(d), False) for p, d in zip(plain, formula.__defaults__ or (), strict=True)]
    parameters += [Parameter(p, float(formula.__kwdefaults__[p]), True) for p in conventions]
    by_output = getattr(formula, "from_output", None)
    return Record(
        name=name,
        formula=formula,
        from_output=by_output,
        nonnegative=getattr(by_output, "nonnegative", ()),
        parameters=tuple(parameters),
        summary=formula.__doc__.strip().splitlines()[0],
        **formula.entry,
    )


@functools.cache
def records():
    """All records by canonical name, in the order of `formulas`."""
    return {
        name: _record(name, formula)
        for name, formula in vars(formulas).items()
        if isinstance(formula, types.FunctionType) and hasattr(formula, "entry")
    }


@functools.cache
def _aliases():
    found = {}
    for record in records().values():
        for name in (record.name, *record.aliases):
            if found.setdefault(_plain(name), record) is not record:
                raise ValueError(f"two activations claim the name {name!r}")
    return found


def _plain(name):
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")


def find(name):
    """The record of an activation by its name or an alias; case, hyphens and underscores do not matter.

    Raises
    ------
    LookupError
        There is no such activation; the message lists close names.
    """
    if not isinstance(name, str):
        raise TypeError(f"name: expected the name of an activation, such as 'relu', not {type(name).__name__}")
    record = _aliases().get(_plain(name))
    if record is None:
        import difflib

        close = difflib.get_close_matches(name.lower(), [n for r in records().values() for n in (r.name, *r.aliases)])
        hint = f"did you mean {' or '.join(map(repr, close))}?" if close else "fastact.names() lists them"
        raise LookupError(f"name: there is no activation {name!r}; {hint}")
    return record
