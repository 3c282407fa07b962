"""Runs the examples inside rules: what a rule says of nights, against what it should."""

from alerts.engine.evaluate import IDLE, band_of, event_time, step
from alerts.engine.silence import Wear, band_of_silence
from alerts.rules.bounds import parse_duration
from alerts.rules.pack import RulePack
from alerts.rules.rule import EXAMPLE_FIRST_NIGHT, Example, NoDataRule, StateRule
from devices.clock import DAY


def said(rule: StateRule, example: Example) -> tuple[str, ...]:
    """What the rule says after each night of an example."""
    state, outcomes = IDLE, list[str]()
    first = event_time(EXAMPLE_FIRST_NIGHT)
    silent = 0
    for index, readings in enumerate(example.nights):
        at = first + (parse_duration(example.at[index]) if example.at else index * DAY)
        if isinstance(rule, NoDataRule):
            has_data = any(readings.get(column) is not None for column in rule.present)
            band = band_of_silence(rule, has_data, Wear(index, index - silent, silent))
            silent = 0 if has_data else silent + 1
        else:
            band = band_of(rule, readings)[0]
        outcome, state = step(rule, band, at, state)
        outcomes.append(outcome.value)
    return tuple(outcomes)


def failures(pack: RulePack, name: str) -> list[str]:
    """One line per example that does not hold."""
    return [
        f"{name}: rule {rule.id!r}: example {example.name!r}: says {', '.join(got)},"
        f" not {', '.join(example.want)}"
        for rule in pack.rule
        for example in rule.example
        if (got := said(rule, example)) != example.want  # pyright: ignore[reportArgumentType]
    ]
