//! The service's handle. It says what the service shows, and makes it lag and fail.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use hyper::http::request::Parts;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::connection;
use super::documents::Validity;
use super::exchange::{self, Answer, Situation};
use super::timeline::Timeline;
use super::tokens::Tokens;
use super::view::View;

/// What is fixed or set at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// A published view is shown this much later.
    pub lag: Duration,
    /// How long a role's credentials live. New ones are there after half of it.
    pub credential_life: Duration,
    /// Takes every caller for this instance. Without it, the caller's address tells which
    /// instance it is.
    pub pinned: Option<String>,
}

impl Default for Settings {
    /// No lag, credentials of six hours, instances known by their addresses.
    fn default() -> Self {
        Self {
            lag: Duration::ZERO,
            credential_life: Duration::from_secs(6 * 3600),
            pinned: None,
        }
    }
}

/// Instance metadata as a service. Clones are handles to the same one.
#[derive(Debug, Clone)]
pub struct Service(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    pinned: Option<String>,
    began: Instant,
    /// Unix time at that moment.
    began_at: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    timeline: Timeline,
    tokens: Tokens,
    lag: Duration,
    credential_life: Duration,
    unavailable: bool,
    delay: Duration,
    refuse_tokens: bool,
}

impl Service {
    /// A service that shows a view at once; it answers nobody until
    /// [`Service::serve`] runs.
    pub fn new(view: View, settings: Settings) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self(Arc::new(Shared {
            pinned: settings.pinned,
            began: Instant::now(),
            // A machine whose clock is before 1970 gets credentials of 1970, not a panic.
            began_at: now.unwrap_or_default(),
            state: Mutex::new(State {
                timeline: Timeline::new(view),
                tokens: Tokens::new(),
                lag: settings.lag,
                credential_life: settings.credential_life,
                unavailable: false,
                delay: Duration::ZERO,
                refuse_tokens: false,
            }),
        }))
    }

    /// Answers on a listener until told to stop; all connections are closed then.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        connection::serve(self, listener, stop).await;
    }

    /// Publishes a new view. The service shows it after the lag that is set now, and from
    /// then on shows none that was published before.
    pub fn publish(&self, view: View) {
        let mut state = self.state();
        let visible = Instant::now() + state.lag;
        state.timeline.publish(view, visible);
    }

    /// What is shown now.
    pub fn shown(&self) -> Arc<View> {
        self.state().timeline.at(Instant::now())
    }

    /// Sets the lag of views that are published from now on.
    pub fn set_lag(&self, lag: Duration) {
        self.state().lag = lag;
    }

    /// Sets the life of credentials that are issued from now on.
    pub fn set_credential_life(&self, life: Duration) {
        self.state().credential_life = life;
    }

    /// Sets whether the service answers every request with 503.
    pub fn set_unavailable(&self, unavailable: bool) {
        self.state().unavailable = unavailable;
    }

    /// Sets how long the service delays every answer.
    pub fn set_delay(&self, delay: Duration) {
        self.state().delay = delay;
    }

    /// Sets whether the service gives no tokens (403) and accepts none (401).
    pub fn set_refuse_tokens(&self, refuse: bool) {
        self.state().refuse_tokens = refuse;
    }

    /// Ends the life of all tokens at once.
    pub fn revoke_tokens(&self) {
        self.state().tokens = Tokens::new();
    }

    /// The answer to a request from an address.
    pub(super) async fn answer(&self, peer: IpAddr, request: &Parts) -> Answer {
        let delay = self.state().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let mut state = self.state();
        if state.unavailable {
            return Answer::unavailable();
        }
        let view = state.timeline.at(Instant::now());
        let instance = match &self.0.pinned {
            Some(id) => view.instances.get(id),
            None => view.instance_at(peer),
        };
        let Some(instance) = instance else {
            return Answer::unknown_peer();
        };
        let situation = Situation {
            view: &view,
            instance,
            over_ipv6: peer.to_canonical().is_ipv6(),
            tokens: (!state.refuse_tokens).then_some(&state.tokens),
            validity: self.validity(state.credential_life),
        };
        exchange::answer(&situation, request)
    }

    /// That of the credentials that are current now.
    fn validity(&self, life: Duration) -> Validity {
        let period = (life / 2).max(Duration::from_millis(1));
        let elapsed = self.0.began.elapsed();
        let age = Duration::from_nanos((elapsed.as_nanos() % period.as_nanos()) as u64);
        let issued = self.0.began_at + elapsed - age;
        Validity {
            issued: issued.as_secs(),
            expires: (issued + life).as_secs(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A poisoned lock does no harm: every change of the state is one assignment.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
