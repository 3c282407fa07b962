"""The conditions of the small clinic's rules, recomputed from whole histories by the words of the rules.

Shares no code with the engine. A history is day -> (deviation, mood, steps) of one patient.
"""


def low_days(history):
    """Two nights in a row at or below -1.0 begin it, above -0.5 ends it; three days apart are no row."""
    firing, since, seen = False, None, None
    for day in sorted(history):
        value = history[day][0]
        if value is None:
            continue
        if seen is not None and day - seen > 2 and not firing:
            since = None
        seen = day
        if value <= -1.0:
            since = day if since is None else since
            firing = firing or day - since >= 1
        else:
            since = since if firing else None
            if value > -0.5:
                firing, since = False, None
    return firing, since


def red_flag(history):
    """At once at 9, over below 5."""
    firing, since = False, None
    for day in sorted(history):
        value = history[day][1]
        if value is not None and value >= 9 and not firing:
            firing, since = True, day
        elif value is not None and value < 5:
            firing, since = False, None
    return firing, since


def is_silent(history):
    """Two judged nights without steps, with so little known of the usual wear."""
    run = 0
    for day in sorted(history):
        run = run + 1 if history[day][2] is None else 0
    return run >= 2
