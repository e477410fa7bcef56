//! The name of another C-node.

use std::fmt;
use std::sync::Arc;

/// A full node name (`pets_b@host`), cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerName(Arc<str>);

/// A text that is no node name: it needs one `@` between two parts, and at most 255 bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a node name of the form name@host, got: {0:?}")]
pub struct InvalidName(pub String);

impl PeerName {
    /// Checks and keeps a node name.
    ///
    /// # Errors
    /// [`InvalidName`] when the text is not `name@host` or is longer than 255 bytes.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let valid = text.len() <= 255
            && !text.contains(char::is_control)
            && text.split_once('@').is_some_and(|(name, host)| {
                !name.is_empty() && !host.is_empty() && !host.contains('@')
            });
        if valid { Ok(Self(text.into())) } else { Err(InvalidName(text.to_owned())) }
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the `@`, under which EPMD knows the node.
    pub fn alive(&self) -> &str {
        self.0.split_once('@').map_or("", |(alive, _)| alive)
    }

    /// The part after the `@`.
    pub fn host(&self) -> &str {
        self.0.split_once('@').map_or("", |(_, host)| host)
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl std::borrow::Borrow<str> for PeerName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for PeerName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}
