"""The network of `dead_relu.py`, `vanishing.py` and `own_activation.py`: dense layers on the digits of scikit-learn, in NumPy."""

import numpy as np
from sklearn.datasets import load_digits


def digits(seed):
    """Images (8 by 8, from 0 to 1) and labels: 1,437 to train with and 360 held out."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(images))
    x = (images[order] / 16).astype(np.float32)
    return (x[:1437], labels[order[:1437]]), (x[1437:], labels[order[1437:]])


def layers(seed, widths, gain=2.0):
    """Weights and biases; the weights' variance is `gain` divided by the number of inputs: 2 for relu (He), 1 for tanh and sigmoid (LeCun)."""
    rng = np.random.default_rng(seed)
    pairs = zip(widths, widths[1:], strict=False)
    return [(rng.normal(0, (gain / a) ** 0.5, (a, b)).astype(np.float32), np.zeros(b, np.float32)) for a, b in pairs]


def forward(net, act, x):
    """The inputs of each layer, what goes into each activation, and the outputs."""
    inputs, before = [x], []
    for weights, bias in net[:-1]:
        before.append(inputs[-1] @ weights + bias)
        inputs.append(act(before[-1]))
    return inputs, before, inputs[-1] @ net[-1][0] + net[-1][1]


def gradients(net, act, x, labels):
    """The gradients of the cross-entropy with respect to weights and biases, layer by layer."""
    inputs, before, out = forward(net, act, x)
    chance = np.exp(out - out.max(axis=1, keepdims=True))
    chance /= chance.sum(axis=1, keepdims=True)
    chance[np.arange(len(x)), labels] -= 1
    gradient, found = chance / len(x), []
    for i in reversed(range(len(net))):
        found.append((inputs[i].T @ gradient, gradient.sum(axis=0)))
        if i:
            gradient = act.backward(gradient @ net[i][0].T, before[i - 1])
    return found[::-1]


def train(net, act, x, labels, seed, rate, epochs):
    """Gradient descent with momentum on batches of 64; `rate` is a number or a function of the step."""
    rng, count = np.random.default_rng(seed), 0
    speeds = [[np.zeros_like(p) for p in layer] for layer in net]
    for _ in range(epochs):
        order = rng.permutation(len(x))
        for start in range(0, len(x), 64):
            batch = order[start : start + 64]
            now = rate(count) if callable(rate) else rate
            for layer, speed, change in zip(net, speeds, gradients(net, act, x[batch], labels[batch]), strict=True):
                for p, v, g in zip(layer, speed, change, strict=True):
                    v *= 0.9
                    v -= now * g
                    p += v
            count += 1
    return net


def accuracy(net, act, x, labels):
    """The share of images that are read right."""
    return (forward(net, act, x)[2].argmax(axis=1) == labels).mean()
