//! The calls that are made, by ARM's names of them, and the rights that each needs.

/// A call to the Resource Manager or to instance metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Reads the machine, for its NICs.
    GetMachine,
    /// Reads a NIC.
    GetNic,
    /// Writes a NIC.
    PutNic,
    /// Reads the virtual network: its ranges, peerings and subnets.
    GetNetwork,
    /// Reads how much of each subnet is used.
    ListUsages,
    /// Asks how far an operation is.
    GetOperation,
    /// Asks instance metadata.
    Metadata,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::GetMachine,
        Self::GetNic,
        Self::PutNic,
        Self::GetNetwork,
        Self::ListUsages,
        Self::GetOperation,
        Self::Metadata,
    ];

    /// Returns the operation's id in Azure's specifications.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::GetMachine => "VirtualMachines_Get",
            Self::GetNic => "NetworkInterfaces_Get",
            Self::PutNic => "NetworkInterfaces_CreateOrUpdate",
            Self::GetNetwork => "VirtualNetworks_Get",
            Self::ListUsages => "VirtualNetworks_ListUsage",
            Self::GetOperation => "Operations_Get",
            Self::Metadata => "InstanceMetadata_Get",
        }
    }

    /// Returns the rights that a role must have for it.
    /// <https://learn.microsoft.com/azure/role-based-access-control/permissions/networking>
    #[must_use]
    pub fn rights(self) -> &'static [&'static str] {
        match self {
            Self::GetMachine => &["Microsoft.Compute/virtualMachines/read"],
            Self::GetNic => &["Microsoft.Network/networkInterfaces/read"],
            Self::PutNic => &[
                "Microsoft.Network/networkInterfaces/write",
                "Microsoft.Network/virtualNetworks/subnets/join/action",
                "Microsoft.Network/networkSecurityGroups/join/action",
                "Microsoft.Network/applicationSecurityGroups/joinIpConfiguration/action",
                "Microsoft.Network/loadBalancers/backendAddressPools/join/action",
                "Microsoft.Network/loadBalancers/inboundNatRules/join/action",
                "Microsoft.Network/publicIPAddresses/join/action",
            ],
            Self::GetNetwork => &["Microsoft.Network/virtualNetworks/read"],
            Self::ListUsages => &["Microsoft.Network/virtualNetworks/usages/read"],
            Self::GetOperation => &[
                "Microsoft.Network/locations/operations/read",
                "Microsoft.Network/locations/operationResults/read",
            ],
            Self::Metadata => &[],
        }
    }

    /// Whether it changes something, so that a missing answer leaves doubt.
    pub(crate) fn writes(self) -> bool {
        self == Self::PutNic
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The next call, so that the compiler asks for the place of a new one.
    fn after(action: Action) -> Option<Action> {
        Some(match action {
            Action::GetMachine => Action::GetNic,
            Action::GetNic => Action::PutNic,
            Action::PutNic => Action::GetNetwork,
            Action::GetNetwork => Action::ListUsages,
            Action::ListUsages => Action::GetOperation,
            Action::GetOperation => Action::Metadata,
            Action::Metadata => return None,
        })
    }

    #[test]
    fn every_call_is_among_all_calls_and_has_a_name_of_its_own() {
        let all: Vec<Action> =
            std::iter::successors(Some(Action::GetMachine), |one| after(*one)).collect();
        assert_eq!(all, Action::ALL);
        let labels: std::collections::BTreeSet<&str> =
            all.iter().map(|action| action.label()).collect();
        assert_eq!(labels.len(), all.len());
    }
}
