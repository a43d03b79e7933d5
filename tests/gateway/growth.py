"""How the cost of some work grows with the size of its input.

A ratio of CPU times in one process, with a wide margin: eight times as much work may take up to 24 times as long.
What grows with the square takes 64 times as long.
"""

import gc
import time

FACTOR = 8
LINEAR_AT_MOST = 24
_REPEATS = 5
_TRIES = 3


def cost(work, size):
    """CPU seconds of the fastest of several runs. `work(size)` returns the function that is measured."""
    best = float("inf")
    for _ in range(_REPEATS):
        run = work(size)
        gc.disable()  # what it costs depends on all objects of the process
        try:
            begun = time.process_time()
            run()
            best = min(best, time.process_time() - begun)
        finally:
            gc.enable()
    return best


def assert_linear(work, size):
    """`work(size * 8)` costs no more than 24 times what `work(size)` costs."""
    ratios = []
    for _ in range(_TRIES):  # another process may disturb one of them
        ratios.append(cost(work, size * FACTOR) / max(cost(work, size), 1e-6))
        if ratios[-1] <= LINEAR_AT_MOST:
            return
    raise AssertionError(f"{FACTOR} times the input cost {ratios} times as much")
