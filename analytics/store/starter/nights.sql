-- Sleep and heart at night: how long, how well, RMSSD and resting heart rate.
select
    patient,
    local_date,
    round(tst_min / 60, 1) as tst_h,
    round(efficiency_pct) as efficiency_pct,
    round(waso_min) as waso_min,
    round(rmssd_ms, 1) as rmssd_ms,
    round(resting_hr_bpm) as resting_hr_bpm,
    window_count,
    sensor
from night
where tst_min is not null
order by patient, local_date
