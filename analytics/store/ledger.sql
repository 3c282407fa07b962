-- What the night shift has done, and of what. One transaction per finished share of the patients.
create table if not exists seen (
    path text primary key, size integer not null, first_utc integer, last_utc integer, fault text
);
create table if not exists done (
    stage text not null, day text not null, number integer not null, count integer not null,
    inputs text not null, code text not null, is_whole integer not null,
    primary key (stage, day, number, count)
);
create table if not exists part (
    name text not null, day text not null, number integer not null, count integer not null,
    path text not null, rows integer not null, size integer not null, width integer not null,
    primary key (name, day, number, count)
);
create table if not exists judged (day text primary key, inputs text not null);
create table if not exists fact (name text primary key, value text not null);
