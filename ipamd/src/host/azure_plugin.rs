//! Azure CNI: what it shows of itself on a node, and the page about moving from it.

use super::other_plugin::OtherPlugin;

/// Azure CNI with its service (CNS). Its service listens at a TCP address that says nothing
/// of who it is, so its program and its network configuration are its signs.
pub const AZURE_PLUGIN: OtherPlugin = OtherPlugin {
    name: "Azure CNI",
    sockets: &[],
    program: "azure-cns",
    health: None,
    conflist: "10-azure.conflist",
    page: "docs/azure.md",
    section: "Moving a node pool",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_that_it_points_to_has_the_section() {
        let page = include_str!("../../../docs/azure.md");
        assert!(page.contains(&format!("\n## {}\n", AZURE_PLUGIN.section)));
    }
}
