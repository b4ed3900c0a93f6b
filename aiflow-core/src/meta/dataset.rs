//! Datasets: where does data lie, in which form, and which versions of it were there?

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::draft::{Draft, Tries};
use super::entity::{Content, EventTypes, Verb, news};
use super::notes::noted;
use super::problems::Problems;
use super::versions::{NewVersion, VersionContent, Versioned, owner_id};
use super::{KIND_DATASET, KIND_DATASET_VERSION, Notes, Registry, Schema, URI_BYTES_MAX, names};
use crate::error::{Error, Result};
use crate::id::{EntityName, Offset};
use crate::store::RecordKey;

/// Where the data of a catalogue dataset is found: a catalogue knows its form and place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalog {
    /// Name of the catalogue.
    pub name: String,
    /// What it is: `hive`, `glue`, `iceberg`, …
    #[serde(rename = "type", default, skip_serializing_if = "String::is_empty")]
    pub catalog_type: String,
    /// How to connect to it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub connection_uri: String,
    /// Database in the catalogue.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub database: String,
    /// Table in the database.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub table: String,
}

impl Catalog {
    /// A table in a catalogue.
    #[must_use]
    pub fn new(name: impl Into<String>, database: impl Into<String>, table: impl Into<String>) -> Self {
        Self { name: name.into(), database: database.into(), table: table.into(), ..Self::default() }
    }

    /// Sets what the catalogue is.
    #[must_use]
    pub fn catalog_type(mut self, catalog_type: impl Into<String>) -> Self {
        self.catalog_type = catalog_type.into();
        self
    }

    /// Sets how to connect to it.
    #[must_use]
    pub fn connection_uri(mut self, uri: impl Into<String>) -> Self {
        self.connection_uri = uri.into();
        self
    }

    fn check(&self, problems: &mut Problems) {
        if self.name.is_empty() || self.table.is_empty() {
            problems.add("a catalogue dataset needs the name of the catalogue and the table");
        }
        for (what, text) in [
            ("the name of the catalogue", &self.name),
            ("the type of the catalogue", &self.catalog_type),
            ("the database", &self.database),
            ("the table", &self.table),
        ] {
            problems.text(what, text, URI_BYTES_MAX);
        }
        problems.uri("the uri of the connection", &self.connection_uri);
    }
}

/// Data that jobs read and write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dataset {
    /// Name, unique among the datasets of the project.
    pub name: EntityName,
    /// Where it lies; empty if a catalogue says so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uri: String,
    /// Its form: `csv`, `parquet`, …; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub format: String,
    /// Its columns; may be empty.
    #[serde(default, skip_serializing_if = "Schema::is_empty")]
    pub schema: Schema,
    /// Where a catalogue finds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalog: Option<Catalog>,
    /// Description, tags and properties.
    #[serde(flatten)]
    pub notes: Notes,
}

impl Dataset {
    /// A dataset that lies at `uri`.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed.
    pub fn new(name: impl AsRef<str>, uri: impl Into<String>) -> Result<Self> {
        Ok(Self {
            name: EntityName::parse(name)?,
            uri: uri.into(),
            format: String::new(),
            schema: Schema::new(),
            catalog: None,
            notes: Notes::default(),
        })
    }

    /// A dataset that a catalogue knows.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed.
    pub fn in_catalog(name: impl AsRef<str>, catalog: Catalog) -> Result<Self> {
        Ok(Self { catalog: Some(catalog), ..Self::new(name, "")? })
    }

    /// Sets the format.
    #[must_use]
    pub fn format(mut self, format: impl Into<String>) -> Self {
        self.format = format.into();
        self
    }

    /// Sets the columns.
    #[must_use]
    pub fn schema(mut self, schema: Schema) -> Self {
        self.schema = schema;
        self
    }
}

noted!(Dataset);

impl Content for Dataset {
    const KIND: &'static str = KIND_DATASET;
    const EVENTS: EventTypes = EventTypes {
        registered: "DATASET_CHANGED",
        changed: "DATASET_CHANGED",
        removed: "DATASET_REMOVED",
        restored: "DATASET_RESTORED",
        purged: "DATASET_PURGED",
    };

    fn name(&self) -> &str {
        self.name.as_str()
    }

    fn notes(&self) -> &Notes {
        &self.notes
    }

    fn check(&self, problems: &mut Problems) {
        problems.text("the format", &self.format, URI_BYTES_MAX);
        self.schema.check(problems);
        match &self.catalog {
            Some(catalog) => {
                catalog.check(problems);
                problems.uri("the uri", &self.uri);
            }
            None => problems.some_uri(&self.uri),
        }
    }

    fn news(&self) -> Value {
        json!({"uri": self.uri, "format": self.format})
    }

