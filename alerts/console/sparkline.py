"""Small charts on one scale: every patient's own usual range has the same height.

Plain SVG with presentation attributes: they survive a strict content policy,
mail and print, where page styles do not reach (alerts.md 4.7).
"""

from collections.abc import Sequence

from markupsafe import Markup, escape

from alerts.console.row import BAND_SD, DayPoint, MetricSeries

WIDTH, HEIGHT = 112, 46
#: Scale of every chart, in SD of the patient's own baseline.
Z_LOW, Z_HIGH = -5.0, 4.0
#: Room at the right for the last day's dot.
MARGIN = 4.0

BAND, MIDDLE, LINE, ALARM = "#e3e9f0", "#a9b7c6", "#33475b", "#a61b0f"


def sparkline(series: MetricSeries, label: str) -> Markup:
    """SVG of a metric's last weeks; `label` says in words what it shows."""
    count = len(series.points)
    parts = [
        f'<rect x="0" y="{_y(BAND_SD):.1f}" width="{WIDTH}" height="{_y(-BAND_SD) - _y(BAND_SD):.1f}"'
        f' fill="{BAND}"/>',
        f'<line x1="0" y1="{_y(0):.1f}" x2="{WIDTH}" y2="{_y(0):.1f}" stroke="{MIDDLE}"'
        ' stroke-width="0.8" stroke-dasharray="1.5 2.5"/>',
    ]
    parts += [_run(run) for run in _runs(series.points)]
    drawn = [(_x(index, count), point.z) for index, point in enumerate(series.points) if point.z is not None]
    parts += [_below(x, z) for x, z in drawn if z < -BAND_SD]
    if series.points and series.points[-1].z is not None:
        x, z = drawn[-1]
        colour = ALARM if z < -BAND_SD else LINE
        parts.append(f'<circle cx="{x:.1f}" cy="{_y(z):.1f}" r="2.4" fill="{colour}"/>')
    return Markup(
        f'<svg class="spark" role="img" aria-label="{escape(label)}" width="{WIDTH}" height="{HEIGHT}"'
        f' viewBox="0 0 {WIDTH} {HEIGHT}">{"".join(parts)}</svg>'
    )


def _runs(points: Sequence[DayPoint]) -> list[list[tuple[float, float]]]:
    """Days without a gap between them, as coordinates: a gap stays a gap."""
    runs: list[list[tuple[float, float]]] = [[]]
    for index, point in enumerate(points):
        if point.z is None:
            runs.append([])
        else:
            runs[-1].append((_x(index, len(points)), _y(point.z)))
    return [run for run in runs if run]


def _run(run: list[tuple[float, float]]) -> str:
    if len(run) == 1:
        x, y = run[0]
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.1" fill="{LINE}"/>'
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in run)
    return (
        f'<polyline points="{points}" fill="none" stroke="{LINE}" stroke-width="1.3"'
        ' stroke-linejoin="round" stroke-linecap="round"/>'
    )


def _below(x: float, z: float) -> str:
    """Downward triangle: a shape, not only a colour."""
    y = _y(z)
    return f'<path d="M{x - 2.8:.1f} {y - 0.4:.1f}h5.6l-2.8 4.4z" fill="{ALARM}"/>'


def _x(index: int, count: int) -> float:
    return MARGIN + (WIDTH - 2 * MARGIN) * index / max(count - 1, 1)


def _y(z: float) -> float:
    inside = min(max(z, Z_LOW), Z_HIGH)
    return HEIGHT * (Z_HIGH - inside) / (Z_HIGH - Z_LOW)
