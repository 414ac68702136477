//! Looking: Describe calls, and what they show in the trait's words.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::{Filter, NetworkInterface};
use tokio::time::Instant;
use veni_provider::{
    Grant, Interface, InterfaceId, InterfaceState, Inventory, ProviderError, SubnetId,
};

use crate::actions::Action;
use crate::failure::Refusal;
use crate::interfaces::{Place, groups_of, id_of, interface, place_of};
use crate::memory::{Known, Repair};
use crate::optional::{Parameter, Sent};
use crate::ownership::{managed, ours};
use crate::provider::Core;
use crate::requests::filter;
use crate::subnets::{Record, choose};

/// Interfaces of a page: the most that EC2 allows.
const PAGE: i32 = 1000;

impl Core {
    /// All interfaces of this node and the subnets it may use: two calls.
    pub(crate) async fn inventory(&self) -> Result<Inventory, ProviderError> {
        if self.settings.metadata_only {
            return self.inventory_by_metadata().await;
        }
        let began = Instant::now();
        let (described, records) = tokio::join!(self.own_interfaces(), self.zone_subnets());
        let described = described.map_err(Refusal::error)?;
        let records = records.map_err(Refusal::error)?;
        self.memory.remember_records(&records);
        let held: BTreeSet<SubnetId> = described
            .iter()
            .filter_map(|one| one.subnet_id().map(SubnetId::new))
            .collect();
        for subnet in &held {
            self.ensure_record(subnet).await.map_err(Refusal::error)?;
        }
        let interfaces = self.observe(&described, began);
        let held: Vec<SubnetId> = held.into_iter().collect();
        let subnets = choose(&records, &self.instance.subnet, &held, &self.settings);
        self.memory.remember_subnets(&subnets);
        Ok(Inventory {
            interfaces,
            subnets,
        })
    }

    /// The interfaces attached to this node, as EC2 describes them. Those of another
    /// VPC are among them, so that no fast filter does.
    pub(crate) async fn own_interfaces(&self) -> Result<Vec<NetworkInterface>, Refusal> {
        let own = filter("attachment.instance-id", &self.instance.id);
        self.describe_interfaces(vec![own]).await
    }

    /// One interface of whatever state; `None` when there is none of the id.
    pub(crate) async fn look(&self, id: &InterfaceId) -> Result<Option<NetworkInterface>, Refusal> {
        // By filter, not by id: what is missing is an answer and not an error.
        let mut filters = vec![filter("network-interface-id", id.as_str())];
        // EC2 finds it faster.
        let known = self.memory.known(id);
        filters.extend(known.map(|known| filter("subnet-id", known.subnet.as_str())));
        let found = self.describe_interfaces(filters).await?;
        Ok(found.into_iter().next())
    }

