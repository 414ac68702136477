//! Getting more: which interfaces are filled, what is attached, and what is
//! done instead when the cloud has not what the pool wants.
//!
//! Room on interfaces that are there comes first, the fullest first, several at
//! once; then room on interfaces that are coming; then new interfaces. When
//! slots are taken up by unused slots of the other kind, those make room. When
//! no subnet has an IPv4 prefix left, single addresses stand in.

mod other_kind;

use crate::goal::Goal;
use crate::ledger::{Holdings, Ledger, Line, saturate, slot_size};
use crate::reasons::{GrowingChange, Need, Obstacle, Reason};
use crate::subnets::{Shortage, Subnets};
use crate::{Action, PlannedAction};
use std::cmp::Reverse;
use std::collections::HashSet;
use veni_nouns::{Family, SlotKind, SubnetId};

/// What is done to grow the pool, and what stands in the way.
#[derive(Debug, Default)]
pub(crate) struct Growth {
    pub(crate) actions: Vec<PlannedAction>,
    /// The pool is short of its goal, whether or not something can be done.
    pub(crate) short: bool,
    /// What keeps the pool from its goal.
    pub(crate) obstacles: Vec<Obstacle>,
    /// When the first of them passes.
    pub(crate) retry_ms: Option<u64>,
    /// Something would be done but for a pause, and is done after it.
    pub(crate) waits: bool,
}

/// The actions that bring the pool to its goal.
pub(crate) fn grow(ledger: &Ledger<'_>, held: &Holdings, goal: &Goal) -> Growth {
    let missing = match held.usable() < goal.get_below {
        true => goal.usable - held.usable(),
        false => 0,
    };
    let max_pods = ledger.snapshot.limits.max_pods;
    let allowed = u64::from(max_pods).saturating_sub(held.total());
    let short = missing.min(allowed);
    let limit = (short == allowed).then_some(max_pods);
    let mut grower = Grower::new(
        ledger,
        held,
        goal,
        allowed,
        need(ledger, held, goal, short, limit),
    );
    let fill = goal
        .whole
        .map_or(0, |whole| whole.saturating_sub(held.total()))
        .min(grower.allowed);
    grower.growth.short = missing > 0;
    if missing > 0 && grower.allowed == 0 {
        grower.obstacle(Obstacle::PoolIsFull {
            held: held.total(),
            max_pods,
        });
    }
    grower.cover(short, fill);
    grower.growth
}

/// What the pool is `short` of, as its own demand and target make it up.
fn need(ledger: &Ledger<'_>, held: &Holdings, goal: &Goal, short: u64, limit: Option<u32>) -> Need {
    let demand = &ledger.snapshot.demand;
    let beyond = |pods: u64| pods.saturating_sub(held.free);
    let waiting = beyond(u64::from(demand.waiting)).min(short);
    let pods = u64::from(demand.waiting) + u64::from(demand.expected);
    let expected = beyond(pods).min(short) - waiting;
    let replaced = held.usable_of_either_kind() >= goal.usable;
    Need {
        target: goal.target,
        waiting,
        expected,
        spare: short - waiting - expected,
        replaces: replaced.then_some((held.free_other, ledger.other())),
        limit,
    }
}

/// Whether the cloud is asked for a change.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Open,
    /// It will be, without anybody's doing.
    Paused,
    Refused,
}

/// What slots on their way out make room for, and what they held.
#[derive(Default)]
struct Room {
    slots: u64,
    addresses: u64,
}

struct Grower<'a> {
    ledger: &'a Ledger<'a>,
    held: &'a Holdings,
    goal: &'a Goal,
    subnets: Subnets<'a>,
    /// Addresses the pool may still grow by.
    allowed: u64,
    /// Interfaces the node may still get.
    places: u64,
    need: Need,
    /// Lines that have an action in this plan.
    touched: HashSet<usize>,
    growth: Growth,
}

impl<'a> Grower<'a> {
    fn new(
        ledger: &'a Ledger<'a>,
        held: &'a Holdings,
        goal: &'a Goal,
        allowed: u64,
        need: Need,
    ) -> Self {
        let limits = &ledger.snapshot.limits;
        let attached = ledger.places_taken();
        Self {
            ledger,
            held,
            goal,
            subnets: Subnets::new(ledger),
            allowed,
            places: u64::from(limits.interfaces).saturating_sub(attached),
            need,
            touched: HashSet::new(),
            growth: Growth::default(),
        }
    }

