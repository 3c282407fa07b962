"""Risk and trends against the patient's own past; all of it pure functions of matrices.

::

    panel = make_panel(patient_days, last, context)         # panel: values, segments, taps, suspensions
    against = deviations(panel, scales)                     # baseline: center, spread, z per metric
    labels = flare_labels(panel)                            # labels: flare days, onsets, at risk
    x = features(panel, labels, against)                    # features: name -> (patients, days)
    log_m, onsets, expected = own_history(x, labels, counted, observed, model)   # hazard
    h_k = hazard(x, model, ahead, log_m)                      # ahead = 1..7
    scores = score(panel, labels, against, model)           # flare: status, risk, contributions, alerts
"""
