-- Sandboxes and containers that callers manage one verb at a time. `spec` is an encoded aurae.runtime.v0.SandboxSpec or
-- ContainerSpec, without environment variables; `record` is what the executive remembers of it, in its own encoding.
create table sandboxes (
    id              text primary key,
    spec            blob not null,
    record          blob not null
) strict;

create table containers (
    id              text primary key,
    sandbox         text not null references sandboxes (id) on delete cascade,
    spec            blob not null,
    record          blob not null
) strict;
create index containers_by_sandbox on containers (sandbox);
