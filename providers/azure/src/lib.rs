//! The provider for Microsoft Azure: the node writes ip configurations of its own NIC
//! through the Azure Resource Manager.
//!
//! What is written is what was read, changed in our own configurations and nowhere else,
//! and only if nobody wrote in between (`If-Match`). A configuration's name says whose it
//! is. A call is sent once. Changes that wait together become one write; the daemon makes one
//! change of an interface at a time, so its writes hold one. What may be given to a pod
//! comes from a configuration that has `Succeeded`.

mod actions;
mod client;
mod configurations;
mod connect;
mod credentials;
mod failure;
mod identity;
mod inventory;
mod metadata;
mod network;
mod operations;
mod plan;
mod provider;
mod resume;
mod role;
mod settings;
mod target;
mod transport;
mod writer;

pub use actions::Action;
pub use provider::AzureProvider;
pub use resume::resume;
pub use role::role_definition;
pub use settings::{AzureSettings, Credentials, Remembered, UserAssigned};
