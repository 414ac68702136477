//! The real kernel: what its verbs leave there, seen with `ip -j` and `nft -j`, and
//! whether packets then go where they should. Every test makes its own network
//! namespaces.

mod conformance;
mod egress;
mod endpoint;
mod interface;
mod main_routes;
mod node;
mod sys;
mod traffic;
mod world;
