//! The kubernetes lane: a real cluster, whose nodes are machines of a VPC that checks sources.
//! Veni installs itself on nodes that have no network yet.

#[path = "kubernetes/objects.rs"]
mod objects;
#[path = "kubernetes/veni.rs"]
mod veni;

#[path = "kubernetes/failures.rs"]
mod failures;
#[path = "kubernetes/image.rs"]
mod image;
#[path = "kubernetes/installation.rs"]
mod installation;
#[path = "kubernetes/multus.rs"]
mod multus;
#[path = "kubernetes/plugin.rs"]
mod plugin;
#[path = "kubernetes/role.rs"]
mod role;
#[path = "kubernetes/services.rs"]
mod services;
#[path = "kubernetes/updates.rs"]
mod updates;
#[path = "kubernetes/workloads.rs"]
mod workloads;
