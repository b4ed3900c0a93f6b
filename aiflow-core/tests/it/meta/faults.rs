//! Lost replies: what takes effect once although nobody knows whether it did?

use std::sync::Arc;

use aiflow_core::client::AiFlow;
use aiflow_core::meta::{Artifact, Dataset, Model, ModelStage, NewDatasetVersion, NewMetric, NewModelVersion, Subject};
use aiflow_core::{ErrorKind, Result};
use aiflow_testkit::fault::{FaultPlan, FaultyBus, FaultyStore};

use super::super::client::memory;
use super::{log_of, told};

/// A handle whose store does the work and loses half of the replies.
fn forgetful(seed: u64) -> AiFlow {
    let (memory, plan) = (memory(), FaultPlan::seeded(seed).reply_lost(50));
    let (store, bus) = (Arc::<aiflow_core::memory::MemoryStore>::clone(&memory), memory);
    let flow = AiFlow::new(Arc::new(FaultyStore::new(store, plan)), Arc::new(FaultyBus::new(bus, plan)));
    flow.unwrap().project("wine").unwrap()
}

/// Whether it is known to have taken effect.
fn is_known<T>(answer: Result<T>) -> bool {
    match answer {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
            false
        }
    }
}

#[tokio::test]
async fn what_can_be_decided_anew_takes_effect_once() {
    for seed in 0..40 {
        let flow = forgetful(seed);
        let (models, datasets) = (flow.models(), flow.datasets());
        models.register(Model::new("wine").unwrap()).await.unwrap();
        for key in ["a", "b"] {
            let new = NewModelVersion::new("file:///m").idempotency_key(key).metric("auc", 0.5);
            models.register_version("wine", new).await.unwrap();
        }
        models.set_stage("wine", 1, ModelStage::Validated).await.unwrap();
        models.deploy("wine", 1).await.unwrap();
        models.deploy("wine", 2).await.unwrap();
        models.set_alias("wine", "prod", 1).await.unwrap();
        models.move_alias("wine", "prod", 1, 2).await.unwrap();
        models.delete_alias("wine", "prod").await.unwrap();
        models.delete_version("wine", 1).await.unwrap();
        models.restore_version("wine", 1).await.unwrap();
        let batch = flow.meta_batch().register(Dataset::new("samples", "file:///s").unwrap());
        let new = NewDatasetVersion::new("file:///s/1").idempotency_key("a");
        batch.register_dataset_version("samples", new).commit().await.unwrap();
        datasets.update("samples", |data| data.notes.tag("team", "ads")).await.unwrap();
        let expected = [
            "MODEL_REGISTERED registered",
            "MODEL_GENERATED registered",
            "METRIC_RECORDED ",
            "MODEL_GENERATED registered",
            "METRIC_RECORDED ",
            "MODEL_VALIDATED stage",
            "MODEL_DEPLOYED stage",
            "MODEL_DEPRECATED stage",
            "MODEL_DEPLOYED stage",
            "ALIAS_CHANGED ",
            "ALIAS_CHANGED ",
            "ALIAS_CHANGED ",
            "MODEL_DELETED stage",
            "MODEL_DEPRECATED stage",
            "DATASET_CHANGED registered",
            "DATASET_CHANGED registered",
            "DATASET_CHANGED updated",
        ];
        assert_eq!(told(&flow).await, expected, "seed {seed}");
        assert_eq!(models.stage_history("wine").await.unwrap().len(), 8);
    }
}

#[tokio::test]
async fn what_would_take_effect_twice_is_left_to_who_asks() {
    let (mut known, mut unknown) = (0, 0);
    for seed in 0..40 {
        let flow = forgetful(seed);
        flow.models().register(Model::new("wine").unwrap()).await.unwrap();
        flow.artifacts().register(Artifact::new("report", "file:///r").unwrap()).await.unwrap();
        let subject = Subject::Artifact("report".parse().unwrap());
        let answers = [
            is_known(flow.models().register_version("wine", NewModelVersion::new("file:///m")).await),
            is_known(flow.metrics().record(NewMetric::new("size", subject, 7.0).unwrap()).await),
            is_known(flow.artifacts().delete("report").await),
        ];
        known += answers.iter().filter(|answer| **answer).count();
        unknown += answers.iter().filter(|answer| !**answer).count();
        assert_eq!(log_of(&flow).await.len(), 5, "each took effect once");
    }
    assert!(known > 20 && unknown > 20, "{known} and {unknown}");
}
