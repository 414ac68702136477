//! The ARM itself: who may ask, how often, what meets a fault, and who answers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::{Instant, sleep};

use crate::config::Config;
use crate::faults::{Fault, FaultKind};
use crate::message::{Request, Response};
use crate::paths::{Resource, resource};
use crate::refusal::Refusal;
use crate::state::State;

/// The first version of the API that is known here, and the form of all.
const FIRST_VERSION: &str = "2015-05-01-preview";

/// An Azure Resource Manager. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Arm(Arc<Mutex<State>>);

impl Arm {
    /// Makes one without machines.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self(Arc::new(Mutex::new(State::new(config))))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a request to the Resource Manager; `None` where the connection breaks.
    pub async fn handle(&self, request: &Request) -> Option<Response> {
        let (fault, latency) = {
            let mut state = self.lock();
            (state.faults.meet(request), state.config.latency)
        };
        sleep(latency).await;
        match &fault {
            Some(FaultKind::LoseRequest) => return None,
            Some(FaultKind::Delay(time)) => sleep(*time).await,
            _ => {}
        }
        let answer = self.lock().answer(request, fault.as_ref());
        match fault {
            Some(FaultKind::LoseAnswer) => None,
            _ => Some(answer),
        }
    }

    /// Answers a request to the instance metadata of a machine; `None` where the connection
    /// breaks.
    pub async fn handle_metadata(&self, machine: &str, request: &Request) -> Option<Response> {
        let fault = self.lock().faults.meet(request);
        match fault {
            Some(FaultKind::LoseRequest | FaultKind::LoseAnswer) => return None,
            Some(FaultKind::Delay(time)) => sleep(time).await,
            Some(FaultKind::Refuse {
                status,
                code,
                retry_after,
            }) => return Some(scheduled(status, &code, retry_after).response()),
            _ => {}
        }
        let mut state = self.lock();
        let now = Instant::now();
        state.end_operations(now);
        let answer = state.metadata(&machine.to_ascii_lowercase(), request, now);
        Some(answer.unwrap_or_else(|refusal| refusal.response()))
    }

    /// Schedules a fault.
    pub fn inject(&self, fault: Fault) {
        self.lock().faults.add(fault);
    }

    /// No token that was given so far is good any more.
    pub fn expire_tokens(&self) {
        self.lock().tokens.expire_all(Instant::now());
    }

    /// How many tokens were given.
    #[must_use]
    pub fn tokens_given(&self) -> usize {
        self.lock().tokens.given()
    }

    /// Nobody has this right from now on: `Microsoft.Network/networkInterfaces/write`.
    pub fn deny(&self, action: &str) {
        self.lock().denied.insert(action.to_owned());
    }

    /// Everybody has all rights again.
    pub fn allow_all(&self) {
        self.lock().denied.clear();
    }

    /// Changes what it is made of, but for its subnets.
    pub fn configure(&self, change: impl FnOnce(&mut Config)) {
        change(&mut self.lock().config);
    }

    /// Nobody knows of the operations that have ended any more.
    pub fn forget_operations(&self) {
        self.lock().operations.forget_ended();
    }

    /// How many writes were ever accepted.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.lock().operations.begun()
    }

    /// How many requests with this method came, refused ones included.
    #[must_use]
    pub fn requests(&self, method: &str) -> u64 {
        self.lock().counts.get(method).copied().unwrap_or_default()
    }

    /// Somebody else adds an ip configuration to a NIC, at once.
    pub fn write_as_rival(&self, nic: &str) {
        self.lock().write_as_rival(&nic.to_ascii_lowercase());
    }
}

fn scheduled(status: u16, code: &str, retry_after: Option<std::time::Duration>) -> Refusal {
    let message = "The request was refused, as a fault was scheduled.";
    let refusal = Refusal::new(status, code, message);
    match retry_after {
        Some(wait) => refusal.after(wait),
        None => refusal,
    }
}

/// What came of a request before it reached its resource.
struct Admitted {
    /// Calls of this kind that its principal may still make.
    left: Option<u32>,
    version: String,
    resource: Resource,
}

impl State {
    fn answer(&mut self, request: &Request, fault: Option<&FaultKind>) -> Response {
        let now = Instant::now();
        self.end_operations(now);
        *self.counts.entry(request.method.clone()).or_default() += 1;
        let admitted = match self.admit(request, now) {
            Ok(admitted) => admitted,
            Err(refusal) => return refusal.response(),
        };
        let answer = match fault {
            Some(FaultKind::Refuse {
                status,
                code,
                retry_after,
            }) => Err(scheduled(*status, code, *retry_after)),
            _ => self.dispatch(&admitted, request, fault, now),
        };
        let answer = answer.unwrap_or_else(|refusal| refusal.response());
        let id = format!("request-{}", self.counts.values().sum::<u64>());
        let answer = answer.with("x-ms-request-id", id);
        let kind = if request.reads() { "reads" } else { "writes" };
        match admitted.left {
            Some(left) => answer.with(
                &format!("x-ms-ratelimit-remaining-subscription-{kind}"),
                left,
            ),
            None => answer,
        }
    }

