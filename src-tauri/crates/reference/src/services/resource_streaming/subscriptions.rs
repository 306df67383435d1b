//! Who wants to hear of which changes, and which change goes to whom.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// At most so many subscriptions.
pub(super) const MOST: usize = 1000;

/// Names and texts that describe a change.
pub(super) type Metadata = BTreeMap<String, String>;

/// What happened to a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ChangeType {
    Created,
    Updated,
    Deleted,
    ContentChanged,
}

/// A change of a resource.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct Change {
    /// The resource.
    pub(super) uri: String,
    /// created, updated, deleted or content_changed.
    #[serde(rename = "type")]
    pub(super) kind: ChangeType,
    /// When, in milliseconds since 1970.
    pub(super) timestamp: i64,
    /// What it holds now, when that was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) new_value: Option<Value>,
    /// What describes the change: filters go by it.
    pub(super) metadata: Metadata,
}

/// Somebody's wish to hear of changes.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct Subscription {
    /// Names it: sub-1, sub-2, …
    pub(super) subscription_id: String,
    /// The resource.
    pub(super) uri: String,
    /// Only changes whose metadata has all of these, with equal texts.
    pub(super) filters: Metadata,
    /// When it was made, in milliseconds since 1970.
    created_at: i64,
    /// How many changes it was told of.
    delivered: u64,
    /// When it was last told of one, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_delivered_at: Option<i64>,
    /// When it last got a sign of life, in milliseconds since 1970. Every 30 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_heartbeat_at: Option<i64>,
}

impl Subscription {
    fn wants(&self, change: &Change) -> bool {
        self.uri == change.uri
            && self
                .filters
                .iter()
                .all(|(name, text)| change.metadata.get(name) == Some(text))
    }
}

/// All subscriptions, in the order in which they were made.
#[derive(Default)]
pub(super) struct Subscriptions {
    made: u64,
    kept: Vec<Subscription>,
}

impl Subscriptions {
    /// Adds one. There is none when there are too many.
    pub(super) fn add(
        &mut self,
        uri: &str,
        filters: Metadata,
        now_ms: i64,
    ) -> Option<Subscription> {
        if self.kept.len() >= MOST {
            return None;
        }
        self.made += 1;
        let subscription = Subscription {
            subscription_id: format!("sub-{}", self.made),
            uri: uri.to_owned(),
            filters,
            created_at: now_ms,
            delivered: 0,
            last_delivered_at: None,
            last_heartbeat_at: None,
        };
        self.kept.push(subscription.clone());
        Some(subscription)
    }

    /// Takes away those that `unwanted` picks, and gives their ids.
    pub(super) fn remove(&mut self, unwanted: impl Fn(&Subscription) -> bool) -> Vec<String> {
        let (gone, kept) = std::mem::take(&mut self.kept)
            .into_iter()
            .partition(|subscription| unwanted(subscription));
        self.kept = kept;
        let gone: Vec<Subscription> = gone;
        gone.into_iter().map(|gone| gone.subscription_id).collect()
    }

    /// Those of one resource, or of all.
    pub(super) fn list(&self, uri: Option<&str>) -> Vec<Subscription> {
        let wanted = self
            .kept
            .iter()
            .filter(|one| uri.is_none_or(|uri| one.uri == uri));
        wanted.cloned().collect()
    }

    /// Tells whoever wants to hear of a change, and gives their ids.
    pub(super) fn deliver(&mut self, change: &Change) -> Vec<String> {
        self.kept
            .iter_mut()
            .filter(|subscription| subscription.wants(change))
            .map(|subscription| {
                subscription.delivered = subscription.delivered.saturating_add(1);
                subscription.last_delivered_at = Some(change.timestamp);
                subscription.subscription_id.clone()
            })
            .collect()
    }

    /// A sign of life for all of them.
    pub(super) fn heartbeat(&mut self, now_ms: i64) {
        for subscription in &mut self.kept {
            subscription.last_heartbeat_at = Some(now_ms);
        }
    }

    /// Whether anybody wants to hear of this resource.
    pub(super) fn any(&self, uri: &str) -> bool {
        self.kept.iter().any(|one| one.uri == uri)
    }

    /// How many there are of each resource.
    pub(super) fn by_resource(&self) -> BTreeMap<String, usize> {
        let mut by_resource = BTreeMap::new();
        for subscription in &self.kept {
            *by_resource.entry(subscription.uri.clone()).or_default() += 1;
        }
        by_resource
    }
}
