-- Steps of the last four weeks beside the patient's own usual ones.
select
    d.patient,
    d.local_date,
    d.steps,
    round(exp(b.center)) as usual_steps,
    round(b.z, 2) as z
from patient_day d
join baseline b on b.patient = d.patient and b.local_date = d.local_date and b.metric = 'steps'
where d.local_date > (select max(local_date) from patient_day) - interval 28 day
order by d.patient, d.local_date
