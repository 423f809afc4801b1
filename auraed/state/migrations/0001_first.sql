-- What should run. `pod` is an encoded aurae.schedule.v0.Pod without its sensitive values.
create table pods (
    id              text primary key,
    namespace       text not null,
    name            text not null,
    pod             blob not null,
    -- Milliseconds since 1970.
    created_at      integer not null,
    -- Milliseconds since 1970; null while nobody asked for a stop.
    stop_at         integer,
    -- Seconds; null for the pod's own.
    stop_grace      integer,
    -- What the engine must remember beside the pod, in its own encoding.
    record          blob not null
) strict;
create index pods_by_name on pods (namespace, name);

-- Which images are here. `image` is the image store's JSON.
create table images (
    id              text primary key,
    image           text not null
) strict;

-- Who has which IPv4 address of the pod network.
create table addresses (
    owner           text primary key,
    address         integer not null unique
) strict;

-- Single numbers: `revision` is the first revision that was never given away, `address` the one given last.
create table counters (
    name            text primary key,
    value           integer not null
) strict;
