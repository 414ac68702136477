//! Rules of somebody else's chains, as far as it takes to tell whether they accept everything
//! that comes from some links and goes to them. A rule that matches anything but one link's
//! name decides nothing here.

use std::collections::BTreeMap;

/// Chains deeper than this decide nothing; the kernel forbids loops.
const DEPTH: u32 = 16;

/// The side of a forwarded packet that a rule looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    From,
    To,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict<'a> {
    Accept,
    Drop,
    Return,
    Jump(&'a str),
    Goto(&'a str),
}

/// A rule that matches everything, or all packets from or to links whose names are like this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rule<'a> {
    link: Option<(Side, &'a str)>,
    verdict: Verdict<'a>,
}

/// The chains of a table.
#[derive(Debug, Default)]
pub(super) struct Chains<'a>(BTreeMap<&'a str, Vec<Rule<'a>>>);

impl<'a> Chains<'a> {
    /// Reads what `nft list table` prints.
    pub(super) fn of_nftables(listing: &'a str) -> Self {
        let mut chains = Self::default();
        let mut chain = "";
        for line in listing.lines().map(str::trim) {
            if let Some(rest) = line.strip_prefix("chain ") {
                chain = rest.trim_end_matches('{').trim();
            } else if let Some(rule) = of_nftables(line) {
                chains.0.entry(chain).or_default().push(rule);
            }
        }
        chains
    }

    /// Reads what `iptables -S` prints.
    pub(super) fn of_iptables(listing: &'a str) -> Self {
        let mut chains = Self::default();
        for line in listing.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            if let ["-A", chain, rest @ ..] = &words[..]
                && let Some(rule) = of_iptables(rest)
            {
                chains.0.entry(chain).or_default().push(rule);
            }
        }
        chains
    }

    /// Whether there is a chain of this name with a rule, or one that leads to it.
    pub(super) fn contain(&self, chain: &str) -> bool {
        let leads = |rule: &Rule<'_>| matches!(rule.verdict, Verdict::Jump(to) if to == chain);
        self.0.contains_key(chain) || self.0.values().flatten().any(leads)
    }

    /// Whether a chain accepts what comes from any of these links, and what goes to any.
    pub(super) fn accept(&self, chain: &str, links: &[&str]) -> bool {
        let accepts = |side| {
            let accepts = |link: &&str| self.verdict(chain, side, link, DEPTH) == Some(true);
            links.iter().all(accepts)
        };
        accepts(Side::From) && accepts(Side::To)
    }

    /// `None` where the chain's policy decides, or its caller.
    fn verdict(&self, chain: &str, side: Side, link: &str, depth: u32) -> Option<bool> {
        let rules = self.0.get(chain)?;
        let below = depth.checked_sub(1)?;
        for rule in rules.iter().filter(|rule| rule.matches(side, link)) {
            match rule.verdict {
                Verdict::Accept => return Some(true),
                Verdict::Drop => return Some(false),
                Verdict::Return => return None,
                Verdict::Goto(chain) => return self.verdict(chain, side, link, below),
                Verdict::Jump(chain) => {
                    if let Some(verdict) = self.verdict(chain, side, link, below) {
                        return Some(verdict);
                    }
                }
            }
        }
        None
    }
}

impl Rule<'_> {
    fn matches(&self, side: Side, link: &str) -> bool {
        self.link.is_none_or(|(of, pattern)| {
            let named = match pattern.strip_suffix(['*', '+']) {
                Some(beginning) => link.starts_with(beginning),
                None => link == pattern,
            };
            of == side && named
        })
    }
}

fn of_nftables(line: &str) -> Option<Rule<'_>> {
    let mut words: Vec<&str> = line.split_whitespace().collect();
    if let Some(at) = words.iter().position(|word| *word == "counter") {
        // counter packets 0 bytes 0
        words.drain(at..words.len().min(at + 5));
    }
    if let Some(at) = words.iter().position(|word| *word == "comment") {
        words.truncate(at);
    }
    let (link, rest) = match &words[..] {
        ["iifname", name, rest @ ..] => (Some((Side::From, name.trim_matches('"'))), rest),
        ["oifname", name, rest @ ..] => (Some((Side::To, name.trim_matches('"'))), rest),
        rest => (None, rest),
    };
    let verdict = match rest {
        ["accept"] => Verdict::Accept,
        ["drop" | "reject", ..] => Verdict::Drop,
        ["return"] => Verdict::Return,
        ["jump", chain] => Verdict::Jump(chain),
        ["goto", chain] => Verdict::Goto(chain),
        _ => return None,
    };
    Some(Rule { link, verdict })
}

