-- grain:   heart-rate sample
-- inputs:  local_day, observations_heart_rate
-- output:  patient, local_date, device, start_us, bpm
-- args:    $first_utc, $last_utc: the nights wanted, from the first noon to the last
select n.patient, n.local_date, h.device, epoch_us(h.start_utc) as start_us, h.bpm
from observations_heart_rate h asof join local_day n
    on h.patient = n.patient and h.start_utc >= n.night_start_utc
where h.start_utc < n.night_end_utc and h.start_utc >= $first_utc and h.start_utc < $last_utc and h.bpm > 0
order by n.patient, n.local_date, h.device, h.start_utc
