//! One more interface, in three calls: create it with all that it shall hold,
//! attach it, and let it end with the instance. What fails on the way is
//! undone; a creation whose answer is lost is asked for once more by its token.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sdk_ec2::operation::create_network_interface::CreateNetworkInterfaceOutput as Created;
use aws_sdk_ec2::primitives::{DateTime, DateTimeFormat};
use aws_sdk_ec2::types::{NetworkInterface, NetworkInterfaceAttachmentChanges};
use tokio::time::Instant;
use veni_provider::{
    AddressSlots, AttachRequest, ErrorClass, Interface, InterfaceId, InterfaceState, Limit,
    ProviderError, Scarcity, SubnetId,
};

use crate::actions::{Action, Undeleted};
use crate::debris::Unfinished;
use crate::failure::{Meaning, Refusal};
use crate::interfaces::{Place, id_of, place_of};
use crate::inventory::known;
use crate::memory::{Making, Reserved};
use crate::pace::Pace;
use crate::provider::Core;
use crate::requests::{Creation, create};
use crate::settings::CustomNetwork;

/// EC2 may not find an interface that it has just made.
const UNSEEN: (Duration, Duration, Duration) = (
    Duration::from_millis(250),
    Duration::from_secs(2),
    Duration::from_secs(12),
);
/// Before a creation is asked for once more.
const BREATH: Duration = Duration::from_millis(250);
/// Device indexes tried when others keep taking them.
const INDEXES: usize = 4;

/// An interface that EC2 has attached.
struct Attached<'a> {
    place: Place,
    attachment: Option<String>,
    /// Keeps the device index until the interface itself is remembered.
    _index: Option<Reserved<'a>>,
}

impl Core {
    pub(crate) async fn attach(&self, request: &AttachRequest) -> Result<Interface, ProviderError> {
        self.ensure_may_change(Action::AttachNetworkInterface)?;
        // The same from here to the end of this call, whatever it is by then.
        let custom = self.settings.custom_network();
        if let Some(custom) = &custom {
            self.check_custom_subnet(custom, request.subnet.as_ref())
                .await?;
        }
        self.check_room().await?;
        let mut making = self.memory.making();
        let made = self.create(request, custom.as_ref(), &mut making).await?;
        let id = id_of(&made).ok_or_else(|| incomplete(Action::CreateNetworkInterface))?;
        let unfinished = Unfinished::new(&self.memory, &id);
        let attached = match self.attach_made(&id).await {
            Ok(attached) => attached,
            Err(refusal) => return Err(self.undo(unfinished, refusal).await),
        };
        unfinished.finished();
        let subnet = made.subnet_id().map(SubnetId::new);
        if let Some(subnet) = subnet {
            // Only a subnet named by the caller can be new to us.
            self.ensure_record(&subnet)
                .await
                .map_err(Refusal::in_doubt)?;
        }
        let view = self.view(&made, attached.place);
        let mut view = view.ok_or_else(|| incomplete(Action::CreateNetworkInterface))?;
        // EC2 has accepted it: the kernel's link shows when it has arrived.
        view.state = InterfaceState::Attached;
        let mut remembered = known(&made, &view, attached.place);
        remembered.attachment = attached.attachment.clone();
        remembered.attached = Some(Instant::now());
        self.memory.remember(&id, remembered);
        let attachment = attached.attachment.clone();
        drop(attached);
        self.end_with_instance(&id, attachment).await;
        Ok(view)
    }

    /// Refuses a subnet that the ENIConfig names and the node's network does not have,
    /// where EC2 would make an interface that cannot be attached, or none; and one that
    /// the caller has chosen from an inventory of before the ENIConfig named another.
    async fn check_custom_subnet(
        &self,
        custom: &CustomNetwork,
        wanted: Option<&SubnetId>,
    ) -> Result<(), ProviderError> {
        let operation = Action::CreateNetworkInterface.label();
        if let Some(wanted) = wanted.filter(|wanted| **wanted != custom.subnet) {
            let reason = format!(
                "the node's ENIConfig names {} by now, and not {wanted}",
                custom.subnet
            );
            return Err(ProviderError::new(ErrorClass::Transient, operation, reason));
        }
        if self.memory.record(&custom.subnet).is_none() {
            // It may have been made since anybody has looked.
            self.inventory().await?;
        }
        if self.memory.record(&custom.subnet).is_some() {
            return Ok(());
        }
        let reason = format!(
            "spec.subnet of the node's ENIConfig names {}, which is no subnet of {} in {}: \
             correct it",
            custom.subnet, self.instance.vpc, self.instance.zone
        );
        Err(ProviderError::new(ErrorClass::Invalid, operation, reason))
    }

