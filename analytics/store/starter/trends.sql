-- Trends that stand out: change per four weeks with its interval, strongest evidence first.
select patient, metric, valid_day_count, change_pct, change_low_pct, change_high_pct, p_value, sentence
from trend
where local_date = (select max(local_date) from trend)
order by p_value nulls last, patient, metric
