//! Aliases: where they point, what protects them, and what was when.

use aiflow_core::ErrorKind;
use aiflow_core::meta::ModelStage;
use serde_json::json;

use super::{aiflow, at, log_of, register, timed, with_model};

#[tokio::test]
async fn an_alias_names_one_version_and_its_moves_are_told() {
    let flow = aiflow();
    let models = flow.models();
    with_model(&flow).await;
    for _ in 0..2 {
        register(&flow).await;
    }
    assert_eq!(models.by_alias("wine", "champion").await.unwrap(), None);
    for version in [1, 1, 2] {
        models.set_alias("wine", "champion", version).await.unwrap();
    }
    models.set_alias("wine", "newest", 2).await.unwrap();
    assert_eq!(models.by_alias("wine", "champion").await.unwrap().unwrap().version, 2);
    let aliases: Vec<String> = models
        .aliases("wine")
        .await
        .unwrap()
        .iter()
        .map(|alias| format!("{} {}", alias.alias, alias.version))
        .collect();
    assert_eq!(aliases, ["champion 2", "newest 2"]);
    let of = |version| {
        let models = models.clone();
        async move { models.version("wine", version).await.unwrap().unwrap().aliases.len() }
    };
    assert_eq!((of(1).await, of(2).await), (0, 2), "a version knows its aliases");
    models.delete_alias("wine", "newest").await.unwrap();
    models.delete_alias("wine", "newest").await.unwrap();
    assert_eq!(of(2).await, 1);
    assert_eq!(models.set_alias("wine", "champion", 9).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(models.set_alias("none", "champion", 1).await.unwrap_err().kind(), ErrorKind::NotFound);
    let told: Vec<_> =
        log_of(&flow).await.iter().filter(|it| it.event_type == "ALIAS_CHANGED").map(|it| it.value.clone()).collect();
    let moved = |alias: &str, from: Option<u32>, version: Option<u32>| json!({"alias": alias, "from": from, "version": version, "protected": false});
    let expected = [
        moved("champion", None, Some(1)),
        moved("champion", Some(1), Some(2)),
        moved("newest", None, Some(2)),
        moved("newest", Some(2), None),
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_protected_alias_moves_only_for_who_says_from_where() {
    let flow = aiflow();
    let models = flow.models();
    with_model(&flow).await;
    for _ in 0..3 {
        register(&flow).await;
    }
    models.set_alias("wine", "prod", 1).await.unwrap();
    assert!(models.protect_alias("wine", "prod", true).await.unwrap().protected);
    for refused in [models.set_alias("wine", "prod", 2).await.map(|_| ()), models.delete_alias("wine", "prod").await] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Conflict);
    }
    assert_eq!(models.move_alias("wine", "prod", 2, 3).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert!(models.move_alias("wine", "prod", 1, 2).await.unwrap().protected, "it stays protected");
    models.set_alias("wine", "prod", 2).await.unwrap();
    models.protect_alias("wine", "prod", false).await.unwrap();
    models.delete_alias("wine", "prod").await.unwrap();
    assert_eq!(models.protect_alias("wine", "prod", true).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(models.move_alias("wine", "prod", 2, 3).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_version_with_an_alias_is_not_deleted_and_a_deleted_one_gets_none() {
    let flow = aiflow();
    let models = flow.models();
    with_model(&flow).await;
    for _ in 0..2 {
        register(&flow).await;
    }
    models.set_alias("wine", "prod", 1).await.unwrap();
    for refused in [models.delete_version("wine", 1).await, models.set_stage("wine", 1, ModelStage::Deleted).await] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Conflict);
    }
    models.delete_version("wine", 2).await.unwrap();
    assert_eq!(models.set_alias("wine", "prod", 2).await.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(models.by_alias("wine", "prod").await.unwrap().unwrap().version, 1);
}

#[tokio::test]
async fn which_version_an_alias_named_when_is_known() {
    let (flow, clock) = timed();
    let models = flow.models();
    with_model(&flow).await;
    for _ in 0..2 {
        register(&flow).await;
    }
    for (time, version) in [(100, 1), (200, 2)] {
        clock.set(at(time));
        models.set_alias("wine", "prod", version).await.unwrap();
        models.set_alias("wine", "other", 1).await.unwrap();
    }
    clock.set(at(300));
    models.delete_alias("wine", "prod").await.unwrap();
    for (time, version) in [(99, None), (100, Some(1)), (199, Some(1)), (200, Some(2)), (299, Some(2)), (300, None)] {
        assert_eq!(models.alias_at("wine", "prod", at(time)).await.unwrap(), version, "at {time}");
    }
    assert_eq!(models.alias_history("wine").await.unwrap().len(), 4);
}