    fn admit(&mut self, request: &Request, now: Instant) -> Result<Admitted, Refusal> {
        let principal = self.tokens.principal(request, now)?;
        let version = api_version(request)?;
        let resource = resource(&request.path, &self.config)
            .ok_or_else(|| Refusal::not_found(&request.path))?;
        self.check_right(&principal, &resource, request)?;
        let left = self.pay(&principal, request, now)?;
        Ok(Admitted {
            left,
            version,
            resource,
        })
    }

    fn dispatch(
        &mut self,
        admitted: &Admitted,
        request: &Request,
        fault: Option<&FaultKind>,
        now: Instant,
    ) -> Result<Response, Refusal> {
        let version = &admitted.version;
        match (request.method.as_str(), &admitted.resource) {
            ("GET", resource) => self.read(resource, request, version, now),
            ("PUT", Resource::Nic(name)) => self.write_nic(name, request, version, fault, now),
            (method, _) => Err(Refusal::new(
                405,
                "MethodNotAllowed",
                format!("{method} is not supported for {}.", request.path),
            )),
        }
    }

    /// <https://learn.microsoft.com/azure/role-based-access-control/resource-provider-operations>
    fn check_right(
        &self,
        principal: &str,
        resource: &Resource,
        request: &Request,
    ) -> Result<(), Refusal> {
        let verb = if request.reads() { "read" } else { "write" };
        let kind = match resource {
            Resource::Nic(_) | Resource::Nics => "Microsoft.Network/networkInterfaces",
            Resource::Machine(_) => "Microsoft.Compute/virtualMachines",
            Resource::Network(_) => "Microsoft.Network/virtualNetworks",
            Resource::Usages(_) => "Microsoft.Network/virtualNetworks/usages",
            Resource::Subnet(..) => "Microsoft.Network/virtualNetworks/subnets",
            Resource::Operation(_) => "Microsoft.Network/locations/operations",
            Resource::OperationResult(_) => "Microsoft.Network/locations/operationResults",
        };
        let action = format!("{kind}/{verb}");
        if !self.denied.contains(&action) {
            return Ok(());
        }
        let path = &request.path;
        Err(Refusal::new(
            403,
            "AuthorizationFailed",
            format!(
                "The client '{principal}' does not have authorization to perform action \
                 '{action}' over scope '{path}' or the scope is invalid."
            ),
        ))
    }

    fn pay(
        &mut self,
        principal: &str,
        request: &Request,
        now: Instant,
    ) -> Result<Option<u32>, Refusal> {
        let Some(buckets) = self.config.buckets else {
            return Ok(None);
        };
        let (own, kind, network, network_kind) = match request.reads() {
            true => (
                buckets.reads,
                "reads",
                buckets.network_reads,
                "network reads",
            ),
            false => (
                buckets.writes,
                "writes",
                buckets.network_writes,
                "network writes",
            ),
        };
        let throttled = |wait| {
            let message = "The request was throttled.";
            Refusal::new(429, "TooManyRequests", message).after(wait)
        };
        let subscription = self.config.subscription.clone();
        let left = self
            .levels
            .take(principal, kind, own, now)
            .map_err(throttled)?;
        let shared = self.levels.take(&subscription, network_kind, network, now);
        shared.map_err(throttled)?;
        Ok(Some(left))
    }
}

/// <https://learn.microsoft.com/rest/api/azure/#request-uri>
fn api_version(request: &Request) -> Result<String, Refusal> {
    let Some(version) = request.parameter("api-version") else {
        let message = "The api-version query parameter (?api-version=) is required.";
        return Err(Refusal::new(400, "MissingApiVersionParameter", message));
    };
    let date = version.get(..10).unwrap_or_default();
    let digits = date.split('-').map(|part| {
        let all = part.bytes().all(|byte| byte.is_ascii_digit());
        if all { part.len() } else { 0 }
    });
    if !digits.eq([4, 2, 2]) || version < &FIRST_VERSION[..10] {
        let message = format!("The api-version '{version}' is invalid.");
        return Err(Refusal::new(400, "InvalidApiVersionParameter", message));
    }
    Ok(version.to_owned())
}
