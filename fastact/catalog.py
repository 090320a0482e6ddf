"""What there is: one `Record` per activation, read off the functions in `formulas`."""

import collections
import contextlib
import functools
import itertools
import math
import types

from . import formulas, language

MODES = ("value", "grad", "value_and_grad", "backward", "backward_from_output")
DTYPES = language.PRECISIONS  # what kernels compute in
HELD = ("float16", "bfloat16", *DTYPES)  # what arrays may hold
HALF = HELD[:2]
ACCURACIES = ("default", "high")
TRAINING = "training"  # backward, and the derivatives by the parameters: a kernel, but no ufunc and no call of its own

NO_FMA_ULP = 2  # what the level without FMA, and the NumPy backend, may add to a record's bounds


def computed_in(held, accuracy="default"):
    """The dtype that arrays of dtype `held` are computed in."""
    return "float32" if held in HALF else "float64" if accuracy == "high" else held


def precision_for(held, accuracy="default"):
    """The precision that is wanted for arrays of dtype `held`: one of `language.REDUCED` where they are computed in a wider type."""
    computed = computed_in(held, accuracy)
    return computed if computed == held else "half" if held in HALF else "single"


@functools.cache
def reduces(formula, precision):
    """Whether a formula has less to compute in a reduced precision."""
    from . import translate  # reads source: not what an import should wait for

    return translate.reduces(formula, precision)


# What each mode reads and writes, in the order of the ufunc's operands (parameters stand between the two).
INPUTS = {
    "value": ("x",),
    "grad": ("x",),
    "value_and_grad": ("x",),
    "backward": ("grad_output", "x"),
    "backward_from_output": ("grad_output", "output"),
}
OUTPUTS = {mode: 2 if mode == "value_and_grad" else 1 for mode in MODES}


def statements(mode, call, trained=()):
    """The statements of a kernel's loop, as Python and Cython have them; `call` calls the formula, `trained` sums up for the parameters."""
    both = f"value, derivative = {call}"
    return {
        "value": [both, "y[i] = value"],
        "grad": [both, "y[i] = derivative"],
        "value_and_grad": [both, "y[i] = value", "z[i] = derivative"],
        "backward": [both, "y[i] = z[i] * derivative"],
        "backward_from_output": [f"y[i] = z[i] * {call}"],
        TRAINING: [both, "y[i] = z[i] * derivative", *trained],
    }[mode]


# Named tuples and not dataclasses, which import `inspect` and a dozen modules more: a third of the time of `import fastact`.
Parameter = collections.namedtuple("Parameter", "name default convention")
Parameter.__doc__ = "A parameter of an activation; a convention is one that only says what the derivative is at a kink."

_FIELDS = (
    "name origin library formula from_output nonnegative parameters summary definition numpy numpy_grad ulp kinks aliases paper like also "
    "value_zero derivative_zero domain reach"
)


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

    @property
    def kernel_name(self):
        """The name under which its kernels are known: a preset shares them."""
        return self.origin or self.name

    @property
    def base(self):
        """The catalog's own record, of a preset; otherwise this one."""
        return records()[self.origin] if self.origin else self

    @property
    def parameter_gradients(self):
        """The formula of the derivatives by the parameters, or None."""
        return getattr(self.formula, "parameter_gradients", None)

    @property
    def kernels(self):
        """The modes that kernels are made for."""
        return self.modes if self.parameter_gradients is None else (*self.modes, TRAINING)

    def given(self, mode):
        """The parameters a ufunc of this mode takes: all but the conventions."""
        return tuple(p for p in self.parameters if not p.convention)

    def accepted(self, mode):
        """The parameters a call of this mode accepts: a value has no use for conventions."""
        return self.given(mode) if mode == "value" else self.parameters

    def function(self, mode, precision=""):
        """The formula that serves this mode in this precision."""
        if mode == "backward_from_output":
            return self.from_output
        return self._reduced.get(precision, self.formula)

    def at_defaults(self, mode, precision=""):
        """The formula of x alone that a kernel may use while all parameters have their defaults, or None."""
        if self.parameters != self.base.parameters:  # a preset has its own
            return None
        return getattr(self.function(mode, precision), "at_defaults", None)

    @property
    def _reduced(self):
        """The formulas made for reduced precisions."""
        return getattr(self.formula, "reduced", {})

    def precision(self, mode, wanted):
        """What kernels are made in for a wanted precision: a reduced one where that pays, otherwise its type.

        All modes that give the value or the derivative have the same, so that a number is the same to the bit in all of them. "single" is no
        good where a result has zeros, near which all digits of its terms are wanted; nor is any where multiples of pi are taken off:
        unless a formula is made for it.
        """
        if wanted not in language.REDUCED or mode in (TRAINING, "backward_from_output") or records().get(self.kernel_name) is not self.base:
            return language.type_of(wanted)
        if wanted in self._reduced:
            return wanted
        zeros = wanted == "single" and (self.value_zero or self.derivative_zero)
        return language.type_of(wanted) if zeros or self.reach or not reduces(self.formula, wanted) else wanted

    @property
    def spellings(self):
        """Every name that it has anywhere."""
        return tuple(dict.fromkeys([self.name, *self.aliases, *[name for names in self.like.values() for name, _ in names]]))

    def functions(self, mode, precision):
        """The formulas that a kernel of this mode calls."""
        return (self.formula, self.parameter_gradients) if mode == TRAINING else (self.function(mode, precision),)

    def ufunc_name(self, mode):
        """The name of this mode's ufunc, as `fastact.ufuncs` has it."""
        return self.name if mode == "value" else f"{self.name}_{mode}"


