"""Health and watch count what they say; checks, pictures and commands of them work."""

import json
import warnings

import numpy as np
import pytest
import support

import fastact
from fastact import catalog, checking, cli, monitor, plotting


def counted(record, x, threshold=0.01):
    """The same numbers, by NumPy and in one go."""
    slope = np.abs(np.asarray(fastact.get(record.name).grad(x), float))
    return (slope == 0).all(axis=0).mean(), (slope < threshold).mean(), np.sqrt((slope**2).mean())


@pytest.mark.parametrize("dtype", support.DTYPES)
def test_health_counts(record, dtype):
    x = np.random.default_rng(1).normal(-1, 3, (400, 300)).astype(dtype)  # more than a block
    x[:, :30] -= 200
    found = fastact.health(record.name, x)
    dead, saturated, gain = counted(record, x)
    assert (found.samples, found.units, found.nan, found.infinite) == (400, 300, 0, 0)
    assert found.dead == pytest.approx(dead) and found.saturated == pytest.approx(saturated) and found.gain == pytest.approx(gain, rel=1e-6)
    assert found.through(3) == pytest.approx(gain**3, rel=1e-5)
    assert found.dead_units.sum() == round(dead * 300)
    assert record.name in str(found) and f"{found.dead:.1%}" in str(found)
    assert json.loads(json.dumps(found.as_dict()))["gain"] == found.gain


def test_health_takes_any_axes_and_types():
    x = np.random.default_rng(0).normal(size=(5, 4, 3)) - 1.5
    by_axis = fastact.health("relu", x, axis=(0, 2))
    assert by_axis.units == 4 and by_axis.samples == 15
    assert by_axis.dead == (x <= 0).all(axis=(0, 2)).mean()
    assert fastact.health("relu", x, axis=-1).units == 20
    assert fastact.health(fastact.relu, [-1, 2, -3]).units == 1
    assert fastact.health("relu", x.astype(np.float16)).samples == 5
    broken = fastact.health("tanh", np.array([[np.nan, np.inf, 1.0]]))
    assert broken.nan == 1 and broken.infinite == 1 and broken.dead == 1 / 3
    assert "NaN" in broken.advice[0]


@pytest.mark.parametrize(
    "arguments, error, words",
    [
        (("relu", 3.0), ValueError, "axis for the samples"),
        (("relu", np.zeros((2, 2)), 2), ValueError, "axis: 2"),
        (("relu", np.zeros((0, 3))), ValueError, "no samples"),
        (("relu", ["a"]), TypeError, "real numbers"),
        (("relu", np.zeros(3, np.longdouble)), TypeError, "real numbers"),
        (("relu", [[1.0], [2.0, 3.0]]), ValueError, "ragged"),
        (("relu", np.zeros((2, 2)), None), TypeError, "axis: expected a whole number"),
        (("relu", np.zeros((2, 2)), [0]), TypeError, "axis: expected a whole number"),
        (("relux", [1.0]), LookupError, "relu"),
    ],
)
def test_health_refuses(arguments, error, words):
    with pytest.raises(error, match=words):
        fastact.health(*arguments)


@pytest.mark.parametrize("wrong", [None, "0.1", [0.1]])
def test_a_threshold_is_a_number(wrong):
    with pytest.raises(TypeError, match="threshold: expected a number"):
        fastact.health("relu", [1.0], threshold=wrong)
    with pytest.raises(TypeError, match="threshold: expected a number"):
        fastact.watch(wrong)


def test_health_takes_bfloat16():
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    x = np.random.default_rng(0).normal(size=(50, 4)).astype(bfloat16)
    assert fastact.health("gelu", x).gain == fastact.health("gelu", x.astype(np.float32)).gain


def test_advice():
    x = np.random.default_rng(0).normal(size=(200, 50))
    assert not fastact.health("gelu", x).advice
    dead = x - 9 * (np.arange(50) < 20)
    assert "dead" in fastact.health("relu", dead).advice[0] and "leaky_relu" in fastact.health("relu", dead).advice[0]
    assert "saturated" in fastact.health("tanh", 40 * x).advice[0]
    assert "vanishes" in fastact.health("sigmoid", x).advice[0] and "Try relu" in fastact.health("sigmoid", x).advice[0]
    assert "little slope" in fastact.health("leaky_relu", x - 1.5).advice[0]
    assert "flat" in fastact.health("relu", x - 1.5).advice[0]
    steep = fastact.activation(lambda x: x * abs(x), name="steep", check=False)
    assert "explodes" in fastact.health(steep, 3 * x).advice[0]


