//! What happens around a daemon: the cloud's weather, other people, the kernel, the clock,
//! the run folder.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ipamd::replay;
use veni_dataplane::memory::Step as KernelStep;
use veni_provider::{
    AddressSlots, AttachRequest, ErrorClass, Family, Grant, Interface, Operation, Provider,
    SubnetId,
};
use veni_provider_mock::config::Latency;
use veni_provider_mock::{Fault, FaultKind, MockProvider};

use super::book::ranges;
use super::log::What;
use super::run::History;
use super::script::{Kind, Step};
use crate::world::SUBNET;

fn kernel_step(name: &str) -> KernelStep {
    match name {
        "pair" => KernelStep::CreatePair,
        "pod" => KernelStep::ConfigurePod,
        "host" => KernelStep::ConfigureHost,
        "remove" => KernelStep::RemoveEndpoint,
        "interface" => KernelStep::EnsureInterface,
        "reap" => KernelStep::Reap,
        "limits" => KernelStep::EnsureLimits,
        "unlimit" => KernelStep::RemoveLimits,
        other => panic!("no step {other}"),
    }
}

fn fault(kind: &Kind) -> FaultKind {
    let error = |class| FaultKind::Error {
        class,
        reason: "by the script".to_owned(),
    };
    match kind {
        Kind::Throttled => error(ErrorClass::Throttled { retry_after: None }),
        Kind::Refused(class) => error(class.clone()),
        Kind::AnswerLost => FaultKind::AnswerLost,
        Kind::Hangs { applied } => FaultKind::Timeout { applied: *applied },
        Kind::Partial => FaultKind::Partial { at_most: 1 },
    }
}

