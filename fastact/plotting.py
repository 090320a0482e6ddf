"""Pictures of activations: value, derivative, kinks and asymptotes. matplotlib draws them; the small one of notebooks needs nothing."""

import math

import numpy as np

from . import catalog
from .checking import asymptote, values

COLORS = ("#2a78d6", "#d9662b", "#1d9a6c", "#a04fc4", "#b58900", "#c6397b")  # legible on white and on black
# Of value and derivative; the next of them where all the colours have been used.
STYLES = (("-", (0, (4, 2))), ((0, (6, 1, 1, 1)), (0, (2, 1.5))), ((0, (2.5, 1)), (0, (1, 2))))
_SPAN = 6.0
_INSIDE = 3  # of more activations the legend stands below
_COLUMNS = 4
_TITLE = 70  # characters have room


def needs_matplotlib():
    """matplotlib's pyplot, or an error that says how to get it."""
    try:
        import matplotlib.pyplot
    except ImportError:
        raise ImportError("pictures need matplotlib: pip install matplotlib") from None
    return matplotlib.pyplot


def _window(records, span, usual=_SPAN):
    if span is not None:
        try:
            low, high = (-float(span), float(span)) if np.ndim(span) == 0 else map(float, span)
        except (TypeError, ValueError):
            low = high = math.nan
        if not low < high or not math.isfinite(low) or not math.isfinite(high):
            raise ValueError(f"span: {span!r} is not a width or a pair (low, high)")
        return low, high
    widest = max((abs(k) for r in records for k in r.kinks), default=0.0)
    width = max(usual, 1.5 * widest)
    lows, highs = zip(*(r.domain or (-math.inf, math.inf) for r in records), strict=True)
    return max(-width, min(lows)), min(width, max(highs))


def _pieces(record, which, low, high, count=801):
    """The curve as pieces between jumps of the derivative: x, y."""
    both = values(record)
    a, b = record.domain or (low, high)
    if max(a, low) < min(b, high):  # up to its ends, and evenly
        low, high = max(a, low), min(b, high)
    cuts = sorted(k for k in record.kinks if low < k < high) if which else []
    found = []
    for a, b in zip([low, *cuts], [*cuts, high], strict=True):
        x = np.linspace(a, b, max(9, round(count * (b - a) / (high - low))))
        gap = 1e-9 * (high - low)
        x[0], x[-1] = x[0] + (a in cuts) * gap, x[-1] - (b in cuts) * gap
        found.append((x, both(x)[which]))
    return found


def lines(record, low, high):
    """The asymptotes: of each side (a, b) of a * x + b, and from where to where to draw it."""

    def value(x):
        return values(record)(x)[0]

    middle = min(max(0.0, low), high)
    found = [(asymptote(value, -1), (low, middle)), (asymptote(value, 1), (middle, high))]
    return [(*line, *ends) for line, ends in found if line is not None and ends[0] < ends[1]]


def plot(*activations, span=None, derivative=True, axes=None, dark=None, path=None):
    """Draw activations and their derivatives.

    A point is a kink, where the derivative jumps; a dotted line is an asymptote of the value.

    Parameters
    ----------
    activations : str or activation
        As many as are to be in one picture.
    span : float or tuple of float, optional
        The range of x, as ``10`` for -10 to 10, or ``(low, high)``.
    derivative : bool
        Draw the derivative too, dashed.
    axes : matplotlib axes, optional
        Where to draw; a new figure if not given.
    dark : bool, optional
        Draw on black. If not given, as matplotlib's style says.
    path : str or path, optional
        Write the picture into this file (png, svg, pdf).

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        matplotlib is not installed.
    LookupError
        There is no activation of a name.
    TypeError
        Nothing is given to draw, or something that is no activation.
    ValueError
        The range of x is none.

    Examples
    --------
    >>> import fastact
    >>> axes = fastact.plot("gelu", "silu")  # doctest: +SKIP
    """
    records = [catalog.as_record(a) for a in activations]
    if not records:
        raise TypeError("activations: name at least one, such as plot('gelu')")
    pyplot = needs_matplotlib()
    low, high = _window(records, span)
    if axes is not None:
        return _draw(records, low, high, derivative, axes, path)
    style = {None: {}, False: "default", True: "dark_background"}[dark if dark is None else bool(dark)]
    with pyplot.style.context(style), pyplot.rc_context({"figure.dpi": 130}):
        # What many curves are called has no room beside them.
        rows = math.ceil((len(records) + 2) / _COLUMNS) if len(records) > _INSIDE else 0
        _, axes = pyplot.subplots(figsize=(6.4, 4.2 + 0.19 * rows), layout="constrained")
        return _draw(records, low, high, derivative, axes, path, below=rows > 0)


