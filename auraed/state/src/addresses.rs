//! The table of addresses: who has which IPv4 address of the pod network.
//!
//! An address is given by owner: asking again answers the same one. The search goes on after the address given last and
//! wraps round, so that an address rests as long as possible before the next pod gets it (neighbours' ARP and
//! connection tables still know its last owner). Each row says of which subnet its address is: so a change of the pods'
//! subnet has no other state than the rows that are left of the old one.

use crate::pods::durably;
use crate::{State, StateError};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;

/// An IPv4 network in CIDR form, between /1 and /30.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subnet {
    network: u32,
    prefix: u8,
}

/// One row: an owner and its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Who has it: a pod's id.
    pub owner: String,
    /// What it has.
    pub address: Ipv4Addr,
    /// Of which subnet that is; `None` where an earlier version gave it, see [`State::adopt_addresses`].
    pub subnet: Option<Subnet>,
}

impl Subnet {
    /// The network of `address` with `prefix` bits; host bits are cleared. `None` unless `prefix` is 1 to 30.
    #[must_use]
    pub fn new(address: Ipv4Addr, prefix: u8) -> Option<Self> {
        (1..=30).contains(&prefix).then(|| Self {
            network: u32::from(address) & mask(prefix),
            prefix,
        })
    }

    /// The first address, which no host has.
    #[must_use]
    pub fn network(self) -> Ipv4Addr {
        self.network.into()
    }

    /// The number of network bits.
    #[must_use]
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// The bridge's own address: the first host's.
    #[must_use]
    pub fn gateway(self) -> Ipv4Addr {
        (self.network + 1).into()
    }

    /// The last address, which no host has.
    #[must_use]
    pub fn broadcast(self) -> Ipv4Addr {
        (self.network | !mask(self.prefix)).into()
    }

    /// Whether a pod may have `address`.
    #[must_use]
    pub fn is_assignable(self, address: Ipv4Addr) -> bool {
        let number = u32::from(address);
        self.first() <= number && number <= self.last()
    }

    fn first(self) -> u32 {
        self.network + 2
    }

    fn last(self) -> u32 {
        (self.network | !mask(self.prefix)) - 1
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network(), self.prefix)
    }
}

impl State {
    /// Gives `owner` a free address of `subnet`, or the one of it that it has.
    ///
    /// An address of another subnet (the pods' subnet changed) is given back first. What means something else in any subnet
    /// that has owners (its network's, gateway's and broadcast address) is not given.
    ///
    /// # Errors
    /// [`StateError::SubnetFull`] when all are taken; [`StateError::Query`] when the disk is full or fails.
    pub async fn allocate_address(&self, owner: &str, subnet: Subnet) -> Result<Ipv4Addr, StateError> {
        let owner = owner.to_owned();
        let found = self
            .worker
            .run("allocate an address", move |c| allocate(c, &owner, subnet))
            .await?;
        found.ok_or(StateError::SubnetFull(subnet))
    }

    /// Says of the addresses in `subnet` that an earlier version gave that they are of it.
    ///
    /// # Errors
    /// [`StateError::Query`] when the disk is full or fails.
    pub async fn adopt_addresses(&self, subnet: Subnet) -> Result<(), StateError> {
        self.worker
            .run("adopt addresses", move |connection| {
                connection
                    .execute(
                        "update addresses set prefix = ?1 where prefix is null and address between ?2 and ?3",
                        params![subnet.prefix, subnet.first(), subnet.last()],
                    )
                    .map(drop)
            })
            .await
    }

    /// The pods' subnet as it was assigned; `None` if none was.
    ///
    /// # Errors
    /// [`StateError::Query`] when the disk fails.
    pub async fn assigned_subnet(&self) -> Result<Option<Subnet>, StateError> {
        self.worker
            .run("read the assigned subnet", |connection| {
                let found = connection
                    .query_row("select address, prefix from assigned_subnet", [], |row| {
                        Ok((row.get::<_, u32>(0)?, row.get::<_, u8>(1)?))
                    })
                    .optional()?;
                Ok(found.and_then(|(address, prefix)| Subnet::new(address.into(), prefix)))
            })
            .await
    }

    /// Writes down that this is the pods' subnet now. When this returns, also a power loss does not undo it.
    ///
    /// # Errors
    /// [`StateError::Query`] when the disk is full or fails.
    pub async fn assign_subnet(&self, subnet: Subnet) -> Result<(), StateError> {
        self.worker
            .run("write down the assigned subnet", move |connection| {
                durably(connection, |connection| {
                    connection
                        .execute(
                            "insert into assigned_subnet (row, address, prefix) values (1, ?1, ?2)
                             on conflict (row) do update set address = ?1, prefix = ?2",
                            params![subnet.network, subnet.prefix],
                        )
                        .map(drop)
                })
            })
            .await
    }

    /// Gives back what `owner` has; `None` if it had nothing.
    ///
    /// # Errors
    /// [`StateError::Query`] when the disk is full or fails.
    pub async fn release_address(&self, owner: &str) -> Result<Option<Ipv4Addr>, StateError> {
        let owner = owner.to_owned();
        self.worker
            .run("release an address", move |connection| {
                connection
                    .prepare_cached("delete from addresses where owner = ?1 returning address")?
                    .query_row([owner], |row| row.get::<_, u32>(0))
                    .optional()
            })
            .await
            .map(|number| number.map(Ipv4Addr::from))
    }

