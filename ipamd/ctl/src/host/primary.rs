//! The node's primary interface: the one that has the default route.

use std::fs;

use anyhow::{Context, ensure};

/// The kernel's tables of routes (proc(5)).
const ROUTES: &str = "/proc/net/route";
const ROUTES_6: &str = "/proc/net/ipv6_route";

/// A name, as far as it can be a link's and stand in a file of settings.
///
/// # Errors
/// It cannot.
pub(super) fn checked(name: String) -> anyhow::Result<String> {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "_.@-".contains(letter);
    let is_name = !name.is_empty() && name.chars().all(fits);
    ensure!(is_name, "{name}: not the name of an interface");
    Ok(name)
}

/// The link of the default route with the lowest metric, of IPv4 before IPv6.
///
/// # Errors
/// There is none.
pub(super) fn of_default_route() -> anyhow::Result<String> {
    let table = |path| fs::read_to_string(path).unwrap_or_default();
    let name = of_tables(&table(ROUTES), &table(ROUTES_6));
    checked(name.context("no default route tells the primary interface: name it with --primary")?)
}

fn of_tables(routes: &str, routes_6: &str) -> Option<String> {
    // Iface Destination Gateway Flags RefCnt Use Metric Mask …, after a line of headings.
    let four = routes.lines().skip(1).filter_map(|line| {
        let cells: Vec<&str> = line.split_whitespace().collect();
        let is_default = cells.get(1) == Some(&"00000000") && cells.get(7) == Some(&"00000000");
        let metric: u32 = cells.get(6)?.parse().ok()?;
        is_default.then(|| (metric, cells[0]))
    });
    // Destination length source length next-hop metric … name, all numbers hexadecimal.
    let six = routes_6.lines().filter_map(|line| {
        let cells: Vec<&str> = line.split_whitespace().collect();
        let is_default = cells.get(1) == Some(&"00") && cells.get(3) == Some(&"00");
        let metric = u32::from_str_radix(cells.get(5)?, 16).ok()?;
        let name = *cells.get(9)?;
        // The kernel lists refusals as routes of lo.
        (is_default && name != "lo").then_some((metric, name))
    });
    let best = four.min_by_key(|(metric, _)| *metric);
    let best = best.or_else(|| six.min_by_key(|(metric, _)| *metric));
    best.map(|(_, name)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUR: &str =
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
ens6\t00000000\t0100000A\t0003\t0\t0\t200\t00000000\t0\t0\t0
ens5\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\t0\t0\t0
ens7\t0000000A\t00000000\t0001\t0\t0\t0\t00F0FFFF\t0\t0\t0
";
    const SIX: &str = "\
fe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     ens9
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     ens8
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
";

    #[test]
    fn the_best_default_route_tells_the_interface_and_ipv4_s_comes_first() {
        assert_eq!(of_tables(FOUR, SIX).as_deref(), Some("ens5"));
        assert_eq!(of_tables("", SIX).as_deref(), Some("ens8"));
        assert_eq!(of_tables("a heading\n", ""), None);
    }

    #[test]
    fn a_name_that_could_change_a_file_s_meaning_is_refused() {
        assert!(checked("enp0s5.7@if3".to_owned()).is_ok());
        for name in ["", "a b", "a\nb", "a/b", "a;b"] {
            assert!(checked(name.to_owned()).is_err(), "{name:?}");
        }
    }
}
