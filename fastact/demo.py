"""A small neural network, trained on real images with NumPy's activations and again with fastact's.

The network is plain NumPy (dense layers, Adam, binary cross-entropy) and takes its activations as objects,
so that everything but the activations is the same code for both. The data are the 1,797 handwritten digits
that ship inside scikit-learn. ``python -m fastact demo`` and the scripts in ``examples/`` are made of this.
"""

import math
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from time import perf_counter

import numpy as np

from . import get_num_threads, leaky_relu, sigmoid

CLASSES = 10
PIXELS = 64
# What the report of the demo measures: all of the catalog would take minutes.
MEASURED = ["relu", "leaky_relu", "sigmoid", "tanh", "silu", "gelu", "softplus", "elu", "softsign"]


def load_digits():
    """Return the digits that ship inside scikit-learn; nothing is downloaded.

    Returns
    -------
    images : ndarray of float32, shape (1797, 64)
        Grey values from 0 to 1, eight rows of eight to an image.
    labels : ndarray of int64, shape (1797,)
        The digit that each image shows.

    Raises
    ------
    ImportError
        If scikit-learn is not installed.
    """
    try:
        from sklearn import datasets
    except ImportError as error:
        message = "the digits images ship inside scikit-learn: pip install 'fastact[examples]'"
        raise ImportError(message) from error
    digits = datasets.load_digits()
    return (digits.data / 16).astype(np.float32), digits.target


def one_blas_thread():
    """Return a context in which the matrix products run on one thread.

    The matrices here are small: a second thread gains little, and on a busy machine waiting for it can cost
    a hundred times the work. It also makes the result independent of the number of cores. The threads of
    fastact are not touched.
    """
    # Installed with scikit-learn, which has the images.
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1, user_api="blas")


def one_hot(labels):
    """Return a float32 row for each label, 1 at the label and 0 elsewhere."""
    return np.eye(CLASSES, dtype=np.float32)[labels]


# Activations: three sets of the same interface, forward(x) -> y and backward(grad_output) -> grad_input.


class NumpyLeakyReLU:
    """leaky_relu as it is usually written with NumPy: simple, and a temporary array for every operation."""

    def __init__(self, negative_slope=0.1):
        self.negative_slope = negative_slope

    def forward(self, x):
        self.x = x
        return np.where(x > 0, x, self.negative_slope * x)

    def backward(self, grad_output):
        # grad_output * where(x > 0, 1.0, 0.1) would be float64 and slow the rest down: that would be unfair.
        return np.where(self.x > 0, grad_output, self.negative_slope * grad_output)


class NumpySigmoid:
    """The sigmoid as it is usually written with NumPy."""

    def forward(self, x):
        self.y = 1 / (1 + np.exp(-x))
        return self.y

    def backward(self, grad_output):
        return grad_output * self.y * (1 - self.y)


class TunedLeakyReLU:
    """leaky_relu as an expert writes it with NumPy: in place, and with nothing to branch on.

    Signs of hidden units are as good as random. `numpy.where` branches on them, the processor guesses wrong
    half of the time, and that costs several times what the arithmetic does.
    """

    def __init__(self, negative_slope=0.1):
        self.negative_slope = negative_slope
        self._scratch = np.empty((0, 0), np.float32)

    def forward(self, x):
        if self._scratch.size < x.size:
            self._scratch = np.empty_like(x)
        scratch = self._scratch[: len(x)]
        np.multiply(x, self.negative_slope, out=scratch)
        self.y = np.maximum(x, scratch, out=x)
        return self.y

    def backward(self, grad_output):
        factor = np.greater(self.y, 0, out=self._scratch[: len(grad_output)])
        factor *= 1 - self.negative_slope
        factor += self.negative_slope
        grad_output *= factor
        return grad_output


