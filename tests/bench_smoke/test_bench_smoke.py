"""The benchmark's calculations: ratios, verdicts and tables. No load is generated here."""

import pytest

from tests.bench.costs import kind_of
from tests.bench.goals import GOALS, ONE, verdict
from tests.bench.profile import shares
from tests.bench.report import Line, figures_table, goals_table
from tests.bench.rounds import Run
from tests.bench.stats import Sample, by_target, ratios, seconds, table, written, wrk_result

WRK = """Running 3s test @ http://127.0.0.1:1/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.00ms    0.50ms  20.00ms   90.00%
  Latency Distribution
     50%  812.00us
     75%    1.10ms
     90%    1.90ms
     99%    3.25ms
  60000 requests in 3.00s, 8.00MB read
Requests/sec:  19998.50
Transfer/sec:      2.70MB
"""


def rounds(target: str, metric: str, *figures: float, scenario: str = "http-32") -> list[Sample]:
    return [Sample(scenario, target, number, {metric: figure}) for number, figure in enumerate(figures)]


def test_a_ratio_is_taken_within_each_round():
    samples = rounds(ONE, "rate", 10, 40, 9) + rounds("chp", "rate", 5, 10, 3)
    assert ratios(by_target(samples, "http-32", "rate"), ONE, "chp") == [2, 4, 3]


def test_a_round_without_both_targets_gives_no_ratio():
    samples = [*rounds(ONE, "rate", 10, 40), *rounds("chp", "rate", 5)]
    assert ratios(by_target(samples, "http-32", "rate"), ONE, "chp") == [2]


def test_the_output_of_wrk_is_parsed():
    assert wrk_result(WRK) == pytest.approx({"rate": 19998.5, "p50": 812e-6, "p99": 3.25e-3})
    slow = WRK.replace("812.00us", "1.19s ").replace("3.25ms", "1.85s ")  # wrk pads seconds at the end
    assert (wrk_result(slow)["p50"], wrk_result(slow)["p99"]) == (1.19, 1.85)


def test_an_error_response_invalidates_wrks_figures():
    with pytest.raises(ValueError, match="Non-2xx"):
        wrk_result(WRK + "  Non-2xx or 3xx responses: 7\n")


def test_a_duration_has_a_unit():
    assert seconds("2.50s") == 2.5
    with pytest.raises(ValueError, match="not a duration"):
        seconds("2.50")


def test_a_goal_is_compared_with_the_median_of_the_rounds():
    goal = next(goal for goal in GOALS if goal.scenario == "http-32" and goal.against == "chp" and goal.at_least)
    samples = rounds(ONE, "rate", 60, 49, 55) + rounds("chp", "rate", 10, 10, 10)
    result = verdict(goal, samples)
    assert result.met
    assert result.found is not None
    assert (result.found.middle, result.found.least, result.found.most) == (5.5, 4.9, 6.0)


def test_a_goal_without_a_peer_is_judged_by_its_worst_round():
    goal = next(goal for goal in GOALS if goal.scenario == "body-100m-up")
    calm = rounds(ONE, "growth", 2**20, 2**20, scenario="body-100m-up")
    assert verdict(goal, calm).met
    assert not verdict(goal, [*calm, Sample("body-100m-up", ONE, 9, {"growth": 17 * 2**20})]).met


def test_a_goal_that_was_not_measured_is_not_met():
    assert not verdict(GOALS[0], []).met
    assert "not measured" in goals_table(Run(0.1))


def test_the_table_of_figures_has_medians_spans_and_ratios():
    run = Run(0.1, rounds(ONE, "rate", 200, 300, 400) + rounds("chp", "rate", 100, 100, 100))
    text = figures_table(run, [Line("http-32", "small", {"rate": "req/s"})], ["chp", ONE], [(ONE, "chp")])
    assert "| small, rate (req/s) | 100 [100-100] | 300 [200-400] |           3.00x |" in text


def test_a_table_is_markdown():
    assert table(["a", "b"], [["x", "10"]]) == "| a |  b |\n|---|---:|\n| x | 10 |"


@pytest.mark.parametrize(
    ("figure", "unit", "text"),
    [
        (19998.5, "req/s", "19,998"),
        (3.25e-3, "ms", "3.25"),
        (0.0412, "ms", "41"),
        (365e6, "MB/s", "365"),
        (0.5, "x", "0.50"),
    ],
)
def test_figures_are_formatted(figure, unit, text):
    assert written(figure, unit) == text


def test_a_profile_counts_the_innermost_functions():
    assert shares("a;b 3\na;c 1\n", 5) == [("b", 0.75), ("c", 0.25)]


def test_the_kind_of_a_process_follows_from_its_command_line_and_child():
    fork = "python -I -S /data/jobs/forkserver-cpython-311-1.pyc /data/jobs/starter-cpython-311-1.pyc"
    assert kind_of(fork, starts_apps=False) == "fork server"
    assert kind_of(fork, starts_apps=True) == "starters"
    assert kind_of("python -I -S /bench/stub.py --socket /x", starts_apps=False) == "the stub app"
    assert kind_of("python -m batch controller --config x", starts_apps=True) == "controller"
