//! Streams what happens while a question is processed: progress for the caller, and a log, thoughts and figures as resources
//! that anybody may subscribe to. Beside MCP's own subscriptions it keeps records with filters, to show which change goes to whom.
//!
//! All is bounded: 100 lines, 100 thoughts, 1,000 subscriptions. Every 2 s whoever subscribed to the figures is told of them anew,
//! and every 30 s each record gets a sign of life; where nobody listens, nothing is sent.

mod stream;
mod subscriptions;
#[cfg(test)]
mod tests;

use super::{
    operations::{nothing_more, required},
    reasoning_agent::{
        decomposition::{Strategy, decompose},
        patterns::{self, Focus},
        question::{Question, session_key},
        synthesis::{self, Component},
    },
};
use crate::{
    service::{Beat, Host, Prompt, PromptArgument, Resource, Service},
    tool::{Context, Hints, Refusal, Tool},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use stream::{LOG, METRICS, Stream, THOUGHTS};
use subscriptions::{Change, ChangeType, Metadata, Subscription};

/// The server.
pub fn service(host: &Host) -> Service {
    let stream = Arc::new(Stream::new(host.clone()));
    Service {
        name: "resource_streaming",
        port: 8107,
        title: "Resource streaming",
        description: "Streams its reasoning. Subscribe to its resources, then call process_with_streaming: each step reports progress \
            and changes the log and the thoughts.",
        tools: vec![
            process_with_streaming(stream.clone()),
            manage_subscriptions(stream.clone()),
        ],
        resources: resources(&stream),
        beats: vec![
            beat(&stream, METRICS_EVERY, Stream::tell_metrics),
            beat(&stream, HEARTBEAT_EVERY, Stream::heartbeat),
        ],
        prompts: vec![Prompt {
            name: "watch_a_question",
            description: "Process a question and tell what could be seen while it went on.",
            arguments: &[PromptArgument {
                name: "question",
                description: "The question.",
                required: true,
            }],
            render: |arguments| {
                let question = arguments.get("question").and_then(Value::as_str);
                format!(
                    "Subscribe to {THOUGHTS}, call process_with_streaming with the question below, read {THOUGHTS} each time it \
                     changes, and tell the thoughts in order before you give the answer: {}",
                    question.unwrap_or_default()
                )
            },
        }],
    }
}

/// How often subscribers are told of the figures.
const METRICS_EVERY: Duration = Duration::from_secs(2);
/// How often each subscription gets a sign of life.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(30);

fn beat(stream: &Arc<Stream>, every: Duration, run: fn(&Stream)) -> Beat {
    let stream = stream.clone();
    Beat {
        every,
        run: Box::new(move || run(&stream)),
    }
}

fn resources(stream: &Arc<Stream>) -> Vec<Resource> {
    let resource = |uri, name, description, read: fn(&Stream) -> Value| {
        let stream = stream.clone();
        Resource {
            uri,
            name,
            description,
            read: Box::new(move || read(&stream)),
        }
    };
    vec![
        resource(
            LOG,
            "process-log",
            "The last 100 lines of the log, oldest first. Changes with each step of each question.",
            Stream::log,
        ),
        resource(
            METRICS,
            "metrics",
            "How many questions, steps and changes there were. Told to subscribers every 2 s, and when a question ends.",
            Stream::metrics,
        ),
        resource(
            THOUGHTS,
            "thoughts",
            "The last 100 thoughts, oldest first: what each step of each question came to.",
            Stream::thoughts,
        ),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// The question, 1 to 4,000 characters.
    question: Question,
}

#[derive(Serialize, JsonSchema)]
struct Processed {
    /// Names the question in the log, in thoughts and in the metadata of changes; equal questions have equal keys.
    session_key: String,
    /// The answer, line by line.
    answer: String,
    /// 0.8 + 0.1 for each component that the answer rests on, at most 1.
    confidence: f64,
    /// How many steps were done: 3.
    steps_completed: u32,
    /// The steps, in order.
    steps: Vec<Step>,
}

#[derive(Serialize, JsonSchema)]
struct Step {
    /// decomposing, analysing or synthesising.
    name: &'static str,
    /// What it came to.
    thought: String,
}

fn process_with_streaming(stream: Arc<Stream>) -> Tool {
    Tool::with_context(
        "process_with_streaming",
        "Process with streaming",
        "Answers a question in three steps (decomposing, analysing, synthesising) and streams them: progress to the caller, changes to \
         whoever subscribed to the log, the thoughts or the metrics. Use it where the way matters as much as the answer. Returns the answer and the steps.",
        move |context, input: Asked| process(&stream, context, input.question.text()),
    )
    .hints(Hints::ADDS)
    // Short work, but others see it happen only from a thread of its own.
    .long()
}

fn process(stream: &Stream, context: &Context, question: &str) -> Result<Processed, Refusal> {
    let key = session_key(question);
    let mut steps = Vec::new();
    let running = stream.begin(&key);
    let mut done = |name, thought: String| {
        running.thought(name, thought.clone());
        steps.push(Step { name, thought });
    };

    context.step(0, 3, "decomposing")?;
    let parts = decompose(question, 5, Strategy::Auto);
    let listed: Vec<String> = parts
        .iter()
        .map(|part| format!("({}) {}", part.number, part.question))
        .collect();
    let listed = listed.join(" ");
    done("decomposing", format!("{} parts: {listed}", parts.len()));

    context.step(1, 3, "analysing")?;
    let patterns = patterns::find(question, &[Focus::Structural, Focus::Semantic], 0.7);
    let kinds: Vec<&str> = patterns
        .iter()
        .map(|pattern| pattern.kind.asks_for())
        .collect();
    done(
        "analysing",
        if kinds.is_empty() {
            "It asks for plain facts.".to_owned()
        } else {
            format!("It asks for {}.", kinds.join("; and for "))
        },
    );

    context.step(2, 3, "synthesising")?;
    let parts = Component {
        source: "to be answered in turn".to_owned(),
        content: listed,
    };
    let confidence = synthesis::confidence(1 + usize::from(!patterns.is_empty()));
    let answer = synthesis::answer(question, &[parts], &patterns);
    done(
        "synthesising",
        format!("An answer of confidence {confidence}."),
    );
    context.step(3, 3, "done")?;

    running.complete();
    Ok(Processed {
        session_key: key,
        answer,
        confidence,
        steps_completed: 3,
        steps,
    })
}

#[derive(Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Op {
    Subscribe,
    Unsubscribe,
    List,
    Publish,
    Stats,
}

impl Op {
    fn name(self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe",
            Self::Unsubscribe => "unsubscribe",
            Self::List => "list",
            Self::Publish => "publish",
            Self::Stats => "stats",
        }
    }

    /// The arguments that it takes.
    fn takes(self) -> &'static [&'static str] {
        match self {
            Self::Subscribe => &["uri", "filters"],
            Self::Unsubscribe => &["uri", "subscription_id"],
            Self::List => &["uri"],
            Self::Publish => &["uri", "type", "new_value", "metadata"],
            Self::Stats => &[],
        }
    }
}

