//! The addresses that links of the node itself carry. One of the pool's among them is
//! no pod's while it is there: the node would answer for it in the pod's place.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use veni_dataplane::NodeAddress;

/// Addresses that a sentence names one by one.
const NAMED: usize = 3;

/// One of the pool's addresses on a link of the node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Carried {
    pub(crate) address: NodeAddress,
    /// A pod has it.
    pub(crate) in_use: bool,
}

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (link, address) = (&self.address.link, self.address.address);
        match self.in_use {
            true => write!(
                f,
                "{address} is in use by a pod, and link {link} of the node carries it: the node \
                 answers in the pod's place"
            ),
            false => write!(
                f,
                "{address} of the pool is carried by link {link} of the node: no pod gets it"
            ),
        }
    }
}

/// What has changed since the last comparison.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    pub(crate) come: Vec<Carried>,
    /// No longer on a link, or no longer the pool's.
    pub(crate) gone: Vec<IpAddr>,
}

/// What the node's links carry, as the kernel last told.
#[derive(Debug, Default)]
pub(crate) struct NodeAddresses {
    all: BTreeMap<IpAddr, NodeAddress>,
    /// Those of them that are the pool's, as of the last comparison.
    of_pool: BTreeMap<IpAddr, Carried>,
}

impl NodeAddresses {
    /// Takes in all that the kernel tells.
    pub(crate) fn set(&mut self, addresses: Vec<NodeAddress>) {
        let by_address = addresses.into_iter().map(|one| (one.address, one));
        self.all = by_address.collect();
    }

    pub(crate) fn carries(&self, address: IpAddr) -> bool {
        self.all.contains_key(&address)
    }

    /// Those within a range.
    pub(crate) fn within(&self, range: &IpNet) -> impl Iterator<Item = IpAddr> + '_ {
        let inside = self.all.range(range.network()..=range.broadcast());
        inside.map(|(address, _)| *address)
    }

    /// Compares them with the pool: its ranges, and the addresses that pods have.
    pub(crate) fn compare<'a>(
        &mut self,
        ranges: impl Iterator<Item = &'a IpNet>,
        in_use: impl Fn(IpAddr) -> bool,
    ) -> News {
        let found: BTreeSet<IpAddr> = ranges.flat_map(|range| self.within(range)).collect();
        let carried = found.iter().filter_map(|address| {
            let carried = Carried {
                address: self.all.get(address)?.clone(),
                in_use: in_use(*address),
            };
            Some((*address, carried))
        });
        let now: BTreeMap<IpAddr, Carried> = carried.collect();
        let come = now.iter().filter(|(address, carried)| {
            let before = self.of_pool.get(address);
            before.is_none_or(|before| carried.in_use && !before.in_use)
        });
        let before = self.of_pool.keys();
        let news = News {
            come: come.map(|(_, carried)| carried.clone()).collect(),
            gone: before
                .filter(|one| !now.contains_key(one))
                .copied()
                .collect(),
        };
        self.of_pool = now;
        news
    }

    /// How many of the pool's addresses are on the node's links: in use by pods, and not.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let in_use = self.of_pool.values().filter(|one| one.in_use).count();
        (in_use, self.of_pool.len() - in_use)
    }

    /// What an operator should know and do, a sentence for each link.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut by_link: BTreeMap<&str, Vec<&Carried>> = BTreeMap::new();
        for carried in self.of_pool.values() {
            let link = carried.address.link.as_str();
            by_link.entry(link).or_default().push(carried);
        }
        let sentences = by_link.into_iter();
        sentences
            .map(|(link, carried)| warning(link, &carried))
            .collect()
    }
}