@pytest.mark.parametrize("name", ["gelu", "relu", "sigmoid"])
@pytest.mark.parametrize("dtype", support.DTYPES)
def test_nan_is_left_out(name, dtype):
    """It is counted on its own, and no share or gain is of it."""
    x = np.random.default_rng(0).normal(0, 3, size=(200, 50)).astype(dtype)
    holes = np.where(np.random.default_rng(1).random(x.shape) < 0.3, np.nan, x).astype(dtype)
    slope = np.abs(fastact.get(name).grad(holes[~np.isnan(holes)]).astype(float))
    found = fastact.health(name, holes)
    assert (
        found.nan == np.isnan(holes).sum()
        and found.saturated == pytest.approx((slope < 0.01).mean())
        and found.flat == pytest.approx((slope == 0).mean())
    )
    assert found.gain == pytest.approx(np.sqrt((slope**2).mean()), rel=1e-5)
    nothing = fastact.health(name, np.full((50, 4), np.nan, dtype))
    assert nothing.nan == 200 and nothing.saturated == nothing.flat == nothing.dead == 0 and np.isnan(nothing.gain)
    assert len(nothing.advice) == 1 and "NaN" in nothing.advice[0]


def test_few_samples_make_no_dead_units():
    x = np.random.default_rng(0).normal(size=(monitor.ENOUGH, 40))
    few = fastact.health("relu", x[:1])
    assert few.dead > 0.3 and "1 sample is too few" in few.advice[0] and not any("nothing brings them back" in text for text in few.advice)
    assert "2 samples are too few" in fastact.health("relu", x[:2]).advice[0]
    assert "nothing brings them back" in fastact.health("relu", -np.abs(x)).advice[0]


def test_saturated_and_vanishing():
    said = " ".join(fastact.health("sigmoid", np.full((50, 4), 20.0)).advice)
    assert "100% of the entries are saturated" in said and "it vanishes on its way" in said


class Layer:
    def __init__(self, name):
        self.activation = fastact.get(name)

    def forward(self, x, **options):
        return self.activation(x, **options)


def test_watch_sees_layers(backend):
    layers = [Layer("relu"), Layer("relu"), Layer("sigmoid")]
    x = np.random.default_rng(0).normal(size=(32, 8)).astype(np.float32)
    with fastact.watch() as seen:
        for _ in range(3):
            for layer in layers:
                y = x.copy()
                assert layer.forward(y, out=y) is y
        fastact.gelu.value_and_grad(x)
        fastact.relu.grad(x)  # no value: not a layer
        fastact.relu(2.0)
    assert [h.activation for h in seen.layers] == ["relu", "relu", "sigmoid", "gelu"]
    assert [h.samples for h in seen.layers] == [96, 96, 96, 32]
    assert seen.layers[0].gain == pytest.approx(np.sqrt((x > 0).mean()))
    assert seen.through == pytest.approx(np.prod([h.gain for h in seen.layers]))
    assert "test_monitor.py" in str(seen) and seen.cost > 0
    before = seen.layers[0].samples
    layers[0].forward(x)
    assert seen.layers[0].samples == before, "it is closed"
    with pytest.raises(RuntimeError, match="make another"), seen, seen:
        pass


def test_watch_changes_no_result():
    x = support.sample(300, np.float32).reshape(30, 10)
    for record in support.RECORDS:
        f = fastact.get(record.name)
        plain = f(x)
        with fastact.watch():
            support.same_bits(f(x), plain)
            with pytest.raises(TypeError):
                f(x, nonsense=1)
            with pytest.raises((TypeError, ValueError)):
                f(np.array(["a"]))


def test_watch_rests():
    # However many calls there are, it looks at a burst of them and then sleeps.
    x = np.ones((4, 4), np.float32)
    with fastact.watch() as seen:
        for _ in range(10 * monitor._BURST_CALLS):
            fastact.tanh(x)
        total = seen.layers[0].samples
    assert 4 <= total <= 4 * 9 * monitor._BURST_CALLS
    assert seen._timer is None and not seen._awake