    /// What `owner` has; `None` if it has nothing.
    ///
    /// # Errors
    /// [`StateError::Query`] when the disk fails.
    pub async fn address(&self, owner: &str) -> Result<Option<Ipv4Addr>, StateError> {
        let owner = owner.to_owned();
        self.worker
            .run("read an address", move |connection| {
                connection
                    .prepare_cached("select address from addresses where owner = ?1")?
                    .query_row([owner], |row| row.get::<_, u32>(0))
                    .optional()
            })
            .await
            .map(|number| number.map(Ipv4Addr::from))
    }

    /// All owners and what they have, by address.
    ///
    /// # Errors
    /// [`StateError::Query`] when the disk fails.
    pub async fn addresses(&self) -> Result<Vec<Address>, StateError> {
        self.worker
            .run("read the addresses", |connection| {
                let mut statement = connection
                    .prepare_cached("select owner, address, prefix from addresses order by address")?;
                let rows = statement.query_map([], |row| {
                    let address: Ipv4Addr = row.get::<_, u32>(1)?.into();
                    let prefix: Option<u8> = row.get(2)?;
                    Ok(Address {
                        owner: row.get(0)?,
                        address,
                        subnet: prefix.and_then(|prefix| Subnet::new(address, prefix)),
                    })
                })?;
                rows.collect()
            })
            .await
    }
}

const fn mask(prefix: u8) -> u32 {
    u32::MAX << (32 - prefix)
}

fn allocate(connection: &mut Connection, owner: &str, subnet: Subnet) -> rusqlite::Result<Option<Ipv4Addr>> {
    let transaction = connection.transaction()?;
    let has: Option<(u32, Option<u8>)> = transaction
        .prepare_cached("select address, prefix from addresses where owner = ?1")?
        .query_row([owner], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let of_subnet = |(address, prefix): &(u32, Option<u8>)| {
        subnet.is_assignable(Ipv4Addr::from(*address)) && prefix.is_none_or(|prefix| prefix == subnet.prefix)
    };
    if let Some((address, _)) = has.filter(of_subnet) {
        return Ok(Some(address.into()));
    }
    let Some(number) = free(&transaction, subnet)? else {
        return Ok(None);
    };
    transaction
        .prepare_cached(
            "insert into addresses (owner, address, prefix) values (?1, ?2, ?3)
             on conflict (owner) do update set address = ?2, prefix = ?3",
        )?
        .execute(params![owner, number, subnet.prefix])?;
    transaction
        .prepare_cached(
            "insert into counters (name, value) values ('address', ?1) on conflict (name) do update set value = ?1",
        )?
        .execute([number])?;
    transaction.commit()?;
    Ok(Some(number.into()))
}

/// The first free address after the one given last, wrapping round.
fn free(connection: &Connection, subnet: Subnet) -> rusqlite::Result<Option<u32>> {
    let last: Option<u32> = connection
        .prepare_cached("select value from counters where name = 'address'")?
        .query_row([], |row| row.get(0))
        .optional()?;
    let start = match last {
        Some(last) if (subnet.first()..subnet.last()).contains(&last) => last + 1,
        _ => subnet.first(),
    };
    let special = special(connection)?;
    match gap(connection, &special, start, subnet.last())? {
        None if start > subnet.first() => gap(connection, &special, subnet.first(), start - 1),
        found => Ok(found),
    }
}

/// What means something else in a subnet that has owners.
fn special(connection: &Connection) -> rusqlite::Result<BTreeSet<u32>> {
    let mut statement = connection.prepare_cached(
        "select distinct address & ~((1 << (32 - prefix)) - 1), prefix from addresses where prefix is not null",
    )?;
    let subnets = statement.query_map([], |row| Ok((row.get::<_, u32>(0)?, row.get::<_, u8>(1)?)))?;
    let mut special = BTreeSet::new();
    for subnet in subnets {
        let (address, prefix) = subnet?;
        if let Some(subnet) = Subnet::new(address.into(), prefix) {
            special.extend([subnet.network, subnet.network + 1, subnet.last() + 1]);
        }
    }
    Ok(special)
}

/// The lowest number between `first` and `last`, both included, that no row has and that is not special.
fn gap(
    connection: &Connection,
    special: &BTreeSet<u32>,
    first: u32,
    last: u32,
) -> rusqlite::Result<Option<u32>> {
    let mut statement = connection
        .prepare_cached("select address from addresses where address between ?1 and ?2 order by address")?;
    let mut candidate = first;
    let mut taken = statement.query_map([first, last], |row| row.get::<_, u32>(0))?;
    let mut next = taken.next().transpose()?;
    while candidate <= last && (next == Some(candidate) || special.contains(&candidate)) {
        if next == Some(candidate) {
            next = taken.next().transpose()?;
        }
        candidate += 1;
    }
    Ok((candidate <= last).then_some(candidate))
}
