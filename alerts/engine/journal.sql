-- The alert journal. Instants are microseconds UTC, nights ISO local dates.

create table if not exists reading (
    patient text not null,
    rule text not null,
    night text not null,
    band text not null check (band in ('breach', 'between', 'clear', 'absent')),
    primary key (patient, rule, night)
) without rowid;

-- Fold of the readings: where the condition stands after last_night.
create table if not exists condition (
    patient text not null,
    rule text not null,
    is_firing integer not null,
    since text,
    last_breach text,
    clear_count integer not null,
    last_night text not null,
    primary key (patient, rule)
) without rowid;

create table if not exists alert (
    alert text primary key,
    patient text not null,
    rule text not null,
    rule_version integer not null,
    severity text not null,
    status text not null check (status in ('open', 'acked', 'resolved')),
    night text not null,
    zone text,
    value real,
    sentence text not null,
    inputs text not null,
    opened_utc integer not null,
    acked_utc integer,
    acked_by text,
    resolved_utc integer,
    resolved_night text,
    closed_by text,
    version integer not null default 1
) without rowid;

-- The database, not code, keeps it at one active alert per patient and rule.
create unique index if not exists one_active_alert on alert (patient, rule) where status in ('open', 'acked');

create table if not exists outbox (
    key text primary key,
    alert text not null references alert (alert),
    step text not null check (step in ('open', 'resolved')),
    recipient text not null,
    channel text not null,
    status text not null check (status in ('queued', 'leased', 'sent', 'cancelled', 'dead')),
    attempt_count integer not null default 0,
    not_before_utc integer not null,
    deadline_utc integer not null,
    lease_until_utc integer,
    last_error text,
    created_utc integer not null,
    sent_utc integer
) without rowid;

create index if not exists outbox_due on outbox (status, not_before_utc);
create index if not exists outbox_of_alert on outbox (alert);

create table if not exists audit (
    sequence integer primary key,
    utc integer not null,
    actor text not null,
    action text not null,
    alert text not null,
    detail text not null,
    previous_hash text not null,
    hash text not null
);

create trigger if not exists audit_is_never_edited before update on audit
begin select raise(abort, 'audit rows are never edited'); end;

create trigger if not exists audit_is_never_shortened before delete on audit
begin select raise(abort, 'audit rows are never deleted'); end;
