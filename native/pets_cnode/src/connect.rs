//! Opening a link to a peer: look it up, connect, shake hands, say what the link is for.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use crate::frame::{self, FrameReader, Hello, Role};
use crate::handler::Handler;
use crate::node::Shared;
use crate::peer_name::PeerName;
use crate::{epmd, handshake};

/// Why a link is not there, or no longer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// Never connected: nothing was sent.
    #[error("not connected: {0}")]
    Unreachable(String),
    /// The peer is of another kind or version.
    #[error("refused by the peer: {0}")]
    Refused(String),
    /// The peer is about to leave and takes no calls.
    #[error("the peer is leaving")]
    Leaving,
    /// It was up and is gone.
    #[error("{0}")]
    Broken(String),
}

/// Why a [`frame::REFUSED`] frame was sent; its first byte.
pub(crate) const REFUSED_FOR_GOOD: u8 = 1;
pub(crate) const REFUSED_LEAVING: u8 = 2;

/// Both halves of an open link.
pub(crate) type Halves = (FrameReader<OwnedReadHalf>, OwnedWriteHalf);

/// Opens a link to a peer, within the configured time.
pub(crate) async fn open<H: Handler>(
    shared: &Arc<Shared<H>>,
    peer: &PeerName,
    role: Role,
) -> Result<Halves, LinkError> {
    let limit = shared.config.connect_timeout;
    match timeout(limit, attempt(shared, peer, role)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(LinkError::Unreachable(format!("not connected within {limit:?}"))),
    }
}

async fn attempt<H: Handler>(
    shared: &Arc<Shared<H>>,
    peer: &PeerName,
    role: Role,
) -> Result<Halves, LinkError> {
    let config = &shared.config;
    let port = if peer.host() == shared.name.host() {
        let own = SocketAddr::new(config.epmd_addr, config.epmd_port);
        epmd::find_port(own, peer.alive()).await
    } else {
        epmd::find_port((peer.host(), config.epmd_port), peer.alive()).await
    }
    .map_err(LinkError::Unreachable)?;
    let stream = TcpStream::connect((peer.host(), port))
        .await
        .map_err(|error| LinkError::Unreachable(error.to_string()))?;
    stream.set_nodelay(true).map_err(|error| LinkError::Unreachable(error.to_string()))?;
    let cookie = shared.cookie();
    let stream = handshake::connect(stream, shared.local.clone(), &cookie, peer)
        .await
        .map_err(|reason| LinkError::Unreachable(format!("handshake: {reason}")))?;
    let (reader, mut writer) = stream.into_split();
    let mut hello = Vec::new();
    Hello::current(role, shared.name.clone()).encode(&mut hello);
    writer.write_all(&hello).await.map_err(|error| LinkError::Unreachable(error.to_string()))?;
    let mut frames = FrameReader::new(reader, config.max_frame);
    loop {
        let next = frames.next().map_err(|error| LinkError::Unreachable(error.to_string()))?;
        let Some(range) = next else {
            frames.fill().await.map_err(|error| LinkError::Unreachable(error.to_string()))?;
            continue;
        };
        return match frames.payload(range) {
            [frame::WELCOME, ..] => Ok((frames, writer)),
            [frame::REFUSED, REFUSED_LEAVING, ..] => Err(LinkError::Leaving),
            [frame::REFUSED, _, reason @ ..] => {
                // The reason goes into logs and errors: bounded, whatever the peer sends.
                let reason = &reason[..reason.len().min(300)];
                Err(LinkError::Refused(String::from_utf8_lossy(reason).into_owned()))
            }
            _ => Err(LinkError::Refused("it answered the hello with something else".into())),
        };
    }
}
