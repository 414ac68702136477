//! What others have set up that takes pods' packets another way than Veni's rules do:
//! named, with the cure. Nothing of it is changed.

use ipnet::IpNet;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::rule::RuleMessage;

use super::errno::Refusal;
use super::firewall::{Dropping, PodLinks};
use super::link::{self, Link};
use super::netlink::Socket;
use super::others_rule::{Catch, OtherRule, at_our_priority};
use super::route::{self, MAIN_TABLE};
use super::rule::{self, FROM_INTERFACE, FROM_PODS, Rule};
use super::{firewall, main_table, nft};
use crate::KernelError;
use crate::plan::{ForeignRule, NodePlan, POD_GROUP, SECONDARY_GROUP};

/// How a link stands to pods' packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Primary,
    Secondary,
    /// A pod's, or loopback: no way out of the node.
    Inside,
    /// What looks like an interface of the cloud that Veni does not serve.
    Unmanaged,
    /// A bridge, a tunnel: the operator's business.
    Other,
}

/// One family of the node, as the kernel has it.
pub(super) struct Scene<'a> {
    pub(super) family: AddressFamily,
    pub(super) links: &'a [Link],
    pub(super) primary: u32,
    /// Ranges of that family within which pods keep their addresses.
    pub(super) networks: Vec<IpNet>,
    pub(super) mark: u32,
    pub(super) main: Vec<RouteMessage>,
}

/// What others have set up.
#[derive(Debug, Default)]
pub(crate) struct Others {
    /// What takes pods' packets another way, a sentence each.
    pub(crate) warnings: Vec<String>,
    /// Rules at our priorities.
    pub(crate) foreign_rules: Vec<ForeignRule>,
}

/// Everything that there is to say.
pub(crate) fn found(
    socket: &mut Socket,
    plan: &NodePlan,
    primary: &Link,
    families: &[AddressFamily],
) -> Result<Others, KernelError> {
    let Others {
        mut warnings,
        mut foreign_rules,
    } = Others::default();
    let links = link::all(socket).map_err(|refusal| refusal.during("list links"))?;
    for family in families.iter().copied() {
        let of_family = |range: &&IpNet| super::address::family(range.addr()) == family;
        let scene = Scene {
            family,
            links: &links,
            primary: primary.index,
            networks: plan
                .untranslated
                .iter()
                .filter(of_family)
                .copied()
                .collect(),
            mark: plan.mark,
            main: main_table::routes(socket, family, MAIN_TABLE)?,
        };
        warnings.extend(scene.default_route());
        warnings.extend(scene.shared_routes());
        warnings.extend(scene.unmanaged_routes());
        let list_rules = |refusal: Refusal| refusal.during("list rules");
        let rules = rule::all(socket, family).map_err(list_rules)?;
        warnings.extend(rules_of_others(socket, &scene, &rules)?);
        foreign_rules.extend(
            rules
                .iter()
                .filter_map(|rule| at_our_priority(rule, &scene)),
        );
    }
    let chains = nft::chains();
    let of_portmap = nft::of_portmap(&chains);
    if of_portmap > 0 {
        warnings.push(format!(
            "the plugin portmap has {of_portmap} host ports in iptables: those of pods from before \
             Veni made host ports lead to addresses that other pods may get; when none of these pods \
             is left, remove them (iptables -t nat -F CNI-HOSTPORT-DNAT, and ip6tables)"
        ));
    }
    warnings.extend(firewalls(plan, &links, &chains));
    Ok(Others {
        warnings,
        foreign_rules,
    })
}

