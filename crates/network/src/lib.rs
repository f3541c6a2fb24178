//! Makes the kernel's network match what the engine wants: bridges, veth pairs, nftables, reserved ports; and the pure
//! choices around them: addresses, `resolv.conf`, `hosts`.
//!
//! Synchronous, meant for one network thread. Keeps no state and persists nothing: every effect is idempotent and lies
//! under a name that the caller gives. Knows neither containers nor Docker's names. Start reading at [`endpoint`] (the hot
//! path of a start) and [`firewall`] (the one table).

mod announce;
pub mod bridge;
pub mod child;
pub mod conntrack;
pub mod dns;
pub mod endpoint;
pub mod firewall;
pub mod hosts;
pub mod ipam;
pub mod link;
pub mod netlink;
pub mod port;
pub mod probe;
pub mod resolv_conf;
pub mod resolver;
pub mod route;
mod sysctl;

pub use link::MacAddress;
pub use netlink::Socket;
