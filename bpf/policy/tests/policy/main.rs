//! NetworkPolicies: what is read, and what the compiler makes of it.

mod cluster;
mod folder;
mod generated;
mod model;
mod objects;
mod rules;
mod scenarios;
mod verdicts;
