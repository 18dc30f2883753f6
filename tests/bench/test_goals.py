"""The goals: met, missed, or not measured."""

import pytest

from bench.figures import Figures
from bench.goals import goals
from bench.stand import OURS, PAIR


def by_title(figures):
    return {goal.title: goal for goal in goals(figures)}


def json_at_64(**targets):
    figures = Figures()
    for target, rounds in targets.items():
        for cost in rounds:
            found = {"gateway_cpu_ms": cost, "all_cpu_ms": cost, "requests_per_second": 1000 / cost}
            figures.add("json-64", {"ours": OURS, "pair": PAIR}.get(target, target), found)
    return figures


def test_a_goal_counts_by_the_median_of_its_rounds():
    title = "JSON at 64: gateway CPU a request, without limits"
    assert by_title(json_at_64(ours=[0.30, 0.38, 9.0]))[title].verdict == "met"
    assert by_title(json_at_64(ours=[0.30, 0.40, 9.0]))[title].verdict == "MISSED"


def test_what_was_not_measured_is_neither_met_nor_missed():
    assert {goal.verdict for goal in goals(Figures())} == {"not measured"}


@pytest.mark.parametrize(("theirs", "verdict"), [(8.1, "met"), (7.9, "MISSED")])
def test_the_gateway_is_to_take_a_twentieth_of_litellm(theirs, verdict):
    figures = json_at_64(ours=[0.4], LiteLLM=[theirs])
    assert by_title(figures)["JSON at 64: gateway CPU to that of LiteLLM"].verdict == verdict
    assert by_title(figures)["JSON at 64: requests/s to those of LiteLLM"].verdict == verdict


def test_the_disk_allows_for_two_commits():
    figures = Figures()
    figures.add("json-1", OURS, {"flush_ms": 0.5, "added_p50_ms": 4.4, "added_p99_ms": 12.1})
    found = {goal.title: goal.verdict for goal in goals(figures) if goal.measured is not None}
    assert found == {
        "JSON at 1: added p50, 2.5 ms + 4 fdatasync of 0.50 ms": "met",
        "JSON at 1: added p99": "MISSED",
    }


@pytest.mark.parametrize(("two", "verdict"), [(0.63, "met"), (0.65, "MISSED")])
def test_two_processes_may_cost_somewhat_more_than_one(two, verdict):
    found = by_title(json_at_64(ours=[0.4], pair=[two]))
    assert found["Two processes: CPU a request, all parts, to that of one"].verdict == verdict
