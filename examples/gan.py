"""Teach a network to draw digits: a generative adversarial network, in NumPy and fastact alone.

Two networks play against each other. The *generator* (hidden relu, tanh output) turns noise and a wanted
digit into an image; the *discriminator* (hidden leaky_relu, one sigmoid output) is shown an image with its
digit and says how probable it is that the image is a real one. Each learns from the other's mistakes, and all
the derivatives of the activations come from fastact's fused ``backward``.

    python examples/gan.py -o digits.png

writes a picture: one row for each digit, real ones at the left, drawn ones at the right.
"""

import argparse
import math
import time
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from options import count, seconds, seed

import fastact
from fastact import demo

NOISE = 32
HIDDEN = 256


class Dropout:
    """Cut random units, so that the discriminator cannot just learn the few real images by heart."""

    def __init__(self, share, rng):
        self.share, self.rng = share, rng

    def forward(self, x):
        self.factor = (self.rng.random(x.shape, np.float32) >= self.share) * np.float32(1 / (1 - self.share))
        return x * self.factor  # not in place: the activation before needs its output for its derivative

    def backward(self, grad_output):
        grad_output *= self.factor
        return grad_output


@dataclass
class Gan:
    """The two networks, their optimisers, and an average of the generator.

    Attributes
    ----------
    generator, discriminator : fastact.demo.Network
        The two players.
    rates : tuple of float
        Step sizes of the two optimisers, of the discriminator first.
    average : ndarray
        Running mean of the generator's parameters. The two players circle around the solution; the mean is
        nearer to it than any one point of the circle, and draws cleaner digits.
    rng : numpy.random.Generator
        Source of all noise.
    """

    rng: np.random.Generator
    rates: tuple[float, float]

    def __post_init__(self):
        def relu():
            return demo.Fastact(fastact.relu)

        def leaky_relu():
            return demo.Fastact(fastact.leaky_relu, negative_slope=0.2)

        self.generator = demo.Network(
            [
                demo.Dense(NOISE + demo.CLASSES, HIDDEN, first=True),
                relu(),
                demo.Dense(HIDDEN, HIDDEN),
                relu(),
                demo.Dense(HIDDEN, demo.PIXELS),
                demo.Fastact(fastact.tanh),
            ],
            self.rng,
        )
        # Its first layer must give the gradient of the image: that is what the generator learns from.
        self.discriminator = demo.Network(
            [
                demo.Dense(demo.PIXELS + demo.CLASSES, HIDDEN),
                leaky_relu(),
                Dropout(0.3, self.rng),
                demo.Dense(HIDDEN, HIDDEN),
                leaky_relu(),
                Dropout(0.3, self.rng),
                demo.Dense(HIDDEN, 1),
                demo.Fastact(fastact.sigmoid),
            ],
            self.rng,
        )
        # beta1 = 0.5: a long memory of gradients is a memory of an opponent who has moved since.
        self.optimisers = [
            demo.Adam(network, rate, beta1=0.5) for network, rate in zip((self.discriminator, self.generator), self.rates, strict=True)
        ]
        self.average = self.generator.parameters.copy()

    def draw(self, labels):
        """Return a new image for each row of one-hot `labels`; a buffer, overwritten by the next call."""
        noise = self.rng.standard_normal((len(labels), NOISE), np.float32)
        return self.generator.forward(np.concatenate([noise, labels], axis=1))

    def judge(self, images, labels, blur):
        """Return the discriminator's probabilities that `images` are real, seen through noise.

        The noise makes real and drawn images overlap; without it the discriminator soon tells them apart
        with certainty, and then there is nothing to be learned from it.
        """
        seen = images + blur * self.rng.standard_normal(images.shape, np.float32)
        return self.discriminator.forward(np.concatenate([seen, labels], axis=1))

    def train_discriminator(self, images, labels, blur):
        """One step: real images towards 0.9, drawn ones towards 0."""
        count = len(images)
        both = np.concatenate([images, self.draw(labels)])
        targets = np.zeros((2 * count, 1), np.float32)
        targets[:count] = 0.9  # and not 1: a discriminator that is never quite sure keeps its gradients alive
        output = self.judge(both, np.concatenate([labels, labels]), blur)
        loss, gradient = demo.binary_cross_entropy(output, targets)
        self.discriminator.backward(gradient)
        self.optimisers[0].step()
        return loss

    def train_generator(self, labels, blur, keep):
        """One step: drawn images towards what the discriminator takes for real."""
        output = self.judge(self.draw(labels), labels, blur)
        loss, gradient = demo.binary_cross_entropy(output, np.ones_like(output))
        gradient = self.discriminator.backward(gradient)
        self.generator.backward(np.ascontiguousarray(gradient[:, : demo.PIXELS]))
        self.optimisers[1].step()
        self.average += (1 - keep) * (self.generator.parameters - self.average)
        return loss