/// The address of a resource, up to 512 characters.
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
struct Uri(
    #[schemars(length(max = 512), regex(pattern = r"^[A-Za-z][A-Za-z0-9+.-]*:\S+$"))] String,
);

/// A text of metadata, up to 256 characters.
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
struct Text(#[schemars(length(max = 256))] String);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ToManage {
    /// What to do: subscribe (needs uri), unsubscribe (needs subscription_id, or uri for all of a resource), list (of a uri, or all),
    /// publish (needs uri) or stats.
    op: Op,
    /// The resource, as reasoning://thoughts or one of your own, up to 512 characters.
    #[serde(default)]
    uri: Option<Uri>,
    /// Of subscribe: only changes whose metadata has all of these, with equal texts; every change when left out. Up to 16.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 16, "propertyNames" = {"minLength": 1, "maxLength": 64}))]
    filters: Option<BTreeMap<String, Text>>,
    /// Of unsubscribe: which one.
    #[serde(default)]
    #[schemars(length(min = 1, max = 64))]
    subscription_id: Option<String>,
    /// Of publish: created, updated, deleted or content_changed; updated when left out.
    #[serde(default, rename = "type")]
    kind: Option<ChangeType>,
    /// Of publish: what the resource holds now; any JSON of up to 10,000 bytes.
    #[serde(default)]
    new_value: Option<Value>,
    /// Of publish: what describes the change, for filters to go by. Up to 16.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 16, "propertyNames" = {"minLength": 1, "maxLength": 64}))]
    metadata: Option<BTreeMap<String, Text>>,
}

#[derive(Serialize, JsonSchema)]
struct Managed {
    /// What was done.
    op: Op,
    /// Of subscribe: the subscription.
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription: Option<Subscription>,
    /// Of unsubscribe: the ids of those that ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    unsubscribed: Option<Vec<String>>,
    /// Of list: the subscriptions, oldest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    subscriptions: Option<Vec<Subscription>>,
    /// Of publish: the change.
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<Change>,
    /// Of publish: the ids of the subscriptions that it went to.
    #[serde(skip_serializing_if = "Option::is_none")]
    delivered_to: Option<Vec<String>>,
    /// Of stats: how many there are of what.
    #[serde(skip_serializing_if = "Option::is_none")]
    stats: Option<Stats>,
}

