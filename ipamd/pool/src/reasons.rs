//! Why the planner does something, why it does nothing, and what stands in the way:
//! plain data. Only its `Display` makes sentences for operators out of it, so nobody
//! needs to read a sentence to compare or merge reasons.

use std::fmt;

use veni_nouns::{Family, InterfaceId, SlotKind, SubnetId};

use crate::Action;
use crate::plan::{amount, seconds};

/// The setting that asks for more than the pods need, as operators know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// `MINIMUM_IP_TARGET`, addresses.
    MinimumIp(u64),
    /// `WARM_IP_TARGET`, addresses.
    WarmIp(u64),
    /// `WARM_PREFIX_TARGET`, prefixes.
    WarmPrefix(u64),
    /// `WARM_ENI_TARGET`, interfaces.
    WarmEni(u64),
    /// The Azure plugin's pool.
    Batches {
        /// Addresses in a batch.
        batch: u64,
        /// Percent of a batch that is always free.
        request_percent: u64,
    },
    /// No setting: one IPv6 prefix outlasts the node.
    OneIpv6Prefix,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MinimumIp(count) => write!(f, "MINIMUM_IP_TARGET={count}"),
            Self::WarmIp(count) => write!(f, "WARM_IP_TARGET={count}"),
            Self::WarmPrefix(count) => write!(f, "WARM_PREFIX_TARGET={count}"),
            Self::WarmEni(count) => write!(f, "WARM_ENI_TARGET={count}"),
            Self::Batches {
                batch,
                request_percent,
            } => write!(f, "batches of {batch} with {request_percent} % of one free"),
            Self::OneIpv6Prefix => f.write_str("one /80 for the node"),
        }
    }
}

/// Why an action is planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The pool is short of its goal.
    Short {
        /// By how much, and for whom.
        need: Need,
        /// Single addresses are asked for, because no prefix is to be had.
        stands_in: bool,
        /// An interface is attached, because those that are attached have no room.
        no_room: bool,
    },
    /// Unused slots make room on their interface for slots of the kind in use.
    MakesRoom {
        /// The kind in use.
        wanted: SlotKind,
        /// What the room is needed for.
        need: Need,
    },
    /// Free addresses move to a fuller interface, so that this one runs empty.
    Replaces {
        /// The interface that shall run empty.
        from: InterfaceId,
    },
    /// The interface is empty, and pods get no addresses of it any more.
    EmptyAndClosed,
    /// The interface is empty, and the others hold enough.
    Empty {
        /// What the others hold, and what is needed.
        kept: Kept,
    },
    /// Slots of an interface of which pods get no addresses any more.
    Closed,
    /// Unused slots of the kind that is not in use make way.
    MakesWay {
        /// The kind that is not in use.
        unused: SlotKind,
        /// What the pool keeps.
        kept: Kept,
    },
    /// The pool has held more than it needs for the release delay.
    Excess {
        /// The release delay, milliseconds.
        lasted_ms: u64,
        /// What the pool keeps.
        kept: Kept,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short {
                need,
                stands_in,
                no_room,
            } => {
                write!(f, "{need}")?;
                if *stands_in {
                    f.write_str("; single addresses, as no prefix is to be had")?;
                }
                if *no_room {
                    f.write_str("; no room on the interfaces attached")?;
                }
                Ok(())
            }
            Self::MakesRoom { wanted, need } => {
                let wanted = match wanted {
                    SlotKind::Prefix => "prefixes",
                    SlotKind::Address => "single addresses",
                };
                write!(f, "unused, makes room for {wanted}: {need}")
            }
            Self::Replaces { from } => {
                write!(f, "replaces what is free on {from}, which has fewer pods")
            }
            Self::EmptyAndClosed => f.write_str("empty, and pods get no addresses of it any more"),
            Self::Empty { kept } => write!(
                f,
                "empty; the other interfaces keep {} usable addresses, {}",
                kept.usable,
                kept.needed()
            ),
            Self::Closed => f.write_str("pods get no addresses of this interface any more"),
            Self::MakesWay { unused, kept } => match unused {
                SlotKind::Address => {
                    write!(f, "single addresses make way for prefixes; {kept}")
                }
                SlotKind::Prefix => {
                    write!(f, "unused prefixes make way for single addresses; {kept}")
                }
            },
            Self::Excess { lasted_ms, kept } => {
                write!(f, "more than needed for {}; {kept}", seconds(*lasted_ms))
            }
        }
    }
}

