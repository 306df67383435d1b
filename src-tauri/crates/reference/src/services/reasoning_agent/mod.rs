//! Answers questions by reasoning about their form: takes a question apart, tells what kind of thinking it asks for, and puts
//! an answer together from what was found. By rules, not by a model: the same question gets the same answer.
//!
//! Inside are three skills, each a small server. The agent talks to them in JSON-RPC and keeps a log of it, so it also shows
//! what such talk looks like. All state is bounded: 50 questions in each skill, 1,000 messages.

pub(crate) mod decomposition;
pub(crate) mod patterns;
mod process;
pub(crate) mod question;
pub(crate) mod recent;
mod skills;
pub(crate) mod synthesis;
#[cfg(test)]
mod tests;
mod wire;

use crate::{
    service::{Host, Prompt, PromptArgument, Service},
    tool::{Hints, Tool},
};
use process::{Demonstration, Processed, SelfTest};
use question::Question;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use skills::{Detection, Memory, Skill, ToAnalyze};
use std::sync::Arc;
use wire::{Kind, Message, Wire};

/// The server.
pub fn service(host: &Host) -> Service {
    let memory = Arc::new(Memory::new());
    let wire = Arc::new(Wire::new(host.clone(), &memory));
    Service {
        name: "reasoning_agent",
        port: 8105,
        title: "Reasoning agent",
        description: "Reasons about questions by rules: takes them apart, tells what kind of thinking they ask for, and puts \
            answers together. Ask process_question for all of it at once, or one skill by call_skill.",
        tools: vec![
            process_question(wire.clone()),
            demonstrate_communication(wire.clone()),
            run_self_test(wire.clone()),
            analyze_patterns(wire.clone()),
            call_skill(wire.clone()),
            list_skills(wire.clone()),
            get_history(wire.clone()),
            get_requests(wire.clone()),
            get_responses(wire),
        ],
        resources: vec![
            skills::analyses(memory.clone()),
            skills::detected(memory.clone()),
            skills::collected(memory),
        ],
        beats: Vec::new(),
        prompts: vec![Prompt {
            name: "reason_about",
            description: "Reason about a question step by step, with the tools of this server.",
            arguments: &[PromptArgument {
                name: "question",
                description: "The question.",
                required: true,
            }],
            render: |arguments| {
                let question = arguments.get("question").and_then(Value::as_str);
                format!(
                    "Call process_question with this question, answer each sub-question in turn, say what each answer rests \
                     on, and only then answer the whole: {}",
                    question.unwrap_or_default()
                )
            },
        }],
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// The question, 1 to 4,000 characters.
    question: Question,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

fn process_question(wire: Arc<Wire>) -> Tool {
    Tool::with_context(
        "process_question",
        "Process a question",
        "Takes a question apart, looks for patterns and puts an answer together, skill by skill. Use it for the whole \
         reasoning in one call. Returns the answer with its confidence, the parts, the patterns, and the messages that it took, checked.",
        move |context, input: Asked| -> Result<Processed, _> {
            process::process(&wire, context, input.question.text())
        },
    )
    .alias("process_question_via_mcp")
    .hints(Hints::ADDS)
}

fn demonstrate_communication(wire: Arc<Wire>) -> Tool {
    Tool::with_context(
        "demonstrate_communication",
        "Demonstrate communication",
        "Processes a fixed example question and tells what its messages show of the protocol. Use it to see how the agent \
         and its skills talk. Returns compliance flags and the whole run.",
        move |context, _: Nothing| -> Result<Demonstration, _> { process::demonstrate(&wire, context) },
    )
    .alias("demonstrate_mcp_communication")
    .hints(Hints::ADDS)
}

fn run_self_test(wire: Arc<Wire>) -> Tool {
    Tool::with_context(
        "run_self_test",
        "Run the self-test",
        "Runs the demonstration and asserts what it must show. Use it to see whether this server works. Returns each \
         assertion with what was expected and what was found.",
        move |context, _: Nothing| -> Result<SelfTest, _> { process::self_test(&wire, context) },
    )
    .alias("test_mcp_reasoning")
    .hints(Hints::ADDS)
}

fn analyze_patterns(wire: Arc<Wire>) -> Tool {
    Tool::with_context(
        "analyze_patterns",
        "Analyze patterns",
        "Tells which kinds of thinking a question asks for, from its words: procedural (0.9), causal (0.85), systems_thinking \
         (0.8). Use it to choose how to go about a question. Returns patterns, surest first, with the words that show them.",
        move |context, input: ToAnalyze| -> Result<Detection, _> {
            let arguments = serde_json::json!(input);
            let skill = Skill::PatternAnalysis;
            wire.call(context, &mut Vec::new(), skill, "analyze_patterns", &arguments)
        },
    )
    .hints(Hints::ADDS)
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Call {
    /// The skill: question_decomposition, pattern_analysis or answer_synthesis.
    skill: Skill,
    /// The skill's tool: decompose_question; analyze_patterns; synthesize_answer or receive_pattern_data.
    #[schemars(length(min = 1, max = 64))]
    tool: String,
    /// The tool's arguments, as list_skills describes them; none when left out.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 20))]
    arguments: Map<String, Value>,
}

#[derive(Serialize, JsonSchema)]
struct Called {
    /// The skill.
    skill: Skill,
    /// Its tool.
    tool: String,
    /// What the tool gave, as list_skills describes it.
    result: Map<String, Value>,
    /// The messages that it took, in order.
    messages: Vec<Message>,
}

fn call_skill(wire: Arc<Wire>) -> Tool {
    Tool::with_context(
        "call_skill",
        "Call a skill",
        "Calls one tool of one skill: decompose_question takes a question apart, analyze_patterns finds its patterns, \
         receive_pattern_data keeps patterns for its answer, synthesize_answer makes the answer. Use it for one step alone; \
         list_skills describes the arguments. Returns the tool's result and the messages.",
        move |context, input: Call| {
            let mut messages = Vec::new();
            let arguments = Value::Object(input.arguments);
            let result = wire.call(context, &mut messages, input.skill, &input.tool, &arguments)?;
            Ok(Called {
                skill: input.skill,
                tool: input.tool,
                result,
                messages,
            })
        },
    )
    .alias("mcp_client")
    // It may replace pattern data that was kept.
    .hints(Hints::DESTRUCTIVE)
}

#[derive(Serialize, JsonSchema)]
struct Skills {
    /// The skills.
    skills: Vec<About>,
    /// How many.
    total: usize,
}

#[derive(Serialize, JsonSchema)]
struct About {
    /// Its name.
    name: &'static str,
    /// What it does.
    description: &'static str,
    /// How many tools it has.
    tool_count: usize,
    /// How many resources it has.
    resource_count: usize,
    /// How many prompts it has.
    prompt_count: usize,
    /// Its tools.
    tools: Vec<AboutTool>,
    /// The addresses of its resources.
    resources: Vec<&'static str>,
    /// The resources of others that it is told about when they change.
    subscriptions: Vec<&'static str>,
}

#[derive(Serialize, JsonSchema)]
struct AboutTool {
    /// Its name.
    name: &'static str,
    /// What it does.
    description: &'static str,
    /// JSON Schema of its arguments.
    input_schema: Map<String, Value>,
    /// JSON Schema of its result.
    output_schema: Map<String, Value>,
}

fn list_skills(wire: Arc<Wire>) -> Tool {
    Tool::new(
        "list_skills",
        "List the skills",
        "Tells what the agent's skills are. Use it before call_skill. Returns each skill's tools with their schemas, its \
         resources, and what it subscribed to.",
        move |_: Nothing| {
            let skills: Vec<About> = wire.skills().map(about).collect();
            Ok(Skills {
                total: skills.len(),
                skills,
            })
        },
    )
    .alias("mcp_server")
}

fn about(skill: &Service) -> About {
    About {
        name: skill.name,
        description: skill.description,
        tool_count: skill.tools.len(),
        resource_count: skill.resources.len(),
        prompt_count: skill.prompts.len(),
        tools: skill
            .tools
            .iter()
            .map(|tool| AboutTool {
                name: tool.name,
                description: tool.description,
                input_schema: Map::clone(tool.input()),
                output_schema: Map::clone(tool.output()),
            })
            .collect(),
        resources: skill
            .resources
            .iter()
            .map(|resource| resource.uri)
            .collect(),
        subscriptions: wire::subscriptions(skill.name),
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// The newest so many messages, 1 to 1,000; 100 when left out.
    #[serde(default = "hundred")]
    #[schemars(range(min = 1, max = 1000))]
    limit: usize,
    /// Only messages from this time on, in milliseconds since 1970; from the start when left out.
    #[serde(default)]
    since: i64,
}

fn hundred() -> usize {
    100
}

#[derive(Serialize, JsonSchema)]
struct History {
    /// The messages, oldest first.
    messages: Vec<Message>,
    /// How many were kept that fit, before the limit. The server keeps its last 1,000 messages.
    total: usize,
}

fn get_history(wire: Arc<Wire>) -> Tool {
    log(
        wire,
        "get_history",
        "Get the history",
        "The log of messages between the agent and its skills: requests, responses and notifications. Use it to follow what \
         happened. Returns the newest messages, oldest of them first.",
        |_| true,
    )
    .alias("mcp_history")
}

fn get_requests(wire: Arc<Wire>) -> Tool {
    log(
        wire,
        "get_requests",
        "Get the requests",
        "The requests that the agent sent to its skills, from the log. Use it to see what was asked. Returns the newest, oldest \
         of them first.",
        |message| message.kind == Kind::Request,
    )
    .alias("mcp_requests")
}

fn get_responses(wire: Arc<Wire>) -> Tool {
    log(
        wire,
        "get_responses",
        "Get the responses",
        "The responses that the skills gave, from the log. Use it to see what was answered, and what failed. Returns the \
         newest, oldest of them first.",
        |message| message.kind == Kind::Response,
    )
    .alias("mcp_responses")
}

fn log(
    wire: Arc<Wire>,
    name: &'static str,
    title: &'static str,
    description: &'static str,
    wanted: fn(&Message) -> bool,
) -> Tool {
    Tool::new(name, title, description, move |input: Wanted| {
        let (messages, total) = wire.history(input.limit, wanted, input.since);
        Ok(History { messages, total })
    })
}
