//! What a C-node is told when it starts.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// Settings of a [`Node`](crate::Node); [`Config::new`] fills in everything but name and cookie.
#[derive(Clone, Debug)]
pub struct Config {
    /// Full node name, for example `pets_a@127.0.0.1`.
    pub name: String,
    /// The shared secret of the cluster, Erlang's cookie.
    pub cookie: String,
    /// Where the own EPMD listens; peers are looked up in the EPMD of their own host.
    pub epmd_addr: IpAddr,
    /// Port of every EPMD of the cluster (4369, or what `ERL_EPMD_PORT` says).
    pub epmd_port: u16,
    /// Address on which connections are accepted; the port is chosen by the system.
    pub listen: IpAddr,
    /// Erlang's `net_ticktime`: a tick goes out every quarter of it, and a link on which nothing
    /// arrived for five quarters is closed.
    pub net_ticktime: Duration,
    /// Limit for looking a peer up, connecting and shaking hands, in both directions.
    pub connect_timeout: Duration,
    /// Largest frame accepted or sent, in bytes; must be the same on all nodes.
    pub max_frame: usize,
    /// Most bytes that wait for one link to take them.
    pub queue_limit_bytes: usize,
    /// Most calls without an answer on one link, outgoing or incoming.
    pub max_calls_in_flight: usize,
    /// Whether node names carry fully qualified hosts (`-name`) or short ones (`-sname`).
    pub long_names: bool,
}

impl Config {
    /// Settings of a node that listens on all IPv4 addresses and uses the EPMD of this machine.
    pub fn new(name: impl Into<String>, cookie: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            cookie: cookie.into(),
            epmd_addr: IpAddr::V4(Ipv4Addr::LOCALHOST),
            epmd_port: erl_dist::epmd::DEFAULT_EPMD_PORT,
            listen: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            net_ticktime: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(7),
            max_frame: 64 << 20,
            queue_limit_bytes: 64 << 20,
            max_calls_in_flight: 100_000,
            long_names: true,
        }
    }
}