/// What the pool is short of: "need 4 more: 2 waiting, 2 to restore WARM_IP_TARGET=2".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// The target that asks for more than the pods.
    pub target: Target,
    /// Addresses for ADDs that wait.
    pub waiting: u64,
    /// Addresses for pods that are expected.
    pub expected: u64,
    /// Addresses for the target. With the other two this is what is missing; where it
    /// comes to 0, interfaces that are there are filled whole.
    pub spare: u64,
    /// Addresses of slots of the other kind, which serve pods until these come.
    pub replaces: Option<(u64, SlotKind)>,
    /// The node's limit of pods, where that allows no more than this.
    pub limit: Option<u32>,
}

impl Need {
    fn sum(&self) -> u64 {
        self.waiting + self.expected + self.spare
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = self.target;
        if self.sum() == 0 {
            return write!(f, "{target} holds whole interfaces: fill those attached");
        }
        let mut parts = Vec::new();
        if self.waiting > 0 {
            parts.push(format!("{} waiting", self.waiting));
        }
        if self.expected > 0 {
            parts.push(format!("{} expected", self.expected));
        }
        if self.spare > 0 {
            parts.push(format!("{} to restore {target}", self.spare));
        }
        write!(f, "need {} more: {}", self.sum(), parts.join(", "))?;
        if let Some((addresses, kind)) = self.replaces {
            let free = amount(addresses, SlotKind::Address);
            let place = match kind {
                SlotKind::Address => "outside prefixes",
                SlotKind::Prefix => "in prefixes",
            };
            write!(f, ", replacing {free} free {place}")?;
        }
        if let Some(limit) = self.limit {
            write!(f, " (no more than {limit} pods)")?;
        }
        Ok(())
    }
}

/// What stays when something goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Usable addresses that stay.
    pub usable: u64,
    /// Usable addresses that are needed.
    pub needed: u64,
    /// Addresses in use by pods.
    pub in_use: u64,
    /// The target that asks for more than the pods.
    pub target: Target,
}

impl Kept {
    fn needed(&self) -> String {
        let Self {
            needed,
            in_use,
            target,
            ..
        } = self;
        format!("{needed} needed: {in_use} in use, {target}")
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} usable addresses stay, {}",
            self.usable,
            self.needed()
        )
    }
}

/// A change that makes the pool grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrowingChange {
    /// More slots on an interface that is there.
    Assign,
    /// One more interface.
    Attach,
}

impl fmt::Display for GrowingChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Assign => "assign addresses",
            Self::Attach => "attach an interface",
        })
    }
}

