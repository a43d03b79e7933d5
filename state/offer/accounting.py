"""Limits of accounting on one way: converts a limit on a sum (over nodes or time) to a limit on a job's request.

Owns the minimum and maximum that these limits allow, and their messages. Pure. Does not know about nodes, profiles and
which limits apply (`state.offer.way`).
"""

from collections.abc import Iterator
from functools import partial
from typing import Final

from state.offer.quantities import HOUR, MINUTE
from state.offer.way import SHARED, Binding, Limit, Request, Way, amount_text, count, listed

SPREAD: Final = ("gpus", "cores", "memory")
"""Requested for each node, and limited over all of them."""
SENTENCES: Final = {
    "job": "{who} allows at most {most} for each job",
    "node": "{who} allows at most {most} on each node",
    "least": "{who} wants at least {most} for each job",
    "user": "{who} allows at most {most} for each user",
    "account": "{who} allows at most {most} for each account",
    "group": "{who} allows at most {most} for all its jobs together",
    "job_time": "{who} allows at most {most} for each job",
    "run_time": "{who} allows at most {most} for all running jobs together",
    "budget": "{who} has {most} left",
}
TIMES: Final = frozenset({"job_time", "run_time", "budget"})
NOUNS: Final = {"cores": "core", "memory": "GiB", "gpus": "GPU", "nodes": "node"}


def keys(kind: str, gpu: str) -> tuple[str, ...]:
    """Return the names under which a kind of amount is limited."""
    if kind != "gpus":
        return (kind,)
    return (f"gpus:{SHARED}",) if gpu == SHARED else ("gpus", f"gpus:{gpu}") if gpu else ("gpus",)


def most(kind: str, way: Way, request: Request) -> Iterator[Limit]:
    """Yield the upper limits on what a job may request, given the rest of its request."""
    own = keys(kind, request.gpu)
    for one in way.rules.bindings:
        if one.limit == "least":
            continue
        if one.limit in TIMES:
            yield from _over_time(kind, own, way, one, request)
        elif one.limit == "node":
            if kind in SPREAD and one.key in own:
                yield Limit(one.amount, partial(_why, one, one.amount))
        elif one.key in own:
            yield _of_a_sum(kind, one, one.amount, request)
        elif kind == "nodes" and (each := request.on_a_node(one.key)) and one.key != "walltime":
            yield Limit(one.amount // each, partial(_why_on_each, one, each))


def least(kind: str, way: Way, request: Request) -> Iterator[Limit]:
    """Yield the lower limits on what a job must request, given the rest of its request."""
    own = keys(kind, request.gpu)
    for one in way.rules.bindings:
        if one.limit == "least" and one.key in own:
            nodes = request.nodes or 1
            amount = -(-one.amount // nodes) if kind in SPREAD else one.amount
            yield Limit(amount, partial(_why_spread, one, nodes if kind in SPREAD else 1))


def _of_a_sum(kind: str, binding: Binding, amount: int, request: Request) -> Limit:
    nodes = request.nodes or 1
    if kind not in SPREAD or nodes == 1:
        return Limit(amount, partial(_why, binding, amount))
    return Limit(amount // nodes, partial(_why_spread, binding, nodes))


def _over_time(kind: str, own: tuple[str, ...], way: Way, binding: Binding, request: Request) -> Iterator[Limit]:
    """Yield the limits that follow from a limit on resource times time."""
    amount = _left(way, binding) if binding.limit == "budget" else binding.amount
    if amount is None:
        return
    if kind == "walltime":
        yield from _walltime(binding, amount, request)
    elif request.walltime and binding.key != "walltime" and (kind == "nodes" or binding.key in own):
        each = request.on_a_node(binding.key) if kind == "nodes" else request.nodes or 1
        if each:
            yield Limit(amount // (request.walltime * each), partial(_why_for, binding, amount, request.walltime))


def _walltime(binding: Binding, amount: int, request: Request) -> Iterator[Limit]:
    """Yield the longest possible time limit, in whole minutes, as Slurm counts."""
    if binding.key == "walltime":
        yield Limit(amount - amount % MINUTE, partial(_why, binding, amount))
    elif requested := request.on_a_node(binding.key) * (request.nodes or 1):
        seconds = amount // requested
        yield Limit(seconds - seconds % MINUTE, partial(_why_with, binding, amount, requested))


def _left(way: Way, binding: Binding) -> int | None:
    """Return how much of a budget a job may request; None: all, because Slurm starts it while any of it is left."""
    left = max(0, binding.amount - binding.used)
    if left == 0 or way.safe:
        return left
    return binding.amount if way.rules.strict else None


# --- sentences ----------------------------------------------------------------------------------------------------
def _limit_sentence(binding: Binding, amount: int) -> str:
    text = _time(binding.key, amount) if binding.limit in TIMES else _amount(binding.key, amount)
    return SENTENCES[binding.limit].format(who=binding.who, most=text)


def _why(binding: Binding, amount: int) -> str:
    return f"{_limit_sentence(binding, amount)}."


def _why_spread(binding: Binding, nodes: int) -> str:
    over = f", over {count(nodes, 'node')}" if nodes > 1 else ""
    return f"{_limit_sentence(binding, binding.amount)}{over}."


def _why_on_each(binding: Binding, each: int) -> str:
    return f"{_limit_sentence(binding, binding.amount)}, and this asks for {_amount(binding.key, each)} on each node."


def _why_for(binding: Binding, amount: int, walltime: int) -> str:
    return f"{_limit_sentence(binding, amount)}, and this asks for {amount_text('walltime', walltime)}."


def _why_with(binding: Binding, amount: int, requested: int) -> str:
    return f"{_limit_sentence(binding, amount)}, and this asks for {_amount(binding.key, requested)}."


def _amount(key: str, amount: int) -> str:
    kind, _, gpu = key.partition(":")
    return amount_text(kind, amount, gpu)


def _time(key: str, amount: int) -> str:
    """`12 core-hours`, `30 GPU-minutes`, `2 hours`."""
    if key == "walltime":
        return amount_text(key, amount)
    kind, _, gpu = key.partition(":")
    noun = gpu if gpu and gpu != SHARED else NOUNS[kind]
    amount = amount // 1024**3 if kind == "memory" else amount
    hours, minutes = divmod(amount // MINUTE, HOUR // MINUTE)
    if minutes == 0 or hours >= 10:  # noqa: PLR2004 - minutes do not matter then
        return count(hours, f"{noun}-hour")
    return listed([*([count(hours, f"{noun}-hour")] if hours else []), count(minutes, f"{noun}-minute")])
