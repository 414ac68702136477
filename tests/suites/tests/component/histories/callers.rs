//! Callers of the daemon: each call in a task of its own, written down when it begins and
//! when it is answered.

use std::collections::HashSet;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use ipamd::endpoints::AddOrder;
use tokio::time::sleep;
use veni_api::file_names;
use veni_dataplane::{Bandwidth, Limit, PortMapping, PortProtocol};

use super::log::{Port, What};
use super::run::History;
use super::script::Wants;
use crate::daemon::{Daemon, key};

fn name(number: u32) -> String {
    format!("pod-{number}")
}

/// A port as a runtime asks for it.
fn mapping(port: &Port) -> PortMapping {
    let protocol = PortProtocol::ALL.into_iter();
    let mut protocol = protocol.filter(|one| one.to_string() == port.protocol);
    PortMapping {
        protocol: protocol.next().expect("a protocol"),
        host_port: port.port,
        pod_port: port.pod_port,
        host_address: port.host.parse().ok(),
    }
}

impl History<'_> {
    /// The order of a pod with all that it wants.
    fn order(&self, daemon: &Daemon, number: u32) -> (AddOrder, Wants) {
        let wants = self.script.wants[number as usize].clone();
        let limit = |rate: Option<u64>| Limit::try_new(rate.unwrap_or(0), 0).expect("a rate");
        let order = AddOrder {
            bandwidth: Bandwidth {
                to_pod: limit(wants.limits.0),
                from_pod: limit(wants.limits.1),
            },
            port_mappings: wants.ports.iter().map(mapping).collect(),
            ..daemon.order(&name(number))
        };
        (order, wants)
    }

    /// ADD; its plugin is killed after so many milliseconds.
    pub(super) fn add(&self, daemon: &Daemon, number: u32, cut_after: Option<u64>) {
        let (book, pod, call) = (self.book.clone(), name(number), self.book.call());
        let endpoints = Arc::clone(&daemon.app.endpoints);
        let (order, wants) = self.order(daemon, number);
        book.write(What::AddCalled {
            call,
            pod: pod.clone(),
            ports: wants.ports,
            limits: wants.limits,
        });
        let gone = book.clone();
        let add = tokio::spawn(async move {
            let what = match endpoints.add(order).await {
                Ok(record) => {
                    let addresses = record.addresses();
                    let addresses = addresses.iter().map(ToString::to_string).collect();
                    What::AddAnswered {
                        call,
                        pod,
                        addresses,
                    }
                }
                Err(failure) => What::AddFailed {
                    call,
                    pod,
                    code: failure.code,
                },
            };
            book.write(what);
        });
        if let Some(after) = cut_after {
            tokio::spawn(async move {
                sleep(Duration::from_millis(after)).await;
                if !add.is_finished() {
                    add.abort();
                    gone.write(What::CallerGone { call });
                }
            });
        }
    }

    pub(super) fn del(&self, daemon: &Daemon, number: u32) {
        let (book, pod, call) = (self.book.clone(), name(number), self.book.call());
        let endpoints = Arc::clone(&daemon.app.endpoints);
        book.write(What::DelCalled {
            call,
            pod: pod.clone(),
        });
        tokio::spawn(async move {
            let what = match endpoints.delete(&key(&pod)).await {
                Ok(_) => What::DelAnswered { call, pod },
                Err(failure) => What::DelFailed {
                    call,
                    pod,
                    code: failure.code,
                },
            };
            book.write(what);
        });
    }

    pub(super) async fn check(&self, daemon: &Daemon, number: u32) {
        let pod = name(number);
        let namespace = self.world.namespace(&pod);
        let endpoints = &daemon.app.endpoints;
        let checked = endpoints.check(&key(&pod), &[], Some(namespace)).await;
        self.book.write(What::Checked {
            pod,
            known: checked.is_ok(),
            differences: checked.map_or(0, |differences| differences.len()),
        });
    }

    pub(super) fn gc(&self, daemon: &Daemon, kept: &[u32]) {
        let (book, call) = (self.book.clone(), self.book.call());
        let endpoints = Arc::clone(&daemon.app.endpoints);
        let kept: Vec<String> = kept.iter().map(|number| name(*number)).collect();
        let valid: HashSet<(String, String)> = kept
            .iter()
            .map(|pod| (pod.clone(), "eth0".to_owned()))
            .collect();
        book.write(What::GcCalled { call, kept });
        tokio::spawn(async move {
            if endpoints.collect_garbage("veni", &valid).await.is_ok() {
                book.write(What::GcAnswered { call });
            }
        });
    }

    /// What the plugin does with a DEL that finds no daemon.
    pub(super) fn leave_note(&self, number: u32) {
        let (pod, call) = (name(number), self.book.call());
        let key = key(&pod);
        let parts = [
            key.network.as_str(),
            key.container_id.as_str(),
            key.interface_name.as_str(),
        ];
        let entries = fs::read_dir(self.world.folder().join(veni_api::ENDPOINTS_DIR));
        let prefix = file_names::entry_prefix(parts);
        let begins = |name: String| name.starts_with(&prefix);
        let is_known = entries.is_ok_and(|entries| {
            let mut names = entries.flatten().map(|entry| entry.file_name());
            names.any(|name| begins(name.to_string_lossy().into_owned()))
        });
        if !is_known {
            return;
        }
        let note = serde_json::json!({
            "version": 1,
            "network": key.network,
            "containerId": key.container_id,
            "interfaceName": key.interface_name,
            "timeMs": ipamd::clock::unix_millis(),
            "bootMs": ipamd::clock::boot_millis(),
            "bootId": "",
        });
        let folder = self.world.folder().join(veni_api::PENDING_DIR);
        fs::create_dir_all(&folder).expect("makes");
        fs::write(folder.join(file_names::note(parts)), note.to_string()).expect("writes");
        self.book.write(What::NoteLeft { call, pod });
    }

    /// A pod's namespace ends, whatever its runtime says.
    pub(super) fn end_pod(&self, number: u32) {
        let (pod, call) = (name(number), self.book.call());
        self.world.end_namespace(&pod);
        self.book.write(What::PodGone { call, pod });
    }
}
