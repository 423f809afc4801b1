-- Length of the subnet that an address was given of: while the pods' subnet changes there are addresses of several. Null:
-- an earlier version gave it, of the subnet that was configured then.
alter table addresses add column prefix integer;

-- The pods' subnet as whoever runs the cluster assigned it: one row, or none.
create table assigned_subnet (
    row             integer primary key check (row = 1),
    address         integer not null,
    prefix          integer not null
) strict;
