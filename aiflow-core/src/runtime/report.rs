//! Reports of executors: how do they get into the log?

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::settings::{Backoff, Settings};
use crate::bus::EventBus;
use crate::error::{ErrorKind, Retry};
use crate::event::NewEvent;
use crate::executor::{Ending, Report, ReportKind};

/// Publishes reports in the order in which they come, as many at once as wait, until every reporter is gone or `closing` says so; what
/// waits then is still published. `note` sees each of them.
pub(super) async fn publish_reports(
    bus: Arc<dyn EventBus>,
    mut reports: mpsc::Receiver<Report>,
    mut closing: watch::Receiver<bool>,
    settings: Settings,
    mut note: impl FnMut(&Report),
) {
    let mut waiting = Vec::new();
    loop {
        let n = tokio::select! {
            biased;
            n = reports.recv_many(&mut waiting, settings.batch_events_max.max(1)) => n,
            // From now on reporters are refused; the queue is emptied and then ends.
            _ = closing.wait_for(|closing| *closing), if !reports.is_closed() => {
                reports.close();
                continue;
            }
        };
        if n == 0 {
            return;
        }
        waiting.iter().for_each(&mut note);
        let events: Vec<NewEvent> = waiting.iter().cloned().map(Report::into_event).collect();
        match publish(&*bus, events, &settings).await {
            Ok(()) => {}
            Err(ErrorKind::Closed) => return,
            // One of them is refused for good: find it, so that the others get through.
            Err(_) => {
                for report in &waiting {
                    publish_alone(&*bus, report.clone(), &settings).await;
                }
            }
        }
        waiting.clear();
    }
}

/// Publishes one report; if the log refuses it for good, that it was refused.
pub(super) async fn publish_alone(bus: &dyn EventBus, report: Report, settings: &Settings) {
    let attempt = report.attempt;
    let at = report.at;
    match publish(bus, vec![report.clone().into_event()], settings).await {
        Ok(()) | Err(ErrorKind::Closed) => {}
        Err(ErrorKind::AlreadyExists) => {
            tracing::debug!(%attempt, "a second, different ending of an attempt was dropped")
        }
        Err(kind) => {
            tracing::error!(%attempt, kind = kind.as_str(), "a report was refused; the attempt counts as failed");
            let message = "its report was refused by the log: the output may be too large".to_owned();
            let ending = Ending::refused(message);
            let failed = Report { attempt, at, kind: ReportKind::Ended(ending) };
            if matches!(report.kind, ReportKind::Ended(_))
                && publish(bus, vec![failed.into_event()], settings).await.is_err()
            {
                tracing::error!(%attempt, "the ending of an attempt could not be written to the log");
            }
        }
    }
}

/// Publishes until it is done or refused for good. Event ids make the repetition harmless.
pub(super) async fn publish(bus: &dyn EventBus, events: Vec<NewEvent>, settings: &Settings) -> Result<(), ErrorKind> {
    let mut backoff = Backoff::new(settings.backoff_max);
    loop {
        match bus.publish(events.clone()).await {
            Ok(_) => return Ok(()),
            Err(error) if error.retry() == Retry::Never => return Err(error.kind()),
            Err(error) => {
                tracing::warn!(%error, "publish failed; trying again");
                backoff.pause().await;
            }
        }
    }
}
