-- grain:   heart-rate sample x sleep it lies in: the sleeps of two dates overlap where two devices tell them
-- inputs:  sleep_window (patient, local_date, start_utc, end_utc), observations_heart_rate
-- output:  patient, local_date, device, start_us, bpm
with piece as (
    -- a sleep by the UTC days it touches: a join by equality, not one of every sample with every night
    select
        *,
        unnest(range(epoch_us(start_utc) // 86400000000, (epoch_us(end_utc) - 1) // 86400000000 + 1)) as utc_day
    from sleep_window
)
select n.patient, n.local_date, h.device, epoch_us(h.start_utc) as start_us, h.bpm
from observations_heart_rate h join piece n
    on h.patient = n.patient and epoch_us(h.start_utc) // 86400000000 = n.utc_day
where h.start_utc >= n.start_utc and h.start_utc < n.end_utc and h.bpm > 0
order by n.patient, n.local_date, h.device, h.start_utc
