//! Searches: among which records are the matches, and where does a page begin?
//!
//! What a search says of project, parent, name and state leads to one of the lists that every [`Query`] walks; the records of the list are looked
//! at in this process. In the order of age, a page ends the walk: the server knows by how much the clocks of those who put records differed.

use std::time::Duration;

use aiflow_core::Result;
use aiflow_core::search::{self, Search};
use aiflow_core::store::{Page, PageToken, Query, Record, RecordKey};
use aiflow_core::time::Timestamp;

use crate::query::RecordsQuestion;
use crate::row;
use crate::store::RedisStore;

/// How far before a page it is looked for where its walk may begin.
const LOOK_BACK: usize = 100;

impl RedisStore {
    pub(crate) async fn find(&self, search: &Search) -> Result<Page<Record>> {
        let mut query = search::narrowed(search);
        if search.order.first().is_none_or(|first| first.field != search::Field::Created) {
            return search::scan_in(self, search, query, None).await;
        }
        let lag = self.lag().await?;
        if let Some(token) = &search.after {
            let last = search::place_of(token, search)?;
            let key = RecordKey::new(search.kind.as_str(), last.id);
            query.after = self.before(key, Timestamp::from_millis(last.created), &query, lag).await?;
        }
        search::scan_in(self, search, query, Some(lag)).await
    }

    /// By how much a record was created, at most, before one that was first put earlier.
    async fn lag(&self) -> Result<Duration> {
        let calls = self.calls();
        let seen = calls.read("search", |pipe| {
            pipe.cmd("HMGET").arg(calls.keys().data()).arg("lag");
        });
        let mut answer = seen.await?.answers.list()?;
        answer.number().map(Duration::from_millis)
    }

    /// A place before everything that comes after `created`, near the record with this key; `None` if the walk is to begin at its end.
    async fn before(
        &self,
        key: RecordKey,
        created: Timestamp,
        query: &Query,
        lag: Duration,
    ) -> Result<Option<PageToken>> {
        let calls = self.calls();
        let seen = calls.read("search", |pipe| {
            pipe.cmd("HGET").arg(calls.keys().data()).arg(row::field(&key));
        });
        // It may have been deleted meanwhile.
        let Some(stored) = seen.await?.answers.bytes()? else { return Ok(None) };
        let Some(place) = row::place(&stored) else { return Ok(None) };
        let back = Query { descending: !query.descending, ..query.clone() };
        let question = RecordsQuestion::new(&back)?;
        let records = self.walk(&question, Some(place), LOOK_BACK).await?;
        let is_before = |record: &Record| match query.descending {
            true => record.created > created + lag,
            false => record.created + lag < created,
        };
        let place = records.into_iter().find(|(_, record)| is_before(record)).map(|(place, _)| place);
        Ok(place.map(PageToken))
    }
}
