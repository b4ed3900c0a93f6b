//! Datasets of OpenLineage: under which name do other tools know what a job read or made?

use serde_json::{Value, json};

use super::{Dataset, FacetSchema, Facets};
use crate::error::Result;
use crate::meta::{
    Artifact, Catalog, DataType, Dataset as MetaDataset, DatasetVersion, KIND_ARTIFACT, KIND_DATASET,
    KIND_DATASET_VERSION, KIND_MODEL, KIND_MODEL_VERSION, Model, ModelVersion, Schema, Stored,
};
use crate::store::{Record, RecordKey};

/// The key of the dataset of which a record is a version, if it is one.
pub(super) fn owner(record: &Record) -> Option<RecordKey> {
    (record.key.kind == KIND_DATASET_VERSION).then(|| RecordKey::new(KIND_DATASET, record.parent.clone()))
}

/// What a record is to OpenLineage; `None` for what is no data: a metric, a project. `owner` is the dataset of a version.
pub(super) fn dataset_of(record: &Record, owner: Option<&Record>) -> Result<Option<Dataset>> {
    let known = match record.key.kind.as_str() {
        KIND_DATASET => of_dataset(record, &*Stored::<MetaDataset>::of(record)?, None),
        KIND_DATASET_VERSION => {
            let version: Stored<DatasetVersion> = Stored::of(record)?;
            let dataset: Option<Stored<MetaDataset>> = owner.map(Stored::of).transpose()?;
            match dataset {
                Some(dataset) => of_dataset(record, &dataset, Some(&version)),
                None => {
                    let mut known = named(record, &version.uri, None, KIND_DATASET, version.dataset.as_str());
                    describe(&mut known.facets, &version.schema, &version.uri);
                    FacetSchema::Version
                        .add(json!({ "datasetVersion": version.version.to_string() }), &mut known.facets);
                    known
                }
            }
        }
        KIND_MODEL => {
            let model: Stored<Model> = Stored::of(record)?;
            let mut known = of_project(record, KIND_MODEL, model.name.as_str());
            FacetSchema::DatasetType.add(json!({ "datasetType": "MODEL" }), &mut known.facets);
            known
        }
        KIND_MODEL_VERSION => {
            let version: Stored<ModelVersion> = Stored::of(record)?;
            let mut known = of_project(record, KIND_MODEL, version.model.as_str());
            let mut kind = json!({ "datasetType": "MODEL" });
            if !version.model_type.is_empty() {
                kind["subType"] = version.model_type.as_str().into();
            }
            FacetSchema::DatasetType.add(kind, &mut known.facets);
            FacetSchema::Version.add(json!({ "datasetVersion": version.version.to_string() }), &mut known.facets);
            describe(&mut known.facets, &Schema::new(), &version.uri);
            known
        }
        KIND_ARTIFACT => {
            let artifact: Stored<Artifact> = Stored::of(record)?;
            let mut known = named(record, &artifact.uri, None, KIND_ARTIFACT, artifact.name.as_str());
            describe(&mut known.facets, &Schema::new(), &artifact.uri);
            known
        }
        _ => return Ok(None),
    };
    Ok(Some(known))
}

/// A dataset, or one of its versions: both have the name of the dataset, so that all versions are one thing to other tools.
fn of_dataset(record: &Record, dataset: &MetaDataset, version: Option<&DatasetVersion>) -> Dataset {
    let mut known = named(record, &dataset.uri, dataset.catalog.as_ref(), KIND_DATASET, dataset.name.as_str());
    let (schema, uri) = match version {
        Some(version) if version.schema.is_empty() => (&dataset.schema, &version.uri),
        Some(version) => (&version.schema, &version.uri),
        None => (&dataset.schema, &dataset.uri),
    };
    describe(&mut known.facets, schema, uri);
    if let Some(version) = version {
        FacetSchema::Version.add(json!({ "datasetVersion": version.version.to_string() }), &mut known.facets);
    }
    known
}

