//! The real kernel: what its verbs leave there, seen with `ip -j` and `nft -j`, and
//! whether packets then go where they should. Every test makes its own network
//! namespaces.

mod comparing;
mod conformance;
mod egress;
mod elements;
mod endpoint;
mod host_ports;
mod interface;
mod main_routes;
mod node;
mod statistics;
mod sys;
mod traffic;
mod world;