    /// Gets `short` addresses, and fills interfaces that are there with `fill`.
    fn cover(&mut self, short: u64, fill: u64) {
        let kind = self.ledger.kind;
        let mut need = short.div_ceil(self.ledger.size());
        if short > 0 && kind == SlotKind::Prefix {
            let free = self.goal.prefixes.saturating_sub(self.held.unused_prefixes);
            need = need.max(free).min(self.allowed_slots());
        }
        let mut covered = self.use_room(need.max(fill));
        covered += self.future_room(kind, need.saturating_sub(covered));
        covered += self.going_room(kind, need.saturating_sub(covered));
        let mut left = need.saturating_sub(covered);
        if left == 0 {
            return;
        }
        let either = self.held.usable_of_either_kind() + covered * self.ledger.size();
        if self.goal.usable <= either {
            // The other kind serves the pods meanwhile: no hurry, no more
            // interfaces than it takes to get on.
            let room = self.make_room(left);
            let served = self.goal.usable <= either - room.addresses;
            if !served || (covered + room.slots == 0 && !self.ledger.growing()) {
                self.attach(left.saturating_sub(room.slots));
            }
            return;
        }
        let attached = self.attach(left);
        left = left.saturating_sub(attached);
        left = left.saturating_sub(self.make_room(left).slots);
        // Single addresses of IPv6 are the interfaces' own: where the node's own is one
        // of several, nobody could tell it from pods'.
        let may_stand_in = self.ledger.snapshot.family == Family::V4;
        if kind == SlotKind::Prefix && left > 0 && may_stand_in {
            let lacking = self.goal.usable - either;
            let allowed = self.allowed.saturating_sub(self.held.free_other);
            self.stand_in(
                lacking
                    .saturating_sub(attached * self.ledger.size())
                    .min(allowed),
            );
        }
    }

    /// Why slots of the kind in use are assigned.
    fn reason(&self) -> Reason {
        Reason::Short {
            need: self.need,
            stands_in: false,
            no_room: false,
        }
    }

    /// Slots of the kind in use that the node's limit still allows, rounded up.
    fn allowed_slots(&self) -> u64 {
        self.allowed.div_ceil(self.ledger.size())
    }

    fn batch(&self) -> u64 {
        u64::from(self.ledger.snapshot.abilities.batch.max(1))
    }

    fn slots_per_interface(&self) -> u32 {
        self.ledger.snapshot.limits.slots_per_interface
    }

    /// The lines that serve pods, the fullest first.
    fn by_fullness(&self) -> Vec<&'a Line<'a>> {
        let mut lines: Vec<_> = self
            .ledger
            .lines
            .iter()
            .filter(|line| line.serves() && line.ready())
            .collect();
        lines.sort_by_key(|line| (Reverse(line.assigned()), line.order));
        lines
    }

    fn obstacle(&mut self, obstacle: Obstacle) {
        if !self.growth.obstacles.contains(&obstacle) {
            self.growth.obstacles.push(obstacle);
        }
    }

    fn shortage(&mut self, shortage: Shortage) {
        let until = shortage.until_ms;
        self.growth.retry_ms = Some(self.growth.retry_ms.map_or(until, |first| first.min(until)));
        self.obstacle(shortage.obstacle);
    }

    /// Whether a kind of change may be asked for; if not, the obstacle is noted.
    fn standing(&mut self, change: GrowingChange) -> Standing {
        let snapshot = self.ledger.snapshot;
        let hold = match change {
            GrowingChange::Assign => &snapshot.holds.assign,
            GrowingChange::Attach => &snapshot.holds.attach,
        };
        let Some(hold) = snapshot.in_force(hold) else {
            return Standing::Open;
        };
        let wait_ms = hold.until_ms - snapshot.now_ms;
        let obstacle = match hold.refusal.clone() {
            Some(words) => Obstacle::Refused {
                change,
                wait_ms,
                words,
            },
            None => Obstacle::Paused { change, wait_ms },
        };
        self.shortage(Shortage {
            obstacle,
            until_ms: hold.until_ms,
        });
        match &hold.refusal {
            Some(_) => Standing::Refused,
            None => {
                self.growth.waits = true;
                Standing::Paused
            }
        }
    }

    fn assign(&mut self, line: &Line<'_>, kind: SlotKind, count: u64, reason: Reason) {
        self.subnets.take(&line.interface.subnet, kind, count);
        let size = slot_size(self.ledger.snapshot.family, kind);
        self.allowed = self.allowed.saturating_sub(count * size);
        self.touched.insert(line.order);
        let interface = line.interface.id.clone();
        let action = Action::Assign {
            interface,
            kind,
            count: saturate(count),
        };
        self.growth.actions.push(PlannedAction { action, reason });
    }