/// What keeps the pool from its goal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// `DISABLE_NETWORK_RESOURCE_PROVISIONING`.
    ProvisioningDisabled,
    /// The pool holds as much as the node's limit of pods allows, and its target asks
    /// for more.
    PoolIsFull {
        /// Addresses that it holds.
        held: u64,
        /// The node's limit of pods.
        max_pods: u32,
    },
    /// Nothing else stands in the way: the node's limit of pods does.
    NodeIsFull {
        /// Addresses that the pool holds.
        held: u64,
        /// The node's limit of pods.
        max_pods: u32,
    },
    /// The cloud has said that a subnet has nothing of a kind left.
    Exhausted {
        /// The subnet that was asked.
        subnet: SubnetId,
        /// What it lacks.
        lacks: SlotKind,
        /// It is asked again after so many milliseconds.
        wait_ms: u64,
    },
    /// A subnet has fewer free addresses than are wanted of it.
    FewAddressesLeft {
        /// The subnet that was asked.
        subnet: SubnetId,
    },
    /// The cloud is left alone for a while.
    Paused {
        /// With this change.
        change: GrowingChange,
        /// It is asked again after so many milliseconds.
        wait_ms: u64,
    },
    /// The cloud has refused, and waiting does not help.
    Refused {
        /// The change that was refused.
        change: GrowingChange,
        /// It is asked again after so many milliseconds all the same.
        wait_ms: u64,
        /// The cloud's own words.
        words: String,
    },
    /// All slots are taken, and the cloud attaches no interface to a running node.
    AttachesNone {
        /// Slots of each interface.
        slots: u32,
    },
    /// Interfaces have no slot beside the one for their own address.
    NoSlotsForPods,
    /// The node has as many interfaces as it may have.
    NoPlaceForInterface {
        /// The node's limit of interfaces.
        interfaces: u32,
    },
    /// No subnet may be used for another interface.
    NoSubnet,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ProvisioningDisabled => {
                f.write_str("DISABLE_NETWORK_RESOURCE_PROVISIONING is set: the pool is not changed")
            }
            Self::PoolIsFull { held, max_pods } => write!(
                f,
                "the pool holds {held} addresses, all that the node may have for at most \
                 {max_pods} pods"
            ),
            Self::NodeIsFull { held, max_pods } => write!(
                f,
                "the pool holds {held} addresses, and the node may run {max_pods} pods at most"
            ),
            Self::Exhausted {
                subnet,
                lacks,
                wait_ms,
            } => write!(
                f,
                "{subnet} has no free {lacks} (asked again in {})",
                seconds(*wait_ms)
            ),
            Self::FewAddressesLeft { subnet } => {
                write!(f, "{subnet} has few free addresses left")
            }
            Self::Paused { change, wait_ms } => write!(
                f,
                "the cloud is not asked to {change} before {} have passed",
                seconds(*wait_ms)
            ),
            Self::Refused {
                change,
                wait_ms,
                words,
            } => write!(
                f,
                "the cloud refuses to {change}, asked again in {}: {words}",
                seconds(*wait_ms)
            ),
            Self::AttachesNone { slots } => write!(
                f,
                "all {slots} slots of each interface are taken, and this cloud attaches none \
                 while the node runs"
            ),
            Self::NoSlotsForPods => f.write_str("interfaces of this node have no slot for pods"),
            Self::NoPlaceForInterface { interfaces } => write!(
                f,
                "the node has all {interfaces} interfaces it may have, without room"
            ),
            Self::NoSubnet => f.write_str("no subnet is open for another interface"),
        }
    }
}

/// Why ADDs wait in vain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hopeless {
    /// How many ADDs no address can come for.
    pub unserved: u64,
    /// What stands in the way, at least one obstacle.
    pub obstacles: Vec<Obstacle>,
}

impl Hopeless {
    /// Tells whether an obstacle quotes the cloud with these words.
    #[must_use]
    pub fn quotes(&self, words: &str) -> bool {
        let mut obstacles = self.obstacles.iter();
        obstacles
            .any(|one| matches!(one, Obstacle::Refused { words: quoted, .. } if quoted == words))
    }
}

impl fmt::Display for Hopeless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why: Vec<String> = self.obstacles.iter().map(Obstacle::to_string).collect();
        let (unserved, why) = (self.unserved, why.join("; "));
        write!(f, "no address can come for {unserved} waiting: {why}")
    }
}

