//! Which client may do what: the question, and who answers it.
//!
//! A client is known here once its CONNECT was let in: by its client id, and by the user name that was proved by a
//! password or a certificate. Topics are compared as the standard wants it (MQTT 5.0, section 4.7).

/// What a client wants to do with a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Publish to this topic name; its will counts as well.
    Publish,
    /// Subscribe to this topic filter, `$share/GROUP/` included. Refused only if nothing that matches may be read.
    Subscribe,
    /// Be sent an event of this topic name.
    Deliver,
}

/// Who wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Client<'a> {
    pub(crate) client_id: &'a str,
    /// The user name that was proved; `None` for an anonymous client.
    pub(crate) username: Option<&'a str>,
}

/// Who may do what.
pub(crate) trait Access {
    /// Says whether `client` may do this with `topic`. Asked for each publish, subscription and delivery, so it
    /// neither allocates nor waits.
    fn may(&self, action: Action, client: &Client<'_>, topic: &str) -> bool;
}