def test_watch_takes_parameters():
    with fastact.watch() as seen:
        fastact.leaky_relu(np.array([[-1.0, -2.0]]), negative_slope=0.5)
    assert seen.layers[0].gain == 0.5


def slopes(act, x, **parameters):
    """Saturation and gain, from all derivatives."""
    slope = np.abs(np.asarray(act.grad(x, **parameters), np.float64))
    return pytest.approx((slope < 0.01).mean()), pytest.approx(np.sqrt((slope**2).mean()), rel=1e-6)


@pytest.mark.parametrize("dtype", support.DTYPES)
@pytest.mark.parametrize("shape", [(8,), (64, 1), (64, 8), (1, 1)])
def test_watch_takes_arrays_of_parameters(backend, dtype, shape):
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(64, 8)).astype(dtype), np.where(rng.random(shape) < 0.5, 0, 0.3)
    with fastact.watch() as seen:
        fastact.prelu(x, weight)
        fastact.prelu(x[:, :1], weight=weight.tolist())  # the call makes it as wide as its result
        fastact.prelu.value_and_grad(x[0], weight)
    for found, part in zip(seen.layers, (x, x[:, :1], x[0]), strict=True):
        assert (found.saturated, found.gain) == slopes(fastact.prelu, part, weight=weight)
        assert found.samples * found.units == np.broadcast(part, weight).size


def test_watch_samples_parameters_as_it_samples():
    x = np.random.default_rng(0).normal(size=(3 * monitor._ENTRIES, 2))
    weight = np.arange(len(x)).reshape(-1, 1) % 6 / 10  # every sixth is looked at
    with fastact.watch() as seen:
        fastact.prelu(x, weight)
    assert seen.layers[0].saturated == slopes(fastact.prelu, x[::6], weight=0.0)[0]


def test_watch_takes_the_parameters_of_each_call(backend):
    x = -np.abs(np.random.default_rng(0).normal(size=(64, 8)))
    with fastact.watch() as seen:
        for slope in (1.0, 0.0, np.zeros(8), 1):
            fastact.leaky_relu(x, slope)
    assert [layer.saturated for layer in seen.layers] == [0.5]
    with fastact.watch() as seen, pytest.raises(ValueError):
        fastact.leaky_relu(x, np.zeros(7))
    assert not seen.layers, "it failed"


def test_watch_sees_what_a_call_means_once():
    x = np.ones((4, 3))
    with fastact.watch() as seen:
        fastact.gelu(x, approximate="tanh")
        fastact.gelu(x, approximate="none")
        fastact.leaky_relu(x, 10**400)  # too large for a float
    assert [(layer.activation, layer.samples) for layer in seen.layers] == [("gelu_tanh", 4), ("gelu", 4), ("leaky_relu", 4)]


class Unit:
    def __init__(self, call):
        self.call = call

    def forward(self, *args, **options):
        return self.call(*args, **options)


@pytest.mark.parametrize("dtype", ["float16", *support.DTYPES])
def test_watch_sees_bias(backend, dtype):
    rng = np.random.default_rng(0)
    x, b = rng.normal(size=(32, 6)).astype(dtype), rng.normal(size=6).astype(dtype)
    images, channels, slopes_of = rng.normal(size=(5, 3, 4)).astype(dtype), np.arange(3).astype(dtype), rng.random(4)
    unit, leaky = fastact.bias("relu"), fastact.bias("leaky_relu")
    first, second = Unit(unit), Unit(unit)
    plain = unit(x, b)
    with fastact.watch() as seen:
        y = x.copy()
        support.same_bits(first.forward(y, b, out=y), plain)
        second.forward(x, b, mask=np.ones(6, bool), scale=2.0)
        leaky(images, channels, 1, negative_slope=slopes_of)
        unit.backward(x, x, b)  # no value
    wide = [a.astype(np.float32) if dtype == "float16" else a for a in (x, b, images, channels)]
    total, spread = wide[0] + wide[1], wide[2] + wide[3][:, None]
    assert [(h.activation, h.samples, h.units) for h in seen.layers] == [("relu", 32, 6), ("relu", 32, 6), ("leaky_relu", 5, 12)]
    for found, (act, z, given) in zip(
        seen.layers, [(fastact.relu, total, {})] * 2 + [(fastact.leaky_relu, spread, {"negative_slope": slopes_of})], strict=True
    ):
        assert (found.saturated, found.gain) == slopes(act, z, **given)
        assert f"bias({found.activation})" in found.name and "test_monitor.py" in found.name
    assert seen.through == pytest.approx(np.prod([h.gain for h in seen.layers]))