    /// Refuses before anything is made where no interface fits: judged by what
    /// is remembered, and by a fresh look before saying no.
    async fn check_room(&self) -> Result<(), ProviderError> {
        let most = self.facts.limits.interfaces as usize;
        if self.memory.on_default_card() < most {
            return Ok(());
        }
        self.look_around().await.map_err(Refusal::error)?;
        let there = self.memory.on_default_card();
        if there < most {
            return Ok(());
        }
        let reason = format!(
            "{there} interfaces are attached, and {} takes {most}",
            self.instance.instance_type
        );
        let operation = Action::AttachNetworkInterface.label();
        Err(ProviderError::new(
            ErrorClass::LimitReached {
                limit: Limit::Interfaces,
            },
            operation,
            reason,
        ))
    }

    pub(crate) async fn look_around(&self) -> Result<(), Refusal> {
        let began = Instant::now();
        let described = self.own_interfaces().await?;
        self.observe(&described, began);
        Ok(())
    }

    /// Makes the interface in the first subnet that has room.
    async fn create(
        &self,
        request: &AttachRequest,
        custom: Option<&CustomNetwork>,
        making: &mut Making<'_>,
    ) -> Result<NetworkInterface, ProviderError> {
        let attempt = self.memory.attempt(&request.token, now);
        let groups = self.groups_for_new(custom).await.map_err(Refusal::error)?;
        let asked = scarcity_of(request.slots);
        let began = Instant::now();
        let mut last = None;
        for subnet in self.candidates(request, custom, attempt.subnet).await? {
            self.memory.attempted_in(&request.token, &subnet);
            let creation = Creation {
                instance: &self.instance.id,
                subnet: &subnet,
                groups: &groups,
                slots: request.slots,
                token: &request.token,
                created: &attempt.created,
            };
            // Also for a caller that goes away before the answer comes.
            making.set_doubt(true);
            let answer = match self.create_once(creation).await {
                Err(lost) if lost.leaves_doubt() => self.create_again(creation, lost, began).await,
                answer => answer,
            };
            making.set_doubt(answer.as_ref().is_err_and(Refusal::leaves_doubt));
            let elsewhere = match answer {
                Ok(answer) => {
                    let made = answer.network_interface;
                    return made.ok_or_else(|| incomplete(Action::CreateNetworkInterface));
                }
                Err(refusal) => refusal,
            };
            if let Some(old) = self.forget_stale_groups(custom, &elsewhere) {
                return Err(old);
            }
            let next = another_subnet_may_do(&elsewhere);
            last = Some(elsewhere.error_in(&subnet, asked));
            if !next {
                break;
            }
        }
        Err(last.unwrap_or_else(no_subnet))
    }

    async fn create_once(&self, creation: Creation<'_>) -> Result<Created, Refusal> {
        let call = create(&self.settings, creation).send_with(&self.ec2.client);
        self.ec2.call(Action::CreateNetworkInterface, call).await
    }

    /// Asks again in the same words: by the token EC2 answers with what it has made,
    /// if it has, and makes it if not. Otherwise a second interface would be made
    /// while the first holds its addresses until it is found. Not when so much time
    /// has gone by that the caller may give up before an interface is attached.
    async fn create_again(
        &self,
        creation: Creation<'_>,
        lost: Refusal,
        began: Instant,
    ) -> Result<Created, Refusal> {
        if began.elapsed() > self.ec2.patience {
            return Err(lost);
        }
        tracing::info!(error = %lost.reason, "asking again for an interface whose creation was not answered");
        Pace::new(BREATH, BREATH, BREATH).next().await;
        match self.create_once(creation).await {
            Ok(answer) => Ok(answer),
            // Not made for all that EC2 knows now: whether it really was not is
            // looked after later.
            Err(refusal) if another_subnet_may_do(&refusal) => {
                self.memory.doubt();
                Err(refusal)
            }
            Err(refusal) => Err(Refusal {
                reason: format!("{}; and asked again: {}", lost.reason, refusal.reason),
                ..lost
            }),
        }
    }

