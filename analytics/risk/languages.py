"""Sentences from message ids and parameters, in several languages.

The stored sentence is an id and plain numbers; a language is a table of phrases. What
is said is decided in :mod:`analytics.risk.wording`: here are only words. "Changed from
usual" and "associated with": never "caused by", never a risk.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any, Final

from analytics.errors import AnalyticsError


class LanguageError(AnalyticsError):
    """A language nobody has written the phrases of."""


@dataclass(frozen=True)
class Language:
    """Phrases by id, and how numbers and dates are written."""

    code: str
    point: str
    thousands: str
    date_format: str
    conjunction: str
    phrases: dict[str, str]

    @cached_property
    def _is_as_python(self) -> bool:
        return (self.thousands, self.point) == (",", ".")

    @cached_property
    def _separators(self) -> dict[int, str]:
        return {ord(","): self.thousands, ord("."): self.point}

    def number(self, value: float, digits: int = 0, *, sign: bool = False) -> str:
        """Number with this language's separators."""
        text = format(round(value, digits) + 0.0, f"{'+' if sign else ''},.{digits}f")
        return text if self._is_as_python else text.translate(self._separators)

    def day(self, text: str) -> str:
        """Date of an ISO text."""
        return date.fromisoformat(text).strftime(self.date_format)

    def listed(self, words: list[str]) -> str:
        """Words as an enumeration."""
        if len(words) < 2:
            return "".join(words)
        return f"{', '.join(words[:-1])} {self.conjunction} {words[-1]}"


ENGLISH: Final = Language(
    "en",
    ".",
    ",",
    "%Y-%m-%d",
    "and",
    {
        "learning": "Learning what is usual for this patient: day {day} of {of}.",
        "in_flare": "In a flare ({reason}); {change}.",
        "possible_flare": "Possibly the beginning of a flare ({reason}); {change}.",
        "insufficient_data": "Not enough to go by; {change}.",
        "suspended": "Not judged ({reason}).",
        "scored": "{change}{drivers}{history}{reference}.",
        "tapped": "flare reported on {date}",
        "exceeded": "pain {pain} (usually {usual}) on {dates}",
        "travel": "travelling",
        "illness": "ill",
        "admitted": "in hospital",
        "paused": "monitoring paused",
        "changed_down": "changed from usual over the last 3 days: {metrics}",
        "changed_up": "changed from usual over the last 3 days, upwards: {metrics}",
        "mixed": "mixed over the last 3 days: {metrics}",
        "close": "close to usual over the last 3 days: {metrics}",
        "too_little": "too little from the wearable in the last 3 days to compare with usual "
        "({cells} of {of} values)",
        "not_learned": "what is usual is still being learned",
        "not_compared": "not compared with usual ({why})",
        "metric": "{now} (usually {usual})",
        "steps": "{value} steps a day",
        "tst_min": "{hours} h {minutes} of sleep a night",
        "rmssd_ms": "RMSSD {value} ms",
        "duration": "{hours} h {minutes}",
        "drivers_published": "; {features} {verb} associated with flares in published studies",
        "drivers_site": "; {features} {verb} associated with flares at this site",
        "is": "is",
        "are": "are",
        "own_history": "; {onsets} flares so far, where {expected} were expected",
        "own_history_one": "; one flare so far, where {expected} were expected",
        "reference": "; of 100 similar days about {of_100} were followed by a flare within 7 days",
        "nrs_1": "more pain than usual",
        "nrs_3": "more pain than usual over 3 days",
        "nrs_7": "more pain than usual over a week",
        "mood_3": "lower mood than usual",
        "rhr_3": "a higher resting heart rate than usual",
        "rhr_7": "a higher resting heart rate than usual over a week",
        "lnr_3": "lower heart-rate variability than usual",
        "lnr_7": "lower heart-rate variability than usual over a week",
        "tst_3": "less sleep than usual",
        "waso_3": "more wakefulness at night than usual",
        "over3": "more steps than usual",
        "under3": "fewer steps than usual",
        "boombust": "steps that swing more than usual",
        "midirr": "less regular sleep than usual",
        "nrs_sd": "pain that varies more than usual",
        "recent": "a recent flare",
        "trend_too_few": "Too few valid days for a trend in steps: {days} of {of}, at least {least} needed."
        "{adherence}",
        "trend_none": "Over 8 weeks steps were about {level} a day, no clear change "
        "({low} % to {high} % per 4 weeks){shift}.{pacing}{adherence}",
        "trend_rising": "Over 8 weeks steps were about {level} a day, rising by {size} % per 4 weeks "
        "({low} % to {high} %){shift}.{pacing}{adherence}",
        "trend_falling": "Over 8 weeks steps were about {level} a day, falling by {size} % per 4 weeks "
        "({low} % to {high} %){shift}.{pacing}{adherence}",
        "shift": "; a new level since {date} ({change} %)",
        "good_days": " Steps differed by {change} % per point of less pain the day before "
        "({low} to {high} %).",
        "bad_days": " Steps differed by {change} % per point of more pain the day before "
        "({low} to {high} %).",
        "high_days": " {followed} of {days} high-activity days were followed by a pain rise or a slump "
        "within 2 days ({chance} expected by chance).",
        "worn": " Worn {days} of {of} days.",
    },
)