fn of_iptables<'a>(words: &[&'a str]) -> Option<Rule<'a>> {
    let (link, rest) = match words {
        ["-i", name, rest @ ..] => (Some((Side::From, *name)), rest),
        ["-o", name, rest @ ..] => (Some((Side::To, *name)), rest),
        rest => (None, rest),
    };
    let verdict = match rest {
        ["-j", "ACCEPT"] => Verdict::Accept,
        ["-j", "DROP" | "REJECT", ..] => Verdict::Drop,
        ["-j", "RETURN"] => Verdict::Return,
        ["-j", chain] => Verdict::Jump(chain),
        ["-g", chain] => Verdict::Goto(chain),
        _ => return None,
    };
    Some(Rule { link, verdict })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `nft` lists what Docker makes by iptables, with more rules in `DOCKER-USER`.
    fn docker(user: &str) -> String {
        format!(
            "table ip filter {{
	chain FORWARD {{
		type filter hook forward priority filter; policy drop;
		counter packets 9 bytes 540 jump DOCKER-USER
		oifname \"docker0\" ct state related,established counter packets 0 bytes 0 accept
		iifname \"docker0\" oifname != \"docker0\" counter packets 0 bytes 0 accept
	}}

	chain DOCKER-USER {{
		{user}
		counter packets 9 bytes 540 return
	}}
}}
"
        )
    }

    const FROM: &str = "iifname \"eni*\" counter packets 0 bytes 0 accept comment \"pods\"";
    const TO: &str = "oifname \"eni*\" counter packets 0 bytes 0 accept";

    #[test]
    fn a_chain_accepts_pods_where_it_accepts_both_from_and_to_all_of_their_links() {
        let both = format!("{FROM}\n{TO}");
        let dropped_before = format!("iifname \"eni1\" drop\n{both}");
        for (user, expected) in [
            ("", false),
            (FROM, false),
            (TO, false),
            (both.as_str(), true),
            (dropped_before.as_str(), false),
            ("accept", true),
            ("ip saddr 10.0.0.0/8 accept", false),
            ("oifname != \"docker0\" accept", false),
        ] {
            let listing = docker(user);
            let chains = Chains::of_nftables(&listing);
            let accepted = chains.accept("FORWARD", &["eni1", "eni2"]);
            assert_eq!(accepted, expected, "{user}");
        }
    }

    #[test]
    fn a_chain_of_iptables_is_read_alike() {
        let rules = |user: &str| {
            format!("-P FORWARD DROP\n-A FORWARD -j DOCKER-USER\n{user}-A DOCKER-USER -j RETURN\n")
        };
        for (user, expected) in [
            ("", false),
            ("-A DOCKER-USER -i eni+ -j ACCEPT\n", false),
            (
                "-A DOCKER-USER -i eni+ -j ACCEPT\n-A DOCKER-USER -o eni+ -j ACCEPT\n",
                true,
            ),
            (
                "-A DOCKER-USER -s 10.0.0.0/8 -i eni+ -j ACCEPT\n-A DOCKER-USER -o eni+ -j ACCEPT\n",
                false,
            ),
        ] {
            let listing = rules(user);
            let accepted = Chains::of_iptables(&listing).accept("FORWARD", &["eni1"]);
            assert_eq!(accepted, expected, "{user}");
        }
    }

    #[test]
    fn a_chain_that_calls_itself_decides_nothing() {
        let chains = Chains::of_iptables("-A FORWARD -j LOOP\n-A LOOP -j LOOP\n");
        assert!(!chains.accept("FORWARD", &["eni1"]));
    }
}
