"""Risk and trends against the patient's own past; all of it pure functions of matrices.

::

    panel = make_panel(patient_days, last, context)         # panel: values, segments, taps, suspensions
    against = deviations(panel, scales)                     # baseline: center, spread, z per metric
    labels = flare_labels(panel)                            # labels: flare days, onsets, at risk
    x = features(panel, labels, against)                    # features: name -> (patients, days)
    h_1 = day_ahead(x, counted, model)                      # hazard: without the personal rate
    log_m, onsets, expected = own_history(h_1, labels, observed, model.rate_prior)
    h_k = hazard(x, model, ahead, log_m)                    # ahead = 1..7
    scores = score(panel, labels, against, model)           # flare: status, risk, contributions, alerts
"""