/// The firewalls that drop what pods' packets need, in one sentence.
fn firewalls(plan: &NodePlan, links: &[Link], chains: &str) -> Option<String> {
    let prefix = plan.veth_prefix.as_str();
    let any = format!("{prefix}0123456789a");
    let pods = links.iter().filter(|link| link.group == POD_GROUP);
    let mut names: Vec<&str> = pods.map(|link| link.name.as_str()).collect();
    if names.is_empty() {
        names.push(&any);
    }
    let names = names.as_slice();
    let dropping = firewall::dropping(chains, PodLinks { prefix, names });
    if dropping.is_empty() {
        return None;
    }
    let all = |part: fn(&Dropping) -> &str, between: &str| {
        let parts: Vec<&str> = dropping.iter().map(part).collect();
        parts.join(between)
    };
    Some(format!(
        "a firewall on the node drops forwarded packets by default ({}), and no other table can \
         overrule that: let it accept those of pods ({})",
        all(|one| &one.chain, ", "),
        all(|one| &one.cure, "; ")
    ))
}

const CURE: &str = "let systemd-networkd, NetworkManager and DHCP clients leave secondary \
                    interfaces alone";

impl Scene<'_> {
    fn link(&self, index: u32) -> Option<&Link> {
        self.links.iter().find(|link| link.index == index)
    }

    pub(super) fn name(&self, index: u32) -> String {
        let link = self.link(index);
        link.map_or_else(|| format!("link {index}"), |link| link.name.clone())
    }

    pub(super) fn place(&self, index: u32) -> Place {
        let Some(link) = self.link(index) else {
            return Place::Other;
        };
        match link.group {
            _ if index == self.primary => Place::Primary,
            SECONDARY_GROUP => Place::Secondary,
            POD_GROUP => Place::Inside,
            _ if link.name == "lo" => Place::Inside,
            // A lab's interfaces of the cloud are veth pairs.
            _ if !link.is_derived() && matches!(link.kind.as_str(), "" | "veth") => {
                Place::Unmanaged
            }
            _ => Place::Other,
        }
    }

    pub(super) fn words(&self) -> &'static str {
        match self.family {
            AddressFamily::Inet6 => "IPv6",
            _ => "IPv4",
        }
    }

    /// How the program `ip` is told of the family.
    pub(super) fn option(&self) -> &'static str {
        match self.family {
            AddressFamily::Inet6 => "-6 ",
            _ => "",
        }
    }

    /// Whether a route leads to addresses of the network.
    fn is_in_network(&self, message: &RouteMessage) -> bool {
        let Some(address) = route::destination(message) else {
            return false;
        };
        let length = message.header.destination_prefix_length;
        let range = IpNet::new(address, length);
        range.is_ok_and(|range| self.overlaps_network(&range))
    }

    pub(super) fn overlaps_network(&self, range: &IpNet) -> bool {
        let mut networks = self.networks.iter();
        networks.any(|network| network.contains(range) || range.contains(network))
    }

    /// Of several default routes that of the smallest metric counts.
    fn default_route(&self) -> Option<String> {
        let defaults = self.main.iter().filter(|message| is_default(message));
        let best = defaults.min_by_key(|message| route::metric(message))?;
        let index = *route::links(best).first()?;
        let (family, name) = (self.words(), self.name(index));
        let primary = self.name(self.primary);
        match self.place(index) {
            Place::Primary => None,
            Place::Secondary => Some(format!(
                "the node's {family} default route does not leave by its primary interface \
                 {primary} but by secondary interface {name}: pods do not follow it, but what \
                 the node itself sends does: {CURE}"
            )),
            _ => Some(format!(
                "the node's {family} default route does not leave by its primary interface \
                 {primary} but by {name}, so what pods send beyond the network is lost: {CURE}"
            )),
        }
    }

    /// Next hops by several links: which one a packet takes is decided by the kernel after
    /// the rule that passes secondary interfaces over has looked.
    fn shared_routes(&self) -> Vec<String> {
        let shared = self.main.iter().filter(|message| {
            let places: Vec<Place> = links_of(message).map(|link| self.place(link)).collect();
            places.contains(&Place::Secondary) && places.iter().any(|at| *at != Place::Secondary)
        });
        shared
            .map(|message| {
                format!(
                    "{} route {} of the main table has next hops by a secondary interface beside \
                     others, so some of what pods send there is lost: {CURE}",
                    self.words(),
                    route::text(message)
                )
            })
            .collect()
    }

    /// Routes by interfaces that Veni was told not to manage, to the network itself.
    fn unmanaged_routes(&self) -> Vec<String> {
        let mut found = Vec::new();
        for message in self.main.iter().filter(|one| self.is_in_network(one)) {
            let mut links = links_of(message);
            let Some(link) = links.find(|link| self.place(*link) == Place::Unmanaged) else {
                continue;
            };
            let (name, to) = (self.name(link), route::text(message));
            found.push(format!(
                "{} route {to} of the main table leaves by {name}, an interface that Veni does \
                 not manage: packets of pods to {to} leave by it with addresses of the primary \
                 interface, which the cloud drops unless its source check is off there: remove \
                 the route (ip route del {to} dev {name}) or give it a table of its own",
                self.words()
            ));
        }
        found
    }

    /// A route of another table that takes pods' packets out by another interface.
    fn strays(&self, message: &RouteMessage, except: &[u32]) -> Option<u32> {
        if !is_default(message) && !self.is_in_network(message) {
            return None;
        }
        let mut links = links_of(message);
        links.find(|link| {
            let at = self.place(*link);
            !matches!(at, Place::Primary | Place::Inside) && !except.contains(link)
        })
    }
}