class TunedSigmoid:
    """The sigmoid in place."""

    def forward(self, x):
        np.negative(x, out=x)
        np.exp(x, out=x)
        x += 1
        self.y = np.reciprocal(x, out=x)
        return self.y

    def backward(self, grad_output):
        grad_output *= self.y
        grad_output *= 1 - self.y
        return grad_output


class Fastact:
    """Any activation of fastact whose derivative can be had from its output, without one temporary array.

    Parameters
    ----------
    activation : callable
        ``fastact.relu``, ``fastact.leaky_relu``, ``fastact.sigmoid``, ``fastact.tanh`` ...
    **parameters
        The parameters of the activation, by name.

    Notes
    -----
    The value overwrites the input and the gradient overwrites the incoming gradient: both are buffers of a
    neighbouring layer that nobody reads again. What `backward` needs is the output, which is kept anyway
    because it is the input of the next layer.
    """

    def __init__(self, activation, **parameters):
        self.activation = activation
        self.parameters = parameters

    def forward(self, x):
        self.output = self.activation(x, out=x, **self.parameters)
        return self.output

    def backward(self, grad_output):
        return self.activation.backward(grad_output, output=self.output, out=grad_output, **self.parameters)


class Timed:
    """A layer together with the seconds that were spent in it."""

    def __init__(self, layer):
        self.layer = layer
        self.seconds = 0.0

    def forward(self, x):
        start = perf_counter()
        y = self.layer.forward(x)
        self.seconds += perf_counter() - start
        return y

    def backward(self, grad_output):
        start = perf_counter()
        grad_input = self.layer.backward(grad_output)
        self.seconds += perf_counter() - start
        return grad_input


# The network.


class Dense:
    """A fully connected layer, ``x @ weights + bias``, that writes into buffers of its own.

    Parameters
    ----------
    inputs, outputs : int
        Number of columns of what comes in and of what goes out.
    first : bool, default False
        Nobody asks the first layer for the gradient of its input, so it does not compute it.

    Notes
    -----
    The arrays returned are the buffers: they hold until the next call, and the next layer may overwrite them.
    """

    def __init__(self, inputs, outputs, first=False):
        self.shape = (inputs, outputs)
        self.size = (inputs + 1) * outputs
        self.first = first
        self._y = np.empty((0, outputs), np.float32)
        self._dx = np.empty((0, inputs), np.float32)

    def bind(self, parameters, gradients, rng):
        """Make weights and bias views of two flat arrays, and draw the first weights."""
        inputs, outputs = self.shape
        split = inputs * outputs
        self.weights, self.bias = parameters[:split].reshape(self.shape), parameters[split:]
        self.dweights, self.dbias = gradients[:split].reshape(self.shape), gradients[split:]
        # He et al. (2015): keeps the variance from layer to layer when about half of the units are cut.
        self.weights[...] = rng.normal(0, math.sqrt(2 / inputs), self.shape)
        self.bias[...] = 0

    def forward(self, x):
        if len(self._y) < len(x):
            self._y = np.empty((len(x), self.shape[1]), np.float32)
            self._dx = np.empty((len(x), self.shape[0]), np.float32)
        self.x = x
        y = np.matmul(x, self.weights, out=self._y[: len(x)])
        y += self.bias
        return y

    def backward(self, grad_output):
        np.matmul(self.x.T, grad_output, out=self.dweights)
        np.add.reduce(grad_output, axis=0, out=self.dbias)
        if self.first:
            return None
        return np.matmul(grad_output, self.weights.T, out=self._dx[: len(self.x)])


