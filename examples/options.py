"""Kinds of options of the scripts beside this, for argparse: what they could not run with is refused first."""

import argparse
import math

from fastact.cli import count

__all__ = ["count", "seconds", "seed"]


def seed(text):
    """A number from 0 on."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 on")
    return int(text)


def seconds(text):
    """A time above 0."""
    try:
        time = float(text)
    except ValueError:
        time = math.nan
    if not 0 < time < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time above 0")
    return time