def _draw(records, low, high, derivative, axes, path, below=False):
    bottom, top = -1.0, 1.0
    reach = max(_SPAN, abs(low), abs(high))
    several = len(records) > 1
    ink = axes.xaxis.label.get_color()
    for i, record in enumerate(records):
        color = COLORS[i % len(COLORS)]
        styles = STYLES[i // len(COLORS) % len(STYLES)]
        for which in range(1 + derivative):
            pieces = _pieces(record, which, low, high)
            for j, (x, y) in enumerate(pieces):
                words = record.name if which == 0 else None if several else f"{record.name}, derivative"
                shade = color if several or which == 0 else COLORS[1]
                axes.plot(x, y, color=shade, label=None if j else words, linewidth=(2.0, 1.4)[which], linestyle=styles[which])
            every = np.concatenate([y for _, y in pieces])
            every = np.clip(every[np.isfinite(every)], -reach, reach)
            if every.size:
                bottom, top = min(bottom, every.min()), max(top, every.max())
        kinks = np.array([k for k in record.kinks if low <= k <= high])
        if kinks.size:
            axes.plot(kinks, values(record)(kinks)[0], "o", color=color, label=None if several else "kink", zorder=5, **_ring(axes))
        for a, b, start, end in lines(record, low, high):
            x = np.array([start, end])
            axes.plot(x, a * x + b, color=ink, linewidth=0.9, linestyle=":", alpha=0.6, zorder=0)
    if several:  # once for all of them
        if derivative:
            axes.plot([], [], color=ink, label="derivatives", linewidth=1.4, linestyle=STYLES[0][1])
        if any(low <= k <= high for r in records for k in r.kinks):
            axes.plot([], [], "o", color=ink, label="kinks", **_ring(axes))
    margin = 0.05 * (top - bottom)
    axes.set_xlim(low, high)
    axes.set_ylim(bottom - margin, top + margin)
    for line in (axes.axhline, axes.axvline):
        line(0, color=ink, linewidth=0.6, alpha=0.35, zorder=0)
    axes.grid(alpha=0.15)
    axes.set_xlabel("x")
    axes.set_title(_title(records), fontsize="medium")
    place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.11), "ncols": _COLUMNS} if below else {}
    axes.legend(frameon=False, fontsize="small", handlelength=3, **place)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if path is not None:
        axes.figure.savefig(path)
    return axes


def _ring(axes):
    return {"markersize": 6, "markerfacecolor": axes.get_facecolor()}


def _title(records):
    if len(records) == 1:
        text = f"{records[0].name}(x) = {records[0].definition}"
        return text if len(text) < _TITLE else records[0].name
    names = [r.name for r in records]
    for shown in range(len(names), 1, -1):
        rest = f" and {len(names) - shown} more" if shown < len(names) else ""
        if len(", ".join(names[:shown]) + rest) < _TITLE:
            return ", ".join(names[:shown]) + rest
    return f"{len(names)} activations"