def record_of(name, formula):
    """The record of a formula."""
    code = formula.__code__
    plain, conventions = code.co_varnames[1 : code.co_argcount], code.co_varnames[code.co_argcount :][: code.co_kwonlyargcount]
    parameters = [Parameter(p, float(d), False) for p, d in zip(plain, formula.__defaults__ or (), strict=True)]
    parameters += [Parameter(p, float(formula.__kwdefaults__[p]), True) for p in conventions]
    by_output = getattr(formula, "from_output", None)
    entry = dict(formula.entry) | places(formula, parameters)
    return Record(
        name=name,
        origin=None,
        library=None,
        formula=formula,
        from_output=by_output,
        nonnegative=getattr(by_output, "nonnegative", ()),
        parameters=tuple(parameters),
        summary=(formula.__doc__ or "").partition("\n")[0],  # none with -OO
        **entry,
    )


def places(formula, parameters):
    """Where kinks and zeros are, as numbers, for parameters with these defaults."""
    values = {p.name: p.default for p in parameters}

    def numbers(entries):
        return entries and tuple(
            [e if e is None else float(eval(e, {"log": math.log}, values)) if isinstance(e, str) else float(e) for e in entries]
        )

    found = {name: numbers(formula.entry[name]) for name in ("kinks", "value_zero", "derivative_zero")}
    return found | {"kinks": tuple(k for k in found["kinks"] if math.isfinite(k))}


@functools.cache
def records():
    """All records by canonical name, in the order of `formulas`."""
    return {
        name: record_of(name, formula)
        for name, formula in vars(formulas).items()
        if isinstance(formula, types.FunctionType) and hasattr(formula, "entry")
    }


# The gated units that papers name, and the activation of their gate.
_GATED = {"glu": "sigmoid", "reglu": "relu", "geglu": "gelu", "geglu_tanh": "gelu_tanh", "swiglu": "silu", "bilinear": "identity"}


@functools.cache
def gated_units():
    """The gated units by name, each with the name of its gate's activation."""
    return {name: act for name, act in _GATED.items() if act in records()}


@functools.cache
def aliases():
    """All other names that are valid identifiers, and what they mean: ``{"swish": "silu", ...}``."""
    return {
        name: record.name
        for record in records().values()
        for name in record.spellings
        if name.isidentifier() and name not in records() and _aliases()[_plain(name)] is record
    }


@functools.cache
def _aliases():
    found, claims = {}, {}
    for record in records().values():
        for name in (record.name, *record.aliases):
            if found.setdefault(_plain(name), record) is not record:
                raise ValueError(f"two activations claim the name {name!r}")
        for name, _ in itertools.chain(*record.like.values()):
            claims.setdefault(_plain(name), []).append(record)
    for name, claimed in claims.items():  # a library's own name: unless two libraries mean two things by it
        if name not in found and all(record is claimed[0] for record in claimed):
            found[name] = claimed[0]
    return found


def _plain(name):
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")


LIBRARIES = ("torch", "jax", "keras", "tensorflow", "onnx", "thinc", "transformers", "scipy")


