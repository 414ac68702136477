//! EC2's instance types and what limits the addresses of a node of each.
//!
//! The table is compiled in, so that a node and `veni max-pods` need no call for
//! it. Most of it is `data/aws-instance-types.txt`, written out of EC2's
//! DescribeInstanceTypes by `localstack/ec2/generate-instance-types`. Types that
//! run and that this call does not list stand in
//! `data/aws-instance-types-unlisted.txt`, which is kept by hand: for them EC2
//! could not be asked either. Its numbers are those of Amazon's own plugin, and of
//! the EC2 user guide where the plugin has none. A type that is in neither file
//! must be asked for at run time; a wrong number cannot do harm, because EC2 itself
//! refuses what exceeds its limits.

use std::sync::OnceLock;

const LISTED: &str = include_str!("../data/aws-instance-types.txt");
const UNLISTED: &str = include_str!("../data/aws-instance-types-unlisted.txt");

/// The virtualization that an instance type runs on. IPv4 and IPv6 prefixes need
/// the Nitro system: [`Hypervisor::Nitro`] or bare metal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hypervisor {
    /// The Nitro hypervisor.
    Nitro,
    /// Xen, of older generations; no prefixes.
    Xen,
    /// EC2 names none; so it is with every bare-metal type.
    Unknown,
}

/// One instance type; DescribeInstanceTypes' `InstanceTypeInfo` in brief.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct InstanceType {
    /// `m5.large`.
    pub name: &'static str,
    /// Interfaces that the default network card takes, the primary one included.
    pub interfaces: u32,
    /// IPv4 addresses per interface, its primary one included. A prefix takes
    /// the place of one address.
    pub ipv4_per_interface: u32,
    /// IPv6 addresses per interface; 0 when the type has no IPv6.
    pub ipv6_per_interface: u32,
    /// Virtual CPUs by default; 0 where no number is published.
    pub vcpus: u32,
    /// What it runs on.
    pub hypervisor: Hypervisor,
    /// No hypervisor at all.
    pub bare_metal: bool,
    /// Network cards, at least 1.
    pub network_cards: u32,
    /// Interfaces over all network cards; `interfaces` when there is one card.
    pub interfaces_of_all_cards: u32,
}

impl InstanceType {
    /// Whether EC2 delegates prefixes to interfaces of this type.
    #[must_use]
    pub fn supports_prefixes(&self) -> bool {
        self.bare_metal || self.hypervisor == Hypervisor::Nitro
    }

    /// The part of the name before the dot: `m5` of `m5.large`.
    #[must_use]
    pub fn family(&self) -> &'static str {
        family(self.name)
    }
}

/// The type of this name.
#[must_use]
pub fn find(name: &str) -> Option<InstanceType> {
    let table = table();
    let index = table.binary_search_by(|known| known.name.cmp(name)).ok()?;
    table.get(index).copied()
}

/// All known types in the order of their names.
pub fn all() -> impl Iterator<Item = &'static InstanceType> {
    table().iter()
}

/// The `count` known names that an unknown one was most likely meant to be, the
/// likeliest first: types of the same family by the edit distance of their
/// sizes, then all others by that of their names.
#[must_use]
pub fn nearest(name: &str, count: usize) -> Vec<&'static str> {
    let name = name.trim().to_ascii_lowercase();
    let mut ranked: Vec<_> = table()
        .iter()
        .map(|known| {
            (
                known.family() != family(&name),
                edit_distance(&name, known.name),
                known.name,
            )
        })
        .collect();
    ranked.sort_unstable();
    ranked
        .into_iter()
        .take(count)
        .map(|(_, _, known)| known)
        .collect()
}

/// The parsed table of both files, ordered by name.
fn table() -> &'static [InstanceType] {
    static PARSED: OnceLock<Vec<InstanceType>> = OnceLock::new();
    PARSED.get_or_init(|| {
        let rows = rows(LISTED).chain(rows(UNLISTED));
        let mut types: Vec<InstanceType> = rows.filter_map(parse).collect();
        types.sort_unstable_by_key(|known| known.name);
        types
    })
}

