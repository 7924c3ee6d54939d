//! What the operator asks of the running gateway, and who answers it.

use std::path::PathBuf;
use std::rc::Rc;

use tidegate_rules::TopicFilter;

use crate::control::{Answer, Reply, Request};
use crate::gateway::Gateway;
use crate::maintenance;

/// Does what the control socket asks for.
pub(crate) async fn handle(gateway: Rc<Gateway>, dir: PathBuf, request: Request) -> Reply {
    match request {
        Request::Tap { filter } => TopicFilter::parse(&filter)
            .map_err(|error| error.to_string())
            .and_then(|filter| gateway.pipeline.borrow_mut().tap(filter))
            .into(),
        Request::Trace { id } => {
            let found = gateway.pipeline.borrow().traces().find(&gateway.id, &id);
            Reply::Answer(found.map_or_else(Answer::Failed, Answer::Found))
        }
        request => Reply::Answer(maintenance::handle(gateway, dir, request).await),
    }
}