#[derive(Serialize, JsonSchema)]
struct Stats {
    /// How many subscriptions there are; 1,000 at most.
    total_subscriptions: usize,
    /// How many questions are being processed right now.
    active_streams: u32,
    /// How many resources are subscribed to.
    resources_with_subscribers: usize,
    /// How many subscriptions each resource has.
    subscriptions_by_resource: BTreeMap<String, usize>,
}

fn manage_subscriptions(stream: Arc<Stream>) -> Tool {
    Tool::new(
        "manage_subscriptions",
        "Manage subscriptions",
        "Keeps records of who wants to hear of which changes, filtered by metadata, and publishes changes to them and to MCP subscribers. \
         Use op subscribe, unsubscribe, list, publish or stats. Returns the subscription, the subscriptions, the change with the ids it went to, or counts.",
        move |input: ToManage| manage(&stream, input),
    )
    .alias("mcp_server")
    .hints(Hints::DESTRUCTIVE)
}

fn manage(stream: &Stream, input: ToManage) -> Result<Managed, Refusal> {
    let op = input.op;
    nothing_more(
        op.name(),
        op.takes(),
        &[
            ("uri", input.uri.is_some()),
            ("filters", input.filters.is_some()),
            ("subscription_id", input.subscription_id.is_some()),
            ("type", input.kind.is_some()),
            ("new_value", input.new_value.is_some()),
            ("metadata", input.metadata.is_some()),
        ],
    )?;
    let uri = input.uri.as_ref().map(|uri| uri.0.as_str());
    let needed = || required(op.name(), "uri", input.uri.as_ref()).map(|uri| uri.0.as_str());
    match op {
        Op::Subscribe => {
            let (uri, now_ms) = (needed()?, stream.host.now_ms());
            let filters = texts(input.filters);
            let added = stream.subscriptions(|all| all.add(uri, filters, now_ms));
            let full = || {
                Refusal::Failed(format!(
                    "{} subscriptions are kept: end some first",
                    subscriptions::MOST
                ))
            };
            Ok(Managed {
                subscription: Some(added.ok_or_else(full)?),
                ..nothing(op)
            })
        }
        Op::Unsubscribe => {
            let ended = unsubscribe(stream, uri, input.subscription_id.as_deref())?;
            Ok(Managed {
                unsubscribed: Some(ended),
                ..nothing(op)
            })
        }
        Op::List => Ok(Managed {
            subscriptions: Some(stream.subscriptions(|all| all.list(uri))),
            ..nothing(op)
        }),
        Op::Publish => {
            let change = Change {
                uri: needed()?.to_owned(),
                kind: input.kind.unwrap_or(ChangeType::Updated),
                timestamp: stream.host.now_ms(),
                new_value: short(input.new_value)?,
                metadata: texts(input.metadata),
            };
            Ok(Managed {
                delivered_to: Some(stream.publish(&change)),
                change: Some(change),
                ..nothing(op)
            })
        }
        Op::Stats => Ok(Managed {
            stats: Some(stats(stream)),
            ..nothing(op)
        }),
    }
}

fn unsubscribe(
    stream: &Stream,
    uri: Option<&str>,
    id: Option<&str>,
) -> Result<Vec<String>, Refusal> {
    if uri.is_none() && id.is_none() {
        return Err(Refusal::argument(
            "subscription_id",
            "or uri is required by \"unsubscribe\"",
        ));
    }
    let ended = stream.subscriptions(|all| {
        all.remove(|one| {
            uri.is_none_or(|uri| one.uri == uri) && id.is_none_or(|id| one.subscription_id == id)
        })
    });
    match id {
        Some(id) if ended.is_empty() => {
            let problem = format!("there is no subscription {id:?}");
            Err(Refusal::argument("subscription_id", problem))
        }
        _ => Ok(ended),
    }
}

const LONGEST_VALUE: usize = 10_000;

fn short(value: Option<Value>) -> Result<Option<Value>, Refusal> {
    match &value {
        Some(long) if long.to_string().len() > LONGEST_VALUE => {
            let problem = format!("is longer than {LONGEST_VALUE} bytes");
            Err(Refusal::argument("new_value", problem))
        }
        _ => Ok(value),
    }
}

fn texts(given: Option<BTreeMap<String, Text>>) -> Metadata {
    let given = given.unwrap_or_default();
    given
        .into_iter()
        .map(|(name, text)| (name, text.0))
        .collect()
}

fn stats(stream: &Stream) -> Stats {
    let by_resource = stream.subscriptions(|all| all.by_resource());
    Stats {
        total_subscriptions: by_resource.values().sum(),
        active_streams: stream.active_streams(),
        resources_with_subscribers: by_resource.len(),
        subscriptions_by_resource: by_resource,
    }
}

fn nothing(op: Op) -> Managed {
    Managed {
        op,
        subscription: None,
        unsubscribed: None,
        subscriptions: None,
        change: None,
        delivered_to: None,
        stats: None,
    }
}