impl History<'_> {
    /// Lets a step happen that needs no daemon.
    pub(super) async fn happens(&self, step: &Step) {
        match step {
            Step::EndPod(number) => return self.end_pod(*number),
            Step::ClockSet(by) => {
                self.clock_off_by.fetch_add(*by, Ordering::Relaxed);
                return self.book.write(What::ClockSet { by: *by });
            }
            Step::OtherAssigns(count) => return self.other_assigns(*count).await,
            Step::OtherTakes(count) => return self.other_takes(*count).await,
            Step::OtherAttaches(count) => return self.other_attaches(*count).await,
            Step::OtherDetaches => return self.other_detaches().await,
            Step::FolderFull => return self.set_full(true),
            Step::FolderFree => return self.set_full(false),
            Step::PortsTaken(_) | Step::TablesFlushed | Step::LimitsTaken(_) => {
                return self.by_hand(step);
            }
            Step::KernelFails(name, nth) => {
                let error = io::ErrorKind::PermissionDenied;
                self.world.kernel.fail(kernel_step(name), *nth, error);
            }
            Step::KernelSlow(name, millis) => {
                let by = Duration::from_millis(*millis);
                self.world.kernel.delay(kernel_step(name), by);
            }
            weather => self.weather(weather),
        }
        self.book.write(What::Weather {
            text: format!("{step:?}"),
        });
    }

    fn weather(&self, step: &Step) {
        let cloud = &self.world.cloud;
        let subnet = SubnetId::new(SUBNET);
        match step {
            Step::Fault(operation, kind, times) => {
                let mut one = Fault::always(fault(kind)).times(*times);
                one.operation = *operation;
                cloud.inject(one);
            }
            Step::Deny(operation) => cloud.deny(*operation),
            Step::AllowAll => self.allow_all(),
            Step::Latency(millis) => {
                let latency = Latency::millis(millis / 2, *millis, millis * 2);
                cloud.set_latency(None, latency);
            }
            Step::Lag(millis) => {
                let lag = Latency::millis(millis / 2, *millis, millis * 3 / 2);
                cloud.set_consistency_delay(lag);
            }
            Step::Fragment => cloud.fragment_subnet(&subnet).expect("is there"),
            Step::Fill(left) => cloud.fill_subnet(&subnet, *left).expect("is there"),
            Step::Unfill => cloud.unfill(&subnet).expect("is there"),
            other => panic!("no weather: {other:?}"),
        }
    }

    /// Somebody takes away what Veni made in the kernel.
    fn by_hand(&self, step: &Step) {
        // Told first: whoever checks the pod may see it from now on.
        self.book.write(What::Tampered {
            text: format!("{step:?}"),
        });
        let kernel = &self.world.kernel;
        match step {
            Step::PortsTaken(count) => {
                let ports = kernel.host_ports();
                for port in ports.iter().take(*count) {
                    kernel.delete_host_port(port);
                }
            }
            Step::TablesFlushed => kernel.reset_node(),
            Step::LimitsTaken(count) => {
                let limited = kernel.routes().into_iter().map(|(_, link)| link);
                let limited = limited.filter(|link| kernel.rates(*link) != (None, None));
                for link in limited.take(*count) {
                    kernel.delete_qdiscs(link);
                }
            }
            other => panic!("not by hand: {other:?}"),
        }
    }

    fn allow_all(&self) {
        for operation in Operation::ALL {
            self.world.cloud.allow(operation);
        }
    }

    /// The weather is fine again, and there is room.
    pub(super) fn trouble_ends(&self) {
        self.allow_all();
        self.world.cloud.clear_faults();
        self.world
            .cloud
            .set_latency(None, Latency::millis(50, 100, 200));
        self.world
            .cloud
            .set_consistency_delay(Latency::millis(0, 100, 400));
        self.world
            .cloud
            .unfill(&SubnetId::new(SUBNET))
            .expect("is there");
        for name in super::script::KERNEL_STEPS {
            self.world.kernel.delay(kernel_step(name), Duration::ZERO);
        }
        self.set_full(false);
        self.book.write(What::Weather {
            text: "all trouble ends".to_owned(),
        });
    }

    /// Lets the journal refuse every new file, as a run folder without room does.
    fn set_full(&self, full: bool) {
        let folder = self.world.folder().join("journal");
        replay::set_full(full.then_some(folder));
        self.book.write(What::FolderFull { full });
    }

    fn other(&self) -> MockProvider {
        self.world.other_client().by_hand()
    }

    /// Somebody assigns addresses to the primary interface.
    async fn other_assigns(&self, count: u32) {
        let interfaces = self.world.interfaces();
        let Some(primary) = interfaces.first() else {
            return;
        };
        let slots = AddressSlots::Addresses {
            family: Family::V4,
            count,
        };
        let assigned = self.other().assign(&primary.id, slots).await;
        if let Ok(grant) = assigned {
            let ranges = grant.addresses.iter().map(ToString::to_string).collect();
            self.book.write(What::OtherGave { ranges });
        }
    }

    /// Somebody takes the first addresses or prefixes of the last interface away.
    async fn other_takes(&self, count: u32) {
        let interfaces = self.world.interfaces();
        let Some(last) = interfaces.last() else {
            return;
        };
        let count = count as usize;
        let taken = Interface {
            addresses: last.addresses.iter().take(count).copied().collect(),
            prefixes: last.prefixes.iter().take(count).copied().collect(),
            ..last.clone()
        };
        self.book.write(What::OtherTook {
            ranges: ranges(&taken),
        });
        let grant = Grant {
            addresses: taken.addresses,
            prefixes: taken.prefixes,
        };
        drop(self.other().release(&last.id, &grant).await);
    }

    async fn other_attaches(&self, count: u32) {
        let request = AttachRequest {
            token: format!("other-{}", self.book.call()),
            subnet: Some(SubnetId::new(SUBNET)),
            slots: (count > 0).then_some(AddressSlots::Addresses {
                family: Family::V4,
                count,
            }),
        };
        if let Ok(attached) = self.other().attach_interface(&request).await {
            self.book.write(What::OtherAttached {
                ranges: ranges(&attached),
            });
        }
    }

    /// Somebody detaches the last secondary interface, whatever it has.
    async fn other_detaches(&self) {
        let interfaces = self.world.interfaces();
        let Some(last) = interfaces.iter().rfind(|one| !one.primary) else {
            return;
        };
        self.book.write(What::OtherTook {
            ranges: ranges(last),
        });
        drop(self.other().detach_interface(&last.id).await);
    }
}
