//! Looks whether the first of several brokers answers, while another is used.

use tidegate_config::Broker;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::dial::Dialer;
use super::endpoints::{Endpoints, Step};

/// The looks of one connection; one at a time.
pub(crate) struct Lookout {
    looks: JoinSet<bool>,
}

impl Lookout {
    pub(crate) fn new() -> Self {
        Lookout { looks: JoinSet::new() }
    }

    /// Begins a look if it is time for one; returns when to call again. `None`: the first broker is to be used again.
    pub(crate) fn poll(
        &mut self,
        endpoints: &Endpoints,
        dialer: &Dialer,
        broker: &Broker,
        now_ms: u64,
    ) -> Option<u64> {
        match endpoints.poll(now_ms) {
            Step::Return => None,
            Step::Look if self.looks.is_empty() => {
                let (broker, dialer) = (broker.clone(), dialer.clone());
                self.looks.spawn_local(async move {
                    let dialled = dialer.dial(&broker, &broker.url);
                    matches!(timeout(broker.connect_timeout, dialled).await, Ok(Ok(_)))
                });
                Some(u64::MAX)
            }
            // It is told of by the end of the look.
            Step::Look => Some(u64::MAX),
            Step::Stay => Some(endpoints.deadline_ms().unwrap_or(u64::MAX)),
        }
    }

    /// Waits until a look has ended: whether the broker answered. With none begun it waits for ever.
    pub(crate) async fn ended(&mut self) -> bool {
        match self.looks.join_next().await {
            Some(looked) => looked.unwrap_or(false),
            None => std::future::pending().await,
        }
    }
}