class Network:
    """Layers in a row, all their parameters in one flat array.

    Parameters
    ----------
    layers : sequence
        Objects with ``forward(x)`` and ``backward(grad_output)``.
    rng : numpy.random.Generator
        Draws the first weights.

    Attributes
    ----------
    parameters, gradients : ndarray of float32, one-dimensional
        One array each for the whole network: an optimiser is then a handful of NumPy calls.
    """

    def __init__(self, layers, rng):
        self.layers = list(layers)
        dense = [layer for layer in self.layers if isinstance(layer, Dense)]
        ends = np.cumsum([layer.size for layer in dense])
        self.parameters = np.empty(ends[-1], np.float32)
        self.gradients = np.zeros_like(self.parameters)
        for layer, end in zip(dense, ends, strict=True):
            part = slice(end - layer.size, end)
            layer.bind(self.parameters[part], self.gradients[part], rng)

    def forward(self, x):
        """Return the output for a batch; it is a buffer, which the next call overwrites."""
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, gradient):
        """Set `gradients`, and return the gradient of the input (None if the first layer leaves it out)."""
        for layer in reversed(self.layers):
            gradient = layer.backward(gradient)
        return gradient


class Adam:
    """The optimiser of Kingma and Ba (2015), in place.

    Parameters
    ----------
    network : Network
        Whose `parameters` to change, by its `gradients`.
    rate : float
        Step size.
    beta1, beta2 : float
        How much of the running means of the gradient and of its square is kept at each step.
    """

    def __init__(self, network, rate=1e-3, beta1=0.9, beta2=0.999):
        self.network, self.rate, self.beta1, self.beta2 = network, rate, beta1, beta2
        self.steps = 0
        self._mean, self._square, self._scratch = np.zeros((3, network.parameters.size), np.float32)

    def step(self):
        """Move the parameters once."""
        gradient, scratch = self.network.gradients, self._scratch
        self.steps += 1
        self._mean *= self.beta1
        self._mean += np.multiply(gradient, 1 - self.beta1, out=scratch)
        self._square *= self.beta2
        np.multiply(gradient, gradient, out=scratch)
        scratch *= 1 - self.beta2
        self._square += scratch
        # Both means start at zero; the corrections go into two scalars instead of two more arrays.
        correction = math.sqrt(1 - self.beta2**self.steps)
        np.sqrt(self._square, out=scratch)
        scratch += 1e-8 * correction
        np.divide(self._mean, scratch, out=scratch)
        scratch *= self.rate * correction / (1 - self.beta1**self.steps)
        self.network.parameters -= scratch


def binary_cross_entropy(output, target):
    """Return the loss, summed over columns and averaged over rows, and its gradient.

    Parameters
    ----------
    output : ndarray
        Probabilities, as a sigmoid gives them.
    target : ndarray
        The probabilities wanted, of the same shape.

    Returns
    -------
    loss : float
    gradient : ndarray
        The derivative of the loss by `output`.
    """
    p = np.clip(output, 1e-7, 1 - 1e-7)  # 1 - 1e-7 is below 1 in float32 too
    rows = len(p)
    loss = -(target * np.log(p) + (1 - target) * np.log1p(-p)).sum() / rows
    return float(loss), (p - target) / (p * (1 - p) * rows)


def classifier(hidden, make_leaky_relu, make_sigmoid, rng):
    """Return a network with hidden leaky_relu layers and one sigmoid output for each class.

    Parameters
    ----------
    hidden : sequence of int
        Widths of the hidden layers.
    make_leaky_relu, make_sigmoid : callable
        Give a new activation layer at each call.
    rng : numpy.random.Generator
        Draws the first weights.
    """
    widths = [PIXELS, *hidden]
    layers = []
    for inputs, outputs in pairwise(widths):
        layers += [Dense(inputs, outputs, first=not layers), make_leaky_relu()]
    layers += [Dense(widths[-1], CLASSES), make_sigmoid()]
    return Network(layers, rng)


def fastact_classifier(hidden, rng):
    """Return the classifier with fastact's activations (see `classifier`)."""
    return classifier(hidden, lambda: Fastact(leaky_relu), lambda: Fastact(sigmoid), rng)