    /// Subnets to try, in order. The one that a lost answer may have come from
    /// comes first, so that its token finds what was made.
    async fn candidates(
        &self,
        request: &AttachRequest,
        custom: Option<&CustomNetwork>,
        tried: Option<SubnetId>,
    ) -> Result<Vec<SubnetId>, ProviderError> {
        if let Some(subnet) = &request.subnet {
            return Ok(vec![subnet.clone()]);
        }
        if let Some(custom) = custom {
            return Ok(vec![custom.subnet.clone()]);
        }
        let mut subnets = self.memory.subnets();
        if subnets.is_empty() {
            subnets = self.inventory().await?.subnets;
        }
        let usable = subnets.into_iter().filter(|subnet| subnet.usable);
        let mut ids: Vec<SubnetId> = usable.map(|subnet| subnet.id).collect();
        if let Some(tried) = tried {
            ids.sort_by_key(|id| *id != tried);
        }
        Ok(ids)
    }

    /// Security groups of a new interface: those of the primary one, unless
    /// pods have a network of their own.
    async fn groups_for_new(&self, custom: Option<&CustomNetwork>) -> Result<Vec<String>, Refusal> {
        if let Some(custom) = custom
            && !custom.security_groups.is_empty()
        {
            return Ok(custom.security_groups.clone());
        }
        if self.memory.groups().is_empty() {
            self.look_around().await?;
        }
        Ok(self.memory.groups())
    }

    /// A group of the primary interface that is gone was remembered too long: the
    /// next try looks first. One of the settings has to be repaired there.
    fn forget_stale_groups(
        &self,
        custom: Option<&CustomNetwork>,
        refusal: &Refusal,
    ) -> Option<ProviderError> {
        let of_settings = custom.is_some_and(|custom| !custom.security_groups.is_empty());
        if refusal.meaning != Meaning::GroupNotFound || of_settings {
            return None;
        }
        self.memory.remember_groups(Vec::new());
        let operation = refusal.action.label();
        let error = ProviderError::new(ErrorClass::Transient, operation, &refusal.reason);
        Some(error)
    }

