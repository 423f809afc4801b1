-- A state file of version 3, as `.dump` writes it. Never edit it: it stands for files that exist.
pragma foreign_keys = off;
begin transaction;
CREATE TABLE pods (
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
INSERT INTO pods VALUES ('one', 'default', 'name-of-one', X'000102FF', 1, NULL, NULL, X'');
INSERT INTO pods VALUES ('two', 'default', 'name-of-two', X'000102FF', 2, 1700000001000, 30, X'7B2261223A317D');
CREATE TABLE images (
    id              text primary key,
    image           text not null
) strict;
INSERT INTO images VALUES ('sha256:00', '{"id":"sha256:00"}');
CREATE TABLE addresses (
    owner           text primary key,
    address         integer not null unique
, prefix integer) strict;
INSERT INTO addresses VALUES ('one', 173539330, NULL);
INSERT INTO addresses VALUES ('two', 183763714, 24);
CREATE TABLE counters (
    name            text primary key,
    value           integer not null
) strict;
INSERT INTO counters VALUES ('revision', 4200);
INSERT INTO counters VALUES ('address', 173539330);
CREATE TABLE sandboxes (
    id              text primary key,
    spec            blob not null,
    record          blob not null
) strict;
INSERT INTO sandboxes VALUES ('pod', X'0A03706F64', X'0801');
CREATE TABLE containers (
    id              text primary key,
    sandbox         text not null references sandboxes (id) on delete cascade,
    spec            blob not null,
    record          blob not null
) strict;
INSERT INTO containers VALUES ('main', 'pod', X'0A046D61696E', X'0802');
CREATE TABLE assigned_subnet (
    row             integer primary key check (row = 1),
    address         integer not null,
    prefix          integer not null
) strict;
INSERT INTO assigned_subnet VALUES (1, 183763712, 24);
CREATE INDEX pods_by_name on pods (namespace, name);
CREATE INDEX containers_by_sandbox on containers (sandbox);
commit;
pragma application_id = 1096110657;
pragma user_version = 3;
