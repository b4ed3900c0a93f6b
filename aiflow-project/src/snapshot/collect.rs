//! Collection: which snapshots does nothing refer to any more?

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use aiflow_core::client::AiFlow;
use aiflow_core::execution::KIND_WORKFLOW_VERSION;
use aiflow_core::id::{ProjectName, WorkflowName};
use aiflow_core::meta::Listing;
use aiflow_core::records::{WorkflowVersion, body_of};
use aiflow_core::store::Query;
use aiflow_core::workflow::Workflow;
use aiflow_core::{Error, ErrorKind, Result};
use futures_util::TryStreamExt as _;
use object_store::path::Path as Key;
use object_store::{ObjectMeta, ObjectStore as _, ObjectStoreExt as _};

use super::cache::{lock, remove};
use super::manifest::Manifest;
use super::{PROJECT_MEMBER, SnapshotId, Snapshots, broken};

/// What a collection removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Snapshots from the object store.
    pub snapshots: usize,
    /// Files from the object store.
    pub files: usize,
    /// Directories of this host.
    pub directories: usize,
}

impl Snapshots {
    /// Removes the snapshots of a project that nothing refers to: neither the version in use of a workflow, nor a newer one that waits for a
    /// scheduler, nor an execution whose records are still there, of a workflow that may be deleted. Those younger than `age` stay, for they may be
    /// about to be submitted: an hour is plenty.
    ///
    /// # Errors
    /// Those of the store, and `Unavailable`: the object store or the disk refused.
    pub async fn collect(&self, aiflow: &AiFlow, project: &ProjectName, age: Duration) -> Result<Collected> {
        let aiflow = aiflow.project(project.as_str())?;
        let now = aiflow.clock().now().as_millis();
        let is_old = |meta: &ObjectMeta| {
            let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
            now.saturating_sub(meta.last_modified.timestamp_millis()) >= age_ms
        };
        let lists = self.list(&format!("{project}/snapshots")).await?;
        let used = referenced(&aiflow).await?;
        let mut collected = Collected::default();
        let mut kept = BTreeSet::new();
        for meta in &lists {
            let id = meta.location.filename().and_then(|name| name.strip_suffix(".json")).unwrap_or_default();
            let Ok(id) = SnapshotId::parse(id) else { continue };
            if used.contains(&id) || !is_old(meta) {
                let list = self.store.get(&meta.location).await.map_err(failed)?.bytes().await.map_err(failed)?;
                kept.extend(Manifest::read(&id, &list)?.files.into_iter().map(|file| file.sha256));
            } else {
                self.store.delete(&meta.location).await.map_err(failed)?;
                collected.snapshots = collected.snapshots.saturating_add(1);
            }
        }
        for meta in self.list(&format!("{project}/files")).await? {
            let is_kept = meta.location.filename().is_some_and(|digest| kept.contains(digest));
            if !is_kept && is_old(&meta) {
                self.store.delete(&meta.location).await.map_err(failed)?;
                collected.files = collected.files.saturating_add(1);
            }
        }
        collected.directories = self.collect_directories(project, &used).await?;
        Ok(collected)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>> {
        self.store.list(Some(&Key::from(prefix))).try_collect().await.map_err(failed)
    }

    /// Removes what of this host nothing refers to.
    async fn collect_directories(&self, project: &ProjectName, used: &BTreeSet<SnapshotId>) -> Result<usize> {
        let mut n = 0_usize;
        let Ok(entries) = fs::read_dir(self.cache.join(project.as_str())) else { return Ok(0) };
        for entry in entries.flatten() {
            let Some(id) = entry.file_name().to_str().and_then(|name| SnapshotId::parse(name).ok()) else { continue };
            if used.contains(&id) {
                continue;
            }
            let lock = lock(self.beside(project, &id, "lock")).await?;
            // It goes as it came: as a whole.
            let part = self.beside(project, &id, "part");
            remove(&part)?;
            let moved = fs::rename(self.place(project, &id), &part);
            moved.map_err(|error| {
                Error::new(ErrorKind::Unavailable, "collect snapshots", "cannot remove").caused_by(error)
            })?;
            remove(&part)?;
            drop(lock);
            n = n.saturating_add(1);
        }
        Ok(n)
    }
}

fn failed(error: object_store::Error) -> Error {
    broken("collect snapshots", error)
}

/// The snapshots of versions that are used, or wait to be.
async fn referenced(aiflow: &AiFlow) -> Result<BTreeSet<SnapshotId>> {
    let mut used = BTreeSet::new();
    let mut workflows: BTreeMap<WorkflowName, Use> = BTreeMap::new();
    let mut query = Query::kind(KIND_WORKFLOW_VERSION).project(aiflow.project_name().as_str());
    loop {
        let page = aiflow.store().query(&query).await?;
        for record in &page.items {
            let WorkflowVersion { version, workflow, .. } = body_of(record)?;
            let of_workflow = match workflows.entry(workflow.name.clone()) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(Use::of(aiflow, &workflow.name).await?),
            };
            if of_workflow.is_of(version) {
                used.extend(snapshots_of(&workflow));
            }
        }
        if page.next.is_none() {
            return Ok(used);
        }
        query = query.after(page.next);
    }
}

/// Which versions of a workflow are used.
struct Use {
    /// This one and all newer ones: the version in use, and what was submitted and no scheduler has seen yet.
    from: u32,
    /// Those of executions.
    ran: BTreeSet<u32>,
}

impl Use {
    async fn of(aiflow: &AiFlow, workflow: &WorkflowName) -> Result<Self> {
        let from = match aiflow.workflow(workflow).await? {
            None => 0,
            Some(state) if state.deleted_at.is_some() => state.version.saturating_add(1),
            Some(state) => state.version,
        };
        let mut ran = BTreeSet::new();
        let mut listing = Listing::new();
        loop {
            let page = aiflow.executions_page(workflow.as_str(), &listing).await?;
            ran.extend(page.items.into_iter().map(|execution| execution.version));
            if page.next.is_none() {
                return Ok(Self { from, ran });
            }
            listing = listing.after(page.next);
        }
    }

    fn is_of(&self, version: u32) -> bool {
        version >= self.from || self.ran.contains(&version)
    }
}

fn snapshots_of(workflow: &Workflow) -> impl Iterator<Item = SnapshotId> {
    let named = workflow.jobs.iter().filter_map(|job| job.spec.get(PROJECT_MEMBER)?.get("snapshot")?.as_str());
    named.filter_map(|id| SnapshotId::parse(id).ok())
}
