-- grain:   heart-rate sample in sleep
-- inputs:  sleep_window (patient, local_date, start_utc, end_utc), observations_heart_rate
-- output:  patient, local_date, device, start_us, bpm
select n.patient, n.local_date, h.device, epoch_us(h.start_utc) as start_us, h.bpm
from observations_heart_rate h asof join sleep_window n
    on h.patient = n.patient and h.start_utc >= n.start_utc
where h.start_utc < n.end_utc and h.bpm > 0
order by n.patient, n.local_date, h.device, h.start_utc
