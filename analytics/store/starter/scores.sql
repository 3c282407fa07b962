-- Questionnaires: every score with its version, and the reason where there is none.
select patient, local_date, instrument, score, version, recall_days, quality
from pro_scores
order by patient, instrument, local_date