@functools.cache
def preset(record, library, index=0):
    """The record as a library has it under one of its names: its default parameters, its convention at kinks."""
    names = record.like[library]
    name, defaults = names[index]
    first = [other for _, other in names].index(defaults)
    if first != index:
        return preset(record, library, first)
    plain_holder, _ = _named_by(library).get(_plain(record.name), (record, 0))
    called = name if index or plain_holder is not record else record.name
    parameters = [p._replace(default=float(defaults.get(p.name, p.default))) for p in record.parameters]
    unknown = set(defaults) - {p.name for p in parameters}
    if unknown:
        raise ValueError(f"{record.name}: like: {library}: there is no parameter {', '.join(sorted(unknown))}")
    return record._replace(
        name=f"{called}_{library}", origin=record.name, library=library, parameters=tuple(parameters), **places(record.formula, parameters)
    )


@functools.cache
def _named_by(library):
    return {
        _plain(name): (record, index)
        for record in records().values()
        for index, (name, _) in reversed(list(enumerate(record.like.get(library, ()))))
    }


def attribute(name):
    """The record that is an attribute of the package by this name: spelled as somebody spells it, unlike for `find`.

    Raises
    ------
    LookupError
        There is none; the message lists close names.
    """
    stem, _, library = name.rpartition("_")
    spelled = records().get(name) or records().get(aliases().get(name)) or (library in LIBRARIES and attribute(stem))
    return find(name) if spelled else _unknown(name)


def known(name):
    """Whether `find` finds it."""
    return _plain(name) in _aliases()


AXIS = ("gumbel_softmax", "hardmax", "log_softmax", "logsumexp", "maxout", "softmax", "softmin", "sparsemax")  # functions of `axis`


def _unknown(name):
    import difflib

    for other in (*AXIS, *gated_units()):
        if _plain(name) == _plain(other):
            raise LookupError(f"name: {name!r} is no activation, which is a function of one number; it is fastact.{other}")
    close = difflib.get_close_matches(name.lower(), [n for r in records().values() for n in r.spellings])
    hint = f"did you mean {' or '.join(map(repr, dict.fromkeys(close)))}?" if close else "fastact.names() lists them"
    raise LookupError(f"name: there is no activation {name!r}; {hint}")


def find(name, like=None):
    """The record of an activation by its name or an alias; case, hyphens and underscores do not matter.

    Parameters
    ----------
    name : str
    like : str, optional
        A library: what it means by the name, with its defaults and conventions. So also ``"leaky_relu_keras"`` as a name.

    Raises
    ------
    LookupError
        There is no such activation; the message lists close names, or the libraries that have it.
    """
    if not isinstance(name, str):
        raise TypeError(f"name: expected the name of an activation, such as 'relu', not {name!r}{_hint(name)}")
    if like is not None:
        return _find_like(name, like)
    record = _aliases().get(_plain(name))
    if record is not None:
        return record
    stem, _, library = name.lower().rpartition("_")
    if library in LIBRARIES:
        with contextlib.suppress(LookupError):
            return _find_like(stem, library)
    return _unknown(name)


def as_record(activation):
    """The record of what a user gave as ``activation``: one of the callables that have a mode of one record, or a name.

    Raises
    ------
    TypeError
        It is something else, such as a gated unit or a function of NumPy.
    LookupError
        There is no activation of this name.
    """
    if isinstance(activation, str):
        return find(activation)
    record = getattr(activation, "record", None)
    if isinstance(record, Record) and hasattr(activation, "mode"):
        return record
    raise TypeError(f"activation: expected an activation or its name, not {activation!r}{_hint(activation)}")


def _hint(function):
    """What to give in place of something that is no name of an activation."""
    name, record = getattr(function, "__name__", ""), getattr(function, "record", None)
    if not callable(function):
        return ""
    if isinstance(record, Record):  # of a mode, or of what is around an activation: a gate, a bias
        return f"; its activation is {record.name!r}"
    if name in AXIS:
        return ", which works along an axis"
    return f"; give {find(name).name!r}" if known(name) else "; fastact.activation makes one of a function"


def _find_like(name, like):
    if like not in LIBRARIES:
        raise ValueError(f"like: {like!r} is no library that is known here; give one of {', '.join(LIBRARIES)}")
    record, index = _named_by(like).get(_plain(name)) or (find(name).base, 0)
    if like not in record.like:
        raise LookupError(f"like: {like} has no {record.name}; libraries that do: {', '.join(record.like) or 'none of the known ones'}")
    return preset(record, like, index)


def presets(record):
    """All presets of a record."""
    return list(dict.fromkeys(preset(record, library, index) for library, names in record.like.items() for index in range(len(names))))