    /// Attaches at a device index that is free. A conflict with somebody else
    /// is followed by a fresh look, a lost answer too.
    async fn attach_made(&self, id: &InterfaceId) -> Result<Attached<'_>, Refusal> {
        let mut taken = BTreeSet::new();
        let (first, longest, patience) = UNSEEN;
        let mut unseen = Pace::new(first, longest, patience);
        loop {
            let reserved = self.memory.reserve(&taken);
            let refusal = match self.attach_at(id, reserved.index).await {
                Ok(attached) => {
                    return Ok(Attached {
                        _index: Some(reserved),
                        ..attached
                    });
                }
                Err(refusal) => refusal,
            };
            match refusal.meaning {
                Meaning::DeviceIndexTaken if taken.len() < INDEXES => {
                    taken.insert(reserved.index);
                    drop(reserved);
                    self.look_around().await?;
                }
                Meaning::NotFound => {
                    drop(reserved);
                    if !unseen.next().await {
                        return Err(refusal);
                    }
                }
                Meaning::InUse => return self.already_here(id).await?.ok_or(refusal),
                _ if refusal.leaves_doubt() => {
                    return self.already_here(id).await?.ok_or(refusal);
                }
                _ => return Err(refusal),
            }
        }
    }

    async fn attach_at(&self, id: &InterfaceId, index: u32) -> Result<Attached<'_>, Refusal> {
        let call = self
            .ec2
            .client
            .attach_network_interface()
            .network_interface_id(id.as_str())
            .instance_id(&self.instance.id)
            .device_index(i32::try_from(index).unwrap_or(i32::MAX))
            .send();
        let answer = self.ec2.call(Action::AttachNetworkInterface, call).await?;
        Ok(Attached {
            place: Place {
                device_index: index,
                card: answer.network_card_index.unwrap_or(0),
                state: InterfaceState::Attached,
            },
            attachment: answer.attachment_id,
            _index: None,
        })
    }

    /// Whether it is attached to this instance after all.
    async fn already_here(&self, id: &InterfaceId) -> Result<Option<Attached<'_>>, Refusal> {
        let shown = self.look(id).await?;
        Ok(shown.as_ref().and_then(|shown| {
            let attachment = shown.attachment()?;
            let here = attachment.instance_id() == Some(&self.instance.id);
            let place = place_of(shown).filter(|place| place.state != InterfaceState::Detaching);
            Some(Attached {
                place: place.filter(|_| here)?,
                attachment: attachment.attachment_id().map(str::to_owned),
                _index: None,
            })
        }))
    }

    /// Deletes what was made, unless it may be attached. What cannot be deleted
    /// now is left to the maintenance, and the outcome said to be unknown.
    async fn undo(&self, unfinished: Unfinished<'_>, refusal: Refusal) -> ProviderError {
        let id = unfinished.id().clone();
        let unknown = |refusal: Refusal, left: &str| {
            let operation = refusal.action.label();
            let reason = format!("{}; {id} {left}", refusal.reason);
            ProviderError::new(ErrorClass::OutcomeUnknown, operation, reason)
        };
        if refusal.leaves_doubt() {
            return unknown(refusal, "may be attached");
        }
        let call = self
            .ec2
            .client
            .delete_network_interface()
            .network_interface_id(id.as_str())
            .send();
        match self.ec2.call(Action::DeleteNetworkInterface, call).await {
            Ok(_) => {
                unfinished.finished();
                self.memory.deleted(&id);
                // NotFound would mean an interface that the caller named.
                match refusal.meaning {
                    Meaning::NotFound => ProviderError {
                        class: ErrorClass::Transient,
                        ..refusal.error()
                    },
                    _ => refusal.error(),
                }
            }
            Err(left) => {
                self.ec2.not_deleted(Undeleted::Unattached, &left);
                unknown(refusal, &format!("could not be deleted: {}", left.reason))
            }
        }
    }

    /// Lets the interface end with the instance. It works without; a failure is
    /// set right later, and told.
    pub(crate) async fn end_with_instance(
        &self,
        id: &InterfaceId,
        attachment: Option<String>,
    ) -> bool {
        let changes = NetworkInterfaceAttachmentChanges::builder()
            .set_attachment_id(attachment)
            .delete_on_termination(true)
            .build();
        let call = self
            .ec2
            .client
            .modify_network_interface_attribute()
            .network_interface_id(id.as_str())
            .attachment(changes)
            .send();
        let action = Action::ModifyNetworkInterfaceAttribute;
        let Err(refusal) = self.ec2.call(action, call).await else {
            return true;
        };
        refusal.tell(id, "interface would outlive the instance");
        self.memory.needs_end(id);
        false
    }
}

fn scarcity_of(slots: Option<AddressSlots>) -> Scarcity {
    match slots {
        Some(AddressSlots::Prefixes { .. }) => Scarcity::Prefixes,
        _ => Scarcity::Addresses,
    }
}

fn another_subnet_may_do(refusal: &Refusal) -> bool {
    matches!(
        refusal.meaning,
        Meaning::NoAddresses | Meaning::NoPrefixes | Meaning::NoRoom | Meaning::SubnetNotFound
    )
}

fn no_subnet() -> ProviderError {
    let reason = "no subnet of this zone may be used: tag one with kubernetes.io/role/cni=1";
    let operation = Action::CreateNetworkInterface.label();
    ProviderError::new(ErrorClass::Fatal, operation, reason)
}

fn incomplete(action: Action) -> ProviderError {
    let reason = "EC2's answer lacks the interface's id, MAC or subnet";
    ProviderError::new(ErrorClass::OutcomeUnknown, action.label(), reason)
}

/// The time as tags write it, to the second.
pub(crate) fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = i64::try_from(since.unwrap_or_default().as_secs()).unwrap_or(0);
    let written = DateTime::from_secs(seconds).fmt(DateTimeFormat::DateTime);
    written.unwrap_or_default()
}