GERMAN: Final = Language(
    "de",
    ",",
    ".",
    "%d.%m.%Y",
    "und",
    {
        "learning": "Was für diese Person üblich ist, wird noch gelernt: Tag {day} von {of}.",
        "in_flare": "Im Schmerzschub ({reason}); {change}.",
        "possible_flare": "Möglicherweise beginnt ein Schmerzschub ({reason}); {change}.",
        "insufficient_data": "Zu wenig, um etwas zu sagen; {change}.",
        "suspended": "Nicht beurteilt ({reason}).",
        "scored": "{change}{drivers}{history}{reference}.",
        "tapped": "Schmerzschub gemeldet am {date}",
        "exceeded": "Schmerz {pain} (sonst {usual}) am {dates}",
        "travel": "auf Reisen",
        "illness": "krank",
        "admitted": "im Krankenhaus",
        "paused": "Überwachung ruht",
        "changed_down": "anders als üblich in den letzten 3 Tagen: {metrics}",
        "changed_up": "anders als üblich in den letzten 3 Tagen, nach oben: {metrics}",
        "mixed": "uneinheitlich in den letzten 3 Tagen: {metrics}",
        "close": "wie üblich in den letzten 3 Tagen: {metrics}",
        "too_little": "zu wenig vom Messgerät in den letzten 3 Tagen für einen Vergleich mit dem Üblichen "
        "({cells} von {of} Werten)",
        "not_learned": "was üblich ist, wird noch gelernt",
        "not_compared": "nicht mit dem Üblichen verglichen ({why})",
        "metric": "{now} (sonst {usual})",
        "steps": "{value} Schritte am Tag",
        "tst_min": "{hours} h {minutes} Schlaf je Nacht",
        "rmssd_ms": "RMSSD {value} ms",
        "duration": "{hours} h {minutes}",
        "drivers_published": "; {features}: {verb} in veröffentlichten Studien mit Schmerzschüben verbunden",
        "drivers_site": "; {features}: {verb} an diesem Standort mit Schmerzschüben verbunden",
        "is": "ist",
        "are": "sind",
        "own_history": "; bisher {onsets} Schmerzschübe, {expected} waren zu erwarten",
        "own_history_one": "; bisher ein Schmerzschub, {expected} waren zu erwarten",
        "reference": "; von 100 ähnlichen Tagen folgte auf etwa {of_100} binnen 7 Tagen ein Schmerzschub",
        "nrs_1": "mehr Schmerz als üblich",
        "nrs_3": "mehr Schmerz als üblich über 3 Tage",
        "nrs_7": "mehr Schmerz als üblich über eine Woche",
        "mood_3": "gedrücktere Stimmung als üblich",
        "rhr_3": "höherer Ruhepuls als üblich",
        "rhr_7": "höherer Ruhepuls als üblich über eine Woche",
        "lnr_3": "geringere Herzratenvariabilität als üblich",
        "lnr_7": "geringere Herzratenvariabilität als üblich über eine Woche",
        "tst_3": "weniger Schlaf als üblich",
        "waso_3": "mehr Wachzeit in der Nacht als üblich",
        "over3": "mehr Schritte als üblich",
        "under3": "weniger Schritte als üblich",
        "boombust": "stärker schwankende Schritte als üblich",
        "midirr": "unregelmäßigerer Schlaf als üblich",
        "nrs_sd": "stärker schwankender Schmerz als üblich",
        "recent": "ein Schmerzschub in letzter Zeit",
        "trend_too_few": "Zu wenige gültige Tage für eine Aussage zum Verlauf der Schritte: {days} von {of}, "
        "mindestens {least} nötig.{adherence}",
        "trend_none": "In 8 Wochen etwa {level} Schritte am Tag, keine klare Veränderung "
        "({low} % bis {high} % je 4 Wochen){shift}.{pacing}{adherence}",
        "trend_rising": "In 8 Wochen etwa {level} Schritte am Tag, Zunahme um {size} % je 4 Wochen "
        "({low} % bis {high} %){shift}.{pacing}{adherence}",
        "trend_falling": "In 8 Wochen etwa {level} Schritte am Tag, Abnahme um {size} % je 4 Wochen "
        "({low} % bis {high} %){shift}.{pacing}{adherence}",
        "shift": "; neues Niveau seit {date} ({change} %)",
        "good_days": " Je Punkt weniger Schmerz am Vortag waren es {change} % Schritte ({low} bis {high} %).",
        "bad_days": " Je Punkt mehr Schmerz am Vortag waren es {change} % Schritte ({low} bis {high} %).",
        "high_days": " Auf {followed} von {days} Tagen mit viel Bewegung folgte binnen 2 Tagen ein "
        "Schmerzanstieg oder ein Einbruch ({chance} wären zufällig zu erwarten).",
        "worn": " Getragen an {days} von {of} Tagen.",
    },
)