/// Why nothing is done, or what is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// This has been started and has not ended.
    UnderWay(Action),
    /// The pool holds what it should.
    Enough {
        /// Addresses in use by pods.
        in_use: u64,
        /// Free addresses, coming ones included.
        free: u64,
        /// Their family: nobody counts the addresses of IPv6 prefixes.
        family: Family,
        /// Some of them may still be coming.
        coming: bool,
        /// Addresses in cooldown.
        cooling: u64,
        /// Usable addresses that are needed.
        needed: u64,
        /// The target that asks for more than the pods.
        target: Target,
    },
    /// So many addresses are cooling, and nothing else is done.
    Cooling(u64),
    /// Something keeps the pool from its goal.
    Obstacle(Obstacle),
    /// More than is needed would go back but for what was needed a short time ago.
    NeededLately {
        /// The most addresses that were needed.
        peak: u64,
    },
    /// The cloud is left alone with this change for a while.
    Waits {
        /// The change that waits.
        action: Action,
        /// For so many milliseconds.
        wait_ms: u64,
    },
    /// Something goes back later, unless demand returns.
    GoesBack {
        /// How many addresses; with 0 it is an interface without any.
        addresses: u64,
        /// After so many milliseconds.
        wait_ms: u64,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnderWay(action) => write!(f, "under way: {action}"),
            Self::Enough {
                in_use,
                free,
                family,
                coming,
                cooling,
                needed,
                target,
            } => {
                let free = free_in_words(*free, *family);
                let here = if *coming { "free or coming" } else { "free" };
                write!(
                    f,
                    "enough: {in_use} in use, {free} {here}, {cooling} cooling; {needed} usable \
                     needed ({target})"
                )
            }
            Self::Cooling(count) => write!(f, "{count} addresses are cooling"),
            Self::Obstacle(obstacle) => write!(f, "{obstacle}"),
            Self::NeededLately { peak } => write!(
                f,
                "{peak} addresses were needed lately: nothing goes back yet"
            ),
            Self::Waits { action, wait_ms } => {
                write!(f, "waits {}: {action}", seconds(*wait_ms))
            }
            Self::GoesBack { addresses, wait_ms } => {
                let wait = seconds(*wait_ms);
                match addresses {
                    0 => write!(
                        f,
                        "an interface is not needed; it goes in {wait} at the earliest"
                    ),
                    1 => write!(
                        f,
                        "1 address more than needed goes back in {wait} unless demand returns"
                    ),
                    more => write!(
                        f,
                        "{more} addresses more than needed go back in {wait} unless demand returns"
                    ),
                }
            }
        }
    }
}

/// Free addresses in words, where IPv6 prefixes are among them.
fn free_in_words(addresses: u64, family: Family) -> String {
    let prefix = u64::from(SlotKind::Prefix.capacity(family));
    match addresses.div_ceil(prefix) {
        _ if family == Family::V4 || addresses <= prefix / 2 => addresses.to_string(),
        1 => "the rest of a /80".to_owned(),
        several => format!("the rest of {several} /80s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_ipv6_prefixes_are_told_in_words() {
        let prefix = u64::from(SlotKind::Prefix.capacity(Family::V6));
        let of = |addresses| free_in_words(addresses, Family::V6);
        assert_eq!(of(31), "31");
        assert_eq!(of(prefix - 3), "the rest of a /80");
        assert_eq!(of(2 * prefix - 3), "the rest of 2 /80s");
        assert_eq!(free_in_words(31, Family::V4), "31");
    }

    #[test]
    fn a_refusal_is_quoted_and_a_pause_is_not() {
        let of = |obstacle| Hopeless {
            unserved: 2,
            obstacles: vec![obstacle],
        };
        let (change, wait_ms) = (GrowingChange::Attach, 1_500);
        let words = "UnauthorizedOperation: no".to_owned();
        let refused = of(Obstacle::Refused {
            change,
            wait_ms,
            words,
        });
        assert!(refused.quotes("UnauthorizedOperation: no"));
        assert!(!refused.quotes("InternalError"));
        assert_eq!(
            refused.to_string(),
            "no address can come for 2 waiting: the cloud refuses to attach an interface, asked \
             again in 2 s: UnauthorizedOperation: no"
        );
        assert!(!of(Obstacle::Paused { change, wait_ms }).quotes(""));
    }
}
