//! Programs of this host over a Unix socket.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};

use tidegate_tests::{Must, client, gateway};

#[test]
fn a_unix_socket_serves_and_leaves_nothing_behind() {
    let builder = gateway!();
    let path = builder.dir().join("mqtt.sock");
    let mut gateway = builder.tables("[[listener]]\nbind = \"unix:mqtt.sock\"\nmode = \"0640\"").start();
    let metadata = fs::metadata(&path).must("look at the socket");
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o640);
    let arguments = ["--unix", path.to_str().must("a path in UTF-8")];
    client::mosquitto_round_trip("a/b", &arguments);

    // A killed gateway leaves the file; the next one takes its place.
    gateway.kill();
    assert!(path.exists());
    gateway.restart();
    client::mosquitto_round_trip("a/b", &arguments);
    gateway.stop();
    assert!(!path.exists(), "a stopped one removes it");
}
