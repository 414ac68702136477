//! What a PUT does: a NIC is written as a whole, and its operation begun.

use serde_json::json;
use tokio::time::Instant;

use crate::config::PollingStyle;
use crate::faults::FaultKind;
use crate::message::{Request, Response};
use crate::nic::{Goal, IpConfiguration, Provisioning};
use crate::operations::Operation;
use crate::reads::knows_blocks;
use crate::refusal::Refusal;
use crate::state::State;

impl State {
    /// Accepts a write of a NIC, or refuses it.
    pub(crate) fn write_nic(
        &mut self,
        name: &str,
        request: &Request,
        version: &str,
        fault: Option<&FaultKind>,
        now: Instant,
    ) -> Result<Response, Refusal> {
        if fault == Some(&FaultKind::Rival) {
            self.write_as_rival(name);
        }
        let Some(nic) = self.nics.get(name).cloned() else {
            return Err(Refusal::not_found(&request.path));
        };
        let expected = request.header("if-match");
        if expected.is_some_and(|etag| etag != "*" && etag != nic.etag_text()) {
            let message = "The etag provided in the header does not match the resource's.";
            let refusal = Refusal::new(412, "PreconditionFailed", message);
            return Err(refusal.detailed("PreconditionFailedEtagMismatch"));
        }
        if nic.state == Provisioning::Updating {
            let message = format!("{} is in use by another operation.", nic.id);
            let code = "RetryableErrorDueToAnotherOperation";
            return Err(Refusal::new(429, code, message).after(self.config.retry_after));
        }
        let goal = Goal::read(&request.body, knows_blocks(version))?;
        let subnet = self.config.subnet_id(&nic.subnet);
        goal.check(&nic, &subnet, self.config.blocks)?;
        self.check_linked(&goal, &subnet)?;
        let fails = match fault {
            Some(FaultKind::FailOperation { code }) => {
                let message = "The operation failed, as a fault was scheduled.";
                Some(Refusal::new(400, code.clone(), message))
            }
            _ => None,
        };
        Ok(self.begin(name, goal, fails, request, now))
    }

    /// A write joins its NIC to what it refers to, which needs rights of its own.
    /// <https://learn.microsoft.com/azure/role-based-access-control/permissions/networking>
    fn check_linked(&self, goal: &Goal, subnet: &str) -> Result<(), Refusal> {
        let groups =
            |one: &IpConfiguration| one.properties.contains_key("applicationSecurityGroups");
        let mut needed = vec!["Microsoft.Network/virtualNetworks/subnets/join/action"];
        if goal.configurations.iter().any(groups) {
            needed.push("Microsoft.Network/applicationSecurityGroups/joinIpConfiguration/action");
        }
        if goal.properties.contains_key("networkSecurityGroup") {
            needed.push("Microsoft.Network/networkSecurityGroups/join/action");
        }
        match needed.iter().find(|right| self.denied.contains(**right)) {
            Some(right) => Err(Refusal::new(
                403,
                "LinkedAuthorizationFailed",
                format!(
                    "The client has permission to perform action \
                     'Microsoft.Network/networkInterfaces/write' on scope; however, it does not \
                     have permission to perform action '{right}' on the linked scope '{subnet}'."
                ),
            )),
            None => Ok(()),
        }
    }

    fn begin(
        &mut self,
        name: &str,
        goal: Goal,
        fails: Option<Refusal>,
        request: &Request,
        now: Instant,
    ) -> Response {
        let etag = self.next_etag();
        let all = self.config.all_show_the_nic_s_state;
        if let Some(nic) = self.nics.get_mut(name) {
            nic.etag = etag;
            nic.state = Provisioning::Updating;
            for one in nic.configurations.iter_mut().filter(|_| all) {
                one.state = Provisioning::Updating;
            }
            // What is new shows at once, without an address.
            for one in &goal.configurations {
                if nic.configuration(&one.name).is_none() {
                    nic.configurations.push(one.clone());
                }
            }
        }
        let id = self.operations.add(Operation {
            nic: name.to_owned(),
            goal,
            ends: now + self.config.operation_time,
            fails,
            result: None,
        });
        // What takes no time has ended when the answer comes.
        self.end_operations(now);
        let shown = self
            .nics
            .get(name)
            .map(|nic| (nic.show(true), nic.etag_text()));
        let (body, etag) = shown.unwrap_or((json!({}), String::new()));
        let host = &request.host;
        let answer = match self.config.polling {
            PollingStyle::AsyncOperation => Response::json(200, &body).with(
                "Azure-AsyncOperation",
                self.operation_url(&id, "operations", host),
            ),
            PollingStyle::Location => Response::empty(202).with(
                "Location",
                self.operation_url(&id, "operationResults", host),
            ),
            PollingStyle::ProvisioningState => Response::json(200, &body),
        };
        answer
            .with("ETag", etag)
            .with("Retry-After", self.config.retry_after_seconds())
    }

    /// Somebody else adds a configuration of their own, at once.
    pub(crate) fn write_as_rival(&mut self, name: &str) {
        let etag = self.next_etag();
        let subnet_name = self.nics.get(name).map(|nic| nic.subnet.clone());
        let now = Instant::now();
        let taken = subnet_name.and_then(|subnet| self.subnet_mut(&subnet)?.take_one(now));
        let Some((nic, range)) = self.nics.get_mut(name).zip(taken) else {
            return;
        };
        let primary = nic.configurations.iter().find(|one| one.is_primary());
        let mut properties = primary
            .map(|one| one.properties.clone())
            .unwrap_or_default();
        properties.insert("primary".to_owned(), json!(false));
        nic.configurations.push(IpConfiguration {
            name: format!("rival-{etag}"),
            properties,
            range: Some(range),
            state: Provisioning::Succeeded,
        });
        nic.etag = etag;
    }
}
