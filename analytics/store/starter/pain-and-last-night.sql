-- Pain beside the night before: mean pain after short, usual and long nights of the same person.
with ranked as (
    select
        patient,
        nrs,
        ntile(3) over (partition by patient order by tst_min) as third
    from patient_day
    where nrs is not null and tst_min is not null
)
select
    case third when 1 then 'shortest third' when 2 then 'middle third' else 'longest third' end as nights,
    count(*) as days,
    count(distinct patient) as patients,
    round(avg(nrs), 2) as mean_nrs
from ranked
group by third
order by third
