//! What an operator has done to the buffer: by the running gateway, which is asked through its control socket, or at
//! once where none runs.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use tidegate_buffer::inspect::{InspectError, Inspector, StoredRecord};
use tidegate_buffer::{Consumers, NewRecord, Priority, Spool, Stamp};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::info;

use crate::control::{Answer, Request};
use crate::gateway::Gateway;

/// How long the disk may take for one entry of the quarantine.
const RECEIPT_TIMEOUT: Duration = Duration::from_secs(30);

/// Does what the control socket asks for.
pub(crate) async fn handle(gateway: Rc<Gateway>, dir: PathBuf, request: Request) -> Answer {
    let done = match request {
        Request::Purge { uplink, priority } => purge(&gateway.spool, &uplink, priority.as_deref()),
        Request::Drop { ids } => forget(&gateway.spool, &ids),
        Request::Replay { ids } => replay(&gateway, &dir, &ids).await,
        Request::Tap { .. } | Request::Trace { .. } | Request::Reload | Request::Status => {
            Err("this changes nothing of the buffer".to_owned())
        }
    };
    done.map_or_else(Answer::Failed, Answer::Done)
}

/// Gives up what waits for an uplink.
pub(crate) fn purge(spool: &Spool, uplink: &str, priority: Option<&str>) -> Result<u64, String> {
    let consumer = spool.consumer(uplink).ok_or_else(|| format!("the buffer knows no uplink `{uplink}`"))?;
    let priority = priority.map(parse_priority).transpose()?;
    let records = spool.purge(consumer, priority);
    info!(uplink, records, "purged, as the operator asked");
    Ok(records)
}

fn parse_priority(name: &str) -> Result<Priority, String> {
    match name {
        "high" => Ok(Priority::High),
        "normal" => Ok(Priority::Normal),
        "low" => Ok(Priority::Low),
        _ => Err(format!("`{name}` is no priority: high, normal or low")),
    }
}

/// Forgets entries of the quarantine.
pub(crate) fn forget(spool: &Spool, ids: &[i64]) -> Result<u64, String> {
    spool.drop_quarantined(ids);
    info!(entries = ids.len(), "quarantined events dropped, as the operator asked");
    Ok(ids.len() as u64)
}

/// Appends what was set aside once more; an entry is forgotten when its records are durable, or with their clouds.
async fn replay(gateway: &Gateway, dir: &Path, ids: &[i64]) -> Result<u64, String> {
    let mut replayed = 0;
    for id in ids.iter().copied() {
        let dir = dir.to_owned();
        let read = spawn_blocking(move || read(&dir, id)).await.map_err(|error| error.to_string())?;
        let stored = read.map_err(|error| error.to_string())?;
        let is_for_somebody = stored.iter().any(|record| !record.consumers.is_empty());
        let records = again(&gateway.spool, stored);
        if records.is_empty() && is_for_somebody {
            return Err(format!("entry {id}: none of its uplinks is configured; it stays in quarantine"));
        }
        replayed += records.len() as u64;
        let receipt = gateway.pipeline.borrow_mut().submit(records);
        match timeout(RECEIPT_TIMEOUT, receipt).await {
            Ok(Ok(())) => gateway.spool.drop_quarantined(&[id]),
            _ => return Err(format!("entry {id}: the disk does not take it now; it stays in quarantine")),
        }
    }
    info!(entries = ids.len(), records = replayed, "quarantined events replayed, as the operator asked");
    Ok(replayed)
}

/// The records of an entry.
pub(crate) fn read(dir: &Path, id: i64) -> Result<Vec<StoredRecord>, InspectError> {
    Inspector::open(dir)?.quarantined_records(id)
}

/// The records as new ones, for those of their consumers that are still served. Their ids are new, and they do not
/// expire: the operator wants them sent.
pub(crate) fn again(spool: &Spool, records: Vec<StoredRecord>) -> Vec<NewRecord> {
    let renewed = records.into_iter().map(|record| {
        let mut consumers = Consumers::EMPTY;
        let known = record.consumers.iter().filter_map(|name| spool.served(name));
        known.for_each(|consumer| consumers.insert(consumer));
        NewRecord {
            seq: 0,
            consumers,
            priority: record.priority,
            received: Stamp { wall_ms: record.received.wall_ms, ..Stamp::now() },
            expires_after_ms: None,
            topic: record.topic,
            meta: record.meta,
            payload: record.payload,
        }
    });
    renewed.filter(|record| !record.consumers.is_empty()).collect()
}
