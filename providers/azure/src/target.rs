//! What is written for a machine, and what shows its addresses: they differ between a
//! machine of its own and one of a Uniform scale set.

/// A machine by its resource id, whose case is as it was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Machine {
    /// A virtual machine of its own, or of a Flexible scale set. Its NICs are resources
    /// that may be written.
    Single {
        /// The machine's id.
        id: String,
    },
    /// An instance of a Uniform scale set. Its NICs are part of its model.
    Uniform {
        /// The instance's id.
        id: String,
    },
}

impl Machine {
    /// Reads a resource id; `None` where it is no machine's.
    pub(crate) fn of(id: &str) -> Option<Self> {
        let id = id.trim().trim_end_matches('/');
        let lower = id.to_ascii_lowercase();
        let parts: Vec<&str> = lower.split('/').collect();
        let id = id.to_owned();
        match parts.as_slice() {
            [
                "",
                "subscriptions",
                _,
                "resourcegroups",
                _,
                "providers",
                "microsoft.compute",
                rest @ ..,
            ] => match rest {
                ["virtualmachines", _] => Some(Self::Single { id }),
                ["virtualmachinescalesets", _, "virtualmachines", _] => Some(Self::Uniform { id }),
                _ => None,
            },
            _ => None,
        }
    }

    /// The machine's id.
    pub(crate) fn id(&self) -> &str {
        match self {
            Self::Single { id } | Self::Uniform { id } => id,
        }
    }
}

/// Whether two ids name the same resource: their case does not matter.
pub(crate) fn same_id(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_of_a_machine_is_in_its_id_whatever_its_case() {
        let group = "/subscriptions/s/resourceGroups/MC_rg/providers/Microsoft.Compute";
        let single = format!("{group}/virtualMachines/node-1");
        let uniform = format!("{group}/virtualMachineScaleSets/pool/virtualMachines/7");
        let read = |id: &str| Machine::of(id);
        assert_eq!(read(&single), Some(Machine::Single { id: single.clone() }));
        assert_eq!(
            read(&uniform),
            Some(Machine::Uniform {
                id: uniform.clone()
            })
        );
        let upper = single.to_uppercase();
        assert_eq!(read(&upper), Some(Machine::Single { id: upper.clone() }));
        for wrong in [
            "",
            "node-1",
            group,
            &format!("{uniform}/networkInterfaces/nic"),
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
