//! A client of the fidelity hook's control endpoints under `/_veni/`: faults, counts,
//! knobs, the clock, the true state. `localstack/ec2/README.md` describes each.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::{Value, json};

use super::http::ask;
use crate::error::LabError;

/// The client. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Control {
    address: SocketAddr,
}

/// Which addresses of a subnet the server takes out of use, as other users of the subnet
/// would.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fill {
    /// All free ones except this many.
    Leave(u32),
    /// One in each free block of 16.
    Fragment,
    /// Just these.
    Addresses(Vec<Ipv4Addr>),
    /// Gives back all that it took.
    Clear,
}

impl Control {
    /// A client of the server at an address, whoever has started it.
    pub fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// Which operations of EC2 the hook answers.
    ///
    /// # Errors
    /// `Silent` when the server does not answer, `Emulator` when it has no hook.
    pub async fn health(&self) -> Result<Value, LabError> {
        self.get("health").await
    }

    /// Adds a fault: a rule that says which calls, which of them, and what happens.
    /// Returns its number.
    ///
    /// # Errors
    /// `Silent` when the server does not answer, `Emulator` when it refuses the rule.
    pub async fn add_fault(&self, rule: &Value) -> Result<u64, LabError> {
        let told = self.post("faults", rule).await?;
        let number = told["id"].as_u64();
        number.ok_or_else(|| failed("add a fault", &format!("it answered {told}")))
    }

    /// All faults, with how many calls each has seen and spoiled.
    ///
    /// # Errors
    /// `Silent` when the server does not answer.
    pub async fn faults(&self) -> Result<Vec<Value>, LabError> {
        let mut told = self.get("faults").await?;
        match told["faults"].take() {
            Value::Array(faults) => Ok(faults),
            other => Err(failed("tell its faults", &format!("it answered {other}"))),
        }
    }

    /// Removes one fault. It is no error if the fault is gone already.
    ///
    /// # Errors
    /// `Silent` when the server does not answer.
    pub async fn remove_fault(&self, number: u64) -> Result<(), LabError> {
        let path = format!("faults/{number}");
        self.ask("DELETE", &path, None).await.map(drop)
    }

    /// Removes all faults.
    ///
    /// # Errors
    /// `Silent` when the server does not answer.
    pub async fn remove_faults(&self) -> Result<(), LabError> {
        self.ask("DELETE", "faults", None).await.map(drop)
    }

    /// Calls that reached the server, by operation, family, outcome and access
    /// key; of one access key only when it is given.
    ///
    /// # Errors
    /// `Silent` when the server does not answer.
    pub async fn calls(&self, access_key: Option<&str>) -> Result<Value, LabError> {
        let path = match access_key {
            Some(key) => format!("calls?access_key={key}"),
            None => "calls".to_owned(),
        };
        self.get(&path).await
    }

    /// The last 5,000 calls of all access keys, oldest first, with their parameters.
    ///
    /// # Errors
    /// `Silent` when the server does not answer.
    pub async fn log(&self) -> Result<Vec<Value>, LabError> {
        let mut told = self.get("calls?log=1").await?;
        match told["log"].take() {
            Value::Array(calls) => Ok(calls),
            other => Err(failed("tell its log", &format!("it answered {other}"))),
        }
    }

    /// Forgets the calls so far.
    ///
    /// # Errors
    /// `Silent` when the server does not answer.
    pub async fn forget_calls(&self) -> Result<(), LabError> {
        self.ask("DELETE", "calls", None).await.map(drop)
    }

    /// All knobs.
    ///
    /// # Errors
    /// `Silent` when the server does not answer.
    pub async fn knobs(&self) -> Result<Value, LabError> {
        self.get("knobs").await
    }

    /// All knobs as they are for the interfaces of one VPC.
    ///
    /// # Errors
    /// `Silent` when the server does not answer.
    pub async fn knobs_of(&self, vpc: &str) -> Result<Value, LabError> {
        self.get(&format!("knobs?vpc={vpc}")).await
    }

    /// Sets the knobs of an object, all of them or none. Returns all knobs.
    ///
    /// # Errors
    /// `Silent` when the server does not answer, `Emulator` when it refuses a value.
    pub async fn turn_knobs(&self, values: &Value) -> Result<Value, LabError> {
        self.post("knobs", values).await
    }

