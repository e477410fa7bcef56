//! EPMD, the port mapper: being found under a name, and finding others.

use std::net::SocketAddr;
use std::time::Duration;

use erl_dist::epmd::{EpmdClient, EpmdError, NodeEntry};
use erl_dist::node::Creation;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio::time::timeout;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

use crate::error::StartError;

/// An entry in EPMD; it lives as long as this connection.
pub(crate) struct Registration {
    connection: TcpStream,
    pub(crate) creation: Creation,
}

impl Registration {
    /// Waits until EPMD drops the connection, which is how its restart shows.
    pub(crate) async fn lost(&mut self) {
        let mut byte = [0];
        while matches!(self.connection.read(&mut byte).await, Ok(1..)) {}
    }

    /// Gives the name back, and waits until EPMD has taken it: a node that starts under the same
    /// name right afterwards must not find it taken.
    pub(crate) async fn release(mut self, limit: Duration) {
        let release = async {
            if self.connection.shutdown().await.is_ok() {
                self.lost().await;
            }
        };
        // EPMD sees the connection close in any case, only later.
        let _ = timeout(limit, release).await;
    }
}

/// Registers a hidden node.
pub(crate) async fn register(
    address: SocketAddr,
    alive: &str,
    port: u16,
    limit: Duration,
) -> Result<Registration, StartError> {
    let unavailable = |reason: String| StartError::EpmdUnavailable { address, reason };
    let attempt = async {
        let client = connect(address).await.map_err(|error| unavailable(error.to_string()))?;
        match client.register(NodeEntry::new_hidden(alive, port)).await {
            Ok((connection, creation)) => {
                Ok(Registration { connection: connection.into_inner(), creation })
            }
            Err(EpmdError::RegisterNodeError { .. }) => {
                Err(StartError::NameTaken(alive.to_owned()))
            }
            Err(error) => Err(unavailable(error.to_string())),
        }
    };
    match timeout(limit, attempt).await {
        Ok(outcome) => outcome,
        Err(_) => Err(unavailable(format!("no answer within {limit:?}"))),
    }
}

/// The port of a node, by the EPMD of its host.
pub(crate) async fn find_port(epmd: impl ToSocketAddrs, alive: &str) -> Result<u16, String> {
    let client = connect(epmd).await.map_err(|error| format!("no EPMD: {error}"))?;
    match client.get_node(alive).await {
        Ok(Some(entry)) => Ok(entry.port),
        Ok(None) => Err("not registered in EPMD".into()),
        Err(error) => Err(format!("EPMD: {error}")),
    }
}

async fn connect(
    epmd: impl ToSocketAddrs,
) -> Result<EpmdClient<Compat<TcpStream>>, std::io::Error> {
    let stream = TcpStream::connect(epmd).await?;
    // A request is made of many small writes, each of which would wait for an acknowledgement.
    stream.set_nodelay(true)?;
    Ok(EpmdClient::new(stream.compat()))
}
