//! A fake without sockets, so that a test's clock can stand still.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use veni_arm::{Arm, Config, NodeConfig, Request};

use super::client::{Served, VERSION};

/// Short against all times of a test.
pub(crate) const MOMENT: Duration = Duration::from_millis(1);

/// A fake with one machine `node`, and a token.
pub(crate) struct InProcess {
    arm: Arm,
    token: String,
}

impl InProcess {
    pub(crate) async fn new(config: Config) -> Self {
        let arm = Arm::new(config);
        let node = NodeConfig::new("node", "nodes-a");
        arm.add_node(node).expect("there is room");
        let mut made = Self {
            arm,
            token: String::new(),
        };
        let given = made.metadata("/metadata/identity/oauth2/token").await;
        let token = given["access_token"].as_str();
        made.token = format!("Bearer {}", token.expect("a token"));
        made
    }

    pub(crate) async fn metadata(&self, path: &str) -> Value {
        let headers = BTreeMap::from([("metadata".to_owned(), "true".to_owned())]);
        let request = Request {
            method: "GET".to_owned(),
            path: path.to_owned(),
            query: "api-version=2021-02-01".to_owned(),
            headers,
            ..Request::default()
        };
        let answer = self.arm.handle_metadata("node", &request).await;
        read(&answer.expect("an answer").body)
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        self.ask("GET", path, Vec::new()).await
    }

    pub(crate) async fn put(&self, nic: &Value) -> Value {
        let body = nic.to_string().into_bytes();
        self.ask("PUT", &Served::nic(), body).await
    }

    async fn ask(&self, method: &str, path: &str, body: Vec<u8>) -> Value {
        let request = Request {
            method: method.to_owned(),
            path: path.to_owned(),
            query: format!("api-version={VERSION}"),
            headers: BTreeMap::from([("authorization".to_owned(), self.token.clone())]),
            body,
            ..Request::default()
        };
        let answer = self.arm.handle(&request).await.expect("an answer");
        assert_eq!(answer.status, 200, "{answer:?}");
        read(&answer.body)
    }
}

fn read(body: &[u8]) -> Value {
    serde_json::from_slice(body).expect("JSON")
}