def bars(layers, axes=None):
    """Dead and saturated shares, and the gain, of some `Health`."""
    if not layers:
        raise ValueError("nothing was seen that could be drawn")
    if axes is None:
        _, axes = needs_matplotlib().subplots(figsize=(6.4, 0.8 + 0.6 * len(layers)), layout="constrained")
    at = np.arange(len(layers))
    for j, (name, share) in enumerate(
        (("dead", [h.dead for h in layers]), ("saturated", [h.saturated for h in layers]), ("gain", [h.gain for h in layers]))
    ):
        axes.barh(at + 0.25 * (j - 1), share, height=0.22, label=name, color=COLORS[(1, 4, 0)[j]])
    axes.set_yticks(at, [h.name for h in layers], fontsize="small")
    axes.invert_yaxis()
    axes.set_xlim(0, max(1.0, *(h.gain for h in layers)) * 1.02)
    axes.legend(frameon=False, fontsize="small")
    return axes


# --- Notebooks -----------------------------------------------------------------------------------------------------------

_WIDTH, _HEIGHT = 220, 132


def svg(activation, span=None):
    """A small picture of value and derivative as SVG; its ink is the text's colour, so that it fits light and dark pages."""
    record = catalog.as_record(activation)
    low, high = _window([record], span, 4)
    curves = [_pieces(record, which, low, high, 161) for which in (0, 1)]
    every = np.concatenate([y for pieces in curves for _, y in pieces])
    reach = max(4, abs(low), abs(high))
    every = np.clip(every[np.isfinite(every)], -reach, reach)
    bottom, top = min(-0.5, float(every.min(initial=0))), max(1.2, float(every.max(initial=0)))

    def at(x, y):
        return (x - low) / (high - low) * _WIDTH, _HEIGHT - (np.clip(y, bottom - 1, top + 1) - bottom) / (top - bottom) * _HEIGHT

    def path(x, y, style):
        u, v = at(x, y)
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b, good in zip(u, v, np.isfinite(y), strict=True) if good)
        return f'<polyline points="{points}" fill="none" {style}/>'

    parts = [f'<line x1="0" x2="{_WIDTH}" y1="{at(0, 0)[1]:.1f}" y2="{at(0, 0)[1]:.1f}" stroke="currentColor" stroke-opacity="0.3"/>']
    parts.append(f'<line y1="0" y2="{_HEIGHT}" x1="{at(0, 0)[0]:.1f}" x2="{at(0, 0)[0]:.1f}" stroke="currentColor" stroke-opacity="0.3"/>')
    for a, b, start, end in lines(record, low, high):
        x = np.array([start, end])
        u, v = (x - low) / (high - low) * _WIDTH, _HEIGHT - (a * x + b - bottom) / (top - bottom) * _HEIGHT
        parts.append(
            f'<line x1="{u[0]:.1f}" y1="{v[0]:.1f}" x2="{u[1]:.1f}" y2="{v[1]:.1f}" stroke="currentColor" stroke-opacity="0.4" stroke-dasharray="1 3"/>'
        )
    for pieces, style in zip(
        curves, (f'stroke="{COLORS[0]}" stroke-width="2"', f'stroke="{COLORS[1]}" stroke-width="1.5" stroke-dasharray="5 3"'), strict=True
    ):
        parts += [path(x, y, style) for x, y in pieces]
    for k in record.kinks:
        u, v = at(k, values(record)(np.array([k]))[0][0])
        parts.append(f'<circle cx="{u:.1f}" cy="{v:.1f}" r="3" fill="none" stroke="{COLORS[0]}" stroke-width="1.5"/>')
    words = f"{record.name} from {low:g} to {high:g}, and its derivative (dashed)"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{_escaped(words)}"><title>{_escaped(words)}</title>{"".join(parts)}</svg>'
    )


def html(activation):
    """What a notebook shows of an activation."""
    record = activation.record
    return (
        f'<div style="display:inline-block"><div><code>{_escaped(record.name)}{_escaped(str(activation.__signature__))}</code></div>'
        f"<div>{_escaped(record.summary)}</div>{svg(activation)}</div>"
    )


def _escaped(text):
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
