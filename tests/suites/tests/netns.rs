//! The netns lane: the real plugin, daemon and kernel on nodes made of network
//! namespaces, in a cloud that forwards only what it has assigned.
//!
//! Every test has a lab of its own, so they run side by side. What the kernel
//! holds is read with `ip -j` and `nft -j`.

mod netns {
    mod addresses_of_servers;
    mod auditor;
    mod claims;
    mod cni_client;
    mod crash_points;
    mod daemon_life;
    mod dels_without_daemon;
    mod egress;
    mod foreign;
    mod full_run_folder;
    mod further_interfaces;
    mod host;
    mod host_settings;
    mod interrupted_plugins;
    mod main_routes;
    mod node_addresses;
    mod node_ports;
    mod pool;
    mod repairs;
    mod settings;
    mod storms;
    mod traffic;
    mod verbs;
}
