"""A deep network of sigmoids, whose gradient vanishes, seen with `fastact.watch`, and the same depth with tanh and silu.

    python examples/vanishing.py

The derivative of the sigmoid is at most 1/4. Through eight layers a gradient keeps (1/4)**8 = 0.000015 of itself at best: the first layers
stand still, and the network learns nothing. tanh has a derivative of 1 at 0; silu keeps its slope wherever the input is large.
"""

import argparse

import network
import numpy as np
from options import count, seed

import fastact


def main(arguments=None):
    """Train the three networks, print what becomes of the gradient, and return 1 if it is not as told above."""
    parser = argparse.ArgumentParser(description="See the gradient of a deep sigmoid network vanish.")
    parser.add_argument("--seed", type=seed, default=0)
    parser.add_argument("--depth", type=count, default=8, help="hidden layers (default: 8)")
    parser.add_argument("--epochs", type=count, default=15)
    options = parser.parse_args(arguments)
    (x, labels), held_out = network.digits(options.seed)
    right = {}
    for act, gain in ((fastact.sigmoid, 1), (fastact.tanh, 1), (fastact.silu, 3)):
        net = network.layers(options.seed, (64, *[64] * options.depth, 10), gain)
        # One call that calls the activation of each layer from the same line: so the layers are looked at one by one.
        slopes = [fastact.health(act, before).gain for before in network.forward(net, act, x)[1]]
        sizes = [np.linalg.norm(weights) for weights, _ in network.gradients(net, act, x, labels)]
        with fastact.watch() as seen:  # all layers together, while it trains
            network.train(net, act, x, labels, options.seed, 0.02, options.epochs)
        right[act.name] = network.accuracy(net, act, *held_out)
        print(f"{act.name}: {right[act.name]:.1%} of the images held out are read right after {options.epochs} epochs")
        print(
            f"  before training: gain of the gradient {np.mean(slopes):.2f} in each layer, {np.prod(slopes):.1e} through all {options.depth}"
        )
        print(f"  the gradient of the first layer's weights is {sizes[0] / sizes[-1]:.1e} times that of the last")
        print(f"  while training: {seen.layers[0]!r}")
        for advice in seen.layers[0].advice:
            print(f"  {advice}")
    return int(not (right["sigmoid"] < 0.5 and right["silu"] > 0.9))


if __name__ == "__main__":
    raise SystemExit(main())
