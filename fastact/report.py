"""The report page: one HTML file that needs nothing else, drawn from the JSON of a benchmark."""

import html
import itertools
import math
import statistics

from . import bench

MODE_WORDS = {
    "value": "value",
    "grad": "derivative",
    "value_and_grad": "value and derivative",
    "backward": "gradient times derivative",
    "backward_from_output": "gradient times derivative, from the output",
}

_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1a1f24; --soft: #586471; --line: #d9dee3; --faint: #f4f6f8;
  --s0: #0072b2; --s1: #c24e00; --s2: #00805d; --rest: #c3cad1; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181c; --ink: #e4e8ec; --soft: #9aa6b2; --line: #353d45; --faint: #1c2228;
  --s0: #62b6ea; --s1: #f0a04b; --s2: #3fc79b; --rest: #515c67; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .3rem; }
h2 { font-size: 1.2rem; margin: 2.8rem 0 .5rem; padding-top: 1rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 0 0 .2rem; }
p, ul, dl { max-width: 46rem; margin: .5rem 0; }
.soft, figcaption, summary { color: var(--soft); font-size: .9rem; }
.panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 430px), 1fr)); gap: 1.8rem 2rem; margin-top: 1rem; }
.panels > * { min-width: 0; }
figure { margin: 0; }
svg { display: block; width: 100%; height: auto; }
svg text { font-size: 12px; fill: var(--ink); font-family: inherit; }
svg .soft { fill: var(--soft); font-size: 11px; }
.grid { stroke: var(--line); stroke-width: 1; }
.one { stroke: var(--ink); stroke-width: 1.2; }
.s0 { --c: var(--s0); } .s1 { --c: var(--s1); } .s2 { --c: var(--s2); } .rest { --c: var(--rest); }
.fill { fill: var(--c); } .stroke { stroke: var(--c); fill: none; stroke-width: 1.6; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.4rem; font-size: .9rem; margin: .6rem 0 0; padding: 0; list-style: none; }
.legend svg { display: inline-block; width: 14px; height: 14px; vertical-align: -2px; margin-right: .4rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; margin: .5rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .22rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { font-weight: 600; } thead th { color: var(--soft); }
tbody th, thead tr:last-child th:first-child, thead th.word, td.word { text-align: left; }
th[rowspan] { vertical-align: top; }
.dense { font-size: .78rem; } .dense th, .dense td { padding: .2rem .3rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; font-size: .92rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
code { font: .88em ui-monospace, "SF Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
details { margin: .4rem 0; } summary { cursor: pointer; }
@media (max-width: 520px) { main { padding-top: 1.4rem; } dl { grid-template-columns: 1fr; } dt { margin-top: .35rem; }
  table { font-size: .7rem; } thead th { font-size: .65rem; } th, td { padding: .2rem .12rem; white-space: normal; } }
"""


def page(report):
    """Draw the report page.

    Parameters
    ----------
    report : dict
        Of `fastact.bench.run`; with ``training``, a dict of `training_record`, the network's part is shown too.

    Returns
    -------
    str
        A complete HTML document.
    """
    compared = [row for row in report["results"] if "speedup" in row]
    parts = [_head(report, compared)]
    if report.get("training"):
        parts.append(_training(report["training"]))
    parts += [_speedups(report), _definitions(report), _method(report), _machine(report)]
    title = "fastact: measured against NumPy"
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{_STYLE}</style>\n</head>\n'
        "<body>\n<main>\n" + "\n".join(parts) + "\n</main>\n</body>\n</html>\n"
    )


def training_record(comparison):
    """What the page shows of a `fastact.demo.Comparison`, ready for JSON."""
    ways = []
    for way in (comparison.numpy, comparison.tuned, comparison.fastact):
        ways.append(
            {
                "name": way.name,
                "accuracy": way.accuracy,
                "loss": [float(f"{loss:.5g}") for loss in way.loss],
                "epoch_seconds": [float(f"{s:.4g}") for s in way.epoch_seconds],
                "activation_seconds": [float(f"{s:.4g}") for s in way.activation_seconds],
            }
        )
    keys = ("hidden", "batch", "epochs", "seed", "train_images", "test_images", "disagreements", "threads")
    gains = ("speedup", "activation_speedup", "tuned_speedup", "tuned_activation_speedup")
    return (
        {key: getattr(comparison, key) for key in keys}
        | {gain: float(f"{getattr(comparison, gain):.4g}") for gain in gains}
        | {"hidden": list(comparison.hidden), "ways": ways}
    )


# --- Prose ---------------------------------------------------------------------------------------------------------------


def _head(report, compared):
    lines = [
        "<h1>fastact, measured against NumPy</h1>",
        f'<p class="soft">{_text(report["made"])} · fastact {_text(report["environment"]["versions"]["fastact"])} · '
        f"{_text(report['environment']['processor'])}, {_threads(report['environment']['threads'])}</p>",
        "<p>Each activation function is timed as NumPy's users write it and as fastact computes it: same input, same process, "
        "turn by turn. A speedup of 5 means a fifth of the time.</p>",
    ]
    if compared:
        middle = sorted(row["speedup"][1] for row in compared)
        slower = [row for row in compared if row["speedup"][1] < 1]
        lines.append(
            f"<p><strong>In {len(compared)} comparisons the median speedup is {bench.times(statistics.median(middle))}</strong>; "
            f"the smallest is {bench.times(middle[0])}, the largest {bench.times(middle[-1])}. "
            + (
                "None is below 1."
                if not slower
                else f"fastact is the slower one in {len(slower)}: {'; '.join(_text(_case(row)) for row in slower[:6])}"
                + (f", and {len(slower) - 6} more" if len(slower) > 6 else "") + "."
            )
            + "</p>"
        )  # fmt: skip
    return "\n".join(lines)


def _case(row):
    return f"{row['activation']}, {MODE_WORDS.get(row['mode'], row['mode'])}, {row['dtype']}, {row['size']:,} elements"


def _threads(count):
    return f"{count} thread{'s' * (count != 1)}"


def _method(report):
    method, threads = report["method"], _threads(report["environment"]["threads"])
    return f"""<h2>How it was measured</h2>
<ul>
<li>The contenders take turns in short batches of about {method["batch_seconds"] * 1e3:.3g} ms, {method["rounds"]} rounds; each batch
begins with calls that are not timed, and one that took {bench.STALLED} times as long as the best before it is repeated. Times are
medians of the rounds. A speedup is the median, over the rounds, of NumPy's time over fastact's in the same round; the bars in the charts
reach from the lower to the upper quartile.</li>
<li>Both return new arrays. The tables also have fastact with <code>out=</code>, which allocates nothing.</li>
<li>Inputs: {_text(method["input"])}; parameters at their defaults. fastact may use {threads}, for large arrays;
NumPy's ufuncs use one.</li>
<li>Compiling is not part of any time.</li>
<li><code>python -m fastact bench</code> repeats the measurements of functions, <code>python -m fastact demo</code> those of the network
too; <code>python -m fastact report FILE.json</code> draws this page from their JSON.</li>
</ul>"""


def _definitions(report):
    rows = "".join(
        f'<tr><th>{_text(name)}</th><td class="word">{_text(MODE_WORDS.get(mode, mode))}</td><td class="word">'
        + "<br>".join(f"<code>{_text(line)}</code>" for line in statement.splitlines())
        + "</td></tr>"
        for name, ways in report.get("numpy_way", {}).items()
        for mode, statement in ways.items()
    )
    return (
        "<h2>What &ldquo;NumPy's way&rdquo; is</h2>\n<p>The statements that were timed; in them, parameters are Python floats.</p>\n"
        '<details><summary>Statements</summary><div class="scroll"><table><thead><tr><th>activation</th>'
        f'<th class="word">mode</th><th class="word">statement</th></tr></thead><tbody>{rows}</tbody></table></div></details>'
    )


def _machine(report):
    there = report["environment"]
    rows = {
        "Processor": there["processor"],
        "System": there["system"],
        "Processors usable": there["processors_usable"],
        "Threads of fastact": there["threads"],
        "Instruction set": there["instruction_set"] or "no extension",
        "Backend": there["backend"],
        **{name.replace("numpy", "NumPy").replace("scipy", "SciPy").capitalize() if name == "python" else name: v or "not installed"
           for name, v in there["versions"].items()},
    }  # fmt: skip
    return "<h2>Machine and versions</h2>\n<dl>" + "".join(f"<dt>{_text(k)}</dt><dd>{_text(v)}</dd>" for k, v in rows.items()) + "</dl>"


# --- Pieces of charts ----------------------------------------------------------------------------------------------------


def _rule(x1, y1, x2, y2, strong=False):
    return f'<line class="{"one" if strong else "grid"}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _label(x, y, text, anchor="middle", soft=True, more=""):
    kind = ' class="soft"' if soft else ""
    return f'<text{kind} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{_text(text)}</text>'


def _legend(entries):
    """A list of (class, shape, words)."""
    items = (
        f'<li><svg viewBox="-7 -7 14 14" class="{kind}" aria-hidden="true">{shape}</svg>{_text(words)}</li>'
        for kind, shape, words in entries
    )
    return f'<ul class="legend">{"".join(items)}</ul>'


_BOX = '<rect class="fill" x="-5" y="-5" width="10" height="10"/>'


# --- Speedups ------------------------------------------------------------------------------------------------------------


def _speedups(report):
    results = report["results"]
    sizes = sorted({row["size"] for row in results})
    panels = {}
    for row in results:
        panels.setdefault((row["mode"], row["dtype"]), []).append(row)
    reach = [q for row in results if "speedup" in row for q in row["speedup"]] or [1]
    low, high = min(0.9, *reach), max(2, *reach)
    legend = _legend((f"s{i % 3}", _mark(i, 0, 0), f"{size:,} elements") for i, size in enumerate(sizes))
    drawn = []
    for (mode, dtype), rows in panels.items():
        title = f"{MODE_WORDS.get(mode, mode).capitalize()}, {dtype}"
        drawn.append(
            f"<figure><h3>{title}</h3>{_dots(rows, sizes, low, high, title)}"
            f"<details><summary>Figures</summary>{_table(rows, sizes)}</details></figure>"
        )
    return (
        "<h2>Speedup over NumPy's way</h2>\n"
        "<p>NumPy's time divided by fastact's, on a logarithmic axis; to the right of the line at 1, fastact is faster. "
        "Bars reach from quartile to quartile.</p>\n"
        f'{legend}\n<div class="panels">{"".join(drawn)}</div>'
    )


def _mark(index, x, y):
    """A circle, a square or a diamond: sizes can be told apart without colours."""
    shape = index % 3
    if shape == 0:
        return f'<circle class="fill" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
    if shape == 1:
        return f'<rect class="fill" x="{x - 3.6:.1f}" y="{y - 3.6:.1f}" width="7.2" height="7.2"/>'
    return f'<path class="fill" d="M{x:.1f} {y - 5.2:.1f}l5.2 5.2l-5.2 5.2l-5.2 -5.2z"/>'


def _log_ticks(low, high):
    """1, 2, 5 and their multiples by powers of ten, or every power of ten when there are many."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [m * 10.0**d for d in decades for m in (1, 2, 5) if low <= m * 10.0**d * 1.0001 and m * 10.0**d <= high * 1.0001]
    return ticks if len(ticks) <= 10 else [t for t in ticks if round(math.log10(t), 6) == round(math.log10(t))]


def _dots(rows, sizes, low, high, title):
    names = list(dict.fromkeys(row["activation"] for row in rows))
    width, left, right, top, pitch = 460, 92, 14, 8, 36
    bottom = top + pitch * len(names)
    span = math.log(high * 1.1) - math.log(low / 1.05)

    def at(value):
        return left + (width - left - right) * (math.log(value) - math.log(low / 1.05)) / span

    out = [f'<svg viewBox="0 0 {width} {bottom + 42}" role="img" aria-label="Speedup over NumPy\'s way: {_text(title)}">']
    for tick in _log_ticks(low, high):
        x = at(tick)
        out += [_rule(x, top, x, bottom, tick == 1), _label(x, bottom + 15, f"{tick:g}")]
    out.append(_label((left + width - right) / 2, bottom + 34, "times as fast as NumPy (dimensionless, log scale)"))
    cells = {(row["activation"], row["size"]): row for row in rows}
    for i, name in enumerate(names):
        y = top + pitch * (i + 0.5)
        if i:
            out.append(_rule(left, top + pitch * i, width - right, top + pitch * i))
        out.append(_label(left - 8, y + 4, name, "end", soft=False))
        step = 20 / max(1, len(sizes) - 1)
        for j, size in enumerate(sizes):
            row = cells.get((name, size))
            if row is None or "speedup" not in row:
                continue
            first, second, third = row["speedup"]
            level = y - 10 + step * j
            tip = f"{name}, {size:,} elements: {bench.times(second)} ({bench.times(first)} to {bench.times(third)})"
            out.append(
                f'<g class="s{j % 3}"><title>{_text(tip)}</title><line class="stroke" x1="{at(first):.1f}" x2="{at(third):.1f}" '
                f'y1="{level:.1f}" y2="{level:.1f}"/>{_mark(j, at(second), level)}</g>'
            )
        if not any("speedup" in row for (n, _), row in cells.items() if n == name):
            out.append(_label(left + 10, y + 4, "not compared", "start"))
    return "".join(out) + "</svg>"


def _table(rows, sizes):
    cells = {(row["activation"], row["size"]): row for row in rows}
    body = []
    for name in dict.fromkeys(row["activation"] for row in rows):
        there = [size for size in sizes if (name, size) in cells]
        for i, size in enumerate(there):
            row = cells[name, size]
            head = f'<th rowspan="{len(there)}">{_text(name)}</th>' if i == 0 else ""
            times = [bench.duration(row["seconds"][key]) if key in row["seconds"] else "" for key in ("numpy", "fastact", "fastact_out")]
            gain = ""
            if "speedup" in row:
                low, middle, high = map(bench.times, row["speedup"])
                gain = f"<strong>{middle}</strong> ({low} to {high})"
            body.append(f"<tr>{head}<td>{size:,}</td>{''.join(f'<td>{_text(t)}</td>' for t in times)}<td>{gain}</td></tr>")
    return (
        '<div class="scroll"><table class="dense"><thead><tr><th>activation</th><th>elements</th><th>NumPy</th><th>fastact</th>'
        f"<th>with out=</th><th>speedup (quartiles)</th></tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


# --- The network ---------------------------------------------------------------------------------------------------------


def _training(training):
    ways = training["ways"]
    shape = " - ".join(map(str, (64, *training["hidden"], 10)))
    rows = "".join(
        f"<tr><th>{_text(way['name'])}</th><td>{bench.duration(statistics.median(way['epoch_seconds']))}</td>"
        f"<td>{bench.duration(statistics.median(way['activation_seconds']))}</td><td>{bench.duration(sum(way['epoch_seconds']))}</td>"
        f"<td>{way['loss'][-1]:.5f}</td><td>{way['accuracy']:.2%}</td></tr>"
        for way in ways
    )
    legend = _legend([("s0", _BOX, "activations, both directions"), ("rest", _BOX, "everything else")])
    heads = "".join(f"<th>{word}</th>" for word in ("", "epoch", "activations", "in all", "last loss", "accuracy"))
    return f"""<h2>A network on real data</h2>
<p>A classifier of handwritten digits, trained in plain NumPy three times from the same weights on the same batches; only the
activations differ: as NumPy's users write them, as an expert tunes them by hand with NumPy, and fastact's.
<strong>With fastact an epoch is {bench.times(training["speedup"])} times as fast as in NumPy's usual way</strong> (the activations
alone, {bench.times(training["activation_speedup"])} times), and {bench.times(training["tuned_speedup"])} times as fast as with NumPy
tuned by hand (the activations alone, {bench.times(training["tuned_activation_speedup"])} times).</p>
<div class="panels">
<figure><h3>Time of an epoch</h3>{_bars(ways)}
{legend}</figure>
<figure><h3>The same training, by the clock</h3>{_curves(ways)}</figure>
</div>
<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>
<p class="soft">Network {shape}, float32, leaky_relu inside and sigmoid at the end, {training["epochs"]} epochs in batches of
{training["batch"]}, Adam; {training["train_images"]:,} images to train on, {training["test_images"]} held out for the accuracy
(digits of scikit-learn). The networks take turns epoch by epoch. Times of an epoch are medians. Matrix products run on one thread,
fastact on up to {_threads(training["threads"])}. NumPy's network and fastact's label {training["disagreements"] or "none"} of the
{training["test_images"]} held-out images differently; they round the last bits otherwise.</p>"""


def _nice_step(high, most=6):
    """A round step with which at most `most` ticks reach `high`."""
    powers = itertools.count(math.floor(math.log10(high / most)))
    return next(m * 10.0**d for d in powers for m in (1, 2, 5) if high / (m * 10.0**d) <= most)


def _bars(ways):
    width, left, right, top, pitch = 460, 92, 64, 8, 44
    bottom = top + pitch * len(ways)
    epochs = [statistics.median(way["epoch_seconds"]) * 1e3 for way in ways]
    parts = [statistics.median(way["activation_seconds"]) * 1e3 for way in ways]
    step = _nice_step(max(epochs))
    high = step * math.ceil(max(epochs) / step)
    scale = (width - left - right) / high
    out = [f'<svg viewBox="0 0 {width} {bottom + 42}" role="img" aria-label="Time of an epoch">']
    for k in range(round(high / step) + 1):
        x = left + k * step * scale
        out += [_rule(x, top, x, bottom, k == 0), _label(x, bottom + 15, f"{k * step:g}")]
    out.append(_label((left + width - right) / 2, bottom + 34, "milliseconds an epoch (median)"))
    for i, (way, epoch, part) in enumerate(zip(ways, epochs, parts, strict=True)):
        y = top + pitch * i + 9
        out.append(_label(left - 8, y + 17, way["name"], "end", soft=False))
        for kind, begin, length in (("s0", 0, part), ("rest", part, epoch - part)):
            box = f'x="{left + begin * scale:.1f}" y="{y}" width="{length * scale:.1f}" height="26"'
            out.append(f'<g class="{kind}"><rect class="fill" {box}/></g>')
        out.append(_label(left + epoch * scale + 6, y + 17, f"{epoch:.3g} ms", "start"))
    return "".join(out) + "</svg>"


def _curves(ways):
    width, height, left, right, top = 460, 250, 58, 14, 8
    bottom = height - 42
    clocks = [list(itertools.accumulate(way["epoch_seconds"])) for way in ways]
    losses = [max(loss, 1e-12) for way in ways for loss in way["loss"]]
    low, high = 10 ** math.floor(math.log10(min(losses))), 10 ** math.ceil(math.log10(max(losses)))
    end = max(clock[-1] for clock in clocks)
    step = _nice_step(end)

    def across(seconds):
        return left + (width - left - right) * seconds / end

    def down(loss):
        return top + (bottom - top) * math.log(high / max(loss, 1e-12)) / math.log(high / low)

    out = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="Training loss against time">']
    for k in range(int(end / step) + 1):
        x = across(k * step)
        out += [_rule(x, top, x, bottom, k == 0), _label(x, bottom + 15, f"{k * step:g}")]
    for d in range(round(math.log10(low)), round(math.log10(high)) + 1):
        y = down(10.0**d)
        out += [_rule(left, y, width - right, y), _label(left - 6, y + 4, f"{10.0**d:g}", "end")]
    out.append(_label((left + width - right) / 2, bottom + 34, "seconds of training"))
    middle = (top + bottom) / 2
    out.append(_label(12, middle, "training loss (nats an image, log scale)", more=f' transform="rotate(-90 12 {middle:.0f})"'))
    for i, (way, clock) in enumerate(zip(ways, clocks, strict=True)):
        shade = 2 - i  # fastact's colour is the first one, as in the other chart
        points = " ".join(f"{across(t):.1f},{down(loss):.1f}" for t, loss in zip(clock, way["loss"], strict=True))
        out.append(f'<g class="s{shade % 3}"><title>{_text(way["name"])}</title><polyline class="stroke" points="{points}"/>')
        out.append(_mark(shade, across(clock[-1]), down(way["loss"][-1])) + "</g>")
    # Names in the corner that curves leave empty.
    for i, way in enumerate(ways):
        shade = 2 - i
        y = top + 18 + 18 * i
        out.append(f'<g class="s{shade % 3}">{_mark(shade, width - right - 98, y - 4)}</g>')
        out.append(_label(width - right - 88, y, way["name"], "start", soft=False))
    return "".join(out) + "</svg>"


def _text(value):
    return html.escape(str(value))
