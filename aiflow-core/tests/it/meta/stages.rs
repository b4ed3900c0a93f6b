//! Stages: what follows what, what is told of it, and what was when.

use aiflow_core::ErrorKind;
use aiflow_core::meta::{Model, ModelStage, NewModelVersion};
use serde_json::json;
use tokio::task::JoinSet;

use super::{aiflow, at, log_of, register, stages, timed, with_model};

#[tokio::test]
async fn a_stage_is_announced_once_and_by_its_own_type() {
    let flow = aiflow();
    with_model(&flow).await;
    register(&flow).await;
    let set = |stage| {
        let models = flow.models();
        async move { models.set_stage("wine", 1, stage).await }
    };
    for stage in [
        ModelStage::Generated,
        ModelStage::Validated,
        ModelStage::Validated,
        ModelStage::Deployed,
        ModelStage::Deployed,
        ModelStage::Deprecated,
        ModelStage::Deleted,
        ModelStage::Deleted,
    ] {
        assert_eq!(set(stage.clone()).await.unwrap().stage, stage);
    }
    let types: Vec<String> = stages(&flow).await.into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(types, ["MODEL_GENERATED", "MODEL_VALIDATED", "MODEL_DEPLOYED", "MODEL_DEPRECATED", "MODEL_DELETED"]);
    let event = log_of(&flow).await.pop().unwrap();
    assert_eq!((event.key.as_str(), event.namespace.as_str()), ("wine", "wine"));
    let value = json!({"version": 1, "uri": "file:///m", "stage": "DELETED", "id": "wine/wine/1", "change": "stage"});
    assert_eq!(event.value, value);
    let error = set(ModelStage::Deployed).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "deleted stays deleted");
    let error = flow.models().set_stage("wine", 9, ModelStage::Validated).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn deploying_hands_over_and_promoting_beside_another_does_not() {
    let flow = aiflow();
    with_model(&flow).await;
    let models = flow.models();
    for _ in 0..3 {
        register(&flow).await;
    }
    assert_eq!(models.deployed("wine").await.unwrap(), None);
    models.set_stage("wine", 1, ModelStage::Deployed).await.unwrap();
    let error = models.set_stage("wine", 2, ModelStage::Deployed).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("deployed=1"), "{error}");
    let deployed_at_once = NewModelVersion::new("x").stage(ModelStage::Deployed);
    let error = models.register_version("wine", deployed_at_once).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(models.delete("wine").await.unwrap_err().kind(), ErrorKind::Conflict);

    models.deploy("wine", 2).await.unwrap();
    models.deploy("wine", 2).await.unwrap();
    let deployed = models.deployed("wine").await.unwrap().unwrap();
    assert_eq!((deployed.version, deployed.stage.clone()), (2, ModelStage::Deployed));
    let old = models.version("wine", 1).await.unwrap().unwrap();
    assert_eq!(old.stage, ModelStage::Deprecated);
    let log = stages(&flow).await;
    let last: Vec<(&str, u64)> = log[3..].iter().map(|(kind, n)| (kind.as_str(), *n)).collect();
    assert_eq!(last, [("MODEL_DEPLOYED", 1), ("MODEL_DEPRECATED", 1), ("MODEL_DEPLOYED", 2)]);

    models.set_stage("wine", 2, ModelStage::Deprecated).await.unwrap();
    models.set_stage("wine", 3, ModelStage::Deployed).await.unwrap();
    let latest = models.latest("wine", ModelStage::Deprecated).await.unwrap().unwrap();
    assert_eq!(latest.version, 2);
    let latest = models.latest("wine", None).await.unwrap().unwrap();
    assert_eq!(latest.version, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_racing_promotions_one_wins_and_handovers_leave_one_deployed() {
    const VERSIONS: u32 = 12;
    let flow = aiflow();
    with_model(&flow).await;
    for _ in 0..VERSIONS {
        register(&flow).await;
    }
    let mut promotions = JoinSet::new();
    for version in 1..=VERSIONS {
        let models = flow.models();
        promotions.spawn(async move { models.set_stage("wine", version, ModelStage::Deployed).await });
    }
    let results = promotions.join_all().await;
    let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    assert!(lost.iter().all(|lost| { lost.as_ref().is_err_and(|error| error.kind() == ErrorKind::Conflict) }));

    let mut handovers = JoinSet::new();
    for version in 1..=VERSIONS {
        let models = flow.models();
        handovers.spawn(async move { models.deploy("wine", version).await.unwrap() });
    }
    handovers.join_all().await;
    let versions = flow.models().versions("wine").await.unwrap();
    let n_deployed = versions.iter().filter(|version| version.stage == ModelStage::Deployed).count();
    assert_eq!(n_deployed, 1);
    // Replayed, the events never show two versions deployed at a time, and end with the one that is.
    let mut deployed = None;
    for (kind, version) in stages(&flow).await {
        match kind.as_str() {
            "MODEL_DEPLOYED" => assert_eq!(deployed.replace(version), None),
            "MODEL_DEPRECATED" => assert_eq!(deployed.take(), Some(version)),
            _ => {}
        }
    }
    let now = flow.models().deployed("wine").await.unwrap().unwrap();
    assert_eq!(deployed, Some(u64::from(now.version)));
}

#[tokio::test]
async fn which_version_was_deployed_when_is_known() {
    let (flow, clock) = timed();
    let models = flow.models();
    with_model(&flow).await;
    for _ in 0..2 {
        register(&flow).await;
    }
    for (time, version) in [(100, 1), (200, 2), (300, 1)] {
        clock.set(at(time));
        models.deploy("wine", version).await.unwrap();
    }
    clock.set(at(400));
    models.set_stage("wine", 1, ModelStage::Deprecated).await.unwrap();
    // A clock that went back does not turn history round.
    clock.set(at(50));
    models.deploy("wine", 2).await.unwrap();
    let expected = [
        (99, None),
        (100, Some(1)),
        (199, Some(1)),
        (200, Some(2)),
        (299, Some(2)),
        (300, Some(1)),
        (399, Some(1)),
        (400, Some(2)),
        (999, Some(2)),
    ];
    for (time, version) in expected {
        assert_eq!(models.deployed_at("wine", at(time)).await.unwrap(), version, "at {time}");
    }
    assert_eq!(models.stage_at("wine", 1, at(250)).await.unwrap(), Some(ModelStage::Deprecated));
    assert_eq!(models.stage_at("wine", 1, at(-1)).await.unwrap(), None);
    let history = models.stage_history("wine").await.unwrap();
    let last = history.last().unwrap();
    assert_eq!(
        (last.version, last.to.clone(), last.from.clone()),
        (2, ModelStage::Deployed, Some(ModelStage::Deprecated))
    );
    assert!(history.is_sorted_by_key(|change| change.at));
}

#[tokio::test]
async fn a_model_has_stages_of_its_own() {
    let flow = aiflow();
    let models = flow.models();
    let canary = || ModelStage::parse("canary").unwrap();
    models.register(Model::new("wine").unwrap().stage("canary").unwrap()).await.unwrap();
    for _ in 0..2 {
        register(&flow).await;
        models.latest_version("wine").await.unwrap();
    }
    for version in [1, 2] {
        assert_eq!(models.set_stage("wine", version, canary()).await.unwrap().state, "canary");
    }
    assert_eq!(models.latest("wine", canary()).await.unwrap().unwrap().version, 2);
    let event = log_of(&flow).await.pop().unwrap();
    assert_eq!((event.event_type.as_str(), &event.value["stage"]), ("MODEL_STAGE_CHANGED", &json!("canary")));
    let error = models.set_stage("wine", 1, ModelStage::parse("shadow").unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("its own stages=canary"), "{error}");
    for bad in ["deployed", "canary"] {
        let error = models.update("wine", |model| model.stages.push(bad.parse().unwrap())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{bad}");
    }
}

#[tokio::test]
async fn a_deleted_version_comes_back_where_it_was() {
    let flow = aiflow();
    let models = flow.models();
    with_model(&flow).await;
    for _ in 0..2 {
        register(&flow).await;
    }
    models.set_stage("wine", 1, ModelStage::Validated).await.unwrap();
    let deleted = models.delete_version("wine", 1).await.unwrap();
    assert!(deleted.is_deleted() && deleted.uri == "file:///m", "its content stays");
    assert_eq!(models.versions("wine").await.unwrap().len(), 1);
    assert_eq!(models.restore_version("wine", 1).await.unwrap().stage, ModelStage::Validated);
    assert_eq!(models.restore_version("wine", 1).await.unwrap().stage, ModelStage::Validated);

    models.deploy("wine", 1).await.unwrap();
    models.delete_version("wine", 1).await.unwrap();
    assert_eq!(models.deployed("wine").await.unwrap(), None);
    models.deploy("wine", 2).await.unwrap();
    let restored = models.restore_version("wine", 1).await.unwrap();
    assert_eq!(restored.stage, ModelStage::Deprecated, "another one is deployed");
    let last: Vec<(String, u64)> = stages(&flow).await.split_off(2);
    let types: Vec<String> = last.into_iter().map(|(kind, version)| format!("{kind} {version}")).collect();
    let expected = [
        "MODEL_VALIDATED 1",
        "MODEL_DELETED 1",
        "MODEL_VALIDATED 1",
        "MODEL_DEPLOYED 1",
        "MODEL_DELETED 1",
        "MODEL_DEPLOYED 2",
        "MODEL_DEPRECATED 1",
    ];
    assert_eq!(types, expected);
}
