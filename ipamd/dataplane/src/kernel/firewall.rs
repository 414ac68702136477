//! Firewalls of others that drop what the node forwards unless one of their rules accepts
//! it: found by their chains' policies, unless their rules accept all that comes from pods and
//! goes to them. Nothing of them is changed.

mod rules;

use std::fs;
use std::process::Command;

use self::rules::Chains;
use super::nft;

/// The old tables of iptables, by the file that names those in use, and their program.
const LEGACY: [(&str, &str); 2] = [
    ("/proc/thread-self/net/ip_tables_names", "iptables-legacy"),
    ("/proc/thread-self/net/ip6_tables_names", "ip6tables-legacy"),
];

/// The chain that Docker keeps for others: its starts set the policy again, and leave this.
const DOCKER_S: &str = "DOCKER-USER";

/// A chain that drops forwarded packets by default.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Dropping {
    /// The chain, as operators know it.
    pub(crate) chain: String,
    /// The command that has it accept them.
    pub(crate) cure: String,
}

/// The links of pods.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PodLinks<'a> {
    /// What all their names begin with.
    pub(crate) prefix: &'a str,
    /// Those that there are.
    pub(crate) names: &'a [&'a str],
}

/// Chains that drop what is forwarded from or to these links; `listed` as [`nft::chains`] has it.
pub(crate) fn dropping(listed: &str, pods: PodLinks<'_>) -> Vec<Dropping> {
    let mut found = Vec::new();
    for (table, chain) in in_nftables(listed) {
        let rules = nft::table_of_others(table);
        let chains = Chains::of_nftables(&rules);
        if !chains.accept(chain, pods.names) {
            found.push(in_nftables_told(table, chain, &chains, pods.prefix));
        }
    }
    found.extend(
        LEGACY
            .into_iter()
            .filter_map(|(names, program)| in_legacy(names, program, pods)),
    );
    found
}

/// In the words of `nft` also for what iptables has made: a host's `iptables` may be the
/// other one.
fn in_nftables_told(table: &str, chain: &str, chains: &Chains<'_>, prefix: &str) -> Dropping {
    let accept =
        |side| format!("nft insert rule {table} {DOCKER_S} {side} '\"{prefix}*\"' counter accept");
    Dropping {
        chain: format!("chain {chain} of nftables' table {table}"),
        cure: match chains.contain(DOCKER_S) {
            true => format!("{}; {}", accept("iifname"), accept("oifname")),
            false => format!("nft chain {table} {chain} '{{ policy accept; }}'"),
        },
    }
}

/// The tables and chains whose policy drops what is forwarded.
fn in_nftables(listing: &str) -> Vec<(&str, &str)> {
    let (mut table, mut chain) = ("", "");
    let mut found = Vec::new();
    for line in listing.lines().map(str::trim) {
        let name = |line: &'_ str| line.trim_end_matches('{').trim().len();
        if let Some(rest) = line.strip_prefix("table ") {
            table = &rest[..name(rest)];
        } else if let Some(rest) = line.strip_prefix("chain ") {
            chain = &rest[..name(rest)];
        } else if line.contains("hook forward") && line.contains("policy drop") {
            found.push((table, chain));
        }
    }
    found
}

/// The program is not run where nobody uses the old tables: it would make them.
fn in_legacy(names: &str, program: &str, pods: PodLinks<'_>) -> Option<Dropping> {
    let in_use = fs::read_to_string(names).ok()?;
    if !in_use.lines().any(|table| table == "filter") {
        return None;
    }
    let listed = Command::new(program)
        .args(["-w", "2", "-S"])
        .output()
        .ok()?;
    let listed = String::from_utf8_lossy(&listed.stdout);
    let chains = Chains::of_iptables(&listed);
    let drops = listed.lines().any(|line| line == "-P FORWARD DROP");
    if !drops || chains.accept("FORWARD", pods.names) {
        return None;
    }
    let accept = |side| format!("{program} -I {DOCKER_S} {side} {}+ -j ACCEPT", pods.prefix);
    Some(Dropping {
        chain: format!("chain FORWARD of {program}"),
        cure: match chains.contain(DOCKER_S) {
            true => format!("{}; {}", accept("-i"), accept("-o")),
            false => format!("{program} -P FORWARD ACCEPT"),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_that_drops_by_default_is_named_with_its_table_and_its_cure() {
        let listing = "table ip filter {\n\tchain FORWARD {\n\t\ttype filter hook forward \
                       priority filter; policy drop;\n\t}\n\tchain INPUT {\n\t\ttype filter hook \
                       input priority filter; policy drop;\n\t}\n}\ntable inet veni {\n\tchain \
                       egress {\n\t\ttype filter hook forward priority -13; policy \
                       accept;\n\t}\n}\n";
        assert_eq!(in_nftables(listing), [("ip filter", "FORWARD")]);
        assert_eq!(in_nftables(""), [] as [(&str, &str); 0]);
        let told = in_nftables_told("ip filter", "FORWARD", &Chains::default(), "eni");
        let expected = Dropping {
            chain: "chain FORWARD of nftables' table ip filter".to_owned(),
            cure: "nft chain ip filter FORWARD '{ policy accept; }'".to_owned(),
        };
        assert_eq!(told, expected);
    }
}