def train_epoch(network, optimiser, images, targets, batch, rng):
    """Train on every image once, in random order, and return the mean loss."""
    order = rng.permutation(len(images))
    total = 0.0
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        loss, gradient = binary_cross_entropy(network.forward(images[rows]), targets[rows])
        network.backward(gradient)
        optimiser.step()
        total += loss * len(rows)
    return total / len(order)


# The comparison.


@dataclass
class Training:
    """One way to train: what it learned, and how long each epoch took.

    Attributes
    ----------
    name : str
        "NumPy", "NumPy, tuned" or "fastact".
    accuracy : float
        Share of the held-out images that are recognised.
    loss : list of float
        Mean training loss of each epoch.
    epoch_seconds, activation_seconds : list of float
        Time of each epoch, and the part of it that was spent in the activations, both directions.
    """

    name: str
    accuracy: float = math.nan
    loss: list[float] = field(default_factory=list)
    epoch_seconds: list[float] = field(default_factory=list)
    activation_seconds: list[float] = field(default_factory=list)

    @property
    def seconds(self):
        """Time of the whole training."""
        return sum(self.epoch_seconds)


@dataclass
class Comparison:
    """The same network, trained NumPy's way and fastact's way. ``str()`` of it is a table.

    Attributes
    ----------
    numpy, tuned, fastact : Training
        Activations as NumPy's users usually write them, as an expert writes them, and fastact's.
    disagreements : int
        Held-out images that the first and the last of the networks label differently.
    hidden : tuple of int
        Widths of the hidden layers.
    batch, epochs, seed, train_images, test_images : int
        What was trained on what.
    threads : int
        How many threads fastact may use; the matrix products have one, and so have NumPy's activations.
    """

    numpy: Training
    tuned: Training
    fastact: Training
    disagreements: int
    hidden: tuple[int, ...]
    batch: int
    epochs: int
    seed: int
    train_images: int
    test_images: int
    threads: int

    @property
    def speedup(self):
        """How many times as fast an epoch is with fastact as in NumPy's usual way, by the medians."""
        return median(self.numpy.epoch_seconds) / median(self.fastact.epoch_seconds)

    @property
    def activation_speedup(self):
        """The same for the time spent in the activations alone."""
        return median(self.numpy.activation_seconds) / median(self.fastact.activation_seconds)

    @property
    def tuned_speedup(self):
        """How many times as fast an epoch is with fastact as with NumPy tuned by hand."""
        return median(self.tuned.epoch_seconds) / median(self.fastact.epoch_seconds)

    @property
    def tuned_activation_speedup(self):
        """The same for the time spent in the activations alone."""
        return median(self.tuned.activation_seconds) / median(self.fastact.activation_seconds)

    def __str__(self):
        shape = "-".join(map(str, (PIXELS, *self.hidden, CLASSES)))
        names = ("epoch", "activations", "share", "in all", "last loss", "accuracy")
        header = "{:14}{:>11}{:>15}{:>8}{:>11}{:>12}{:>11}".format("", *names)
        lines = [
            f"Digits: {self.train_images} images to train on, {self.test_images} held out.",
            f"Network {shape}, float32, {self.epochs} epochs in batches of {self.batch}, seed {self.seed}.",
            f"Matrix products run on 1 thread, fastact on up to {self.threads}.",
            "",
            header,
        ]
        for way in (self.numpy, self.tuned, self.fastact):
            epoch, part = median(way.epoch_seconds), median(way.activation_seconds)
            lines.append(
                f"{way.name:14}{1e3 * epoch:8.2f} ms{1e3 * part:12.2f} ms{part / epoch:8.0%}"
                f"{way.seconds:9.2f} s{way.loss[-1]:12.5f}{way.accuracy:11.2%}"
            )
        gain, tuned = self.activation_speedup, self.tuned_activation_speedup
        lines += [
            "",
            "With fastact an epoch is (and the activations alone are)",
            f"  {self.speedup:.2f} ({gain:.3g}) times as fast as in NumPy's usual way, and",
            f"  {self.tuned_speedup:.2f} ({tuned:.3g}) times as fast as NumPy tuned by hand.",
            f"NumPy's network and fastact's disagree on {self.disagreements} of {self.test_images} images:",
            "they start from the same weights and see the same batches, but round the last bits otherwise.",
        ]
        return "\n".join(lines)


