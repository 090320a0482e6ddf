"""An activation of one's own: designed, checked, trained and compared.

python examples/own_activation.py
"""

import sys

import network
import numpy as np

import fastact


# Designed: a parabola through 0 that gives way to straight lines, with a slope that can be set. A comparison makes a select of it.
@fastact.activation
def bowl(x, leak=0.1):
    """Quadratic between 0 and 1, straight beside that, with slopes that meet."""
    inner = np.clip(x, 0, 1)
    return leak * x + (1 - leak) * (inner * inner / 2 + np.maximum(x - 1, 0))


# Stopped: the same with a step in it, and a mistake in a derivative.
def mistakes():
    """What fastact says about two that went wrong."""
    for make in (
        lambda: fastact.activation(lambda x: np.where(x > 0, x + 0.1, 0.1 * x), name="step"),
        lambda: fastact.activation(lambda x: x * np.tanh(x), name="slip", derivative=lambda x: np.tanh(x) + x / np.cosh(x)),
    ):
        try:
            make()
        except fastact.ActivationError as error:
            print(f"{type(error).__name__}: {error}\n")


def main():
    """Print all of it; returns 1 if the network did not learn."""
    mistakes()
    print(fastact.check(bowl), fastact.export(bowl), sep="\n\n", end="\n\n")
    (x, labels), held_out = network.digits(0)
    right = {}
    for act in (bowl, fastact.relu, fastact.gelu):
        net = network.train(network.layers(0, (64, 64, 64, 10)), act, x, labels, 0, 0.02, 10)
        right[act.name] = network.accuracy(net, act, *held_out)
        found = fastact.health(act, network.forward(net, act, x)[1][-1])
        print(
            f"{act.name:5} {right[act.name]:.1%} of the images held out are read right; last layer: {found.dead:.0%} dead, gain {found.gain:.2f}"
        )
    return int(right["bowl"] < 0.9)


if __name__ == "__main__":
    sys.exit(main())
