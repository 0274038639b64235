# SPDX-License-Identifier: Apache-2.0
"""How much the fuzzers try, and how they say how far they are: a little in `make test`, more in `make fuzz`."""

import functools
import os
import sys
import time

import hypothesis
from hypothesis import HealthCheck, settings

SEED = int(os.environ.get("FUZZ_SEED", 0))
"""0: the same examples every time."""
SHAPES, RTL_SHAPES, PROGRAMS, LEGALITY, CLASSES = (
    int(os.environ.get(f"FUZZ_{name}", default)) for name, default in (
        ("SHAPES", 40), ("RTL_SHAPES", 8), ("PROGRAMS", 300), ("LEGALITY", 1500), ("CLASSES", 2)))
PERIOD = 10.0
"""Seconds between two lines of progress."""


def examples(count: int):
    """Decorator, under ``given``: hypothesis tries ``count`` examples and, in `make fuzz`, tells of progress."""
    def decorate(test):
        reported = _progress(test, count) if os.environ.get("FUZZ_PROGRESS") else test
        seeded = hypothesis.seed(SEED)(reported) if SEED else reported
        return settings(max_examples=count, deadline=None, derandomize=not SEED, print_blob=True, database=None,
                        suppress_health_check=list(HealthCheck))(seeded)
    return decorate


def _progress(test, count: int):
    """``test`` with a line on stderr now and then: examples, rate, time left."""
    done, start, last = 0, time.monotonic(), time.monotonic()

    @functools.wraps(test)
    def counted(*args, **kwargs):
        nonlocal done, last
        done += 1
        now = time.monotonic()
        if now - last > PERIOD:
            rate, last = done / (now - start), now
            left = max(0, count - done) / rate / 60
            print(f"{test.__name__}: {done} of {count}, {rate:.1f}/s, about {left:.0f} min left", file=sys.stderr,
                  flush=True)
        return test(*args, **kwargs)

    return counted