fn named(record: &Record, uri: &str, catalog: Option<&Catalog>, kind: &str, name: &str) -> Dataset {
    let place = match catalog {
        Some(catalog) => Some(place_in_catalog(catalog)),
        None => place_of(uri),
    };
    match place {
        Some((namespace, name)) => Dataset { namespace, name, facets: Facets::new() },
        None => of_project(record, kind, name),
    }
}

fn of_project(record: &Record, kind: &str, name: &str) -> Dataset {
    let namespace = format!("aiflow://{}", record.project);
    Dataset { namespace, name: format!("{kind}/{name}"), facets: Facets::new() }
}

/// Namespace and name of what lies at a URI or path, as the naming convention of OpenLineage has it; `None` if it says nothing.
fn place_of(uri: &str) -> Option<(String, String)> {
    if uri.is_empty() {
        return None;
    }
    let Some((scheme, rest)) = scheme_of(uri) else {
        return Some(("file".to_owned(), uri.to_owned()));
    };
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    if scheme.eq_ignore_ascii_case("file") {
        // The authority of a file is the host, which is mostly not said.
        return Some(("file".to_owned(), rest.to_owned())).filter(|(_, path)| !path.is_empty());
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let namespace = format!("{scheme}://{authority}");
    Some((namespace, if path.is_empty() { "/".to_owned() } else { path.to_owned() }))
}

/// The scheme of a URI and what follows its colon; `None` for a path.
fn scheme_of(uri: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = uri.split_once(':')?;
    let is_scheme = scheme.len() > 1
        && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    is_scheme.then_some((scheme, rest))
}

fn place_in_catalog(catalog: &Catalog) -> (String, String) {
    let namespace = match catalog.connection_uri.as_str() {
        "" if catalog.catalog_type.is_empty() => format!("catalog://{}", catalog.name),
        "" => format!("{}://{}", catalog.catalog_type, catalog.name),
        uri => uri.to_owned(),
    };
    let parts = [catalog.database.as_str(), catalog.table.as_str()];
    (namespace, parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("."))
}

/// Columns and place.
fn describe(facets: &mut Facets, schema: &Schema, uri: &str) {
    if !schema.is_empty() {
        let fields = schema.0.iter().map(|column| json!({ "name": column.name, "type": type_of(&column.data_type) }));
        FacetSchema::Schema.add(json!({ "fields": fields.collect::<Vec<Value>>() }), facets);
    }
    // The specification wants a URI with a scheme; what cannot stand in one is left out.
    let is_uri = scheme_of(uri).is_some_and(|(_, rest)| !rest.is_empty())
        && uri
            .chars()
            .all(|c| c.is_ascii_graphic() && !matches!(c, '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}'));
    if is_uri {
        FacetSchema::DataSource.add(json!({ "name": uri, "uri": uri }), facets);
    }
}

fn type_of(data_type: &DataType) -> String {
    match serde_json::to_value(data_type) {
        Ok(Value::String(name)) => name,
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_somewhere_is_named_by_its_place() {
        for (uri, namespace, name) in [
            ("s3://wine/raw/batch-1.csv", "s3://wine", "raw/batch-1.csv"),
            ("gs://wine", "gs://wine", "/"),
            ("hdfs://node:8020/data", "hdfs://node:8020", "data"),
            ("file:///data/wine.csv", "file", "/data/wine.csv"),
            ("/data/wine.csv", "file", "/data/wine.csv"),
            ("models/wine.json", "file", "models/wine.json"),
            ("C:\\data", "file", "C:\\data"),
        ] {
            assert_eq!(place_of(uri), Some((namespace.to_owned(), name.to_owned())), "{uri}");
        }
        assert_eq!(place_of(""), None);
        assert_eq!(place_of("file://"), None);
        let table = Catalog::new("lake", "sales", "orders");
        assert_eq!(place_in_catalog(&table), ("catalog://lake".to_owned(), "sales.orders".to_owned()));
        let table = table.catalog_type("hive").connection_uri("thrift://meta:9083");
        assert_eq!(place_in_catalog(&table), ("thrift://meta:9083".to_owned(), "sales.orders".to_owned()));
    }
}
