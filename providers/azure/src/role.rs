//! The role that a node's identity needs, made from the calls that the code makes.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::actions::Action;

/// Returns the definition of a role with the rights of all calls, as `az role definition
/// create` reads it. Its scope is the reader's to fill in.
/// <https://learn.microsoft.com/azure/role-based-access-control/role-definitions>
#[must_use]
pub fn role_definition() -> Value {
    let rights = Action::ALL.iter().flat_map(|action| action.rights());
    let rights: BTreeSet<&str> = rights.copied().collect();
    json!({
        "Name": "Veni node",
        "IsCustom": true,
        "Description": "Lets a node's CNI read its machine and its virtual network, and write \
                        the ip configurations of its NIC",
        "Actions": rights,
        "NotActions": [],
        "AssignableScopes": ["/subscriptions/SUBSCRIPTION"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_role_in_deploy_has_the_rights_of_all_calls_and_no_other() {
        let made = serde_json::to_string_pretty(&role_definition()).expect("JSON");
        let shipped = include_str!("../../../deploy/azure/role.json");
        assert_eq!(
            shipped.trim(),
            made,
            "deploy/azure/role.json should be:\n{made}\n"
        );
    }
}