def train(gan, images, labels, *, epochs, seconds, batch, report):
    """Let the two play until `epochs` or `seconds` are over, and leave the averaged generator in place.

    Parameters
    ----------
    gan : Gan
        Who plays.
    images, labels : ndarray
        Real images, from -1 to 1, and their one-hot labels.
    epochs : int
        How many times every real image is shown.
    seconds : float or None
        Be ready after this time, if that is sooner. How far it gets then depends on the machine.
    batch : int
        Images to a step.
    report : callable
        Called as ``report(epoch, discriminator_loss, generator_loss)`` after each epoch.
    """
    rates = [optimiser.rate for optimiser in gan.optimisers]
    start = time.perf_counter()
    for epoch in range(epochs):
        # Steps and noise shrink together: first find the shapes, then the details.
        done = epoch / epochs
        if seconds is not None:
            done = max(done, (time.perf_counter() - start) / seconds)
        if done >= 1:
            break
        left = (1 + math.cos(math.pi * done)) / 2
        blur = 0.1 + 0.2 * left
        for optimiser, rate in zip(gan.optimisers, rates, strict=True):
            optimiser.rate = rate * max(left, 0.1)
        losses = []
        order = gan.rng.permutation(len(images))
        for rows in np.array_split(order, len(order) // batch):
            first = gan.train_discriminator(images[rows], labels[rows], blur)
            losses.append((first, gan.train_generator(labels[rows], blur, keep=0.998)))
        report(epoch + 1, *np.mean(losses, axis=0))
    gan.generator.parameters[:] = gan.average


def dead_units(network, count):
    """Return how many hidden relu units gave 0 for all of the last `count` inputs, and how many there are."""
    outputs = [layer.output[:count] for layer in network.layers if isinstance(layer, demo.Fastact) and layer.activation is fastact.relu]
    dead = sum(int(np.count_nonzero(~output.any(axis=0))) for output in outputs)
    return dead, sum(output.shape[1] for output in outputs)


def recognised(drawn, wanted, images, labels, rng, epochs=60):
    """Return the share of `drawn` that a classifier, trained on the real `images`, reads as `wanted`."""
    reader = demo.fastact_classifier((128,), rng)
    optimiser = demo.Adam(reader)
    for _ in range(epochs):
        demo.train_epoch(reader, optimiser, images, labels, 128, rng)
    return np.mean(reader.forward(drawn).argmax(axis=1) == wanted)


def save_picture(path, real, drawn):
    """Write a PNG of digits.

    Parameters
    ----------
    path : str
        Where to.
    real, drawn : ndarray, shape (10, columns, 64)
        Images from -1 to 1, one row for each digit.
    """

    def sheet(images):
        # One white pixel around each image keeps neighbours apart.
        frame = [(0, 0), (0, 0), (1, 1), (1, 1)]
        framed = np.pad(images.reshape(*images.shape[:2], 8, 8), frame, constant_values=-1)
        return framed.transpose(0, 2, 1, 3).reshape(10 * len(images), -1)

    columns = real.shape[1], drawn.shape[1]
    figure = Figure(figsize=(0.45 * (sum(columns) + 1), 5), layout="constrained")
    axes = figure.subplots(1, 2, width_ratios=columns)
    for axis, images, title in zip(axes, (real, drawn), ("real", "generated"), strict=True):
        axis.imshow(sheet(images), cmap="gray_r", vmin=-1, vmax=1, interpolation="nearest")
        axis.set_title(title)
        axis.axis("off")
    figure.savefig(path, dpi=120)


def nearest(images, others, itself=False):
    """Return the mean distance from `images` to the nearest of `others`, that is not `itself` if so told."""
    squares = (images**2).sum(axis=1)[:, None] + (others**2).sum(axis=1) - 2 * images @ others.T
    if itself:
        np.fill_diagonal(squares, np.inf)
    return np.sqrt(np.maximum(squares.min(axis=1), 0)).mean()


def variety(images, digits):
    """Return how much the images of one digit differ: the standard deviation of a pixel, averaged."""
    return np.mean([images[digits == digit].std(axis=0).mean() for digit in range(demo.CLASSES)])


def show(gan, images, digits, path):
    """Write the picture, and print how healthy the generator is and how good what it draws."""
    wanted = np.arange(len(images)) % demo.CLASSES
    drawn = gan.draw(demo.one_hot(wanted)).copy()
    dead, units = dead_units(gan.generator, len(drawn))
    # Not chosen by hand: the first of the drawn ones, and three real ones by lot.
    real, generated = [], []
    for digit in range(demo.CLASSES):
        real.append(gan.rng.choice(images[digits == digit], 3, replace=False))
        generated.append(drawn[wanted == digit][:12])
    save_picture(path, np.stack(real), np.stack(generated))

    right = recognised(drawn, wanted, images, demo.one_hot(digits), gan.rng)
    novelty = nearest(drawn, images) / nearest(images, images, itself=True)
    print(f"dead relu units in the generator: {dead} of {units} ({dead / units:.1%})")
    print(f"drawn digits that a classifier of real ones reads as wanted: {right:.1%}")
    print(f"variety within a digit, drawn to real: {variety(drawn, wanted) / variety(images, digits):.2f}")
    print(f"distance to the nearest real image, drawn to real: {novelty:.2f} (copies would give 0)")
    print(f"wrote {path}")


def main(arguments=None):
    """Train, write the picture, and print how healthy the networks are."""
    parser = argparse.ArgumentParser(description="Train a GAN on the digits images and draw new ones.")
    parser.add_argument("-o", "--output", default="digits.png", help="PNG to write (default: %(default)s)")
    parser.add_argument("--epochs", type=count, default=400, help="passes over the data (default: %(default)s)")
    parser.add_argument("--seconds", type=seconds, help="train no longer than this")
    parser.add_argument("--batch", type=count, default=32, help="images to a step (default: %(default)s)")
    parser.add_argument("--seed", type=seed, default=0, help="same seed, same digits (default: %(default)s)")
    options = parser.parse_args(arguments)

    rng = np.random.default_rng(options.seed)
    images, digits = demo.load_digits()
    images = 2 * images - 1  # as tanh has it: ink is 1, paper -1
    labels = demo.one_hot(digits)
    gan = Gan(rng, rates=(1e-3, 1e-3))

    start = time.perf_counter()

    def report(epoch, first, second):
        if epoch % max(1, options.epochs // 20) == 0:
            spent = time.perf_counter() - start
            losses = f"discriminator {first:.3f}  generator {second:.3f}"
            print(f"epoch {epoch:4}  {losses}  {spent:6.1f} s", flush=True)

    with demo.one_blas_thread():
        train(
            gan,
            images,
            labels,
            epochs=options.epochs,
            seconds=options.seconds,
            batch=options.batch,
            report=report,
        )
        show(gan, images, digits, options.output)


if __name__ == "__main__":
    main()
