-- What is missing and why: reasons of null steps, sleep and HRV, most frequent first.
select what, reason, count(*) as days, count(distinct patient) as patients
from (
    select patient, 'steps' as what, steps_quality as reason from coverage
    union all
    select patient, 'sleep', sleep_quality from coverage
    union all
    select patient, 'hrv', hrv_quality from coverage
)
where reason is not null
group by all
order by days desc, what, reason
