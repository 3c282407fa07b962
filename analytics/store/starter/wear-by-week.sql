-- How much was worn: valid days, wear and nights per patient and week.
select
    patient,
    date_trunc('week', local_date)::date as week,
    count(*) filter (where is_valid_day) as valid_days,
    round(avg(wear_min) / 60, 1) as wear_h_per_day,
    count(tst_min) as nights_with_sleep,
    count(rmssd_ms) as nights_with_hrv
from patient_day
group by all
order by week desc, patient
