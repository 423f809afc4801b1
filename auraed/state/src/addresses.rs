//! The table of addresses: who has which IPv4 address of the pod network.
//!
//! An address is given by owner: asking again answers the same one. The search goes on after the address given last and
//! wraps round, so that an address rests as long as possible before the next pod gets it (neighbours' ARP and
//! connection tables still know its last owner).

use crate::{State, StateError};
use rusqlite::{Connection, OptionalExtension, params};
use std::fmt;
use std::net::Ipv4Addr;

/// An IPv4 network in CIDR form, between /1 and /30.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Gives `owner` a free address of `subnet`, or the one that it has.
    ///
    /// An address of another subnet (the configuration changed) is given back first.
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
                let mut statement =
                    connection.prepare_cached("select owner, address from addresses order by address")?;
                let rows = statement.query_map([], |row| {
                    Ok(Address {
                        owner: row.get(0)?,
                        address: row.get::<_, u32>(1)?.into(),
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
    let has: Option<u32> = transaction
        .prepare_cached("select address from addresses where owner = ?1")?
        .query_row([owner], |row| row.get(0))
        .optional()?;
    if let Some(address) = has
        .map(Ipv4Addr::from)
        .filter(|address| subnet.is_assignable(*address))
    {
        return Ok(Some(address));
    }
    let Some(number) = free(&transaction, subnet)? else {
        return Ok(None);
    };
    transaction
        .prepare_cached(
            "insert into addresses (owner, address) values (?1, ?2) on conflict (owner) do update set address = ?2",
        )?
        .execute(params![owner, number])?;
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
    match gap(connection, start, subnet.last())? {
        None if start > subnet.first() => gap(connection, subnet.first(), start - 1),
        found => Ok(found),
    }
}

/// The lowest number between `first` and `last`, both included, that no row has.
fn gap(connection: &Connection, first: u32, last: u32) -> rusqlite::Result<Option<u32>> {
    let mut statement = connection
        .prepare_cached("select address from addresses where address between ?1 and ?2 order by address")?;
    let mut candidate = first;
    for taken in statement.query_map([first, last], |row| row.get::<_, u32>(0))? {
        if taken? != candidate {
            break;
        }
        candidate += 1;
    }
    Ok((candidate <= last).then_some(candidate))
}
