//! The handle of a mock cloud: making it and its nodes, looking at its truth,
//! and making its weather.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use veni_provider::{Capabilities, Family, Interface, Operation, SubnetId};

use crate::change::Change;
use crate::config::{CloudConfig, Latency, NodeConfig, Throttle};
use crate::dump::CloudDump;
use crate::faults::{Fault, FaultId};
use crate::population::{make_node, remove_node};
use crate::provider::MockProvider;
use crate::state::State;
use crate::subnet::SubnetState;
use crate::throttle::Budget;

/// What cannot be made or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CloudError {
    /// Subnets that do not fit.
    #[error("cannot make subnet {subnet}: {reason}")]
    Subnet {
        /// The subnet's id.
        subnet: SubnetId,
        /// Why it does not fit.
        reason: String,
    },
    /// A node that does not fit.
    #[error("cannot make node {instance}: {reason}")]
    Node {
        /// The node's id.
        instance: String,
        /// Why it does not fit.
        reason: String,
    },
    /// There is no such subnet.
    #[error("there is no subnet {0}")]
    NoSuchSubnet(SubnetId),
    /// There is no such node.
    #[error("there is no node {0}")]
    NoSuchNode(String),
}

/// A cloud with rules. Clones are handles of the same cloud.
#[derive(Debug, Clone)]
pub struct MockCloud {
    state: Arc<Mutex<State>>,
}

impl MockCloud {
    /// Makes a cloud without nodes.
    ///
    /// # Errors
    /// Subnets outside of the network, overlapping, of one family twice, too
    /// small, or of one id.
    pub fn new(config: CloudConfig) -> Result<Self, CloudError> {
        check_subnets(&config)?;
        Ok(Self {
            state: Arc::new(Mutex::new(State::new(config))),
        })
    }

    /// What it was made of, with later changes of latency, delay and budget.
    pub fn config(&self) -> CloudConfig {
        self.lock().config.clone()
    }

    /// What it can do.
    pub fn capabilities(&self) -> Capabilities {
        self.lock().capabilities.clone()
    }

    /// Starts a node and returns its primary interface. It shows in the node's
    /// inventory at once: a node does not start before its interfaces are there.
    ///
    /// # Errors
    /// An id in use, a type without known limits, no such subnet, or no room in it.
    pub fn add_node(&self, config: NodeConfig) -> Result<Interface, CloudError> {
        let mut state = self.lock();
        let instance = config.instance_id.clone();
        let made = make_node(&mut state, &config);
        made.map_err(|refusal| {
            remove_node(&mut state, &instance, false);
            CloudError::Node {
                instance,
                reason: refusal.reason,
            }
        })
    }

    /// Ends a node; all it held is free again, and its calls fail.
    ///
    /// # Errors
    /// There is no such node.
    pub fn terminate_node(&self, instance_id: &str) -> Result<(), CloudError> {
        let mut state = self.lock();
        if remove_node(&mut state, instance_id, true) {
            Ok(())
        } else {
            Err(CloudError::NoSuchNode(instance_id.to_owned()))
        }
    }

    /// The cloud as a node sees it. Its calls fail as fatal while there is no
    /// node of this id.
    pub fn provider(&self, instance_id: &str) -> MockProvider {
        MockProvider::new(self.clone(), instance_id)
    }

    /// Changes from now on, in order. A receiver that lags has to start anew
    /// from [`MockCloud::follow`].
    pub fn subscribe(&self) -> broadcast::Receiver<Change> {
        self.lock().changes.subscribe()
    }

    /// The truth now and all changes after it.
    pub fn follow(&self) -> (CloudDump, broadcast::Receiver<Change>) {
        let state = self.lock();
        (state.dump(), state.changes.subscribe())
    }

    /// The truth now.
    pub fn dump(&self) -> CloudDump {
        self.lock().dump()
    }

    /// Puts a fault in force.
    pub fn inject(&self, fault: Fault) -> FaultId {
        let mut state = self.lock();
        let now = state.now();
        state.faults.inject(fault, now)
    }

    /// Ends one fault.
    pub fn remove_fault(&self, id: FaultId) {
        self.lock().faults.remove(id);
    }

    /// Ends all faults.
    pub fn clear_faults(&self) {
        self.lock().faults.clear();
    }

    /// Takes addresses of a subnet until so many are free.
    ///
    /// # Errors
    /// There is no such subnet.
    pub fn fill_subnet(&self, id: &SubnetId, leave_free: u32) -> Result<(), CloudError> {
        self.with_subnet(id, |subnet, rng| subnet.fill(leave_free, rng))
    }