/// The lines of a file that are types and not comments.
fn rows(file: &'static str) -> impl Iterator<Item = &'static str> {
    file.lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
}

/// One line; its columns are explained in the files' heads. `None` for a line
/// that has others, which a test rules out.
fn parse(line: &'static str) -> Option<InstanceType> {
    let mut columns = line.split(' ');
    let name = columns.next()?;
    let mut number = || columns.next()?.parse().ok();
    let (interfaces, ipv4_per_interface, ipv6_per_interface, vcpus) =
        (number()?, number()?, number()?, number()?);
    let hypervisor = match columns.next()? {
        "nitro" => Hypervisor::Nitro,
        "xen" => Hypervisor::Xen,
        "unknown" => Hypervisor::Unknown,
        _ => return None,
    };
    let bare_metal = columns.next()? == "1";
    let network_cards = columns.next()?.parse().ok()?;
    let interfaces_of_all_cards = columns.next()?.parse().ok()?;
    columns.next().is_none().then_some(InstanceType {
        name,
        interfaces,
        ipv4_per_interface,
        ipv6_per_interface,
        vcpus,
        hypervisor,
        bare_metal,
        network_cards,
        interfaces_of_all_cards,
    })
}

fn family(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// Insertions, deletions, substitutions and swaps of neighbours that turn one
/// text into the other (optimal string alignment).
fn edit_distance(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().collect();
    let to: Vec<char> = to.chars().collect();
    let mut rows = vec![vec![0; to.len() + 1]; from.len() + 1];
    for i in 0..=from.len() {
        for j in 0..=to.len() {
            if i == 0 || j == 0 {
                rows[i][j] = i + j;
                continue;
            }
            let substituted = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut best = substituted.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The formula of single addresses, here and not from the code under test.
    fn pods(name: &str) -> u32 {
        let found = find(name).expect("the type is in the table");
        found.interfaces * (found.ipv4_per_interface - 1) + 2
    }

    #[test]
    fn the_family_is_the_part_of_the_name_before_the_dot() {
        let family = |name| find(name).expect("the type is in the table").family();
        assert_eq!(
            [family("m5.large"), family("u-6tb1.metal")],
            ["m5", "u-6tb1"]
        );
    }

    #[test]
    fn the_distance_counts_insertions_deletions_substitutions_and_swaps_of_neighbours() {
        let distances = [
            ("", "abc", 3),
            ("abc", "", 3),
            ("m5.large", "m5.large", 0),
            ("m5.lagre", "m5.large", 1),
            ("5m.large", "m5.large", 1),
            ("m5.larg", "m5.large", 1),
            ("m5a.large", "m5.large", 1),
            ("kitten", "sitting", 3),
            // No part of a text is changed twice: a swap and an insertion between are three.
            ("ca", "abc", 3),
            ("abcd", "badc", 2),
            ("xab", "yba", 2),
        ];
        for (from, to, distance) in distances {
            assert_eq!(edit_distance(from, to), distance, "{from} to {to}");
        }
    }

    #[test]
    fn every_line_of_both_files_is_a_type() {
        for line in rows(LISTED).chain(rows(UNLISTED)) {
            assert!(parse(line).is_some(), "{line}");
        }
        assert!(all().count() > 1_000, "{} types", all().count());
    }

    /// Each file is ordered, so that a diff of it shows what changed.
    #[test]
    fn both_files_are_ordered_and_name_no_type_twice() {
        for file in [LISTED, UNLISTED] {
            let types: Vec<InstanceType> = rows(file).filter_map(parse).collect();
            for pair in types.windows(2) {
                let (before, after) = (pair[0].name, pair[1].name);
                assert!(before < after, "{before} before {after}");
            }
        }
    }

    #[test]
    fn no_type_stands_in_both_files() {
        let named = |file| rows(file).filter_map(parse).map(|known| known.name);
        let listed: BTreeSet<&str> = named(LISTED).collect();
        let both: Vec<&str> = named(UNLISTED)
            .filter(|name| listed.contains(name))
            .collect();
        assert_eq!(
            both, [""; 0],
            "EC2 lists these: take them out of the kept file"
        );
    }

    #[test]
    fn types_that_ec2_does_not_list_are_known_by_their_limits() {
        let nitro = [
            ("g4ad.xlarge", 2, 4),
            ("g4ad.2xlarge", 2, 4),
            ("g4ad.4xlarge", 3, 10),
            ("g4ad.8xlarge", 4, 15),
            ("g4ad.16xlarge", 8, 30),
            ("dl1.24xlarge", 15, 50),
            ("c7i.32xlarge", 15, 50),
            ("u-6tb1.metal", 5, 30),
            ("u-9tb1.metal", 5, 30),
            ("u-12tb1.metal", 5, 30),
            ("u-18tb1.metal", 15, 50),
            ("u-24tb1.metal", 15, 50),
            ("c5a.metal", 15, 50),
            ("c5ad.metal", 15, 50),
            ("bmn-sf1.metal", 15, 50),
        ];
        let xen = [
            ("p3.2xlarge", 4, 15),
            ("p3.8xlarge", 8, 30),
            ("p3.16xlarge", 8, 30),
            ("f1.2xlarge", 4, 15),
            ("f1.4xlarge", 8, 30),
            ("f1.16xlarge", 8, 50),
            ("cr1.8xlarge", 8, 30),
            ("hs1.8xlarge", 8, 30),
        ];
        for (types, prefixes) in [(&nitro[..], true), (&xen[..], false)] {
            for (name, interfaces, ipv4) in types {
                let found = find(name).unwrap_or_else(|| panic!("{name} is not in the table"));
                let limits = (found.interfaces, found.ipv4_per_interface);
                assert_eq!(limits, (*interfaces, *ipv4), "{name}");
                assert_eq!(found.supports_prefixes(), prefixes, "{name}");
                assert_eq!(found.bare_metal, name.ends_with(".metal"), "{name}");
            }
        }
        assert_eq!(rows(UNLISTED).count(), nitro.len() + xen.len());
    }

    #[test]
    fn every_type_is_found_by_its_name() {
        for known in all() {
            assert_eq!(find(known.name), Some(*known));
        }
    }

    #[test]
    fn limits_are_those_that_ec2_documents() {
        for (name, interfaces, ipv4) in [
            ("m5.large", 3, 10),
            ("t3.small", 3, 4),
            ("t3.nano", 2, 2),
            ("m5.xlarge", 4, 15),
            ("m5.4xlarge", 8, 30),
            ("m5.16xlarge", 15, 50),
            ("p3dn.24xlarge", 15, 50),
            ("p5.48xlarge", 2, 50),
        ] {
            let found = find(name).expect("the type is in the table");
            assert_eq!(
                (found.interfaces, found.ipv4_per_interface),
                (interfaces, ipv4),
                "{name}"
            );
        }
    }

    #[test]
    fn known_numbers_of_pods_follow_from_the_limits() {
        for (name, expected) in [
            ("m5.large", 29),
            ("t3.small", 11),
            ("m5.xlarge", 58),
            ("m5.4xlarge", 234),
            ("p5.48xlarge", 100),
            ("t3.nano", 4),
        ] {
            assert_eq!(pods(name), expected, "{name}");
        }
        let most = all().map(|known| pods(known.name)).max();
        assert_eq!(most, Some(1514));
        assert_eq!(all().map(|known| pods(known.name)).min(), Some(4));
    }

    #[test]
    fn only_the_default_network_card_counts_as_interfaces() {
        let found = find("p5.48xlarge").expect("the type is in the table");
        assert_eq!(
            (
                found.network_cards,
                found.interfaces,
                found.interfaces_of_all_cards
            ),
            (32, 2, 64)
        );
        for known in all().filter(|known| known.network_cards == 1) {
            assert_eq!(
                known.interfaces, known.interfaces_of_all_cards,
                "{}",
                known.name
            );
        }
    }

    #[test]
    fn prefixes_need_the_nitro_system() {
        for (name, hypervisor, bare_metal, supported) in [
            ("m5.large", Hypervisor::Nitro, false, true),
            ("t2.micro", Hypervisor::Xen, false, false),
            ("m5.metal", Hypervisor::Unknown, true, true),
        ] {
            let found = find(name).expect("the type is in the table");
            assert_eq!(
                (found.hypervisor, found.bare_metal),
                (hypervisor, bare_metal),
                "{name}"
            );
            assert_eq!(found.supports_prefixes(), supported, "{name}");
        }
    }

    #[test]
    fn virtual_cpus_are_known() {
        assert_eq!(find("m5.large").map(|found| found.vcpus), Some(2));
        let unknown = all().filter(|known| known.vcpus == 0);
        let unknown: Vec<&str> = unknown.map(|known| known.name).collect();
        assert_eq!(unknown, ["bmn-sf1.metal"], "no number is published");
    }

    #[test]
    fn an_unknown_name_is_not_found() {
        for name in [
            "",
            "m5",
            "m5.",
            "m5.gigantic",
            "M5.LARGE",
            "# Date",
            "m5.large ",
        ] {
            assert_eq!(find(name), None, "{name:?}");
        }
    }

    #[test]
    fn a_mistyped_size_suggests_the_family_first() {
        assert_eq!(nearest("m5.lagre", 1), ["m5.large"]);
        assert_eq!(nearest("m5.4xlrge", 1), ["m5.4xlarge"]);
        assert!(
            nearest("m5.gigantic", 5)
                .iter()
                .all(|name| name.starts_with("m5."))
        );
    }

    #[test]
    fn a_mistyped_family_suggests_names_that_look_alike() {
        assert!(
            nearest("tt3.small", 3).contains(&"t3.small"),
            "{:?}",
            nearest("tt3.small", 3)
        );
        assert_eq!(nearest("P5.48XLARGE", 1), ["p5.48xlarge"]);
    }

    #[test]
    fn as_many_names_are_suggested_as_were_asked_for() {
        assert_eq!(nearest("m5.large", 0), [""; 0]);
        assert_eq!(nearest("nonsense", 4).len(), 4);
        assert_eq!(nearest("nonsense", usize::MAX).len(), all().count());
    }

    #[test]
    fn a_swap_of_neighbours_is_one_edit() {
        assert_eq!(edit_distance("large", "large"), 0);
        assert_eq!(edit_distance("lagre", "large"), 1);
        assert_eq!(edit_distance("large", ""), 5);
        assert_eq!(edit_distance("xlarge", "2xlarge"), 1);
    }
}