    /// Fills interfaces that are there; says how many of `want` slots that
    /// covers, now or when the call under way on one of them has ended.
    fn use_room(&mut self, want: u64) -> u64 {
        let kind = self.ledger.kind;
        let mut covered = 0;
        for line in self.by_fullness() {
            let room = line.room(self.slots_per_interface());
            let left = (want - covered).min(room);
            if left == 0 {
                continue;
            }
            let subnet = &line.interface.subnet;
            if let Some(shortage) = self.subnets.shortage(subnet, kind) {
                self.shortage(shortage);
                continue;
            }
            if line.busy {
                covered += left;
                continue;
            }
            let available = self.subnets.room(subnet, kind).min(self.allowed_slots());
            let count = left.min(self.batch()).min(available);
            // Room stays room while the cloud is left alone: an interface more
            // is no way round a refusal.
            if count > 0 && self.standing(GrowingChange::Assign) == Standing::Open {
                self.assign(line, kind, count, self.reason());
            }
            // What a batch leaves over follows on the same interface; what the
            // subnet has not got does not.
            covered += left.min(available);
            if available < left {
                self.obstacle(Obstacle::FewAddressesLeft {
                    subnet: subnet.clone(),
                });
            }
        }
        covered
    }

    /// Slots that interfaces on their way will have room for.
    fn future_room(&self, kind: SlotKind, want: u64) -> u64 {
        let slots = self.slots_per_interface();
        let open = |subnet: &SubnetId| self.subnets.shortage(subnet, kind).is_none();
        let listed = self
            .ledger
            .lines
            .iter()
            .filter(|line| line.serves() && line.arriving() && open(&line.interface.subnet));
        let listed = listed.map(|line| line.room(slots));
        let unlisted = self
            .ledger
            .unlisted
            .iter()
            .filter(|coming| coming.subnet.is_none_or(open));
        let unlisted = unlisted.map(|coming| u64::from(slots).saturating_sub(coming.count));
        listed.chain(unlisted).sum::<u64>().min(want)
    }

    /// Slots that are being released where the kind is to be had.
    fn going_room(&self, kind: SlotKind, want: u64) -> u64 {
        let lines = self.ledger.lines.iter().filter(|line| {
            line.serves()
                && self
                    .subnets
                    .shortage(&line.interface.subnet, kind)
                    .is_none()
        });
        (lines.flat_map(Line::going_soon).count() as u64).min(want)
    }

    /// Attaches interfaces with slots of the kind in use; says how many of
    /// `want` slots they will have.
    fn attach(&mut self, want: u64) -> u64 {
        self.attach_with(self.ledger.kind, want, false)
    }

    fn attach_with(&mut self, kind: SlotKind, want: u64, stands_in: bool) -> u64 {
        let slots = u64::from(self.slots_per_interface());
        let size = slot_size(self.ledger.snapshot.family, kind);
        let mut covered = 0;
        while covered < want {
            let Some(subnet) = self.place(kind) else {
                break;
            };
            let open = subnet.map_or(u64::MAX, |id| self.subnets.room_on_another(id, kind));
            let wanted = if self.goal.whole.is_some() {
                slots
            } else {
                want - covered
            };
            let count = wanted
                .min(slots)
                .min(self.batch())
                .min(open)
                .min(self.allowed.div_ceil(size));
            if let Some(id) = subnet {
                self.subnets.take_interface(id, kind, count);
            }
            self.allowed = self.allowed.saturating_sub(count * size);
            self.places -= 1;
            let standing = self.standing(GrowingChange::Attach);
            if standing == Standing::Refused {
                break;
            }
            covered += slots;
            if standing == Standing::Paused {
                continue;
            }
            let subnet = subnet.cloned();
            let action = Action::Attach {
                subnet,
                kind,
                count: saturate(count),
            };
            let reason = Reason::Short {
                need: self.need,
                stands_in,
                no_room: true,
            };
            self.growth.actions.push(PlannedAction { action, reason });
        }
        covered.min(want)
    }

    /// Where one more interface can be made: `Some(None)` leaves the subnet to
    /// the provider. When nowhere, the obstacle is noted.
    fn place(&mut self, kind: SlotKind) -> Option<Option<&'a SubnetId>> {
        let limits = &self.ledger.snapshot.limits;
        if !self.ledger.snapshot.abilities.attach {
            self.obstacle(Obstacle::AttachesNone {
                slots: limits.slots_per_interface,
            });
            return None;
        }
        if limits.slots_per_interface == 0 {
            self.obstacle(Obstacle::NoSlotsForPods);
            return None;
        }
        if self.places == 0 {
            self.obstacle(Obstacle::NoPlaceForInterface {
                interfaces: limits.interfaces,
            });
            return None;
        }
        if self.subnets.unknown() {
            return Some(None);
        }
        let best = self.subnets.best(kind);
        if best.is_none() {
            let shortages = self.subnets.obstacles(kind);
            if shortages.is_empty() {
                self.obstacle(Obstacle::NoSubnet);
            }
            for shortage in shortages {
                self.shortage(shortage);
            }
        }
        best.map(Some)
    }
}
