-- Alert load: alerts opened per week and per 100 patients, by rule and severity.
select
    date_trunc('week', local_date)::date as week,
    rule,
    severity,
    count(*) as alerts,
    round(100.0 * count(*) / (select count(distinct patient) from patient_day), 1) as per_100_patients
from alerts
group by all
order by week desc, alerts desc, rule