def compare(*, hidden=(256, 64, 256, 64), batch=256, epochs=150, rate=1e-3, seed=0, progress=None):
    """Train a digits classifier with NumPy's activations, and again with fastact's.

    Parameters
    ----------
    hidden : sequence of int
        Widths of the hidden layers.
    batch : int
        Images to a step of the optimiser. Larger batches and narrower layers give the activations a larger
        share of the time: it falls with the width of the layer before.
    epochs : int
        How many times each network sees all training images.
    rate : float
        Step size of Adam at the start; it falls to zero along half a cosine.
    seed : int
        Decides on the split, the first weights and the batches: the same for every network.
    progress : callable, optional
        Called as ``progress(done, epochs)`` after each epoch of all.

    Returns
    -------
    Comparison
        Times, losses and accuracies; ``str()`` of it is a table.

    Raises
    ------
    ImportError
        If scikit-learn, which has the images, is not installed.

    Notes
    -----
    The networks take turns, epoch by epoch, so that whatever else the machine does slows all down alike.
    NumPy is shown twice: written as usual, and tuned by hand, so that the gain is not that of a naive rival.

    Examples
    --------
    >>> from fastact.demo import compare
    >>> result = compare(hidden=(32,), epochs=2)  # doctest: +SKIP
    >>> print(result)  # doctest: +SKIP
    """
    images, labels = load_digits()
    order = np.random.default_rng(seed).permutation(len(images))
    held_out, kept = np.split(order, [len(order) // 5])
    x, targets = images[kept], one_hot(labels[kept])

    ways = {
        "NumPy": (NumpyLeakyReLU, NumpySigmoid),
        "NumPy, tuned": (TunedLeakyReLU, TunedSigmoid),
        "fastact": (lambda: Fastact(leaky_relu), lambda: Fastact(sigmoid)),
    }
    results, runs = {}, []
    for name, makers in ways.items():
        rng = np.random.default_rng(seed)
        network = classifier(hidden, *(lambda make=make: Timed(make()) for make in makers), rng)
        timed = [layer for layer in network.layers if isinstance(layer, Timed)]
        results[name] = Training(name)
        runs.append((results[name], network, timed, Adam(network, rate), rng))

    with one_blas_thread():
        for _, network, _, _, _ in runs:
            # First calls load code and grow buffers: not what is measured. Nothing is learned from this.
            network.backward(np.zeros_like(network.forward(x[:batch])))
        for epoch in range(epochs):
            for result, network, timed, optimiser, rng in runs:
                optimiser.rate = rate * (1 + math.cos(math.pi * epoch / epochs)) / 2
                before, start = sum(layer.seconds for layer in timed), perf_counter()
                result.loss.append(train_epoch(network, optimiser, x, targets, batch, rng))
                result.epoch_seconds.append(perf_counter() - start)
                result.activation_seconds.append(sum(layer.seconds for layer in timed) - before)
            if progress is not None:
                progress(epoch + 1, epochs)
        answers = [network.forward(images[held_out]).argmax(axis=1) for _, network, *_ in runs]

    for result, answer in zip(results.values(), answers, strict=True):
        result.accuracy = float(np.mean(answer == labels[held_out]))
    return Comparison(
        numpy=results["NumPy"],
        tuned=results["NumPy, tuned"],
        fastact=results["fastact"],
        disagreements=int(np.count_nonzero(answers[0] != answers[-1])),
        hidden=tuple(hidden),
        batch=batch,
        epochs=epochs,
        seed=seed,
        train_images=len(kept),
        test_images=len(held_out),
        threads=get_num_threads(),
    )