    /// Sets knobs for the interfaces of one VPC alone, all of them or none. Returns all
    /// knobs as they are there.
    ///
    /// # Errors
    /// `Silent` when the server does not answer, `Emulator` when it refuses a value, or a
    /// knob that is one for all VPCs.
    pub async fn turn_knobs_of(&self, vpc: &str, values: &Value) -> Result<Value, LabError> {
        self.post(&format!("knobs?vpc={vpc}"), values).await
    }

    /// Moves the hook's clock forward: lags, attach times and token buckets run on it.
    ///
    /// # Errors
    /// `Silent` when the server does not answer.
    pub async fn advance_clock(&self, by: Duration) -> Result<(), LabError> {
        let wanted = json!({"advance_seconds": by.as_secs_f64()});
        self.post("clock", &wanted).await.map(drop)
    }

    /// Freezes the hook's clock, so that it moves only when it is advanced, or lets it run.
    ///
    /// # Errors
    /// `Silent` when the server does not answer.
    pub async fn freeze_clock(&self, frozen: bool) -> Result<(), LabError> {
        self.post("clock", &json!({"frozen": frozen}))
            .await
            .map(drop)
    }

    /// Resets faults, counts and knobs and lets the clock run. EC2's own state stays.
    ///
    /// # Errors
    /// `Silent` when the server does not answer.
    pub async fn reset(&self) -> Result<(), LabError> {
        self.post("reset", &json!({})).await.map(drop)
    }

    /// The true state, which a lagging Describe may not show yet: interfaces, instances and
    /// subnets of each region.
    ///
    /// # Errors
    /// `Silent` when the server does not answer.
    pub async fn state(&self) -> Result<Value, LabError> {
        self.get("state").await
    }

    /// The true state of one VPC, with its `generation`.
    ///
    /// # Errors
    /// `Silent` when the server does not answer.
    pub async fn state_of(&self, vpc: &str) -> Result<Value, LabError> {
        self.get(&format!("state?vpc={vpc}")).await
    }

    /// Says that the follower of a VPC has ended: no answer waits for it any more.
    ///
    /// # Errors
    /// `Silent` when the server does not answer.
    pub async fn unfollow(&self, vpc: &str) -> Result<(), LabError> {
        let path = format!("followers/{vpc}");
        self.ask("DELETE", &path, None).await.map(drop)
    }

    /// Follows a VPC. Says that the caller has acted on a generation (0: on none yet), and
    /// waits up to `wait` for another one. From then on the server holds its answers to
    /// changes in that VPC until the caller has acted on them.
    ///
    /// # Errors
    /// `Silent` when the server does not answer.
    pub async fn follow(&self, vpc: &str, known: u64, wait: Duration) -> Result<Value, LabError> {
        let wait = wait.as_secs_f64();
        let path = format!("state?vpc={vpc}&after={known}&wait={wait}&follow=1");
        self.get(&path).await
    }

    /// Takes addresses of a subnet out of use, or gives them back. Returns the
    /// subnet's state.
    ///
    /// # Errors
    /// `Silent` when the server does not answer, `Emulator` when it knows no such subnet.
    pub async fn fill(&self, subnet: &str, with: &Fill) -> Result<Value, LabError> {
        let mut wanted = json!({"subnet": subnet});
        match with {
            Fill::Leave(count) => wanted["leave"] = json!(count),
            Fill::Fragment => wanted["fragment"] = json!(true),
            Fill::Addresses(addresses) => wanted["addresses"] = json!(addresses),
            Fill::Clear => wanted["clear"] = json!(true),
        }
        self.post("fill", &wanted).await
    }

    async fn get(&self, path: &str) -> Result<Value, LabError> {
        self.ask("GET", path, None).await
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Value, LabError> {
        self.ask("POST", path, Some(body)).await
    }

    async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, LabError> {
        let path = format!("/_veni/{path}");
        let answer = ask(self.address, method, &path, body).await;
        let (status, told) = answer.map_err(|error| LabError::Silent {
            operation: format!("{method} {path}"),
            reason: error.to_string(),
        })?;
        if status == 200 {
            return Ok(told);
        }
        let problem = told["problem"].as_str().map(str::to_owned);
        let reason = problem.unwrap_or_else(|| format!("status {status}: {told}"));
        Err(failed(&format!("answer {method} {path}"), &reason))
    }
}

fn failed(operation: &str, reason: &str) -> LabError {
    LabError::Emulator {
        operation: operation.to_owned(),
        reason: reason.to_owned(),
    }
}
