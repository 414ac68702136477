//! `veni endpoints`: the endpoints of this node, all of them or those that are asked for.

use clap::Args;
use veni_api::v1::{Endpoint, EndpointsRequest};
use veni_terminal::output::write_json;
use veni_terminal::print;

use crate::daemon::{DaemonArguments, refused};
use crate::status::{endpoint_json, endpoints_table};
use crate::table::table_width;

/// Which endpoints, and whom to ask.
#[derive(Debug, Args)]
pub(crate) struct EndpointsArguments {
    #[command(flatten)]
    daemon: DaemonArguments,
    #[command(flatten)]
    filter: Filter,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

/// What an endpoint must have; all that is given counts.
#[derive(Debug, Default, Args)]
struct Filter {
    /// Only those of a pod, by its name or `namespace/name`, or a container by the beginning of its id
    #[arg(long, value_name = "NAME")]
    pod: Option<String>,
    /// Only those of a Kubernetes namespace
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// Only those of an interface: its name in the pod, its host's end, or the cloud's id
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// Only the one that has an address
    #[arg(long, value_name = "ADDRESS")]
    address: Option<std::net::IpAddr>,
}

pub(crate) async fn run(arguments: EndpointsArguments) -> anyhow::Result<()> {
    let mut client = arguments.daemon.connect().await?;
    let answer = client.endpoints(EndpointsRequest {}).await;
    let answer = answer.map_err(|status| refused(status, "its endpoints"))?;
    let all = answer.into_inner().endpoints;
    let (count, filter) = (all.len(), &arguments.filter);
    let chosen: Vec<Endpoint> = all.into_iter().filter(|one| filter.takes(one)).collect();
    if arguments.json {
        let chosen: Vec<_> = chosen.iter().map(endpoint_json).collect();
        write_json(&serde_json::to_string_pretty(&chosen)?);
    } else if chosen.is_empty() && count > 0 {
        print!("none of the node's {count} endpoints is so\n");
    } else if chosen.is_empty() {
        print!("the node has no endpoints\n");
    } else {
        print!("{}", endpoints_table(&chosen, table_width()));
    }
    Ok(())
}

impl Filter {
    fn takes(&self, endpoint: &Endpoint) -> bool {
        let attachment = endpoint.attachment.clone().unwrap_or_default();
        let pod = endpoint.pod.clone().unwrap_or_default();
        let full = format!("{}/{}", pod.namespace, pod.name);
        let of_pod = |asked: &String| {
            *asked == pod.name
                || *asked == full
                || (!asked.is_empty() && attachment.container_id.starts_with(asked.as_str()))
        };
        let of_interface = |asked: &String| {
            let names = [
                &attachment.interface_name,
                &endpoint.host_interface,
                &endpoint.cloud_interface,
            ];
            names.contains(&asked)
        };
        let has = |asked: &std::net::IpAddr| {
            let egress = std::iter::once(&endpoint.egress_address);
            let texts = endpoint.addresses.iter().chain(egress);
            let addresses = texts.filter_map(|text| text.split('/').next()?.parse().ok());
            addresses
                .into_iter()
                .any(|address: std::net::IpAddr| address == *asked)
        };
        self.pod.as_ref().is_none_or(of_pod)
            && self
                .namespace
                .as_ref()
                .is_none_or(|asked| *asked == pod.namespace)
            && self.interface.as_ref().is_none_or(of_interface)
            && self.address.as_ref().is_none_or(has)
    }
}

#[cfg(test)]
mod tests {
    use veni_api::v1::{Attachment, Pod};

    use super::*;

    fn endpoint(pod: &str, interface: &str, addresses: &[&str]) -> Endpoint {
        let (namespace, name) = pod.split_once('/').expect("a namespace");
        Endpoint {
            attachment: Some(Attachment {
                interface_name: interface.to_owned(),
                container_id: format!("c0ffee-{name}"),
                ..Attachment::default()
            }),
            pod: Some(Pod {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                ..Pod::default()
            }),
            addresses: addresses.iter().map(|text| (*text).to_owned()).collect(),
            host_interface: format!("eni-of-{name}"),
            cloud_interface: "eni-1".to_owned(),
            ..Endpoint::default()
        }
    }

    #[test]
    fn each_filter_leaves_those_that_are_so_and_all_count_together() {
        let all = [
            endpoint("shop/web", "eth0", &["10.0.1.7/32", "fd00::7/128"]),
            endpoint("shop/web", "net1", &["10.0.1.8/32"]),
            endpoint("test/web", "eth0", &["10.0.1.70/32"]),
        ];
        let chosen = |filter: Filter| -> Vec<usize> {
            let taken = all.iter().enumerate().filter(|(_, one)| filter.takes(one));
            taken.map(|(number, _)| number).collect()
        };
        let text = |text: &str| Some(text.to_owned());
        let by = Filter::default;
        assert_eq!(chosen(by()), [0, 1, 2]);
        assert_eq!(
            chosen(Filter {
                pod: text("web"),
                ..by()
            }),
            [0, 1, 2]
        );
        assert_eq!(
            chosen(Filter {
                pod: text("test/web"),
                ..by()
            }),
            [2]
        );
        assert_eq!(
            chosen(Filter {
                pod: text("c0ffee"),
                ..by()
            }),
            [0, 1, 2]
        );
        assert_eq!(
            chosen(Filter {
                pod: text("we"),
                ..by()
            }),
            [] as [usize; 0]
        );
        assert_eq!(
            chosen(Filter {
                namespace: text("shop"),
                ..by()
            }),
            [0, 1]
        );
        assert_eq!(
            chosen(Filter {
                interface: text("net1"),
                ..by()
            }),
            [1]
        );
        assert_eq!(
            chosen(Filter {
                interface: text("eni-1"),
                ..by()
            }),
            [0, 1, 2]
        );
        let address = |text: &str| Filter {
            address: text.parse().ok(),
            ..by()
        };
        assert_eq!(chosen(address("10.0.1.7")), [0]);
        assert_eq!(chosen(address("fd00:0::7")), [0]);
        let both = Filter {
            namespace: text("shop"),
            interface: text("eth0"),
            ..by()
        };
        assert_eq!(chosen(both), [0]);
    }
}