fn links_of(message: &RouteMessage) -> impl Iterator<Item = u32> {
    route::links(message).into_iter()
}

fn is_default(message: &RouteMessage) -> bool {
    let header = &message.header;
    header.destination_prefix_length == 0 && !route::links(message).is_empty()
}

/// Rules of others that come before ours and take pods' packets out by another way.
fn rules_of_others(
    socket: &mut Socket,
    scene: &Scene<'_>,
    rules: &[RuleMessage],
) -> Result<Vec<String>, KernelError> {
    let ours: Vec<Rule> = rules.iter().filter_map(Rule::read).collect();
    let mut warnings = Vec::new();
    for other in rules.iter().filter_map(|rule| OtherRule::read(rule, scene)) {
        let (way, cure) = match other.catch {
            Catch::Refuses => ("refuses".to_owned(), ""),
            Catch::Looks { table, beyond } => {
                let except = by_ours(socket, scene, &ours, &other)?;
                let routes = main_table::routes(socket, scene.family, table)?;
                let mut strays = routes
                    .iter()
                    .filter(|one| u32::from(one.header.destination_prefix_length) >= beyond)
                    .filter_map(|one| Some((one, scene.strays(one, &except)?)));
                let Some((stray, link)) = strays.next() else {
                    continue;
                };
                let (to, name) = (route::text(stray), scene.name(link));
                (
                    format!("sends by {name} ({to} in table {table})"),
                    ", or let it match the node's own packets alone (iif lo)",
                )
            }
        };
        warnings.push(format!(
            "{} rule \"{}\" of another program comes before Veni's and {way} packets of pods, \
             which may be lost there: remove it (ip {}rule del priority {}){cure}",
            scene.words(),
            other.text,
            scene.option(),
            other.priority
        ));
    }
    Ok(warnings)
}

/// Links that our own rules send the same packets by.
fn by_ours(
    socket: &mut Socket,
    scene: &Scene<'_>,
    ours: &[Rule],
    other: &OtherRule,
) -> Result<Vec<u32>, KernelError> {
    let Some(source) = other.source else {
        return Ok(Vec::new());
    };
    let same = ours.iter().find(|rule| {
        matches!(rule.priority, FROM_PODS | FROM_INTERFACE)
            && rule.source.is_some_and(|range| range.contains(&source))
    });
    let Some(table) = same.and_then(Rule::table) else {
        return Ok(Vec::new());
    };
    let routes = main_table::routes(socket, scene.family, table)?;
    Ok(routes.iter().flat_map(route::links).collect())
}