    fn uri(&self) -> Option<&str> {
        Some(self.uri.as_str()).filter(|uri| !uri.is_empty())
    }
}

/// The datasets of a project and their versions: see [`Registry`]. Obtained from [`AiFlow::datasets`](crate::client::AiFlow::datasets) or the context of a job.
pub type Datasets = Registry<Dataset>;

impl Registry<Dataset> {
    /// Announces that the data behind a dataset changed, though what is registered did not. Returns the offset of the event.
    ///
    /// # Errors
    /// `NotFound`: there is none of this name. Others are those of the store.
    pub async fn changed(&self, name: impl AsRef<str>) -> Result<Offset> {
        let name = EntityName::parse(name)?;
        let mut tries = Tries::once("announce");
        loop {
            let mut draft = Draft::new(&self.flow);
            let dataset = names::existing::<Dataset>(&mut draft, &self.flow, name.as_str(), "announce").await?;
            let mut event = news(&self.flow, &dataset, Verb::Updated, &[]);
            event.value["change"] = "data".into();
            draft.produced(&dataset.key);
            draft.event(event);
            if let Some(receipt) = tries.commit(draft).await? {
                return Ok(receipt.offsets.first().copied().unwrap_or_default());
            }
        }
    }
}

/// One version of a dataset: its data at a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DatasetVersion {
    /// Dataset.
    pub dataset: EntityName,
    /// Number, from 1, without gaps, never used again.
    pub version: u32,
    /// Where this version lies.
    pub uri: String,
    /// What its content hashes to, or how its platform names it (a snapshot id); may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// Its columns; may be empty.
    #[serde(default, skip_serializing_if = "Schema::is_empty")]
    pub schema: Schema,
    /// Description, tags and properties.
    #[serde(flatten)]
    pub notes: Notes,
}

impl Content for DatasetVersion {
    const KIND: &'static str = KIND_DATASET_VERSION;
    const EVENTS: EventTypes = EventTypes {
        registered: "DATASET_CHANGED",
        changed: "DATASET_VERSION_CHANGED",
        removed: "DATASET_VERSION_REMOVED",
        restored: "DATASET_VERSION_RESTORED",
        purged: "DATASET_VERSION_PURGED",
    };

    fn name(&self) -> &str {
        self.dataset.as_str()
    }

    fn notes(&self) -> &Notes {
        &self.notes
    }

    fn check(&self, problems: &mut Problems) {
        problems.some_uri(&self.uri);
        problems.text("the digest", &self.digest, URI_BYTES_MAX);
        self.schema.check(problems);
    }

    fn news(&self) -> Value {
        json!({"uri": self.uri, "version": self.version})
    }

    fn parent(&self, key: &RecordKey) -> String {
        owner_id(key).to_owned()
    }

    fn uri(&self) -> Option<&str> {
        Some(&self.uri)
    }

    fn check_update(&self, after: &Self, operation: &'static str) -> Result<()> {
        if (&self.dataset, self.version) == (&after.dataset, after.version) {
            return Ok(());
        }
        Err(Error::invalid(operation, "the dataset and the number of a version do not change"))
    }
}

impl VersionContent for DatasetVersion {
    fn number(&self) -> u32 {
        self.version
    }
}

/// A dataset version to register.
#[derive(Debug, Clone, PartialEq)]
pub struct NewDatasetVersion {
    uri: String,
    digest: String,
    schema: Schema,
    notes: Notes,
    idempotency_key: Option<String>,
}

impl NewDatasetVersion {
    /// A version that lies at `uri`.
    #[must_use]
    pub fn new(uri: impl Into<String>) -> Self {
        let (digest, schema, notes) = Default::default();
        Self { uri: uri.into(), digest, schema, notes, idempotency_key: None }
    }

    /// Sets what its content hashes to.
    #[must_use]
    pub fn digest(mut self, digest: impl Into<String>) -> Self {
        self.digest = digest.into();
        self
    }

    /// Sets its columns.
    #[must_use]
    pub fn schema(mut self, schema: Schema) -> Self {
        self.schema = schema;
        self
    }

    /// Registers at most one version of the dataset under this key: asking again returns the first, whatever else is asked then.
    #[must_use]
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }
}

noted!(NewDatasetVersion);

impl NewVersion for NewDatasetVersion {
    type Version = DatasetVersion;

    fn version(&self, of: &EntityName, number: u32) -> DatasetVersion {
        DatasetVersion {
            dataset: of.clone(),
            version: number,
            uri: self.uri.clone(),
            digest: self.digest.clone(),
            schema: self.schema.clone(),
            notes: self.notes.clone(),
        }
    }

    fn key(&self) -> Option<&str> {
        self.idempotency_key.as_deref()
    }
}

impl Versioned for Dataset {
    type New = NewDatasetVersion;
    type Version = DatasetVersion;
}
