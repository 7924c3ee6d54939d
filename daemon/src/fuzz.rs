//! The targets of `tests/fuzz`: see the session's own module of this name.

use crate::listener::fuzz;
use crate::mqtt::Version;

/// Bytes from a client that nothing is known of yet.
pub fn before_connect(input: &[u8]) {
    fuzz::before_connect(input);
}

/// Bytes from a client of MQTT 3.1.1 that has connected.
pub fn after_connect_311(input: &[u8]) {
    fuzz::after_connect(Version::V311, input);
}

/// Bytes from a client of MQTT 5.0 that has connected.
pub fn after_connect_5(input: &[u8]) {
    fuzz::after_connect(Version::V5, input);
}
