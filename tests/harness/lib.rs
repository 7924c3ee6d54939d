//! What the end-to-end tests share: real processes, real sockets, and an oracle that keeps the books.
//!
//! Nothing here knows the inside of any crate of ours. The gateway is a process with a folder and a port, the cloud is a
//! real mosquitto or one of ours that misbehaves on request, devices are `mosquitto_pub`, paho scripts and a raw-byte
//! client. Every process, mount and port is given back when its value is dropped, and every wait has a condition and a
//! deadline.

pub mod authority;
pub mod block_log;
pub mod broker;
pub mod client;
pub mod cloud;
pub mod collector;
pub mod connection;
pub mod device;
pub mod disk;
pub mod event;
pub mod exact;
pub mod fleet;
pub mod gateway;
pub mod loop_disk;
pub mod must;
pub mod namespace;
pub mod oracle;
pub mod port;
pub mod process;
pub mod proxy;
pub mod pulse;
pub mod random;
pub mod real_broker;
pub mod relay;
pub mod resolver;
pub mod stand_in;
pub mod subject;
pub mod usage;
pub mod wait;
pub mod wire;

pub use authority::Authority;
pub use broker::Broker;
pub use cloud::Cloud;
pub use collector::Collector;
pub use connection::Connection;
pub use device::{Device, Plan};
pub use exact::ExactSubscriber;
pub use gateway::Gateway;
pub use loop_disk::LoopDisk;
pub use must::{Must, fail};
pub use namespace::Namespace;
pub use port::Port;
pub use proxy::Proxy;
pub use pulse::Pulse;
pub use random::Random;
pub use relay::Relay;
pub use resolver::Resolver;
pub use stand_in::StandIn;
pub use subject::Subject;
pub use wait::{wait_for, wait_some};
