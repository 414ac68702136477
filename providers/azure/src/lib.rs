//! The provider for Microsoft Azure: the node writes ip configurations of its own NIC
//! through the Azure Resource Manager.
//!
//! What is written is what was read, changed in our own configurations and nowhere else,
//! and only if nobody wrote in between (`If-Match`). A configuration's name says whose it
//! is. A call is sent once; changes that wait together become one write. What may be given
//! to a pod comes from a configuration that has `Succeeded`.

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
mod role;
mod settings;
mod target;
mod transport;
mod writer;

pub use actions::Action;
pub use provider::AzureProvider;
pub use role::role_definition;
pub use settings::{AzureSettings, Credentials, Remembered, UserAssigned};
