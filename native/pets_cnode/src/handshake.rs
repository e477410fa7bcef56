//! The distribution handshake: both ends prove that they know the cookie.

use erl_dist::handshake::{ClientSideHandshake, HandshakeStatus, ServerSideHandshake};
use erl_dist::node::{Creation, LocalNode, NodeName};
use erl_dist::{DistributionFlags, LOWEST_DISTRIBUTION_PROTOCOL_VERSION};
use tokio::net::TcpStream;
use tokio_util::compat::TokioAsyncReadCompatExt;

use crate::peer_name::PeerName;

/// What this node says about itself. Not `PUBLISHED`: it is hidden. No atom cache, no fragments
/// and no spawn requests: those would change the frames that BEAM nodes send.
pub(crate) fn local_node(name: &PeerName, creation: Creation) -> Result<LocalNode, String> {
    let name = NodeName::new(name.alive(), name.host()).map_err(|error| error.to_string())?;
    let mut local = LocalNode::new(name, creation);
    local.flags = DistributionFlags::mandatory()
        // Mandatory as of OTP 26, but missing in erl_dist's set.
        | DistributionFlags::from_bits_truncate(1 << 26)
        | DistributionFlags::DIST_MONITOR
        | DistributionFlags::DIST_MONITOR_NAME
        | DistributionFlags::SMALL_ATOM_TAGS
        | DistributionFlags::ALIAS
        | DistributionFlags::SEND_SENDER
        | DistributionFlags::EXIT_PAYLOAD;
    Ok(local)
}

/// Shakes hands with a peer that this node connected to.
pub(crate) async fn connect(
    stream: TcpStream,
    local: LocalNode,
    cookie: &str,
    peer: &PeerName,
) -> Result<TcpStream, String> {
    let mut handshake = ClientSideHandshake::new(stream.compat(), local, cookie);
    let status = handshake
        .execute_send_name(LOWEST_DISTRIBUTION_PROTOCOL_VERSION)
        .await
        .map_err(|error| error.to_string())?;
    match status {
        HandshakeStatus::Ok | HandshakeStatus::OkSimultaneous => {}
        HandshakeStatus::Nok => return Err("the peer is connecting already".into()),
        HandshakeStatus::NotAllowed => return Err("the peer does not allow this node".into()),
        // Our own nodes never answer `alive`, and going on from there would hang.
        HandshakeStatus::Alive => return Err("the peer has a connection of this name".into()),
        HandshakeStatus::Named { .. } => return Err("the peer named a node with a name".into()),
    }
    let (stream, node) = handshake.execute_rest(true).await.map_err(|error| error.to_string())?;
    if node.name.to_string() != peer.as_str() {
        return Err(format!("{} answered instead", node.name));
    }
    Ok(stream.into_inner())
}

/// Shakes hands with whoever connected. A second connection from the same name is as good as the
/// first: peers open several, and a restarted one may come before its old connection is seen dead.
pub(crate) async fn accept(
    stream: TcpStream,
    local: LocalNode,
    cookie: &str,
) -> Result<(TcpStream, PeerName), String> {
    let mut handshake = ServerSideHandshake::new(stream.compat(), local, cookie);
    let named = handshake.execute_recv_name().await.map_err(|error| error.to_string())?;
    // A node without a name of its own asks to be given one; nobody could be told apart by it.
    let status = if named.is_some() { HandshakeStatus::Ok } else { HandshakeStatus::NotAllowed };
    let (stream, node) = handshake.execute_rest(status).await.map_err(|error| error.to_string())?;
    let peer = PeerName::new(&node.name.to_string()).map_err(|error| error.to_string())?;
    Ok((stream.into_inner(), peer))
}
