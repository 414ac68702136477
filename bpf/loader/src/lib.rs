//! The eBPF programs that judge pods' traffic: loaded, attached, and their maps kept.
