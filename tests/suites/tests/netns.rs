//! The netns lane: the real plugin, daemon and kernel on nodes made of network
//! namespaces. The cloud forwards only packets whose source it has assigned.
//!
//! Every test has a lab of its own, so tests run side by side. They read the kernel's
//! state with `ip -j` and `nft -j`.

mod netns {
    mod addresses_of_servers;
    mod alerts;
    mod auditor;
    mod azure;
    mod bandwidth;
    mod chaining;
    mod check;
    mod claims;
    #[cfg(feature = "kube")]
    mod cluster_api;
    #[cfg(all(feature = "bpf", feature = "kube"))]
    mod cluster_policies;
    mod cni_client;
    mod crash_points;
    mod daemon_life;
    mod dashboard;
    mod dels_without_daemon;
    mod docker;
    mod egress;
    #[cfg(feature = "bpf")]
    mod enforcement;
    mod foreign;
    mod full_run_folder;
    mod further_interfaces;
    mod host;
    mod host_ports;
    mod host_settings;
    mod interrupted_plugins;
    mod kube_proxy;
    mod main_routes;
    mod metadata;
    mod node_addresses;
    mod node_local_dns;
    mod node_ports;
    mod operators;
    mod pool;
    mod reboot;
    mod repairs;
    mod settings;
    mod storms;
    mod take_over;
    mod torture;
    mod traffic;
    mod verbs;
    mod without_iptables;
}