def test_watch_sees_gated_units(backend):
    x = 3 * np.random.default_rng(0).normal(size=(32, 12))
    value, gate = x[:, :6], x[:, 6:]
    plain = fastact.swiglu(x)
    with fastact.watch() as seen:
        support.same_bits(fastact.swiglu(x), plain)
        fastact.reglu(x, "first")
        fastact.swiglu(value, gate, limit=2.0)
        fastact.gated("leaky_relu")(value, gate, negative_slope=np.zeros(6))
        fastact.swiglu.backward(value, x)  # no value
    cut = np.where(gate > 2, 0, fastact.silu.grad(np.minimum(gate, 2)))
    wanted = [fastact.silu.grad(gate), fastact.relu.grad(value), cut, fastact.leaky_relu.grad(gate, 0.0)]
    assert [h.name.split()[1] for h in seen.layers] == ["swiglu", "reglu", "swiglu", "gated(leaky_relu)"]
    for found, slope in zip(seen.layers, wanted, strict=True):
        assert (found.samples, found.units) == (32, 6)
        assert found.saturated == pytest.approx((np.abs(slope) < 0.01).mean()) and found.gain == pytest.approx(np.sqrt((slope**2).mean()))
    # A gradient goes through the value too: that of the gate says nothing about all of it.
    assert seen.through == 1 and "through all" not in str(seen)
    with fastact.watch() as seen:
        fastact.glu(x)
        fastact.tanh(x)
    assert seen.through == seen.layers[1].gain and "all 1 layers that are not gated" in str(seen)
    assert not seen.layers[0].advice and "gated" not in seen.layers[0].as_dict()


def test_watch_takes_bfloat16():
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    with fastact.watch() as seen:
        fastact.relu(np.ones((3, 2), bfloat16))
        fastact.bias("relu")(np.ones((3, 2), bfloat16), np.ones(2, bfloat16))
    assert [layer.samples for layer in seen.layers] == [3, 3]


def test_watch_of_nothing():
    with fastact.watch() as seen:
        pass
    assert str(seen).startswith("no activation was seen") and seen.layers == []


# --- check ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(catalog.records()))
def test_check_passes_the_catalog(name):
    record = catalog.records()[name]
    report = fastact.check(name)
    assert report.linear == (record.name == "identity"), "which is linear, and meant to be"
    assert report.passed, str(report)
    assert all("beyond float32" in warning for warning in report.warnings), "there is nothing else to warn about"
    assert report.ulp is None or (report.ulp[0] <= record.ulp[0] + 0.5 and report.ulp[1] <= record.ulp[1] + 0.5), report.ulp
    assert tuple(k[0] for k in report.kinks) == tuple(map(float, record.kinks))
    assert report.derivative_error < (1e-4 if record.domain else 1e-8)  # differences near the ends of a domain
    assert report.ulp is None or max(report.ulp) < 5
    assert f"{record.name}: passed" in str(report)
    json.dumps(report.as_dict())


def test_check_says_what_is_wrong():
    bad = fastact.activation(lambda x: x * x, name="bad", derivative=lambda x: 3 * x, check=False)
    report = fastact.check(bad)
    assert not report.passed and "3.0369" in report.problems[0] and "FAILED" in str(report)
    line = fastact.activation(lambda x: 2 * x, name="line", check=False)
    assert fastact.check(line).linear


@pytest.mark.parametrize(
    "name, low, high",
    [
        ("relu", (0, 0), (1, 0)),
        ("tanh", (0, -1), (0, 1)),
        ("silu", (0, 0), (1, 0)),
        ("elu", (0, -1), (1, 0)),
        ("leaky_relu", (0.1, 0), (1, 0)),
    ],
)
def test_asymptotes(name, low, high):
    limits = fastact.check(name).limits
    assert limits["-inf"] == pytest.approx(low, abs=1e-6) and limits["inf"] == pytest.approx(high, abs=1e-6)
    assert checking.asymptote(lambda x: x * x, 1) is None