LANGUAGES: Final = {one.code: one for one in (ENGLISH, GERMAN)}


def render(message: str, parameters: Mapping[str, Any], language: str = "en") -> str:
    """The sentence of a message id and its parameters.

    Parameters
    ----------
    parameters : mapping
        Numbers, ISO dates, ids, or nested messages ``{"id": ..., parameters}``; what a phrase
        names and is not there says nothing.

    Raises
    ------
    LanguageError
        When nobody has written that language.
    """
    if language not in LANGUAGES:
        raise LanguageError(f"no sentences in {language!r}: {', '.join(LANGUAGES)}")
    text = _phrase(LANGUAGES[language], message, parameters)
    return text[0].upper() + text[1:]


class _Silent(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return ""


def _phrase(words: Language, message: str, parameters: Mapping[str, Any]) -> str:
    parts = {name: _part(words, name, value) for name, value in parameters.items() if name != "id"}
    return words.phrases[message].format_map(_Silent(parts))


def _part(words: Language, name: str, value: Any) -> str:
    if isinstance(value, dict):
        return _phrase(words, value["id"], value)
    if name in _WRITTEN:
        return _WRITTEN[name](words, value)
    if isinstance(value, list):
        messages: list[dict[str, Any]] = value
        return "".join(_phrase(words, one["id"], one) for one in messages)
    return words.number(value)


def _metrics(words: Language, rows: list[tuple[str, float, float]]) -> str:
    return ", ".join(
        words.phrases["metric"].format(now=_said(words, name, now), usual=_said(words, name, usual, True))
        for name, now, usual in rows
    )


def _said(words: Language, metric: str, value: float, is_short: bool = False) -> str:
    if metric == "tst_min":
        hours, minutes = divmod(round(value), 60)
        phrase = words.phrases["duration" if is_short else "tst_min"]
        return phrase.format(hours=hours, minutes=f"{minutes:02d}")
    number = words.number(value)
    return number if is_short else words.phrases[metric].format(value=number)


def _signed(words: Language, value: float) -> str:
    return words.number(value, sign=True)


def _tenths(words: Language, value: float) -> str:
    return words.number(value, 1)


#: How parameters of a name are written, where they are not whole numbers.
_WRITTEN: Final[dict[str, Callable[[Language, Any], str]]] = {
    "metrics": _metrics,
    "features": lambda words, names: words.listed([words.phrases[name] for name in names]),
    "verb": lambda words, name: words.phrases[name],
    "date": lambda words, text: words.day(text),
    "dates": lambda words, texts: words.listed([words.day(text) for text in texts]),
    "low": _signed,
    "high": _signed,
    "change": _signed,
    "usual": _tenths,
    "expected": _tenths,
    "chance": _tenths,
}