fn warning(link: &str, carried: &[&Carried]) -> String {
    let names = |of: &[&Carried]| {
        let named = of
            .iter()
            .take(NAMED)
            .map(|one| one.address.address.to_string());
        let named = named.collect::<Vec<String>>().join(", ");
        match of.len().saturating_sub(NAMED) {
            0 => named,
            more => format!("{named} and {more} more"),
        }
    };
    let pods: Vec<&Carried> = carried.iter().filter(|one| one.in_use).copied().collect();
    let taken = match pods.as_slice() {
        [] => String::new(),
        pods => format!(
            ", and the node answers in the place of the pods that have {}",
            names(pods)
        ),
    };
    let cure = carried.first().map(|one| {
        let NodeAddress {
            address, length, ..
        } = &one.address;
        format!("ip address delete {address}/{length} dev {link}")
    });
    format!(
        "link {link} of the node carries addresses of the pool ({}), so no pod gets them{taken}: \
         remove them ({}) and stop what adds them there, as cloud-init, nm-cloud-setup and \
         ec2-net-utils do",
        names(carried),
        cure.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str, link: &str) -> NodeAddress {
        NodeAddress {
            address: text.parse().expect("an address"),
            length: 20,
            link: link.to_owned(),
        }
    }

    fn ranges(texts: &[&str]) -> Vec<IpNet> {
        let parsed = texts.iter().map(|text| text.parse());
        parsed.map(|range| range.expect("a range")).collect()
    }

    fn nobody(_: IpAddr) -> bool {
        false
    }

    #[test]
    fn addresses_of_the_pools_ranges_are_news_once_and_others_never() {
        let mut node = NodeAddresses::default();
        node.set(vec![
            address("10.0.0.4", "eth0"),
            address("10.0.0.9", "eth1"),
            address("10.0.0.20", "eth1"),
        ]);
        let pool = ranges(&["10.0.0.9/32", "10.0.0.16/28"]);
        let come = node.compare(pool.iter(), nobody).come;
        let come: Vec<String> = come
            .iter()
            .map(|one| one.address.address.to_string())
            .collect();
        assert_eq!(come, ["10.0.0.9", "10.0.0.20"]);
        assert_eq!(node.compare(pool.iter(), nobody), News::default());
        assert_eq!(node.counts(), (0, 2));
        let within: Vec<IpAddr> = node.within(&pool[1]).collect();
        assert_eq!(within, [address("10.0.0.20", "").address]);
    }

    #[test]
    fn an_address_is_gone_when_the_link_or_the_pool_lacks_it() {
        let mut node = NodeAddresses::default();
        let pool = ranges(&["10.0.0.9/32", "10.0.0.16/28"]);
        node.set(vec![
            address("10.0.0.9", "eth1"),
            address("10.0.0.20", "eth1"),
        ]);
        node.compare(pool.iter(), nobody);
        node.set(vec![address("10.0.0.20", "eth1")]);
        let gone = node.compare(pool.iter(), nobody).gone;
        assert_eq!(gone, [address("10.0.0.9", "").address]);
        let gone = node.compare(pool[..1].iter(), nobody).gone;
        assert_eq!(gone, [address("10.0.0.20", "").address]);
        assert_eq!(node.warnings(), Vec::<String>::new());
    }

    #[test]
    fn an_address_that_a_pod_gets_to_use_is_news_again() {
        let mut node = NodeAddresses::default();
        let pool = ranges(&["10.0.0.9/32"]);
        node.set(vec![address("10.0.0.9", "eth1")]);
        node.compare(pool.iter(), nobody);
        let come = node.compare(pool.iter(), |_| true).come;
        assert!(come[0].in_use);
        assert_eq!(node.counts(), (1, 0));
    }

    #[test]
    fn an_operator_is_told_link_addresses_and_cure() {
        let mut node = NodeAddresses::default();
        let pool = ranges(&["10.0.0.0/28"]);
        let carried = (1..6).map(|last| address(&format!("10.0.0.{last}"), "eth1"));
        node.set(carried.collect());
        let second: IpAddr = "10.0.0.2".parse().expect("an address");
        node.compare(pool.iter(), |address| address == second);
        let warnings = node.warnings();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        for part in [
            "link eth1",
            "10.0.0.1, 10.0.0.2, 10.0.0.3 and 2 more",
            "the pods that have 10.0.0.2:",
            "ip address delete 10.0.0.1/20 dev eth1",
        ] {
            assert!(warnings[0].contains(part), "{part}: {}", warnings[0]);
        }
    }
}