# --- Pictures ------------------------------------------------------------------------------------------------------------


def test_html(record):
    text = fastact.get(record.name)._repr_html_()
    assert record.name in text and text.count("<svg") == text.count("</svg>") == 1
    assert text.count("<circle") == len(record.kinks) and "nan" not in text and "currentColor" in text
    import xml.etree.ElementTree

    assert xml.etree.ElementTree.fromstring(plotting.svg(record.name)).tag.endswith("svg")


@pytest.fixture
def pyplot():
    matplotlib = pytest.importorskip("matplotlib")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of the fonts and of pyparsing are not ours
        matplotlib.use("agg")
        import matplotlib.pyplot as pyplot

        yield pyplot
        pyplot.close("all")


def test_plot(pyplot, tmp_path):
    axes = fastact.plot("gelu", fastact.relu, dark=True, span=(-3, 4), path=tmp_path / "a.png")
    assert axes.get_xlim() == (-3, 4) and (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["gelu", "relu", "derivatives", "kinks"]
    axes = fastact.plot("relu")
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["relu", "relu, derivative", "kink"]
    _, own = pyplot.subplots()
    assert fastact.silu.plot(axes=own, derivative=False) is own
    found = fastact.health("relu", np.random.default_rng(0).normal(size=(20, 5)))
    assert found.plot().get_yticklabels()[0].get_text() == "relu"
    for span in ((1, 1), "a", (1, 2, 3)):
        with pytest.raises(ValueError, match="span"):
            fastact.plot("relu", span=span)
    with pytest.raises(TypeError, match="at least one"):
        fastact.plot()


def test_plot_of_many_can_be_told_apart(pyplot):
    names = [r.name for r in catalog.records().values() if r.domain is None][:15]
    axes = fastact.plot(*names)
    axes.figure.canvas.draw()
    assert axes.get_legend().get_window_extent().y1 < axes.bbox.y0, "it stands below"
    assert axes.title.get_window_extent().width < axes.figure.bbox.width and "more" in axes.get_title()
    drawn = {line.get_label(): (line.get_color(), line._unscaled_dash_pattern) for line in axes.lines if line.get_label() in names}
    assert len(drawn) == len(set(map(str, drawn.values()))) == len(names)


def test_plot_over_the_domain(pyplot):
    assert fastact.plot("logit").get_xlim() == (0, 1)
    assert fastact.plot("log1p").get_xlim() == (-1, 6)
    line = next(line for line in fastact.plot("logit", "gelu").lines if line.get_label() == "logit")
    x, y = line.get_data()
    np.testing.assert_allclose(x + x[::-1], 1)
    np.testing.assert_allclose(y[1:-1] + y[::-1][1:-1], 0, atol=1e-9)


# --- Commands ------------------------------------------------------------------------------------------------------------


def test_command_check(capsys):
    assert cli.main(["check", "relu", "swish"]) == 0
    assert "relu: passed" in (text := capsys.readouterr().out) and "silu: passed" in text
    assert cli.main(["check", "relu", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["kinks"] == [[0.0, 0.0, 0.0, 1.0]]
    assert cli.main(["check", "nothing"]) == cli.USAGE
    assert "no activation 'nothing'" in capsys.readouterr().err


def test_command_plot(pyplot, tmp_path, capsys):
    assert cli.main(["plot", "gelu", "relu", "-o", str(tmp_path / "p.svg"), "--span", "3", "--dark"]) == 0
    assert "<svg" in (tmp_path / "p.svg").read_text() and "p.svg" in capsys.readouterr().out
    assert cli.main(["plot", "gelu", "-o", str(tmp_path / "no" / "p.png")]) == cli.FAILED
    assert "no" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["plot", "gelu", "--span", "-3"])
    assert "width above 0" in capsys.readouterr().err


def test_names_hide_no_module():
    """A module called like a public function would take the function's place as soon as something imports it."""
    modules = {p.stem for p in support.PACKAGE.iterdir()}
    assert not modules & (set(fastact.__all__) - {"math"})
    assert set(catalog.records()) <= set(fastact.__all__)