    /// Takes one address in each free block of a subnet, so that no prefix can
    /// be had from it.
    ///
    /// # Errors
    /// There is no such subnet.
    pub fn fragment_subnet(&self, id: &SubnetId) -> Result<(), CloudError> {
        self.with_subnet(id, |subnet, rng| subnet.fragment(rng))
    }

    /// Gives back what filling and fragmenting took.
    ///
    /// # Errors
    /// There is no such subnet.
    pub fn unfill(&self, id: &SubnetId) -> Result<(), CloudError> {
        self.with_subnet(id, |subnet, _| subnet.unfill())
    }

    /// Keeps pods out of a subnet, and of the interfaces in it, from now on.
    ///
    /// # Errors
    /// There is no such subnet.
    pub fn exclude_subnet(&self, id: &SubnetId) -> Result<(), CloudError> {
        self.with_subnet(id, |subnet, _| subnet.config.for_pods = false)?;
        self.lock().keep_pods_out(id);
        Ok(())
    }

    /// Adds a range to the network.
    pub fn add_network_range(&self, range: IpNet) {
        self.lock().config.vpc_cidrs.push(range);
    }

    /// Sets the time of one operation, or of all.
    pub fn set_latency(&self, operation: Option<Operation>, latency: Latency) {
        let mut state = self.lock();
        for one in Operation::ALL {
            if operation.is_none_or(|wanted| wanted == one) {
                state.config.latency.set(one, latency);
            }
        }
    }

    /// Sets how long changes take to show. More than the promised settle time
    /// is a fault of the cloud.
    pub fn set_consistency_delay(&self, delay: Latency) {
        self.lock().config.consistency_delay = delay;
    }

    /// Lets changes run on their own for so long from now on; `None`: a change is made
    /// when its call ends.
    pub fn set_long_changes(&self, lasts: Option<Duration>) {
        self.lock().config.long_changes = lasts;
    }

    /// Sets the account's budget, full; `None` is without end.
    pub fn set_throttle(&self, throttle: Option<Throttle>) {
        let mut state = self.lock();
        state.config.throttle = throttle;
        state.budget = throttle.map(|throttle| Budget::new(throttle, state.now()));
    }

    /// Holds the cloud's clock for so long: a test whose own clock has jumped goes on where
    /// the cloud was.
    pub fn hold_clock(&self, span: Duration) {
        self.lock().behind += span;
    }

    /// Takes the permission for an operation away from all nodes.
    pub fn deny(&self, operation: Operation) {
        let mut state = self.lock();
        if !state.denied.contains(&operation) {
            state.denied.push(operation);
        }
    }

    /// Grants it again.
    pub fn allow(&self, operation: Operation) {
        self.lock().denied.retain(|denied| *denied != operation);
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing leaves the state half changed, so a panic of another holder
        // does not spoil it.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody sees a change later than it was made.
        state.end_operations();
        state
    }

    fn with_subnet(
        &self,
        id: &SubnetId,
        change: impl FnOnce(&mut SubnetState, &mut rand::rngs::StdRng),
    ) -> Result<(), CloudError> {
        let mut state = self.lock();
        let State { subnets, rng, .. } = &mut *state;
        let subnet = subnets
            .iter_mut()
            .find(|subnet| subnet.config.id == *id)
            .ok_or_else(|| CloudError::NoSuchSubnet(id.clone()))?;
        change(subnet, rng);
        Ok(())
    }
}

fn check_subnets(config: &CloudConfig) -> Result<(), CloudError> {
    let mut seen: Vec<(&SubnetId, IpNet)> = Vec::new();
    for subnet in &config.subnets {
        let refuse = |reason: String| CloudError::Subnet {
            subnet: subnet.id.clone(),
            reason,
        };
        if seen.iter().any(|(id, _)| **id == subnet.id) {
            return Err(refuse("its id is taken".to_owned()));
        }
        let mut families = Vec::new();
        for cidr in &subnet.cidrs {
            let family = Family::of(cidr.addr());
            if families.contains(&family) {
                return Err(refuse("it has two ranges of one family".to_owned()));
            }
            families.push(family);
            if !config.vpc_cidrs.iter().any(|vpc| vpc.contains(cidr)) {
                return Err(refuse(format!("{cidr} lies outside of the network")));
            }
            if cidr.max_prefix_len() - cidr.prefix_len() < 3 {
                return Err(refuse(format!("{cidr} is too small: use a /29 or larger")));
            }
            let overlaps = |other: &IpNet| other.contains(cidr) || cidr.contains(other);
            if let Some((id, other)) = seen.iter().find(|(_, other)| overlaps(other)) {
                return Err(refuse(format!("{cidr} overlaps {other} of {id}")));
            }
        }
        seen.extend(subnet.cidrs.iter().map(|cidr| (&subnet.id, cidr.trunc())));
    }
    Ok(())
}
