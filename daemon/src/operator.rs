//! What the operator asks of the running gateway, and who answers it.

use std::path::PathBuf;
use std::rc::Rc;

use tidegate_rules::TopicFilter;

use crate::control::{Answer, Reply, Request};
use crate::gateway::Gateway;
use crate::maintenance;
use crate::reload::Reloader;
use crate::status::Status;

/// Who answers.
pub(crate) struct Operator {
    gateway: Rc<Gateway>,
    status: Rc<Status>,
    reloader: Rc<Reloader>,
}

impl Operator {
    pub(crate) fn new(gateway: &Rc<Gateway>, status: &Rc<Status>, reloader: &Rc<Reloader>) -> Rc<Operator> {
        Rc::new(Operator {
            gateway: Rc::clone(gateway),
            status: Rc::clone(status),
            reloader: Rc::clone(reloader),
        })
    }
}

/// Does what the control socket asks for.
pub(crate) async fn handle(operator: Rc<Operator>, dir: PathBuf, request: Request) -> Reply {
    let gateway = &operator.gateway;
    match request {
        Request::Tap { filter } => TopicFilter::parse(&filter)
            .map_err(|error| error.to_string())
            .and_then(|filter| gateway.pipeline.borrow_mut().tap(filter))
            .into(),
        Request::Trace { id } => {
            let found = gateway.pipeline.borrow().traces().find(&gateway.id, &id);
            Reply::Answer(found.map_or_else(Answer::Failed, Answer::Found))
        }
        Request::Reload => found(operator.reloader.reload().await),
        Request::Status => found(Ok(operator.status.shown())),
        request => Reply::Answer(maintenance::handle(Rc::clone(gateway), dir, request).await),
    }
}

fn found(result: Result<impl serde::Serialize, String>) -> Reply {
    let value = result.and_then(|found| serde_json::to_value(found).map_err(|error| error.to_string()));
    Reply::Answer(value.map_or_else(Answer::Failed, Answer::Found))
}