    /// Interfaces by filters, all pages of them: in an account with very many interfaces
    /// EC2 describes them in pages alone, or by a few filters (`subnet-id`, `vpc-id`,
    /// …; API reference, DescribeNetworkInterfaces).
    pub(crate) async fn describe_interfaces(
        &self,
        filters: Vec<Filter>,
    ) -> Result<Vec<NetworkInterface>, Refusal> {
        let mut found = Vec::new();
        let mut token = None;
        loop {
            let build = |sent: &Sent| {
                let managed = sent.has(Parameter::IncludeManagedResources);
                let page = sent.has(Parameter::MaxResults).then_some(PAGE);
                let call = self.ec2.client.describe_network_interfaces();
                call.set_include_managed_resources(managed.then_some(true))
                    .set_filters(Some(filters.clone()))
                    .set_max_results(page)
                    .set_next_token(token.clone())
                    .send()
            };
            let action = Action::DescribeNetworkInterfaces;
            let mut answer = self.ec2.call_with(action, build).await?;
            found.append(answer.network_interfaces.get_or_insert_default());
            token = answer.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(found);
            }
        }
    }

    /// The subnets of this VPC and zone.
    pub(crate) async fn zone_subnets(&self) -> Result<Vec<Record>, Refusal> {
        let filters = vec![
            filter("vpc-id", &self.instance.vpc),
            filter("availability-zone", &self.instance.zone),
        ];
        self.describe_subnets(filters).await
    }

    async fn describe_subnets(&self, filters: Vec<Filter>) -> Result<Vec<Record>, Refusal> {
        let mut found = Vec::new();
        let mut token = None;
        loop {
            let call = self
                .ec2
                .client
                .describe_subnets()
                .set_filters(Some(filters.clone()))
                .set_next_token(token);
            let answer = self.ec2.call(Action::DescribeSubnets, call.send()).await?;
            found.extend(answer.subnets().iter().filter_map(Record::of));
            token = answer.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(found);
            }
        }
    }

    /// Subnets that the zone's list lacks are asked for once: an interface of
    /// another VPC is in such a one.
    pub(crate) async fn ensure_record(&self, id: &SubnetId) -> Result<(), Refusal> {
        if self.memory.record(id).is_some() {
            return Ok(());
        }
        let this = filter("subnet-id", id.as_str());
        let found = self.describe_subnets(vec![this]).await?;
        self.memory.remember_records(&found);
        Ok(())
    }

    /// An interface in the trait's words.
    pub(crate) fn view(&self, described: &NetworkInterface, place: Place) -> Option<Interface> {
        let subnet = described.subnet_id().map(SubnetId::new);
        let record = subnet.and_then(|subnet| self.memory.record(&subnet));
        interface(
            described,
            place,
            record.as_ref(),
            self.claims(),
            self.instance.ipv6,
        )
    }

    /// Remembers what a Describe of all own interfaces has shown, and tells it
    /// in the trait's words, in order of network card and device index.
    pub(crate) fn observe(&self, described: &[NetworkInterface], began: Instant) -> Vec<Interface> {
        let mut shown = BTreeMap::new();
        let mut interfaces = Vec::new();
        for one in described {
            let Some(place) = place_of(one) else { continue };
            let Some(view) = self.view(one, place) else {
                tracing::warn!(interface = ?one.network_interface_id(), "ec2's description is incomplete");
                continue;
            };
            if view.primary {
                self.memory.remember_groups(groups_of(one));
            }
            shown.insert(view.id.clone(), known(one, &view, place));
            interfaces.push(view);
        }
        interfaces.sort_by_key(|view| (view.network_card, view.device_index));
        let settle = self.settings.settle_time;
        self.memory.observe(shown, began, settle);
        self.note_repairs(described, began);
        interfaces
    }

    /// Finds what is wrong with interfaces of ours that are attached for long
    /// enough that a Describe tells the truth of them. What is not ours to manage
    /// needs nothing, whatever an earlier look has found.
    fn note_repairs(&self, described: &[NetworkInterface], began: Instant) {
        let groups = self.memory.groups();
        for one in described {
            let (Some(id), Some(place)) = (id_of(one), place_of(one)) else {
                continue;
            };
            if !(ours(&self.instance.id, one) && managed(self.claims(), one)) {
                self.memory.needs(&id, Repair::default());
                continue;
            }
            let Some(known) = self.memory.known(&id) else {
                continue;
            };
            let young = known
                .attached
                .is_some_and(|at| began < at + self.settings.settle_time);
            if young || known.primary() || place.state != InterfaceState::Attached {
                continue;
            }
            let kept = one.attachment().and_then(|a| a.delete_on_termination());
            let follows = self.settings.custom_network().is_none() && !groups.is_empty();
            let repair = Repair {
                outlives: kept == Some(false),
                groups: follows && groups_of(one) != groups,
            };
            self.memory.needs(&id, repair);
        }
    }
}

/// What is remembered of an interface that was shown.
pub(crate) fn known(described: &NetworkInterface, view: &Interface, place: Place) -> Known {
    let attachment = described.attachment();
    Known {
        attachment: attachment.and_then(|a| a.attachment_id().map(str::to_owned)),
        device_index: place.device_index,
        card: place.card,
        subnet: view.subnet.clone(),
        own: view.own_addresses.clone(),
        held: Grant {
            addresses: view.addresses.clone(),
            prefixes: view.prefixes.clone(),
        },
        attached: None,
    }
}
