//! Dead letters: what could not be applied, and how is it tried again or set aside?

use super::AiFlow;
use crate::error::{Error, Result};
use crate::event::{Cause, EVENT_FIELD_BYTES_MAX, NewEvent};
use crate::execution::KIND_DEAD_LETTER;
use crate::id::Offset;
use crate::records::{DeadLetter, DeadLetterState, body_of, dead_letter_key, dead_letter_put};
use crate::store::{Batch, MetaStoreExt as _, Query, RecordKey};
use crate::workflow::hash_of;

impl AiFlow {
    /// The newest events that could not be applied, or not by one rule, and that nobody has dealt with; newest first, in all projects: at most
    /// `limit`, and at most [`PAGE_ROWS_MAX`](crate::store::PAGE_ROWS_MAX).
    ///
    /// # Errors
    /// Those of the store.
    pub async fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>> {
        self.newest(Query::kind(KIND_DEAD_LETTER).states([DeadLetterState::Open.as_str()]), limit).await
    }

    /// Why the event at `offset`, for instance a request, could not be applied; `None` if it was, or waits.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn dead_letter(&self, offset: Offset) -> Result<Option<DeadLetter>> {
        let record = self.store().get_one(&dead_letter_key(offset)).await?;
        record.as_ref().map(body_of).transpose()
    }

    /// Publishes the event of a dead letter again, and returns its new offset. It names the old one as its cause. If only one rule could not
    /// take it, only that rule sees it again. Repeating the call changes nothing and returns the same offset.
    ///
    /// # Errors
    /// `NotFound`: there is no such dead letter, or its event was trimmed from the log. Others are those of the store and the log.
    pub async fn replay_dead_letter(&self, id: impl AsRef<str>) -> Result<Offset> {
        let (letter, revision) = self.dead_letter_of(id.as_ref()).await?;
        let event = self.event_at(letter.offset).await?.ok_or_else(|| {
            Error::not_found("replay", "the event is not in the log any more").with("offset", letter.offset)
        })?;
        let hops = event.hops();
        let mut again: NewEvent = event.body.clone();
        again.id = format!("replay:{}", letter.id);
        if again.id.len() > EVENT_FIELD_BYTES_MAX {
            again.id = format!("replay:{}", hash_of(&letter.id));
        }
        again.cause = Some(Cause { offset: letter.offset, hops });
        again.context.replay_of = Some(letter.offset);
        again.context.only_rule = letter.rule().map(str::to_owned);
        if letter.state == DeadLetterState::Replayed {
            let offsets = self.bus().publish(vec![again]).await?;
            return offsets.first().copied().ok_or_else(no_offset);
        }
        let letter = DeadLetter { state: DeadLetterState::Replayed, ..letter };
        let batch = Batch::at(self.clock().now())
            .expect(RecordKey::new(KIND_DEAD_LETTER, &letter.id), Some(revision))
            .put(dead_letter_put(letter.id.clone(), &letter))
            .event(again);
        let receipt = self.store().commit(batch).await?;
        receipt.offsets.first().copied().ok_or_else(no_offset)
    }

    /// Sets a dead letter aside: it is not listed any more. Its event stays in the log.
    ///
    /// # Errors
    /// `NotFound`: there is no such dead letter. Others are those of the store.
    pub async fn discard_dead_letter(&self, id: impl AsRef<str>) -> Result<()> {
        let (letter, revision) = self.dead_letter_of(id.as_ref()).await?;
        if letter.state != DeadLetterState::Open {
            return Ok(());
        }
        let letter = DeadLetter { state: DeadLetterState::Discarded, ..letter };
        let batch = Batch::at(self.clock().now())
            .expect(RecordKey::new(KIND_DEAD_LETTER, &letter.id), Some(revision))
            .put(dead_letter_put(letter.id.clone(), &letter));
        self.store().commit(batch).await.map(|_| ())
    }

    async fn dead_letter_of(&self, id: &str) -> Result<(DeadLetter, u64)> {
        let record = self.store().get_one(&RecordKey::new(KIND_DEAD_LETTER, id)).await?;
        let record =
            record.ok_or_else(|| Error::not_found("dead letter", "there is no such dead letter").with("id", id))?;
        Ok((body_of(&record)?, record.revision))
    }
}

fn no_offset() -> Error {
    Error::new(crate::ErrorKind::Internal, "publish", "the log gave no offset")
}
