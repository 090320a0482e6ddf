"""A network whose relu units die, seen with `fastact.health`, and the same network with leaky_relu.

    python examples/dead_relu.py

A relu unit is dead when its input is negative for every image: its derivative is then 0 for all of them, no gradient reaches its weights,
and nothing ever brings it back. A few steps that are too large are enough: here the learning rate starts too high and is then lowered to a
sensible one. The networks start from the same weights and see the same batches; only the activation differs.
"""

import argparse

import network
import numpy as np
from options import count, seed

import fastact


def main(arguments=None):
    """Train both networks, print what became of their units, and return 1 if they are not as told above."""
    parser = argparse.ArgumentParser(description="See relu units die, and leaky_relu units live.")
    parser.add_argument("--seed", type=seed, default=0)
    parser.add_argument("--high", type=float, default=0.35, help="the learning rate of the first steps")
    parser.add_argument("--steps", type=count, default=10, help="how many those are")
    parser.add_argument("--rate", type=float, default=0.01, help="the learning rate from then on")
    parser.add_argument("--epochs", type=count, default=20)
    options = parser.parse_args(arguments)
    (x, labels), held_out = network.digits(options.seed)
    dead = {}
    for act in (fastact.relu, fastact.leaky_relu):
        net = network.layers(options.seed, (64, 128, 128, 128, 10))
        network.train(net, act, x, labels, options.seed, lambda i: options.high if i < options.steps else options.rate, options.epochs)
        found = [fastact.health(act, before) for before in network.forward(net, act, x)[1]]
        dead[act.name] = np.mean([layer.dead for layer in found])
        print(
            f"{act.name}: {network.accuracy(net, act, *held_out):.1%} of the images held out are read right, {dead[act.name]:.1%} of the hidden units are dead"
        )
        for i, layer in enumerate(found, 1):
            print(f"  layer {i}: {layer.dead:6.1%} dead, gain of the gradient {layer.gain:.2f}")
        worst = max(found, key=lambda layer: layer.dead)
        for advice in worst.advice:
            print(f"  {advice}")
    return int(not (dead["relu"] > 0.3 and dead["leaky_relu"] == 0))


if __name__ == "__main__":
    raise SystemExit(main())
