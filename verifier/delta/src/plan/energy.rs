//! What bytes cost, on their way and on the device.

use serde::{Deserialize, Serialize};

use super::{Least, Terms};

/// How a device is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// Not at all.
    Offline,
    /// To a registry or mirror in the same house.
    Local,
    /// By cable, fibre, or Wi-Fi in front of them.
    Fixed,
    /// By a mobile network.
    Mobile,
}

/// Estimated energy, in nanojoules for each byte. The defaults are orders of magnitude for choosing between paths, not a meter; an
/// owner who has measured puts in other ones.
///
/// Network figures are averages that share out all that the networks consume over all bytes; a single transfer's marginal energy is
/// lower. Fixed: 0.0065 kWh/GB, mobile: 0.1 kWh/GB (Carbon Trust, "Carbon impact of video streaming", 2021, figures for 2020).
/// Local: 1 W at each end and 10 W of a router, shared by 60 MB/s. Device: a core of 5 W that decodes 350 MB/s and hashes 2 GB/s, and
/// flash of 0.5 W that stores 50 MB/s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Energy {
    /// A byte received from the same house.
    pub local: u64,
    /// A byte received over a fixed network.
    pub fixed: u64,
    /// A byte received over a mobile network.
    pub mobile: u64,
    /// A byte that comes out of a frame or a compressed chunk.
    pub decoded: u64,
    /// A byte that is hashed.
    pub hashed: u64,
    /// A byte that is stored.
    pub stored: u64,
}

impl Default for Energy {
    fn default() -> Self {
        Self {
            local: 200,
            fixed: 23_400,
            mobile: 360_000,
            decoded: 15,
            hashed: 3,
            stored: 10,
        }
    }
}

/// What a path takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Cost {
    /// Bytes received.
    pub(super) bytes: u64,
    /// In 128 bits: 16 TiB over a mobile network are 6e18 nanojoules, and several deltas add up.
    pub(super) nanojoules: u128,
}

impl Cost {
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            nanojoules: self.nanojoules.saturating_add(other.nanojoules),
        }
    }

    /// Rounded up: what is not free does not look so.
    pub(super) fn millijoules(self) -> u64 {
        u64::try_from(self.nanojoules.div_ceil(1_000_000)).unwrap_or(u64::MAX)
    }
}

/// The terms for one connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prices {
    received: u64,
    energy: Energy,
    least: Least,
}

impl Prices {
    pub(super) fn new(terms: &Terms, network: Network) -> Self {
        let energy = terms.energy;
        let received = match network {
            // What it would cost is told by the network that most devices have.
            Network::Offline | Network::Fixed => energy.fixed,
            Network::Local => energy.local,
            Network::Mobile => energy.mobile,
        };
        Self {
            received,
            energy,
            least: terms.least,
        }
    }

    /// Bytes that are only fetched.
    pub(super) fn fetched(&self, bytes: u64) -> Cost {
        Cost {
            bytes,
            nanojoules: times(bytes, self.received),
        }
    }

    /// `length` bytes that come as they are, and are hashed and stored.
    pub(super) fn raw(&self, length: u64) -> Cost {
        self.fetched(length).plus(self.kept(length))
    }

    /// `length` bytes that are decoded from `bytes`, hashed and stored.
    pub(super) fn decoded(&self, bytes: u64, length: u64) -> Cost {
        let work = Cost {
            bytes: 0,
            nanojoules: times(length, self.energy.decoded),
        };
        self.fetched(bytes).plus(work).plus(self.kept(length))
    }

    /// `length` bytes that are hashed and stored.
    pub(super) fn kept(&self, length: u64) -> Cost {
        Cost {
            bytes: 0,
            nanojoules: times(length, self.energy.hashed.saturating_add(self.energy.stored)),
        }
    }

    /// Smaller is better.
    pub(super) fn key(&self, cost: Cost, scratch: u64) -> (u128, u128, u64) {
        let bytes = u128::from(cost.bytes);
        match self.least {
            Least::Energy => (cost.nanojoules, bytes, scratch),
            Least::Bytes => (bytes, cost.nanojoules, scratch),
        }
    }

    pub(super) fn cheaper(&self, a: Cost, b: Cost) -> bool {
        self.key(a, 0) < self.key(b, 0)
    }
}

fn times(bytes: u64, nanojoules: u64) -> u128 {
    u128::from(bytes) * u128::from(nanojoules)
}
