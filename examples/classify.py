"""Train a digits classifier from one seed with NumPy's activations, and again with fastact's.

    python examples/classify.py

The network has hidden leaky_relu layers and one sigmoid output for each digit. Everything but the activations
is the same NumPy code (see ``fastact/demo.py``, which is short); they differ in this:

========  ============================================  ====================================================
what      NumPy's usual way                             fastact
========  ============================================  ====================================================
value     ``np.where(x > 0, x, slope * x)``             ``leaky_relu(x, out=x)``
gradient  ``np.where(x > 0, grad, slope * grad)``       ``leaky_relu.backward(grad, output=y, out=grad)``
value     ``1 / (1 + np.exp(-x))``                      ``sigmoid(x, out=x)``
gradient  ``grad * y * (1 - y)``                        ``sigmoid.backward(grad, output=y, out=grad)``
========  ============================================  ====================================================

Each line at the left makes one to three temporary arrays; each line at the right is one pass over memory and
makes none. Between the two there is NumPy tuned by hand: in place, ``np.maximum`` instead of ``np.where``.
"""

import argparse
import dataclasses
import json
import sys

from options import count, seed

from fastact import demo


def main(arguments=None):
    """Train every way, print the table, and return 1 if the network did not learn."""
    parser = argparse.ArgumentParser(description="Train a digits classifier, NumPy's way and fastact's.")
    parser.add_argument("--hidden", type=count, nargs="+", metavar="UNITS", help="widths of the hidden layers")
    parser.add_argument("--batch", type=count, help="images to a step")
    parser.add_argument("--epochs", type=count, help="passes over the images")
    parser.add_argument("--seed", type=seed, help="decides on split, first weights and batches")
    parser.add_argument("--json", metavar="PATH", help="write every epoch's loss and times here as well")
    options = vars(parser.parse_args(arguments))
    path = options.pop("json")

    def progress(done, epochs):
        # Only for a person: a log file needs no moving line.
        if sys.stderr.isatty():
            end = "\n" if done == epochs else ""
            print(f"\repoch {done} of {epochs}", end=end, file=sys.stderr, flush=True)

    # What was not given keeps the default of `compare`.
    result = demo.compare(**{k: v for k, v in options.items() if v is not None}, progress=progress)
    print(result)
    if path is not None:
        with open(path, "w", encoding="utf-8") as file:
            json.dump(dataclasses.asdict(result), file, indent=1)
    return int(min(result.numpy.accuracy, result.fastact.accuracy) < 0.9)


if __name__ == "__main__":
    sys.exit(main())
