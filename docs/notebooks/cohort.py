"""A cohort and a patient, from the published snapshot.

marimo edit docs/notebooks/cohort.py -- --snapshot demo-out/published/current.duckdb
"""

import marimo

app = marimo.App(width="medium", app_title="flarecast: a cohort and a patient")


@app.cell
def _():
    from pathlib import Path

    import duckdb
    import marimo as mo
    import matplotlib.pyplot as plt
    import numpy as np

    return Path, duckdb, mo, np, plt


@app.cell
def _(Path, duckdb, mo):
    # the link is followed once: a snapshot published meanwhile does not change under the notebook
    snapshot = Path(str(mo.cli_args().get("snapshot") or "demo-out/published/current.duckdb")).resolve()
    con = duckdb.connect(str(snapshot), read_only=True)
    _ = con.execute("set TimeZone = 'UTC'")
    return con, snapshot


@app.cell
def _(con, mo, snapshot):
    # SYNTHETIC where the people are simulated: the snapshot says so itself
    about = con.execute("select people from snapshot").fetchone()[0]
    mo.md(
        f"# A cohort and a patient\n\n**{about}** data, snapshot `{snapshot.stem}`. "
        "NULL is not worn, 0 is worn and still."
    )
    return (about,)


@app.cell
def _(con):
    wear = con.execute(
        "select patient, local_date, wear_min / 60 as wear_h from patient_day order by patient, local_date"
    ).fetchnumpy()
    return (wear,)


@app.cell
def _(about, np, plt, wear):
    _patients, _row = np.unique(wear["patient"], return_inverse=True)
    _days, _column = np.unique(wear["local_date"], return_inverse=True)
    # a day nothing is known of stays white; zero hours are dark
    coverage = np.full((len(_patients), len(_days)), np.nan)
    coverage[_row, _column] = np.ma.filled(wear["wear_h"], np.nan)
    _figure, _axes = plt.subplots(figsize=(9, 1 + 0.16 * len(_patients)))
    _image = _axes.imshow(coverage, aspect="auto", cmap="viridis", vmin=0, vmax=24, interpolation="nearest")
    _axes.set(yticks=range(len(_patients)), yticklabels=_patients, title=f"Hours worn per day ({about})")
    _axes.tick_params(axis="y", labelsize=6)
    _step = max(1, len(_days) // 6)
    _axes.set_xticks(range(0, len(_days), _step), [str(day)[:10] for day in _days[::_step]], fontsize=7)
    _figure.colorbar(_image, ax=_axes, label="h")
    _figure
    return (coverage,)


@app.cell
def _(con, mo):
    cohort = con.execute(
        """select patient, status, round(deviation, 2) as deviation, sentence from flare_risk
        where local_date = (select max(local_date) from flare_risk) order by deviation nulls last, patient"""
    ).fetchall()
    _names = ("patient", "status", "changed from usual (SD)", "in one sentence")
    mo.ui.table(
        [dict(zip(_names, row, strict=True)) for row in cohort],
        selection=None,
        page_size=10,
        wrapped_columns=[_names[-1]],
    )
    return (cohort,)


@app.cell
def _(cohort, mo):
    choice = mo.ui.dropdown([row[0] for row in cohort], value=cohort[0][0], label="patient")
    choice
    return (choice,)


@app.cell
def _(choice, con):
    patient = choice.value
    series = {
        metric: con.execute(
            """select local_date, value, center, scale from baseline
            where patient = ? and metric = ? order by local_date""",
            [patient, metric],
        ).fetchnumpy()
        for metric in ("steps", "tst_min", "rmssd_ms", "resting_hr_bpm", "nrs")
    }
    return patient, series


@app.cell
def _(about, np, patient, plt, series):
    _figure, _rows = plt.subplots(len(series), 1, figsize=(9, 8), sharex=True)
    for _axes, (_metric, _own) in zip(_rows, series.items(), strict=True):
        _value, _center, _scale = (
            np.ma.filled(_own[k].astype(float), np.nan) for k in ("value", "center", "scale")
        )
        _axes.fill_between(_own["local_date"], _center - _scale, _center + _scale, alpha=0.2, lw=0)
        # a missing day breaks the line: a gap is a gap
        _axes.plot(_own["local_date"], _value, ".-", lw=0.8, ms=3)
        _axes.set_ylabel({"steps": "ln steps", "rmssd_ms": "ln RMSSD"}.get(_metric, _metric), fontsize=8)
        _axes.tick_params(labelsize=7)
    _rows[0].set_title(f"{patient}: each day and the own usual range ({about})", fontsize=9)
    _figure.align_ylabels()
    _figure
    return


if __name__ == "__main__":
    app.run()
